"""kopf's life: it ends on API errors that last, and is then started again, with all else still running."""

import asyncio
import logging
import random
from collections.abc import Iterator
from typing import Any

import kopf
from typing_extensions import override

__all__ = ["watch_forever"]

_RESYNC_SECONDS = 300
log = logging.getLogger("anneal.watching")


class _Backoffs:
    """kopf's pauses between failing requests, without end: a list would end the process with its last."""

    def __iter__(self) -> Iterator[float]:
        pause = 1.0
        while True:
            yield random.uniform(pause / 2, pause)  # noqa: S311 - jitter
            pause = min(pause * 2, 30.0)


class _NothingKept(kopf.DiffBaseStorage):
    """kopf's memory of what an object was: for handlers of changes, which we have none of; it copies every object."""

    @override
    def build(self, **_: Any) -> Any:
        return {}

    @override
    def fetch(self, **_: Any) -> None:
        return None

    @override
    def store(self, **_: Any) -> None:
        return None


async def watch_forever(registry: kopf.OperatorRegistry, watching: asyncio.Event) -> None:
    """Keep kopf running until a signal ends it; what happened while it was down, its first listing tells.

    `watching` is set while it runs. Every five minutes each watch is ended and everything listed again, so that one
    that fell silent hides nothing for longer.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NothingKept()
    settings.process.ultimate_exiting_timeout = None  # kopf would kill this process, as if it were the whole of it
    settings.watching.chunk_size = 500
    settings.watching.client_timeout = _RESYNC_SECONDS
    settings.networking.error_backoffs = _Backoffs()
    try:
        while True:
            try:
                await kopf.operator(
                    registry=registry,
                    settings=settings,
                    clusterwide=True,
                    standalone=True,
                    ready_flag=watching,
                )
            except Exception:
                watching.clear()
                log.exception("the watches ended; starting them again")
                await asyncio.sleep(random.uniform(1, 5))  # noqa: S311 - jitter
            else:
                return
    finally:
        watching.clear()
