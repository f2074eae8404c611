"""A recorder that serves what so many users did, in a process of its own, as a pod has it.

Users rate by fractions, so that the histograms of the answer are as long as they can be, and their windows are over.
"""

import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.recorder_file import EXPERIMENT, METRIC, fill
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.definition import Definition, Range
from tests.support.recorder_process import free_port, recorder_process
from toolbox.polling import poll

__all__ = ["CONTROL", "LIMITS", "Recorder", "recorder"]

CONTROL, LIMITS = "stable", (1.0, 5.0)
_AGE_SECONDS, _PATIENCE_SECONDS = 4 * 86400.0, 60.0
_BETTER = 1.0
"""By how much further up the challenger's ratings have their peak."""


@dataclass(frozen=True)
class Recorder:
    """Where it is, and how many users of the experiment it knows."""

    url: str
    users: int


@contextmanager
def recorder(users: int) -> Iterator[Recorder]:
    """Fill a file, and serve it; of those who are drawn about one in seven asks nothing."""
    rng = random.Random(5)  # noqa: S311 - reproducible
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, drawn = folder / "recorder.sqlite", users * 7 // 6 + 100
        fill(
            file,
            2 * drawn,
            drawn,
            time.time() - _AGE_SECONDS,
            lambda user: rng.triangular(*LIMITS, 3.5 + _BETTER * (user % 2)),
        )
        database = Database(file)
        database.define(EXPERIMENT, Definition(control=CONTROL, ranges={METRIC: Range(min=LIMITS[0], max=LIMITS[1])}))
        database.close_windows()
        counted = sum(arm["closed"]["users"] for arm in database.statistics(EXPERIMENT, METRIC)["variants"].values())
        database.close()
        port = free_port()
        with recorder_process(folder, port):
            if not poll(lambda: _listens(port), _PATIENCE_SECONDS):
                raise RuntimeError(f"the recorder does not listen on port {port}")
            yield Recorder(f"http://127.0.0.1:{port}", counted)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
