"""The cgroup that holds every pod of the cluster: one folder per hierarchy, for both versions of cgroups."""

from pathlib import Path

from .layout import CGROUP

__all__ = ["REQUIRED_CONTROLLERS", "available_controllers", "cgroup_folders", "create_cgroup", "remove_cgroup"]

REQUIRED_CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "pids"})
_ROOT = Path("/sys/fs/cgroup")


def available_controllers() -> frozenset[str]:
    """The controllers that are mounted and, on version 2, that the root offers to its children."""
    if _is_version_2():
        return frozenset((_ROOT / "cgroup.controllers").read_text().split())
    return frozenset(path.name for path in _hierarchies())


def create_cgroup() -> None:
    """Make the folder in every hierarchy, with all controllers switched on."""
    if _is_version_2():
        wanted = " ".join(f"+{name}" for name in sorted(available_controllers()))
        (_ROOT / "cgroup.subtree_control").write_text(wanted)
        (_ROOT / CGROUP).mkdir(exist_ok=True)
        (_ROOT / CGROUP / "cgroup.subtree_control").write_text(wanted)
        return
    for hierarchy in _hierarchies():
        ours = hierarchy / CGROUP
        ours.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new folder: no process could enter it
            if (ours / setting).exists() and not (ours / setting).read_text().strip():
                (ours / setting).write_text((hierarchy / setting).read_text())


def remove_cgroup() -> None:
    """Remove the folders; their processes must have ended. A folder that stays busy is left to the next call."""
    for folder in sorted(cgroup_folders(), reverse=True):
        try:
            folder.rmdir()
        except OSError:
            continue


def cgroup_folders() -> list[Path]:
    """Every folder of ours, in every hierarchy."""
    tops = [hierarchy / CGROUP for hierarchy in ([_ROOT] if _is_version_2() else _hierarchies())]
    return [path for top in tops if top.is_dir() for path in (top, *top.rglob("*/"))]


def _is_version_2() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    """The mounted hierarchies; a link such as `cpuacct -> cpu,cpuacct` is the same folder.

    Beside those of version 1 stands, on a hybrid machine, an empty one of version 2: runc enters it too.
    """
    if not _ROOT.is_dir():
        return []
    return [
        path for path in _ROOT.iterdir() if path.is_dir() and not path.is_symlink() and (path / "cgroup.procs").exists()
    ]
