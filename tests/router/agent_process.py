"""The router's agent as a process of its own, which may be killed: run as a program, this file begins such processes.

They are forked from one that has the agent loaded, so each begins in a few milliseconds. What a pod would give an agent
is given here, and its times are shortened.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

__all__ = ["Agents", "agents"]

_CHECKOUT = Path(__file__).parents[2]
_SHORT = 0.02


class Agents:
    """Begins agents, each beside the files of a router; `mounted.json` is the kubelet's copy of its table."""

    def __init__(self, source: subprocess.Popen[str]) -> None:
        self._source = source

    def begin(self, folder: Path, port: int) -> int:
        """Return its process id."""
        assert self._source.stdin
        assert self._source.stdout
        self._source.stdin.write(f"{folder} {port}\n")
        self._source.stdin.flush()
        return int(self._source.stdout.readline())

    def kill(self, pid: int) -> None:
        """End one at once."""
        assert self._source.stdin
        assert self._source.stdout
        self._source.stdin.write(f"{pid}\n")
        self._source.stdin.flush()
        assert int(self._source.stdout.readline()) == pid


@contextmanager
def agents() -> Iterator[Agents]:
    """All that are there end with it."""
    environment = {**os.environ, "PYTHONPATH": str(_CHECKOUT)}
    command = [sys.executable, __file__]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as source:
        yield Agents(source)
        assert source.stdin
        source.stdin.close()
        assert source.wait(timeout=30) == 0


def _main() -> None:
    from serving_runtime.router import agent  # noqa: F401 - loaded for all that are forked

    begun = set()
    for line in sys.stdin:
        words = line.split()
        if len(words) == 1:
            _end(int(words[0]))
            begun.discard(int(words[0]))
            told = int(words[0])
        else:
            told = os.fork()
            if told == 0:
                _run(Path(words[0]), int(words[1]))
            begun.add(told)
        sys.stdout.write(f"{told}\n")
        sys.stdout.flush()
    for pid in begun:
        _end(pid)


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _run(folder: Path, port: int) -> None:
    from serving_runtime.router import agent, endpoints, watch
    from serving_runtime.router.api_server import ApiServer

    log = os.open(folder / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(0)
    (folder / "namespace").write_text("team")
    arguments = ["agent", "--config-map", "anneal-router", "--key", "routes.json"]
    arguments += ["--mounted", str(folder / "mounted.json"), "--to", str(folder / "routes.json")]
    with (
        patch.object(sys, "argv", arguments),
        patch.multiple(agent, _ACCOUNT=folder, in_cluster=lambda _: ApiServer("127.0.0.1", port)),
        patch.multiple(watch, _PAUSE_SECONDS=_SHORT, _LONGEST_PAUSE_SECONDS=_SHORT),
        patch.multiple(endpoints, _RETRY_SECONDS=_SHORT, _TABLE_SECONDS=_SHORT),
    ):
        agent.main()


if __name__ == "__main__":
    _main()
