"""What is heard of MLflow's models on a cadence of its own."""

import asyncio
from contextlib import suppress

from anneal_operator.outside.models import Models
from anneal_operator.outside.registry import Registered
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
