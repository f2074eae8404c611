"""The task API as it runs in its pod, over HTTP."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from serving_runtime.plan import TaskTable
from serving_runtime.tasks.app import create_app
from serving_runtime.tasks.router_client import RouterClient
from serving_runtime.tasks.versions import Versions

__all__ = ["tasks", "write_rules"]


def write_rules(file: Path, table: TaskTable) -> None:
    """Say how versions are asked, as the kubelet mounts it."""
    file.write_text(table.model_dump_json())


@contextmanager
def tasks(router_port: int, key: str, file: Path) -> Iterator[str]:
    """Serve it before a router; gives its host and port."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(RouterClient("127.0.0.1", router_port, key), Versions(file))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
