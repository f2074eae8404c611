"""The work queue: which objects have to be looked at, each by one worker at a time.

Waking a key that already waits changes nothing; waking one that is being worked on has it looked at again afterwards,
so no edge is lost. A reconcile that fails is tried again with exponential backoff and jitter, for ever: what it waits
for comes back some day, and until then the object's status says what is wrong.
"""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from anneal_operator.errors import AnnealError, ConflictError
from anneal_operator.logs import LOOK
from anneal_operator.metrics import QUEUE_DEPTH, RECONCILE_SECONDS, RECONCILES

__all__ = ["Key", "WorkQueue"]

_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.5, 60.0
log = logging.getLogger("anneal.queue")


@dataclass(frozen=True)
class Key:
    """One object."""

    kind: str
    namespace: str
    name: str


class WorkQueue:
    """Runs `reconcile(key)` for every woken key; the result is the seconds after which to look again, or None."""

    def __init__(self, reconcile: Callable[[Key], Awaitable[float | None]]) -> None:
        self._reconcile = reconcile
        self._waiting: dict[Key, asyncio.TimerHandle] = {}
        self._working: dict[Key, asyncio.Task[None]] = {}
        self._woken_while_working: set[Key] = set()
        self._failures: dict[Key, int] = {}

    def wake(self, key: Key, after: float = 0.0) -> None:
        """Have a key looked at, at the latest after so many seconds."""
        if key in self._working:
            self._woken_while_working.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + after
        waiting = self._waiting.get(key)
        if waiting and waiting.when() <= due:
            return
        if waiting:
            waiting.cancel()
        self._waiting[key] = loop.call_at(due, self._start, key)

    async def stop(self) -> None:
        """End all work and forget it; the next listing of the watches brings everything back."""
        for handle in self._waiting.values():
            handle.cancel()
        tasks = list(self._working.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for memory in (self._waiting, self._woken_while_working, self._failures):
            memory.clear()

    def _start(self, key: Key) -> None:
        del self._waiting[key]
        QUEUE_DEPTH.inc()
        self._working[key] = asyncio.get_running_loop().create_task(self._work(key))

    async def _work(self, key: Key) -> None:
        again: float | None = None
        LOOK.set({"look": uuid.uuid4().hex[:8], "kind": key.kind, "namespace": key.namespace, "name": key.name})
        began, result = time.monotonic(), "failed"
        try:
            again = await self._reconcile(key)
            self._failures.pop(key, None)
            result = "done"
        except AnnealError as error:
            again = self._backoff(key)
            level = logging.INFO if isinstance(error, ConflictError) else logging.WARNING
            log.log(level, "%s; retrying in %.1f s", error, again)
        except Exception:
            again = self._backoff(key)
            log.exception("unexpected error; retrying in %.1f s", again)
        finally:
            del self._working[key]
            QUEUE_DEPTH.dec()
            RECONCILES.labels(key.kind, result).inc()
            RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - began)
        if key in self._woken_while_working:
            self._woken_while_working.discard(key)
            again = 0.0 if key not in self._failures else again
        if again is not None:
            self.wake(key, again)

    def _backoff(self, key: Key) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        longest = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** min(failures - 1, 10))
        return random.uniform(longest / 2, longest)  # noqa: S311 - jitter
