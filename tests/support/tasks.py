"""The task API as it runs in its pod, over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving_runtime.plan import TaskTable
from serving_runtime.tasks.app import create_app
from serving_runtime.tasks.router_client import RouterClient
from serving_runtime.tasks.versions import Versions

from .asgi import served

__all__ = ["tasks", "write_rules"]


def write_rules(file: Path, table: TaskTable) -> None:
    """Say how versions are asked, as the kubelet mounts it."""
    file.write_text(table.model_dump_json())


@contextmanager
def tasks(router_port: int, key: str, file: Path) -> Iterator[str]:
    """Serve it before a router; gives its host and port."""
    with served(create_app(RouterClient("127.0.0.1", router_port, key), Versions(file))) as address:
        yield address
