"""The recorder in a process of its own, which may be killed.

Such processes are forked from one that has the recorder's libraries loaded, so that each begins at once.
"""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from serving_runtime.plan import ADMIN_KEY_VARIABLE

from .recorder import KEY

__all__ = ["begun", "free_port", "record_batches", "recorder_process"]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["serving_runtime.recorder.app", "uvicorn"])


def begun(run: Callable[..., None], *told: Any) -> BaseProcess:
    """Start a process that runs a function of a module."""
    process = _FORKS.Process(target=run, args=told)
    process.start()
    return process


@contextmanager
def recorder_process(folder: Path, port: int, dying: tuple[str, int] | None = None) -> Iterator[BaseProcess]:
    """Begin to serve; the process is killed after so many commits of a kind, or at the end."""
    process = begun(_serve, folder, port, dying)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def record_batches(folder: Path, batches: list[list[dict[str, Any]]], dying: int) -> None:
    """Record batches of answers, as far as they are not recorded yet; be killed after so many, where not 0."""
    from serving_runtime.recorder.database import Database

    _die_after("record_exposures", dying)
    database = Database(folder / "recorder.sqlite")
    for number, lines in enumerate(batches):
        if database.position("router") == number:
            database.record_exposures("router", number + 1, lines)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _serve(folder: Path, port: int, dying: tuple[str, int] | None) -> None:
    from serving_runtime.recorder.__main__ import main

    if dying:
        _die_after(*dying)
    os.environ[ADMIN_KEY_VARIABLE] = KEY
    sys.argv = ["recorder", "--port", str(port), "--folder", str(folder)]
    main()


def _die_after(commit: str, calls: int) -> None:
    """Have this process killed after so many commits of a kind, before anybody hears of the last."""
    from serving_runtime.recorder.database import Database

    whole, done = getattr(Database, commit), 0

    def die(self: Database, *told: Any) -> Any:
        nonlocal done
        answer = whole(self, *told)
        done += 1
        if done == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(Database, commit, die)
