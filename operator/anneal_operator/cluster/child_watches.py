"""Watches of what the operator makes, chosen by label on the API server.

kopf chooses labels in this process: every pod of the cluster would be sent to us to be thrown away.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

from anneal_operator.errors import ApiError

from .kinds import Manifest
from .reading import RESYNC_SECONDS

__all__ = ["Pauses", "Tell", "WatchApi", "watch_children"]

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
log = logging.getLogger("anneal.watching")

Tell = Callable[[Manifest, bool], None]
"""Takes an object, and whether it was deleted."""


class Pauses:
    """The pauses between requests that fail, without end; each iteration begins with the shortest."""

    def __iter__(self) -> Iterator[float]:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            yield random.uniform(pause / 2, pause)  # noqa: S311 - jitter
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class WatchApi(Protocol):
    """What watching needs of the API server; both raise ApiError where it does not answer."""

    def pages(self, kind: str, selector: str) -> AsyncIterator[Manifest]:
        """Yield the objects with these labels in all namespaces, some at a time."""

    def watch(self, kind: str, selector: str, since: str, seconds: int) -> AsyncIterator[Manifest]:
        """Yield the events of these objects after a resourceVersion, for so many seconds."""


async def watch_children(api: WatchApi, kind: str, label: str, tell: Tell) -> None:
    """Tell of every object that carries the label, and of its changes, until cancelled.

    Everything is listed anew when a watch ends, at the latest after five minutes. What vanished between a watch and
    the next listing is not told: nobody may take what was told for the truth.
    """
    pauses = iter(Pauses())
    while True:
        try:
            since = await _list(api, kind, label, tell)
            pauses = iter(Pauses())
            async for event in api.watch(kind, label, since, RESYNC_SECONDS):
                tell(event["object"], event["type"] == "DELETED")
        except ApiError as error:
            log.warning("watching %s: %s; trying again", kind, error)
        except Exception:
            log.exception("watching %s: unexpected error; retrying", kind)
        await asyncio.sleep(next(pauses))


async def _list(api: WatchApi, kind: str, label: str, tell: Tell) -> str:
    """Tell of all that is there; return the resourceVersion of the last page, which is the first's."""
    version = ""
    async for page in api.pages(kind, label):
        for item in page["items"]:
            tell({**item, "kind": kind}, False)
        version = page["metadata"]["resourceVersion"]
    return version
