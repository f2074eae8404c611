"""Answers that wait to be scored: in memory alone, of bounded number and size."""

import asyncio
from collections import deque

from serving_runtime.scoring import Answered, ScoredMetric

__all__ = ["MOST_WAITING", "Waiting"]

MOST_WAITING, MOST_BYTES = 256, 64 << 20


class Waiting:
    """One queue."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[ScoredMetric, Answered]] = deque()
        self._size = 0
        self._filled = asyncio.Event()

    def put(self, metric: ScoredMetric, answered: Answered) -> bool:
        """Take an answer where there is room."""
        if len(self._waiting) >= MOST_WAITING or self._size + len(answered.answer) > MOST_BYTES:
            return False
        self._waiting.append((metric, answered))
        self._size += len(answered.answer)
        self._filled.set()
        return True

    async def get(self) -> tuple[ScoredMetric, Answered]:
        """Return the one that came first, once there is one."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        metric, answered = self._waiting.popleft()
        self._size -= len(answered.answer)
        return metric, answered
