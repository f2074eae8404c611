"""Feedback on its way to the disk: what comes while the disk works is written together next, and then answered.

So a slow disk takes one thread, not one per client, and many clients share one flush. Nothing is answered before it is
on disk; more than `_MOST` at once are refused.
"""

import asyncio
from collections.abc import Callable, Sequence

from .feedback import Outcome, Said, Told

__all__ = ["Inbox"]

_MOST = 5000
_TOGETHER = 500


class Inbox:
    """Collects feedback for `write`, which runs in a thread, one at a time."""

    def __init__(self, write: Callable[[Sequence[Said]], Sequence[Told]]) -> None:
        self._write = write
        self._waiting: list[tuple[Said, asyncio.Future[Told]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, said: Said) -> Told:
        """Return what became of it; raise what the disk raised."""
        if len(self._waiting) >= _MOST:
            return Outcome.FULL
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting.append((said, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._empty())
        return await future

    async def _empty(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            try:
                outcomes = await asyncio.to_thread(self._write, [said for said, _ in batch])
                told = [*zip(batch, outcomes, strict=True)]
            except Exception as error:  # noqa: BLE001 - each client is told
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), outcome in told:
                if not future.done():
                    future.set_result(outcome)
