"""Keep an engine's adapters what a mounted file asks for: the only code that loads any, from within its server.

A file, and no request: whoever may ask an engine cannot have it load anything. An adapter that cannot be had, or does
not fit, is told of and tried again; it keeps none of the others from answering.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from .adapter_folder import AdapterError, Fetch, Places, brought, check, wanted_in
from .plan import AdapterProblem, AdapterReport, LoadedAdapter, WantedAdapter, weights_folder
from .weights.published import WeightsError

__all__ = ["Engine", "Keeper"]

_RECHECK_SECONDS = 60.0
_RETRY_SECONDS = 30.0
_KEEP_SECONDS = 120.0
"""For how long one is kept that is not asked for any more: routers may not have left it yet."""
_MESSAGE_LIMIT = 600
log = logging.getLogger("anneal.adapters")


class Engine(Protocol):
    """The engine that adapters are loaded into."""

    async def load(self, name: str, folder: Path) -> str:
        """Load an adapter; return why that cannot be done, empty where it was."""

    async def differs(self, name: str, folder: Path) -> str:
        """Return in what a loaded adapter answers otherwise than in training; empty where it does not.

        Raise AdapterError where it does not answer.
        """

    async def unload(self, name: str) -> None:
        """Forget a name; requests under way go on."""

    async def loaded(self) -> dict[str, str] | None:
        """Return the folders of what is loaded, by name; None where it does not answer."""


class Keeper:
    """Of one engine. `clock` counts seconds, and never back."""

    def __init__(
        self, engine: Engine, places: Places, fetch: Fetch = brought, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine, self._places, self._fetch, self._clock = engine, places, fetch, clock
        self._wanted: dict[str, WantedAdapter] = {}
        self._loaded: dict[str, LoadedAdapter] = {}
        self._unproven: dict[str, LoadedAdapter] = {}
        """Loaded, and not compared with its training yet."""
        self._problems: dict[str, AdapterProblem] = {}
        self._again_at: dict[str, float] = {}
        self._unwanted_since: dict[str, float] = {}
        self._checked_at = clock()

    def report(self) -> AdapterReport:
        """Return what is loaded, and why others are not."""
        return AdapterReport(loaded=dict(self._loaded), problems=dict(self._problems))

    def hides(self, name: str) -> bool:
        """Whether nobody is to be answered by it, whatever the engine has: it is wanted, or tried, and not loaded."""
        return name not in self._loaded and (name in self._wanted or name in self._unproven)

    async def keep(self) -> None:
        """Bring the engine closer to what is asked for, once."""
        self._read()
        if self._clock() - self._checked_at >= _RECHECK_SECONDS:
            await self._recheck()
        for name, wanted in self._wanted.items():
            self._unwanted_since.pop(name, None)
            if not self._is_loaded(name, wanted) and not self._rests(name, wanted):
                await self._take(name, wanted)
        for name in [name for name in self._unproven if name not in self._wanted]:
            await self._drop(name)
        for name in [name for name in self._loaded if name not in self._wanted]:
            if self._clock() - self._unwanted_since.setdefault(name, self._clock()) >= _KEEP_SECONDS:
                await self._drop(name)

    def _read(self) -> None:
        try:
            self._wanted = wanted_in(self._places.wanted)
        except (OSError, ValueError) as error:
            log.warning("what to load cannot be read, so it stays what it was: %s", error)
        self._problems = {name: told for name, told in self._problems.items() if name in self._wanted}

    def _is_loaded(self, name: str, wanted: WantedAdapter) -> bool:
        loaded = self._loaded.get(name)
        return loaded is not None and loaded.digest == wanted.digest

    def _rests(self, name: str, wanted: WantedAdapter) -> bool:
        """Whether exactly this one failed, and is not to be tried again yet."""
        problem = self._problems.get(name)
        is_known = problem is not None and problem.digest == wanted.digest
        return is_known and self._clock() < self._again_at.get(name, 0.0)

    async def _take(self, name: str, wanted: WantedAdapter) -> None:
        self._again_at[name] = 0.0
        problem = await self._problem_of(name, wanted)
        self._again_at[name] = max(self._again_at[name], self._clock() + _RETRY_SECONDS)
        if problem:
            self._problems[name] = AdapterProblem(digest=wanted.digest, message=problem[:_MESSAGE_LIMIT])
            log.warning("adapter %s is not loaded: %s", name, problem)
        else:
            self._problems.pop(name, None)
            self._loaded[name] = self._unproven.pop(name)
            log.info("adapter %s of %s is loaded", name, wanted.digest)

    async def _problem_of(self, name: str, wanted: WantedAdapter) -> str:
        tried = self._unproven.get(name)
        if tried and tried.digest == wanted.digest:
            return await self._difference(name, self._folder(tried))
        verified_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            folder = await asyncio.to_thread(self._verified, wanted)
        except (AdapterError, WeightsError, OSError) as error:
            return str(error)
        if tried or name in self._loaded:
            await self._drop(name)
        if refused := await self._engine.load(name, folder):
            return refused
        self._unproven[name] = LoadedAdapter(digest=wanted.digest, verified_at=verified_at)
        return await self._difference(name, folder)

    async def _difference(self, name: str, folder: Path) -> str:
        """One that differs is not loaded again: it would differ, and an engine's memory keeps all that it loaded.

        So one that does not answer stays where it is, and is only asked again.
        """
        try:
            if not (found := await self._engine.differs(name, folder)):
                return ""
        except AdapterError as error:
            return str(error)
        self._again_at[name] = math.inf
        await self._drop(name)
        return found

    def _folder(self, loaded: LoadedAdapter) -> Path:
        return self._places.home / weights_folder(loaded.digest)

    def _verified(self, wanted: WantedAdapter) -> Path:
        """In a thread: files are brought, hashed and read."""
        plan = self._places.plan
        folder = self._fetch(plan, wanted, self._places.home)
        check(folder, plan, self._places.served)
        return folder

    async def _drop(self, name: str) -> None:
        await self._engine.unload(name)
        self._loaded.pop(name, None)
        self._unproven.pop(name, None)
        self._unwanted_since.pop(name, None)

    async def _recheck(self) -> None:
        """Compare with what the engine itself says: what it lost is loaded again, what nobody asked for goes."""
        there = await self._engine.loaded()
        if there is None:
            return
        self._checked_at = self._clock()
        for name, loaded in [*self._loaded.items(), *self._unproven.items()]:
            if there.get(name) != str(self._folder(loaded)):
                log.warning("adapter %s is not what was loaded any more", name)
                if name in there:
                    await self._engine.unload(name)
                self._loaded.pop(name, None)
                self._unproven.pop(name, None)
        for name in there.keys() - self._loaded.keys() - self._unproven.keys():
            await self._engine.unload(name)
