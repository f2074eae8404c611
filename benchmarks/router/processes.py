"""Processes that are measured: each on one core, what it and its children use, and their end."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.control_plane.managers import cpu_seconds, rss_mib
from toolbox.commands import CommandError, last_lines
from toolbox.polling import poll

from .messages import chats, connected, is_whole, status

__all__ = ["Running", "await_answers", "free_port", "started"]

_STILL_SECONDS = 0.05


@dataclass(frozen=True)
class Running:
    """A system that answers on a port."""

    port: int
    roots: Sequence[subprocess.Popen[bytes]]
    """Its processes, without their children."""

    def pids(self) -> list[int]:
        """All its processes."""
        found, left = [], [process.pid for process in self.roots]
        while left:
            found.append(left.pop())
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                for task in Path(f"/proc/{found[-1]}/task").iterdir():
                    left += map(int, (task / "children").read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """In user and system mode so far."""
        return cpu_seconds(self.pids())

    def rss_mib(self) -> float:
        """Resident now; what processes share counts in each."""
        return rss_mib(self.pids())

    def peak_mib(self) -> float:
        """The most that each had resident at any time."""
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids()]
        return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in texts) / 1024

    def settle(self) -> None:
        """Wait until its start is over, for half a minute at most: some are never still."""
        for _ in range(30):
            before = self.cpu_seconds()
            time.sleep(1)
            if self.cpu_seconds() - before < _STILL_SECONDS:
                return


@contextmanager
def started(
    command: Sequence[str | Path], core: int | None, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on a core, or on all; it is ended with whatever it has started."""
    pinned: list[str | Path] = [*(["taskset", "--cpu-list", str(core)] if core is not None else []), *command]
    told = {**os.environ, **(environment or {})}
    with log.open("ab") as file:
        process = subprocess.Popen(pinned, env=told, cwd=log.parent, stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):  # its group is empty
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_answers(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 180.0) -> None:
    """Wait until a chat is answered; raise CommandError where it never is."""
    asked = next(chats())

    def answers() -> bool:
        with suppress(OSError), connected(port) as client:
            client.sendall(asked)
            answer = b""
            while not is_whole(answer) and (piece := client.recv(65536)):
                answer += piece
            return answer != b"" and status(answer) == 200
        return False

    if not poll(lambda: process.poll() is not None or answers(), seconds, every=0.1) or process.poll() is not None:
        raise CommandError(f"{process.args!r} does not answer:\n{last_lines(log, 20)}")


def free_port() -> int:
    """Return a port that nobody listens on, below those that the kernel gives to connections: it may be a while until
    it is listened on.
    """
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - any will do
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
