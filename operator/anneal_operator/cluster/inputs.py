"""Whether the ConfigMaps and claims that jobs name are there, asked once for all jobs that come together."""

import asyncio
import time

from .client import KubernetesApi
from .kinds import Manifest

__all__ = ["Inputs"]

_SECONDS = 5.0


class Inputs:
    """Remembers for a few seconds what is there, and never that something is missing."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._asked: dict[tuple[str, str, str], tuple[float, asyncio.Task[frozenset[str] | None]]] = {}

    async def keys(self, kind: str, namespace: str, name: str) -> frozenset[str] | None:
        """Return the keys of an object's data, None where there is no such object.

        Raises ApiError where the API server does not answer.
        """
        key, now = (kind, namespace, name), time.monotonic()
        self._asked = {known: asked for known, asked in self._asked.items() if now - asked[0] < _SECONDS}
        if key not in self._asked:
            self._asked[key] = now, asyncio.create_task(self._ask(*key))
        try:
            found = await asyncio.shield(self._asked[key][1])
        except BaseException:
            self._asked.pop(key, None)
            raise
        if found is None:
            self._asked.pop(key, None)
        return found

    async def _ask(self, kind: str, namespace: str, name: str) -> frozenset[str] | None:
        found: Manifest | None = await self._api.get(kind, namespace, name)
        return None if found is None else frozenset({*found.get("data", {}), *found.get("binaryData", {})})
