"""What MLflow says of the registered models that are in use, on a cadence of its own: one call for each model.

So no reconcile waits for MLflow to look: it reads what was heard last, and is woken when that changes. A move of an
alias by hand is seen within five seconds; a dead MLflow is asked less often.
"""

import asyncio
import logging
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
        """Ask MLflow of a model now."""
        before = self._heard.get(model), self.problem(model)
        try:
            self._heard[model] = await self._registry.describe(model)
            self._problems.pop(model, None)
        except RegistryError as error:
            self._problems[model] = str(error)
        if before != (self._heard.get(model), self.problem(model)):
            self._wake(model)

    async def ask_forever(self) -> None:
        """Ask of every model in use, until cancelled."""
        period = _PERIOD_SECONDS
        while True:
            self._news.clear()
            self._drop_unused()
            await asyncio.gather(*(self.ask(model) for model in sorted(self._tracked)))
            period = min(2 * period, _LONGEST_PERIOD_SECONDS) if self._problems else _PERIOD_SECONDS
            try:
                await asyncio.wait_for(self._news.wait(), period)
            except TimeoutError:
                continue

    def _drop_unused(self) -> None:
        for model in [model for model in self._tracked if not self._is_used(model)]:
            self._tracked.discard(model)
            self._heard.pop(model, None)
            self._problems.pop(model, None)

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        self._tracked.clear()
        self._heard.clear()
        self._problems.clear()
        self._registered.clear()
