"""Start the recorder: `python -m serving_runtime.recorder --port 8081 --folder /data`."""

import argparse
from pathlib import Path

from serving_runtime.keys import App, Keyed, key_of
from serving_runtime.plan import ADMIN_KEY_VARIABLE

__all__ = ["guarded", "main"]

_OPEN = ("/health", "/v1/feedback")  # clients' feedback comes through the router


def guarded(app: App, key: str) -> Keyed:
    """The application behind its key."""
    return Keyed(app, key, _OPEN)


def main() -> None:
    """Serve until the pod ends."""
    import uvicorn

    from .app import create_app
    from .retention import RETENTION_DAYS

    parser = argparse.ArgumentParser(prog="python -m serving_runtime.recorder", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="durable: the database")
    days = "answers, and what was said of each, are kept so long (days); sums stay"
    parser.add_argument("--retention-days", type=float, default=RETENTION_DAYS, help=days)
    options = parser.parse_args()
    app = create_app(options.folder, options.retention_days)
    uvicorn.run(guarded(app, key_of(ADMIN_KEY_VARIABLE)), host="0.0.0.0", port=options.port, log_level="warning")  # noqa: S104 - a pod


if __name__ == "__main__":
    main()
