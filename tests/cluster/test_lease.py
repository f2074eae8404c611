"""One leader at a time, whatever the API server does."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from typing_extensions import override

from anneal_operator.cluster import lease as module
from anneal_operator.cluster.lease import Lease
from anneal_operator.errors import ApiError
from tests.reconcile.world import NAMESPACE, FakeApi, Manifest


class _Api(FakeApi):
    """An API server that can be unreachable for one of its callers."""

    def __init__(self, objects: dict[tuple[str, str], Manifest]) -> None:
        super().__init__()
        self.objects = objects
        self.unreachable = False
        self.silent = False
        self.meets: asyncio.Barrier | None = None
        """Where all who read wait for each other, once."""

    @override
    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        if self.silent:
            await asyncio.sleep(60)
        if self.unreachable:
            raise ApiError(0, "connection refused")
        found = await super().get(kind, namespace, name)
        if meets := self.meets:
            self.meets = None
            await meets.wait()
        return found


class _Candidate:
    """An operator that notes when it leads."""

    def __init__(self, objects: dict[tuple[str, str], Manifest], name: str) -> None:
        self.api = _Api(objects)
        self.lease = Lease(self.api, NAMESPACE, name)
        self.leads = False
        self.end = asyncio.Event()

    async def work(self) -> None:
        self.leads = True
        try:
            await self.end.wait()
        finally:
            self.leads = False


@pytest.fixture(autouse=True)
def _short_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DURATION_SECONDS", 0.6)
    monkeypatch.setattr(module, "_TRUSTED_SECONDS", 0.4)
    monkeypatch.setattr(module, "_PERIOD_SECONDS", 0.02)


def _run(body: Callable[[_Candidate, _Candidate], Awaitable[None]]) -> None:
    async def bounded() -> None:
        objects: dict[tuple[str, str], Manifest] = {}
        await asyncio.wait_for(body(_Candidate(objects, "one"), _Candidate(objects, "two")), 20)

    asyncio.run(bounded())


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the condition is another object's
        await asyncio.sleep(0.005)


async def _renewed(leader: _Candidate) -> None:
    spec = leader.api.objects["Lease", "anneal-operator"]["spec"]
    renewed = spec["renewTime"]
    await _until(lambda: bool(spec["renewTime"] > renewed))


def test_the_second_begins_at_once_when_the_first_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DURATION_SECONDS", 60)  # longer than `_run` waits

    async def body(one: _Candidate, two: _Candidate) -> None:
        first = asyncio.ensure_future(one.lease.lead(one.work))
        await _until(lambda: one.leads)
        second = asyncio.ensure_future(two.lease.lead(two.work))
        await asyncio.sleep(1.0)
        assert one.leads
        assert not two.leads
        one.end.set()
        assert await first
        assert not one.lease.is_held()
        await _until(lambda: two.leads)
        two.end.set()
        assert await second
        spec = one.api.objects["Lease", "anneal-operator"]["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("", 1)

    _run(body)


def test_a_lease_is_trusted_from_the_moment_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, left = [100.0], []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(module, "_TRUSTED_SECONDS", 10.0)

    async def body(one: _Candidate, _: _Candidate) -> None:
        create = one.api.create

        async def slow(manifest: Manifest) -> Manifest:
            clock[0] += 3
            return await create(manifest)

        async def work() -> None:
            left.append(one.lease.seconds_left())

        monkeypatch.setattr(one.api, "create", slow)
        await one.lease.lead(work)

    _run(body)
    assert left == [7.0]


@pytest.mark.parametrize("fault", ["unreachable", "silent"])
def test_a_leader_that_cannot_renew_stops_before_another_begins(fault: str) -> None:
    async def body(one: _Candidate, two: _Candidate) -> None:
        first = asyncio.ensure_future(one.lease.lead(one.work))
        await _until(lambda: one.leads)
        second = asyncio.ensure_future(two.lease.lead(two.work))
        setattr(one.api, fault, True)
        left = one.lease.seconds_left()
        while not two.leads:
            assert not (one.lease.is_held() and two.lease.is_held())
            assert left >= (left := one.lease.seconds_left())
            await asyncio.sleep(0.005)
        assert (one.leads, left) == (False, 0)
        assert not await first
        second.cancel()

    _run(body)


def test_refused_connections_end_neither_the_wait_nor_the_next_term() -> None:
    async def body(one: _Candidate, _: _Candidate) -> None:
        one.api.unreachable = True
        first = asyncio.ensure_future(one.lease.lead(one.work))
        await asyncio.sleep(0.1)
        assert not one.leads
        one.api.unreachable = False
        await _until(lambda: one.leads)
        one.api.unreachable = True
        assert not await first
        one.api.unreachable = False
        again = asyncio.ensure_future(one.lease.lead(one.work))
        await _until(lambda: one.leads)
        again.cancel()

    _run(body)


def test_what_the_work_raises_is_raised_and_the_lease_given_back() -> None:
    async def body(one: _Candidate, _: _Candidate) -> None:
        async def broken() -> None:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await one.lease.lead(broken)
        assert one.api.objects["Lease", "anneal-operator"]["spec"]["holderIdentity"] == ""

    _run(body)


@pytest.mark.parametrize("holder", [None, ""], ids=["there is none yet", "it was given back"])
def test_of_two_who_find_the_lease_free_at_once_one_leads(holder: str | None) -> None:
    async def body(one: _Candidate, two: _Candidate) -> None:
        if holder is not None:
            one.api.put("Lease", "anneal-operator", spec={"holderIdentity": holder})
        one.api.meets = two.api.meets = asyncio.Barrier(2)
        both = [asyncio.ensure_future(each.lease.lead(each.work)) for each in (one, two)]
        await _until(lambda: one.leads or two.leads)
        assert one.leads != two.leads
        leader, other = (one, two) if one.leads else (two, one)
        for _ in range(5):  # it renews, and the other asks again
            await _renewed(leader)
            assert (leader.leads, other.leads, other.lease.is_held()) == (True, False, False)
        for each in both:
            each.cancel()
        await asyncio.gather(*both, return_exceptions=True)

    _run(body)


def test_a_lease_is_not_given_back_that_another_took_meanwhile() -> None:
    async def body(one: _Candidate, _: _Candidate) -> None:
        first = asyncio.ensure_future(one.lease.lead(one.work))
        await _until(lambda: one.leads)
        one.api.objects["Lease", "anneal-operator"]["spec"]["holderIdentity"] = "two"
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert one.api.objects["Lease", "anneal-operator"]["spec"]["holderIdentity"] == "two"

    _run(body)


def test_a_lease_that_is_given_back_is_not_taken_from_one_who_was_faster() -> None:
    async def body(one: _Candidate, _: _Candidate) -> None:
        first = asyncio.ensure_future(one.lease.lead(one.work))
        await _until(lambda: one.leads)
        lease = one.api.objects["Lease", "anneal-operator"]
        get = one.api.get

        async def outrun(kind: str, namespace: str, name: str) -> Manifest | None:
            found = await get(kind, namespace, name)
            if not one.lease.is_held():
                lease["spec"]["holderIdentity"] = "two"
                one.api.changed("Lease", "anneal-operator")
            return found

        one.end.set()
        one.api.get = outrun  # type: ignore[method-assign]
        await first
        assert lease["spec"]["holderIdentity"] == "two"

    _run(body)


def test_who_leads_and_since_when_is_written_down() -> None:
    async def body(one: _Candidate, two: _Candidate) -> None:
        first = asyncio.ensure_future(one.lease.lead(one.work))
        await _until(lambda: one.leads)
        before = dict(one.api.objects["Lease", "anneal-operator"]["spec"])
        assert (before["holderIdentity"], before["leaseTransitions"]) == ("one", 0)
        assert before["acquireTime"] == before["renewTime"]
        await _renewed(one)
        spec = one.api.objects["Lease", "anneal-operator"]["spec"]
        assert (spec["acquireTime"], spec["leaseTransitions"]) == (before["acquireTime"], 0)
        one.end.set()
        await first
        second = asyncio.ensure_future(two.lease.lead(two.work))
        await _until(lambda: two.leads)
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("two", 1)
        assert spec["acquireTime"] > before["acquireTime"]
        two.end.set()
        await second

    _run(body)


def test_a_leader_that_sees_another_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRUSTED_SECONDS", 60.0)

    async def body(one: _Candidate, _: _Candidate) -> None:
        first = asyncio.ensure_future(one.lease.lead(one.work))
        await _until(lambda: one.leads)
        one.api.objects["Lease", "anneal-operator"]["spec"]["holderIdentity"] = "two"
        one.api.changed("Lease", "anneal-operator")
        assert not await first

    _run(body)


def test_one_stands_by_while_the_api_server_says_that_another_leads() -> None:
    async def body(one: _Candidate, two: _Candidate) -> None:
        assert not two.lease.is_awaited()
        first = asyncio.ensure_future(one.lease.lead(one.work))
        await _until(lambda: one.leads)
        second = asyncio.ensure_future(two.lease.lead(two.work))
        await _until(two.lease.is_awaited)
        assert not one.lease.is_awaited()
        two.api.unreachable = True
        await _until(lambda: not two.lease.is_awaited())
        two.api.unreachable = False
        await _until(two.lease.is_awaited)
        one.end.set()
        await first
        await _until(lambda: two.leads)
        assert not two.lease.is_awaited()
        second.cancel()

    _run(body)


def test_a_lease_is_dated_by_when_it_was_read_not_by_when_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that takes long may tell of a renewal since; who counted from the question would lead beside it."""
    clock = [1000.0]
    monkeypatch.setattr(module, "_DURATION_SECONDS", 15)
    monkeypatch.setattr(module, "_TRUSTED_SECONDS", 10.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    async def body(one: _Candidate, two: _Candidate) -> None:
        assert await one.lease._renew()  # noqa: SLF001 - one step of it
        get = two.api.get

        async def slow(kind: str, namespace: str, name: str) -> Manifest | None:
            clock[0] += 14.0
            assert await one.lease._renew()  # noqa: SLF001
            return await get(kind, namespace, name)

        monkeypatch.setattr(two.api, "get", slow)
        assert not await two.lease._renew()  # noqa: SLF001
        monkeypatch.setattr(two.api, "get", get)
        clock[0] += 4.0
        assert not await two.lease._renew()  # noqa: SLF001
        assert one.lease.is_held()

    _run(body)
