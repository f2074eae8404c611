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
from dataclasses import dataclass

from anneal_operator.errors import RegistryError

from .registry import Registered, RegisteredModel, Registry

__all__ = ["Models"]

_PERIOD_SECONDS, _LONGEST_PERIOD_SECONDS = 5.0, 30.0
log = logging.getLogger("anneal.models")


@dataclass
class _Model:
    """What is known of one model, and when it is asked of next."""

    heard: RegisteredModel | None = None
    problem: str = ""
    answered: int = 0
    """The newest question that was answered."""
    due: float = 0.0
    period: float = _PERIOD_SECONDS


class Models:
    """What was heard last; `wake` is told the name of a model of which something else is heard.

    `is_used` says whether any object still names a model: of one that none does, nothing is asked any more.
    """

    def __init__(self, registry: Registry, wake: Callable[[str], None], is_used: Callable[[str], bool]) -> None:
        self._registry = registry
        self._wake = wake
        self._is_used = is_used
        self._models: dict[str, _Model] = {}
        self._registered: dict[str, Registered] = {}
        self._questions = itertools.count(1)
        self._news = asyncio.Event()

    def heard(self, model: str) -> RegisteredModel | None:
        """Return what MLflow said of a model, None before it was asked; it is asked from now on."""
        return self._known(model).heard

    def problem(self, model: str) -> str:
        """Return why MLflow could not be asked of a model just now; empty where it could."""
        return self._models[model].problem if model in self._models else ""

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
        known, number = self._known(model), next(self._questions)
        try:
            heard, problem = await self._registry.describe(model), ""
        except RegistryError as error:
            heard, problem = None, str(error)
        if number < known.answered:
            return
        before = known.heard, known.problem
        known.heard, known.problem, known.answered = heard or known.heard, problem, number
        if before != (known.heard, known.problem):
            self._wake(model)

    async def ask_forever(self) -> None:
        """Ask of every model in use, each on a cadence of its own, until cancelled."""
        while True:
            self._news.clear()
            self._models = {model: known for model, known in self._models.items() if self._is_used(model)}
            due = [model for model, known in sorted(self._models.items()) if known.due <= time.monotonic()]
            await asyncio.gather(*(self._ask_in_turn(model) for model in due))
            next_due = min((known.due for known in self._models.values()), default=float("inf"))
            with contextlib.suppress(TimeoutError):
                left = min(_LONGEST_PERIOD_SECONDS, max(0.0, next_due - time.monotonic()))
                await asyncio.wait_for(self._news.wait(), left)

    async def _ask_in_turn(self, model: str) -> None:
        known = self._known(model)
        try:
            await self.ask(model)
        except Exception:
            log.exception("asking MLflow of %s: unexpected error; retrying", model)
        known.period = min(2 * known.period, _LONGEST_PERIOD_SECONDS) if known.problem else _PERIOD_SECONDS
        known.due = time.monotonic() + known.period

    def _known(self, model: str) -> _Model:
        if model not in self._models:
            self._models[model] = _Model()
            self._news.set()
        return self._models[model]

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        self._models.clear()
        self._registered.clear()
