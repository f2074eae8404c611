"""Start the recorder: `python -m serving_runtime.recorder --port 8081 --folder /data`."""

import argparse
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Serve until the pod ends."""
    import uvicorn

    from .app import create_app

    parser = argparse.ArgumentParser(prog="python -m serving_runtime.recorder", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="durable: the database")
    options = parser.parse_args()
    app = create_app(options.folder)
    uvicorn.run(app, host="0.0.0.0", port=options.port, log_level="warning")  # noqa: S104 - a pod


if __name__ == "__main__":
    main()
