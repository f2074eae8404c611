"""Remove what a cluster left behind, however it ended: processes, mounts, interfaces, tables, cgroups, sockets.

It is the second half of `down`, and what `up` does first when it finds a cluster whose processes were killed.
"""

import errno
import shutil
import socket
from pathlib import Path

from toolbox.commands import run

from .cgroups import remove_cgroup
from .layout import CGROUP, Layout
from .network import remove_network
from .processes import end, in_cgroup, marked
from .supervisor import end_supervisor

__all__ = ["mounts_below", "sweep"]

_SHIM_SOCKETS = Path("/run/containerd/s")


def sweep(layout: Layout) -> None:
    """End every process of the cluster and undo what they did to the machine; files under `state` stay."""
    end_supervisor(layout)  # else it would start again what is about to end
    end([*marked(layout), *(in_cgroup(CGROUP) if layout.has_node else [])], patience=0.0)
    if not layout.has_node:
        return
    for mount in mounts_below(layout.state, layout.run, layout.store):
        run(["umount", "--lazy", mount])
    remove_network()
    remove_cgroup()
    _remove_dead_sockets()
    shutil.rmtree(layout.run, ignore_errors=True)


def _remove_dead_sockets() -> None:
    """Unlink the shims' sockets that nobody listens on: containerd keeps them in a folder of the machine's."""
    for path in _SHIM_SOCKETS.glob("*"):
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(str(path)) == errno.ECONNREFUSED:
                path.unlink()


def mounts_below(*folders: Path) -> list[str]:
    """Mount points inside the folders, the innermost first (proc_pid_mountinfo(5), field 5)."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    unescaped = [point.replace("\\040", " ") for point in points]
    return [point for point in reversed(unescaped) if any(Path(point).is_relative_to(folder) for folder in folders)]
