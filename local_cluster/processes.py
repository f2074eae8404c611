"""Start, find and end the components: plain processes, each with a record, a log and a mark.

The record holds the process id and the time the process began, so that a number used anew by the operating
system is never mistaken for ours. The mark is an environment variable that children inherit: it finds what a
component left behind after it was killed, such as containerd's shims.

A record also says that the component is wanted: what has a record and no process has ended by itself.
"""

import json
import os
import signal
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from toolbox.locks import exclusive
from toolbox.polling import poll

from .layout import Layout

__all__ = [
    "Process",
    "end",
    "find",
    "forget",
    "in_cgroup",
    "marked",
    "record",
    "recorded",
    "recording",
    "restart",
    "runs_otherwise",
    "send",
    "start",
    "unrecorded",
    "wanted",
]

_MARK = "ANNEAL_LOCAL_CLUSTER"


@dataclass(frozen=True)
class Process:
    """A process that lives, or lived: `began` is its start in clock ticks since the machine's boot."""

    pid: int
    began: int

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return _stat(self.pid) == (self.began, True)


def start(layout: Layout, name: str, command: Sequence[str | Path], *, folder: Path = Path("/")) -> Process:
    """Start a component unless it runs, in a session of its own, so that it outlives us."""
    with recording(layout):
        return find(layout, name) or _spawn(layout, name, command, folder)


def restart(layout: Layout, name: str, command: Sequence[str | Path]) -> None:
    """Start a component that ended, unless somebody else did so meanwhile or does not want it any more."""
    with recording(layout):
        if name in wanted(layout) and find(layout, name) is None:
            _spawn(layout, name, command, Path("/"))


def recording(layout: Layout) -> AbstractContextManager[None]:
    """Hold the records: what is seen in them stays true, and nobody starts a component twice."""
    return exclusive(layout.pids / "lock")


def wanted(layout: Layout) -> set[str]:
    """The names of all that has a record, whether it runs or not."""
    return {path.stem for path in layout.pids.glob("*.json")}


def forget(layout: Layout, name: str) -> None:
    """Remove a component's record: it is not wanted any more, and may end."""
    with recording(layout):
        (layout.pids / f"{name}.json").unlink(missing_ok=True)


def record(layout: Layout, name: str, pid: int) -> Process:
    """Write down which process a component is, at once or not at all; the caller holds the records."""
    began, _ = _stat(pid) or (0, False)
    unfinished = layout.pids / f"{name}.unfinished"
    unfinished.write_text(json.dumps({"pid": pid, "began": began}))
    unfinished.rename(layout.pids / f"{name}.json")
    return Process(pid, began)


def _spawn(layout: Layout, name: str, command: Sequence[str | Path], folder: Path) -> Process:
    layout.logs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, _MARK: str(layout.state)}
    environment["PATH"] = f"{layout.bin}:{environment.get('PATH', '')}"
    with (layout.logs / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    child.returncode = 0  # it is meant to outlive us: without this, Popen warns when it is collected
    return record(layout, name, child.pid)


def find(layout: Layout, name: str) -> Process | None:
    """Return the component's process when it runs."""
    process = recorded(layout, name)
    return process if process and process.alive() else None


def recorded(layout: Layout, name: str) -> Process | None:
    """Return the component's process, also when it has ended."""
    try:
        written = json.loads((layout.pids / f"{name}.json").read_text())
        return Process(written["pid"], written["began"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def runs_otherwise(layout: Layout, name: str, command: Sequence[str | Path]) -> Process | None:
    """Return the component's process when it runs with another command line than this."""
    process = find(layout, name)
    if process is None:
        return None
    try:
        given = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return None
    wanted_line = b"".join(os.fsencode(part) + b"\0" for part in command)
    return process if given not in {b"", wanted_line} else None  # for a moment as it starts it has none


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal; a process that has ended meanwhile is no error."""
    if process.alive():
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return


def end(processes: Sequence[Process], patience: float = 10.0) -> None:
    """Ask the processes to end, and kill those that still run after `patience` seconds."""
    for process in processes:
        send(process, signal.SIGTERM)
        send(process, signal.SIGCONT)
    if not _gone(processes, patience):
        for process in processes:
            send(process, signal.SIGKILL)
        _gone(processes, 10.0)


def marked(layout: Layout) -> list[Process]:
    """Every process that carries this cluster's mark: the components and what they started."""
    mark = f"{_MARK}={layout.state}".encode()
    found = []
    for pid in _pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        stat = _stat(pid)
        if stat and stat[1] and mark in environment.split(b"\0"):
            found.append(Process(pid, stat[0]))
    return found


def unrecorded(layout: Layout, names: Collection[str]) -> list[Process]:
    """Components that run without a record: whoever started them was killed before writing it."""
    recorded = {find(layout, name) for name in names}
    return [process for process in marked(layout) if process not in recorded and _program(process.pid) in names]


def in_cgroup(name: str) -> list[Process]:
    """Every process in a cgroup with this first component: the containers' own processes."""
    found = []
    for pid in _pids():
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            continue
        stat = _stat(pid)
        if stat and stat[1] and any(line.split(":", 2)[2].startswith(f"/{name}/") for line in groups):
            found.append(Process(pid, stat[0]))
    return found


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""


def _stat(pid: int) -> tuple[int, bool] | None:
    """Return when a process began and whether it is more than a zombie (proc_pid_stat(5), fields 22 and 3)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]), fields[0] not in "ZX"


def _gone(processes: Sequence[Process], patience: float) -> bool:
    return poll(lambda: not any(process.alive() for process in processes), patience)
