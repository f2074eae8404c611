"""What is heard of MLflow's models on a cadence of its own."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import cast

import pytest

from anneal_operator.errors import RegistryError
from anneal_operator.outside import models as module
from anneal_operator.outside.models import Models
from anneal_operator.outside.registry import Registered, RegisteredModel, Registry
from tests.reconcile.world import FakeRegistry


async def _listen(models: Models) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(models.ask_forever(), 0.05)


def test_a_model_is_asked_of_from_its_first_use_until_nobody_names_it() -> None:
    used, woken = {"spam"}, list[str]()
    models = Models(FakeRegistry(), woken.append, used.__contains__)

    async def run() -> None:
        assert models.heard("spam") is None
        await _listen(models)
        assert models.heard("spam") is not None
        assert woken == ["spam"]
        used.clear()
        await _listen(models)
        assert models.heard("spam") is None

    asyncio.run(run())


def test_what_was_registered_is_forgotten_with_its_version() -> None:
    models = Models(FakeRegistry(), lambda _: None, lambda _: True)
    registered = Registered("spam", "1", (), "uri", "digest", "url")
    models.note_registered("uid", registered)
    assert models.registered("uid") == registered
    models.forget("uid")
    assert models.registered("uid") is None


class _Answers:
    """A registry of models by name: an alias, or what is raised."""

    def __init__(self, **answers: str | Exception) -> None:
        self.answers, self.asked = answers, Counter[str]()

    async def describe(self, model: str) -> RegisteredModel:
        self.asked[model] += 1
        answer = self.answers[model]
        if isinstance(answer, Exception):
            raise answer
        return RegisteredModel("team", {"production": answer})


@pytest.mark.parametrize("fault", [RegistryError("no answer"), ValueError("half an answer")])
def test_a_model_that_cannot_be_described_holds_up_no_other(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PERIOD_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LONGEST_PERIOD_SECONDS", 60.0)
    registry = _Answers(bad=fault, good="1")
    models = Models(cast(Registry, registry), lambda _: None, lambda _: True)

    async def run() -> None:
        models.heard("bad")
        models.heard("good")
        with suppress(TimeoutError):
            await asyncio.wait_for(models.ask_forever(), 0.3)

    asyncio.run(run())
    assert registry.asked["good"] > 5
    assert registry.asked["bad"] < registry.asked["good"] or isinstance(fault, ValueError)


def test_an_answer_that_is_overtaken_tells_nothing() -> None:
    registry = _Answers(spam="1")
    models = Models(cast(Registry, registry), lambda _: None, lambda _: True)

    async def run() -> None:
        gate, describe = asyncio.Event(), registry.describe

        async def slow(model: str) -> RegisteredModel:
            said = await describe(model)
            await gate.wait()
            return said

        registry.describe = slow  # type: ignore[method-assign]
        earlier = asyncio.ensure_future(models.ask("spam"))
        await asyncio.sleep(0)
        registry.describe, registry.answers = describe, {"spam": "2"}  # type: ignore[method-assign]
        await models.ask("spam")
        gate.set()
        await earlier
        known = models.heard("spam")
        assert known is not None
        assert known.aliases == {"production": "2"}

    asyncio.run(run())
