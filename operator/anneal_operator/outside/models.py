"""What MLflow says of the registered models that are in use, on a cadence of its own: one call for each model.

So no reconcile waits for MLflow to look: it reads what was heard last, and is woken when that changes. A move of an
alias by hand is seen within five seconds; a dead MLflow is asked less often.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable

from anneal_operator.errors import RegistryError

from .registry import Registered, RegisteredModel, Registry

__all__ = ["Models"]

_PERIOD_SECONDS, _LONGEST_PERIOD_SECONDS = 5.0, 30.0
log = logging.getLogger("anneal.models")


class Models:
    """What was heard last; `wake` is told the name of a model of which something else is heard.

    `is_used` says whether any object still names a model: of one that none does, nothing is asked any more.
    """

    def __init__(self, registry: Registry, wake: Callable[[str], None], is_used: Callable[[str], bool]) -> None:
        self._registry = registry
        self._wake = wake
        self._is_used = is_used
        self._tracked: set[str] = set()
        self._heard: dict[str, RegisteredModel] = {}
        self._problems: dict[str, str] = {}
        self._registered: dict[str, Registered] = {}
        self._questions = itertools.count(1)
        self._answered: dict[str, int] = {}
        """The newest question after each model that was answered."""
        self._due: dict[str, float] = {}
        self._periods: dict[str, float] = {}
        self._news = asyncio.Event()

    def heard(self, model: str) -> RegisteredModel | None:
        """Return what MLflow said of a model, None before it was asked; it is asked from now on."""
        if model not in self._tracked:
            self._tracked.add(model)
            self._news.set()
        return self._heard.get(model)

    def problem(self, model: str) -> str:
        """Return why MLflow could not be asked of a model just now; empty where it could."""
        return self._problems.get(model, "")

    def registered(self, uid: str) -> Registered | None:
        """Return what was registered for the ModelVersion with this uid since this process began."""
        return self._registered.get(uid)

    def note_registered(self, uid: str, registered: Registered) -> None:
        """Remember the answer to a registration."""
        self._registered[uid] = registered

    def forget(self, uid: str) -> None:
        """Keep nothing of a ModelVersion that is gone."""
        self._registered.pop(uid, None)

    async def ask(self, model: str) -> None:
        """Ask MLflow of a model now; an answer that is overtaken by that to a later question tells nothing."""
        number = next(self._questions)
        heard: RegisteredModel | None = None
        problem = ""
        try:
            heard = await self._registry.describe(model)
        except RegistryError as error:
            problem = str(error)
        if number > self._answered.get(model, 0):
            self._answered[model] = number
            self._note(model, heard, problem)

    def _note(self, model: str, heard: RegisteredModel | None, problem: str) -> None:
        before = self._heard.get(model), self.problem(model)
        if heard is not None:
            self._heard[model] = heard
        self._problems.pop(model, None)
        if problem:
            self._problems[model] = problem
        if before != (self._heard.get(model), self.problem(model)):
            self._wake(model)

    async def ask_forever(self) -> None:
        """Ask of every model in use, each on a cadence of its own, until cancelled."""
        while True:
            self._news.clear()
            self._drop_unused()
            due = [model for model in sorted(self._tracked) if self._due.get(model, 0.0) <= time.monotonic()]
            await asyncio.gather(*(self._ask_in_turn(model) for model in due))
            next_due = min((self._due.get(model, 0.0) for model in self._tracked), default=float("inf"))
            with contextlib.suppress(TimeoutError):
                left = min(_LONGEST_PERIOD_SECONDS, max(0.0, next_due - time.monotonic()))
                await asyncio.wait_for(self._news.wait(), left)

    async def _ask_in_turn(self, model: str) -> None:
        try:
            await self.ask(model)
        except Exception:
            log.exception("asking MLflow of %s: unexpected error; retrying", model)
        doubled = min(2 * self._periods.get(model, _PERIOD_SECONDS), _LONGEST_PERIOD_SECONDS)
        self._periods[model] = doubled if self.problem(model) else _PERIOD_SECONDS
        self._due[model] = time.monotonic() + self._periods[model]

    def _drop_unused(self) -> None:
        for model in [model for model in self._tracked if not self._is_used(model)]:
            self._tracked.discard(model)
            for known in (self._heard, self._problems, self._answered, self._due, self._periods):
                known.pop(model, None)

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        self._tracked.clear()
        for known in (self._heard, self._problems, self._registered, self._answered, self._due, self._periods):
            known.clear()
