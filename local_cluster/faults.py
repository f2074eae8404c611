"""Break the running cluster on purpose: the hooks that fault tests are built from.

Every call acts on one component of this cluster by its recorded process, never by name.
"""

import shutil
import signal
from pathlib import Path

from .cluster import start_components
from .components import COMPONENTS, STORE_AND_API, Component
from .errors import LocalClusterError
from .layout import Layout
from .processes import Process, end, find, send

__all__ = ["copy_data", "freeze", "kill", "replay", "restart", "start", "stop", "thaw"]


def kill(layout: Layout, name: str) -> None:
    """End a component without warning, as a crash does."""
    process = _running(layout, name)
    send(process, signal.SIGKILL)
    end([process])


def stop(layout: Layout, name: str) -> None:
    """Ask a component to end, and wait until it did."""
    end([_running(layout, name)])


def start(layout: Layout, name: str) -> None:
    """Start a component and wait until it is healthy."""
    start_components(layout, [_component(name)])


def restart(layout: Layout, name: str) -> None:
    """Stop a component and start it again."""
    stop(layout, name)
    start(layout, name)


def freeze(layout: Layout, name: str) -> None:
    """Halt a component where it is: its connections stay open and go silent."""
    send(_running(layout, name), signal.SIGSTOP)


def thaw(layout: Layout, name: str) -> None:
    """Let a frozen component go on."""
    send(_running(layout, name), signal.SIGCONT)


def copy_data(layout: Layout, target: Path) -> None:
    """Copy etcd's data directory, so that `replay` can return to this moment.

    etcd stands still meanwhile: its files are only whole together.
    """
    stop(layout, "etcd")
    shutil.copytree(layout.etcd_data.resolve(), target)
    start(layout, "etcd")


def replay(layout: Layout, data: Path) -> None:
    """Restart etcd and the API server on another data directory: an empty one, or one of `copy_data`."""
    kill(layout, "kube-apiserver")  # asked politely, it waits for its watchers
    stop(layout, "etcd")
    data.mkdir(mode=0o700, exist_ok=True)
    layout.etcd_data.unlink()
    layout.etcd_data.symlink_to(data)
    start_components(layout, STORE_AND_API)


def _component(name: str) -> Component:
    if name not in COMPONENTS:
        raise LocalClusterError(f"there is no component {name!r}: choose from {', '.join(COMPONENTS)}")
    return COMPONENTS[name]


def _running(layout: Layout, name: str) -> Process:
    process = find(layout, _component(name).name)
    if process is None:
        raise LocalClusterError(f"{name} does not run: start it with `python -m local_cluster start {name}`")
    return process
