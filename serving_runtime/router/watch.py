"""Keep in sight what the API server has of one kind, whatever becomes of it.

It is listed, and watched from there on. A watch goes on where the last one ended, which bookmarks keep recent; after
whatever else than an end (a refusal, a version that is gone, silence) all is listed anew. What is in sight holds
meanwhile: that nothing is heard deletes nothing.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from .api_server import ApiServer, ApiServerError

__all__ = ["Manifest", "Watch"]

_WATCH_SECONDS, _SILENT_SECONDS = 60, 75.0
"""When the API server ends a watch, and when one is given up whose end was not heard: nothing may arrive any more."""
_LIST_SECONDS = 20.0
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 8.0
log = logging.getLogger("agent")
Manifest = Mapping[str, Any]


@dataclass
class Watch:
    """Objects of a namespace, by name; `tell` gets all of them after each change."""

    api: ApiServer
    path: str
    selector: Mapping[str, str]
    tell: Callable[[Mapping[str, Manifest]], None]
    _objects: dict[str, Manifest] = field(default_factory=dict)
    _version: str | None = None
    """What was heard last; without any, all is to be listed."""
    _pause: float = field(init=False)

    async def run(self) -> None:
        """Watch until cancelled."""
        self._pause = _PAUSE_SECONDS
        while True:
            began = time.monotonic()
            try:
                await self._watch(self._version or await self._list())
            except Exception as error:  # noqa: BLE001 - whatever the API server does, what is known holds
                log.warning("%s cannot be watched, what is known holds: %s", self.path, str(error) or repr(error))
                self._version = None
                await asyncio.sleep(self._pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
                self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                self._pause = _PAUSE_SECONDS
                await asyncio.sleep(began + _PAUSE_SECONDS - time.monotonic())  # one may be ended at once

    async def _list(self) -> str:
        async with asyncio.timeout(_LIST_SECONDS):
            listed = await self.api.get(self.path, self.selector)
        self._objects = {item["metadata"]["name"]: item for item in listed["items"]}
        self._version = str(listed["metadata"]["resourceVersion"])
        self.tell(self._objects)
        return self._version

    async def _watch(self, version: str) -> None:
        asked = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS)}
        lines = self.api.lines(self.path, {**self.selector, **asked, "resourceVersion": version})
        async with asyncio.timeout(_SILENT_SECONDS), aclosing(lines):
            async for line in lines:
                self._hear(json.loads(line))
                self._pause = _PAUSE_SECONDS

    def _hear(self, event: Manifest) -> None:
        """An error it is, too, where a version is no longer known."""
        kind, told = event["type"], event["object"]
        if kind not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"}:
            raise ApiServerError(told.get("message") or f"it tells of {kind}")
        self._version = str(told["metadata"]["resourceVersion"])
        if kind == "BOOKMARK":
            return
        name = told["metadata"]["name"]
        if kind == "DELETED":
            self._objects.pop(name, None)
        else:
            self._objects[name] = told
        self.tell(self._objects)
