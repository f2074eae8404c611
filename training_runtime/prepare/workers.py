"""Work on many blocks at once, in processes of our own, with results in order and few blocks in memory.

With one processor, or little to do, everything happens in this process: starting others takes seconds.
"""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from training_runtime.log import take_over_output

__all__ = ["Pool", "processors", "workers"]

_CGROUP = Path("/sys/fs/cgroup")
_BYTES_PER_PROCESS = 512 << 20  # the tokenizer, and a few blocks of rows
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def processors() -> int:
    """How many processors this container may use, each with enough of its memory."""
    return max(1, min(_cores(), _memory_limit() // _BYTES_PER_PROCESS))


def _memory_limit() -> int:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return int((_CGROUP / name).read_text())
        except (OSError, ValueError):  # another version of cgroups, or no limit
            continue
    return sys.maxsize


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (_CGROUP / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (_CGROUP / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return allowed
    return allowed if quota in ("max", "-1") else max(1, min(allowed, round(int(quota) / int(period))))


@contextmanager
def workers(count: int) -> Iterator["Pool"]:
    """Give a pool of `count` processes, or of none where one would do."""
    if count < 2:
        yield Pool(None, 1)
        return
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # each process is one thread's worth
    with ProcessPoolExecutor(
        count, mp_context=multiprocessing.get_context("spawn"), initializer=take_over_output
    ) as executor:
        yield Pool(executor, count + 1)


class Pool:
    """Runs one function over many items."""

    def __init__(self, executor: ProcessPoolExecutor | None, ahead: int) -> None:
        self._executor = executor
        self._ahead = ahead

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield the results in the items' order; no more than a few items are taken ahead."""
        if self._executor is None:
            yield from map(function, items)
            return
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            waiting.append(self._executor.submit(function, item))
            if len(waiting) > self._ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
