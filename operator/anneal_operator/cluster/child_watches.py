"""Watches of what the operator makes, chosen by label on the API server.

kopf chooses labels in this process: every pod of the cluster would be sent to us to be thrown away.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from anneal_operator.errors import ApiError

from .kinds import Manifest

__all__ = ["Tell", "WatchApi", "watch_children"]

_RESYNC_SECONDS = 300
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
log = logging.getLogger("anneal.watching")

Tell = Callable[[Manifest, bool], None]
"""Takes an object, and whether it was deleted."""


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
    pause = _FIRST_PAUSE
    while True:
        try:
            since = await _list(api, kind, label, tell)
            pause = _FIRST_PAUSE
            async for event in api.watch(kind, label, since, _RESYNC_SECONDS):
                tell(event["object"], event["type"] == "DELETED")
        except ApiError as error:
            log.warning("watching %s: %s; again in %.0f s", kind, error, pause)
        except Exception:
            log.exception("watching %s: a fault of ours; again in %.0f s", kind, pause)
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _list(api: WatchApi, kind: str, label: str, tell: Tell) -> str:
    """Tell of all that is there; return the resourceVersion of the last page, which is the first's."""
    version = ""
    async for page in api.pages(kind, label):
        for item in page["items"]:
            tell({**item, "kind": kind}, False)
        version = page["metadata"]["resourceVersion"]
    return version
