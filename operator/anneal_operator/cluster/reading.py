"""How a reconcile reads the cluster: from what the watches told, or from the API server.

A reconcile that only tells may rely on the store. One that acts reads afresh: the harness then throws the memory away
and observes again. So does everyone once in five minutes, which is also when drift is seen.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .client import KubernetesApi
from .kinds import Manifest
from .store import WATCHED, Store

__all__ = ["RESYNC_SECONDS", "Memory", "Reader", "Readers"]

RESYNC_SECONDS = 300
"""After which everything is read afresh and listed anew, so that a watch that fell silent hides nothing for longer."""
_Address = tuple[str, str, str]


@dataclass
class Memory:
    """When an object's surroundings were last read afresh, and what was found of kinds that no watch tells of."""

    read_at: float
    found: dict[_Address, Manifest] = field(default_factory=dict)


class Reader:
    """The cluster as one reconcile reads it; `is_fresh` says that the API server is asked for everything."""

    def __init__(self, api: KubernetesApi, store: Store, memory: Memory, *, is_fresh: bool) -> None:
        self._api = api
        self._store = store
        self.memory = memory
        self.is_fresh = is_fresh

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the object, None where there is none; raise ApiError where the API server does not answer."""
        if not self.is_fresh:
            if kind in WATCHED:
                return self._store.get(kind, namespace, name)
            known = self._store.get(kind, namespace, name) or self.memory.found.get((kind, namespace, name))
            if known is not None:
                return known
        found = await self._api.get(kind, namespace, name)
        if kind not in WATCHED:
            self._remember((kind, namespace, name), found)
        if found is None:
            self._store.lose(kind, namespace, name)
        elif kind in WATCHED or self._store.get(kind, namespace, name) is not None:  # of ours, since it was written
            self._store.learn({**found, "kind": kind})
        return found

    async def list(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        """Return the objects of a watched kind with this label; raise ApiError where the API server does not answer."""
        if not self.is_fresh:
            return self._store.list(kind, namespace, selector)
        found = await self._api.list(kind, namespace, selector)
        self._store.replace(kind, namespace, selector, found)
        return [{**item, "kind": kind} for item in found]

    async def subject(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the object that is reconciled: of a new one, without a status, what the watch told is enough.

        Were it outdated, the write of its status would be refused.
        """
        known = self._store.get(kind, namespace, name)
        if self.memory.read_at == 0.0 and known is not None and not known.get("status"):
            return known
        return await self.get(kind, namespace, name)

    def _remember(self, address: _Address, found: Manifest | None) -> None:
        """What is missing is asked for each time: it is what somebody waits for."""
        if found is None:
            self.memory.found.pop(address, None)
        else:
            self.memory.found[address] = _without_managed_fields(found)


class Readers:
    """Hands out readers: by default one that relies on the store until five minutes after the last fresh one."""

    def __init__(self, api: KubernetesApi, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._store = store
        self._clock = clock
        self._memories: dict[_Address, Memory] = {}

    def reader(self, kind: str, namespace: str, name: str) -> Reader:
        """Return the reader for the next reconcile of an object."""
        memory = self._memories.get((kind, namespace, name))
        if memory is not None and self._clock() - memory.read_at < RESYNC_SECONDS:
            return Reader(self._api, self._store, memory, is_fresh=False)
        return Reader(self._api, self._store, memory or Memory(0.0), is_fresh=True)

    def note_fresh(self, kind: str, namespace: str, name: str, reader: Reader) -> None:
        """Remember that everything around an object was read afresh and understood."""
        reader.memory.read_at = self._clock()
        self._memories[kind, namespace, name] = reader.memory

    def remembers(self, kind: str, namespace: str, name: str, manifest: Manifest) -> None:
        """Take in what a write around an object was answered, unless the store has it."""
        memory = self._memories.get((kind, namespace, name))
        address = manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        if memory is not None and manifest["kind"] not in WATCHED and self._store.get(*address) is None:
            memory.found[address] = _without_managed_fields(manifest)

    def clear(self) -> None:
        """Have everything read afresh."""
        self._memories.clear()

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """Have the next reconcile of an object read everything afresh."""
        self._memories.pop((kind, namespace, name), None)


def _without_managed_fields(manifest: Manifest) -> Manifest:
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
    return {**manifest, "metadata": metadata}
