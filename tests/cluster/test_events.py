"""What is told once is one event; what is told again is counted in it."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from typing_extensions import override

from anneal_operator.cluster import events as module
from anneal_operator.cluster.events import record_event
from anneal_operator.errors import ApiError, ConflictError
from tests.reconcile.world import NAMESPACE, FakeApi, Manifest


class _Api(FakeApi):
    """Keeps events as it keeps all else."""

    @override
    async def create(self, manifest: Manifest) -> Manifest:
        key = manifest["kind"], manifest["metadata"]["name"]
        if key in self.objects:
            raise ConflictError(409, "already exists")
        return self._store(manifest)

    def told(self) -> list[Manifest]:
        return [event for (kind, _), event in self.objects.items() if kind == "Event"]


@pytest.fixture
def api() -> _Api:
    """An empty API server."""
    return _Api()


def _job(api: _Api, name: str = "spam") -> Manifest:
    return api.put("FineTuneJob", name)


def _tell(api: _Api, job: Manifest, reason: str = "Waiting", message: str = "no quota", **other: Any) -> None:
    asyncio.run(record_event(api, job, reason, message, **{"warning": False, **other}))


def test_an_event_says_what_happened_to_which_object(api: _Api, monkeypatch: pytest.MonkeyPatch) -> None:
    _at(monkeypatch, 3)
    job = _job(api)
    _tell(api, job, warning=True)
    event = api.told()[0]
    assert event["involvedObject"] == {
        "apiVersion": "anneal.dev/v1alpha1",
        "kind": "FineTuneJob",
        "name": "spam",
        "namespace": NAMESPACE,
        "uid": job["metadata"]["uid"],
    }
    assert event["metadata"]["namespace"] == NAMESPACE
    assert event["metadata"]["name"].startswith("spam.")
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Waiting", "no quota")
    assert (event["firstTimestamp"], event["lastTimestamp"], event["count"]) == (_time(3), _time(3), 1)


def test_what_is_told_again_is_counted(api: _Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = _job(api)
    for second in (3, 4, 9):
        _at(monkeypatch, second)
        _tell(api, job)
    (event,) = api.told()
    assert (event["firstTimestamp"], event["lastTimestamp"], event["count"]) == (_time(3), _time(9), 3)


@pytest.mark.parametrize(
    "other", [{"reason": "Running"}, {"message": "no nodes"}, {"warning": True}], ids=["reason", "message", "type"]
)
def test_what_is_different_is_an_event_of_its_own(api: _Api, other: dict[str, Any]) -> None:
    job = _job(api)
    _tell(api, job)
    _tell(api, job, **other)
    assert [event["count"] for event in api.told()] == [1, 1]


def test_an_object_made_again_under_its_name_has_events_of_its_own(api: _Api) -> None:
    for _ in range(2):
        _tell(api, _job(api))
    assert [event["count"] for event in api.told()] == [1, 1]


def test_a_long_message_is_cut(api: _Api) -> None:
    _tell(api, _job(api), message="x" * 5000)
    assert api.told()[0]["message"] == "x" * 1000


def test_an_event_that_expired_meanwhile_is_let_go(api: _Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = _job(api)
    _tell(api, job)

    async def expired(*_: str) -> None:
        api.objects.clear()

    monkeypatch.setattr(api, "get", expired)
    _tell(api, job)
    assert api.told() == []


def test_a_count_that_another_operator_raised_is_not_overwritten(api: _Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = _job(api)
    _tell(api, job)
    get = api.get

    async def outrun(*told: str) -> Manifest | None:
        found = await get(*told)
        name = api.told()[0]["metadata"]["name"]
        api.objects["Event", name]["count"] = 7
        api.changed("Event", name)
        return found

    monkeypatch.setattr(api, "get", outrun)
    with pytest.raises(ConflictError):
        _tell(api, job)
    assert api.told()[0]["count"] == 7


def test_a_refusal_is_told_to_the_caller(api: _Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: Manifest) -> Manifest:
        raise ApiError(403, "events is forbidden")

    monkeypatch.setattr(api, "create", refuse)
    with pytest.raises(ApiError, match="forbidden"):
        _tell(api, _job(api))


def _time(second: int) -> str:
    return f"2026-03-01T12:00:{second:02}Z"


def _at(monkeypatch: pytest.MonkeyPatch, second: int) -> None:
    class Clock(datetime):
        @classmethod
        @override
        def now(cls, tz: Any = None) -> "Clock":
            assert tz is UTC
            return cls(2026, 3, 1, 12, 0, second, tzinfo=UTC)

    monkeypatch.setattr(module, "datetime", Clock)
