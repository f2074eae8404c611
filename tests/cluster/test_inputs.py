"""Inputs that many jobs name are asked for once."""

import asyncio

import pytest
from typing_extensions import override

from anneal_operator.cluster import inputs as module
from anneal_operator.cluster.inputs import Inputs
from anneal_operator.errors import ApiError
from tests.reconcile.world import NAMESPACE, FakeApi, Manifest


class _SlowApi(FakeApi):
    """Counts what is asked, and answers later, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.down = False

    @override
    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            raise ApiError(0, "the API server did not answer")
        return await super().get(kind, namespace, name)


async def _keys(inputs: Inputs) -> frozenset[str] | None:
    return await inputs.keys("ConfigMap", NAMESPACE, "rows")


def test_jobs_that_come_together_ask_once() -> None:
    async def ask() -> None:
        api = _SlowApi()
        api.put("ConfigMap", "rows", data={"a.jsonl": ""}, binaryData={"b.jsonl.gz": ""})
        inputs = Inputs(api)
        found = await asyncio.gather(*(_keys(inputs) for _ in range(9)))
        assert found == [frozenset({"a.jsonl", "b.jsonl.gz"})] * 9
        assert api.asked == 1

    asyncio.run(ask())


def test_what_is_missing_is_asked_for_again() -> None:
    async def ask() -> None:
        api = _SlowApi()
        inputs = Inputs(api)
        assert await _keys(inputs) is None
        api.put("ConfigMap", "rows", data={})
        assert await _keys(inputs) == frozenset()

    asyncio.run(ask())


def test_what_is_there_is_believed_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(seconds: float) -> int:
        monkeypatch.setattr(module, "_SECONDS", seconds)
        api = _SlowApi()
        api.put("ConfigMap", "rows", data={})
        inputs = Inputs(api)
        await _keys(inputs)
        await _keys(inputs)
        return api.asked

    assert [asyncio.run(ask(seconds)) for seconds in (60.0, 0.0)] == [1, 2]


def test_a_failure_is_told_to_all_and_not_kept() -> None:
    async def ask() -> None:
        api = _SlowApi()
        api.put("ConfigMap", "rows", data={})
        inputs, api.down = Inputs(api), True
        found = await asyncio.gather(*(_keys(inputs) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in found] == [ApiError] * 3
        with pytest.raises(ApiError):
            await _keys(inputs)
        api.down = False
        assert await _keys(inputs) == frozenset()

    asyncio.run(ask())


def test_what_one_asked_who_gave_up_is_asked_anew() -> None:
    async def ask() -> None:
        api = _SlowApi()
        api.put("ConfigMap", "rows", data={})
        inputs = Inputs(api)
        first = asyncio.create_task(_keys(inputs))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert await _keys(inputs) == frozenset()
        assert api.asked == 2

    asyncio.run(ask())


def test_one_who_gives_up_disturbs_no_other() -> None:
    async def ask() -> None:
        api = _SlowApi()
        api.put("ConfigMap", "rows", data={})
        inputs = Inputs(api)
        first, second = asyncio.create_task(_keys(inputs)), asyncio.create_task(_keys(inputs))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == frozenset()

    asyncio.run(ask())
