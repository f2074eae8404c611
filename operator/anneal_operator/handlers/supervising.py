"""kopf's life: it ends on API errors that last, and is then started again, with all else still running.

So it is when a definition of ours comes back: kopf then asks once which kinds there are, and the API server may take a
second longer to know.
"""

import asyncio
import logging
import random
from typing import Any

import kopf
from typing_extensions import override

from anneal_operator.api.resources import GROUP
from anneal_operator.cluster.child_watches import Pauses
from anneal_operator.cluster.reading import RESYNC_SECONDS

__all__ = ["watch_forever"]

_DISCOVERY_SECONDS = 3.0
log = logging.getLogger("anneal.watching")


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

    `watching` is set while it runs.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NothingKept()
    settings.process.ultimate_exiting_timeout = None  # kopf would kill this process, as if it were the whole of it
    settings.watching.chunk_size = 500
    settings.queueing.idle_timeout = 0.5  # each object that had news keeps a task and its last event for so long
    settings.watching.client_timeout = RESYNC_SECONDS
    settings.networking.error_backoffs = Pauses()  # a list would end the process with its last
    life = _watch_definitions(registry)
    try:
        while True:
            again = life.begin()
            try:
                await kopf.operator(
                    registry=registry,
                    settings=settings,
                    clusterwide=True,
                    standalone=True,
                    ready_flag=watching,
                    stop_flag=again,
                )
            except Exception:
                watching.clear()
                log.exception("the watches ended; starting them again")
                await asyncio.sleep(random.uniform(1, 5))  # noqa: S311 - jitter
            else:
                if not again.is_set():
                    return
                log.info("a definition came back; starting the watches again")
    finally:
        watching.clear()


class _Life:
    """What ends the present life of kopf, for another to begin."""

    def __init__(self) -> None:
        self._end = asyncio.Event()

    def begin(self) -> asyncio.Event:
        """Return what ends the life that begins now; what was to end the last one does nothing any more."""
        self._end = asyncio.Event()
        return self._end

    def end_soon(self) -> None:
        """End it once the API server has had time to learn of a kind."""
        asyncio.get_running_loop().call_later(_DISCOVERY_SECONDS, self._end.set)


def _watch_definitions(registry: kopf.OperatorRegistry) -> _Life:
    """Begin anew when a definition of ours is established that was not: made again, or new."""
    life = _Life()
    served: dict[str, str] = {}

    @kopf.on.event("apiextensions.k8s.io", "v1", "customresourcedefinitions", registry=registry, id="definitions")
    async def definition(event: Any, name: str | None, uid: str | None, spec: kopf.Spec, **_: Any) -> None:  # noqa: ANN401
        if spec.get("group") != GROUP or not name or not uid:
            return
        if event["type"] == "DELETED" or not _is_established(event["object"]):
            served.pop(name, None)
            return
        is_known, served[name] = served.get(name) == uid, uid
        if event["type"] and not is_known:  # a listing, which has no type, is how a life begins
            life.end_soon()

    return life


def _is_established(definition: Any) -> bool:  # noqa: ANN401 - a manifest
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(found["type"] == "Established" and found["status"] == "True" for found in conditions)
