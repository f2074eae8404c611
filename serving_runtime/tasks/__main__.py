"""Start the task API: `python -m serving_runtime.tasks --port 8083 --router anneal-router:8080 --versions FILE`."""

import argparse
from pathlib import Path

from serving_runtime.keys import key_of
from serving_runtime.plan import TASKS_KEY_VARIABLE

__all__ = ["main"]


def main() -> None:
    """Serve until the pod ends."""
    import uvicorn

    from .app import create_app
    from .router_client import RouterClient
    from .versions import Versions

    parser = argparse.ArgumentParser(prog="python -m serving_runtime.tasks", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="0.0.0.0", help="where to listen")  # noqa: S104 - a pod
    parser.add_argument("--router", required=True, help="the namespace's router, as HOST:PORT")
    parser.add_argument("--versions", type=Path, required=True, help="the file that says how versions are asked")
    options = parser.parse_args()
    host, _, port = options.router.rpartition(":")
    router = RouterClient(host, int(port), key_of(TASKS_KEY_VARIABLE))
    uvicorn.run(
        create_app(router, Versions(options.versions)), host=options.host, port=options.port, log_level="warning"
    )


if __name__ == "__main__":
    main()
