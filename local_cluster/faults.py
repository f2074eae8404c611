"""Break the running cluster on purpose: the hooks that fault tests are built from.

Every call acts on one component of this cluster by its recorded process, never by name. What is killed or stopped
here stays down until it is started: the supervisor restarts only what ended otherwise.
"""

import shutil
import signal
from pathlib import Path
from typing import NoReturn

from .cluster import point_etcd_to, start_components
from .components import COMPONENTS, STORE_AND_API, Component
from .errors import LocalClusterError
from .layout import Layout
from .processes import Process, end, find, forget, send

__all__ = ["copy_data", "freeze", "kill", "replay", "restart", "start", "stop", "thaw"]


def kill(layout: Layout, name: str) -> None:
    """End a component without warning, as a crash does; it stays down until `start`."""
    process = _held_down(layout, name)
    send(process, signal.SIGKILL)
    end([process])


def stop(layout: Layout, name: str) -> None:
    """Ask a component to end, and wait until it did; it stays down until `start`."""
    end([_held_down(layout, name)])


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

    etcd stands still meanwhile: its files are only whole together. Raises LocalClusterError where the folder exists.
    """
    if target.exists():
        raise LocalClusterError(f"{target} exists: name a folder that does not, the copy is made there")
    stop(layout, "etcd")
    try:
        shutil.copytree(layout.etcd_data.resolve(), target)
    finally:
        start(layout, "etcd")


def replay(layout: Layout, data: Path) -> None:
    """Restart etcd and the API server on another data directory: an empty one, or one of `copy_data`.

    Raises LocalClusterError, and changes nothing, where there is no such folder.
    """
    if not data.is_dir():
        raise LocalClusterError(f"there is no folder {data}: name a copy that `copy-data` made, or an empty folder")
    for name, number in (("kube-apiserver", signal.SIGKILL), ("etcd", signal.SIGTERM)):
        process = find(layout, name)  # etcd has ended already where its data were deleted under it
        forget(layout, name)
        if process:
            send(process, number)  # asked politely, the API server waits for its watchers
            end([process])
    point_etcd_to(layout, data)
    start_components(layout, STORE_AND_API)


def _component(name: str) -> Component:
    if name not in COMPONENTS:
        raise LocalClusterError(f"there is no component {name!r}: choose from {', '.join(COMPONENTS)}")
    return COMPONENTS[name]


def _held_down(layout: Layout, name: str) -> Process:
    """The component's process, which the supervisor leaves alone from now on."""
    component = _component(name)
    process = find(layout, component.name)
    forget(layout, component.name)
    return process or _refuse(name)


def _running(layout: Layout, name: str) -> Process:
    return find(layout, _component(name).name) or _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise LocalClusterError(f"{name} does not run: start it with `python -m local_cluster start {name}`")
