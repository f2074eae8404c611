"""Which pod the progress Service finds, whatever became of the leader before."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from typing_extensions import override

from anneal_operator.cluster import leader_label as module
from anneal_operator.cluster.leader_label import LEADER_LABEL, LeaderLabel
from anneal_operator.errors import ApiError
from tests.reconcile.world import NAMESPACE, FakeApi, Manifest


class _Api(FakeApi):
    """An API server with the operators' pods, which can be unreachable, and can let time pass in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.unreachable = False
        self.meanwhile: Callable[[], None] = lambda: None
        for name in ("one", "two"):
            self.put("Pod", name, metadata={"labels": {"app.kubernetes.io/name": "anneal-operator"}})

    @override
    async def list(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        if self.unreachable:
            raise ApiError(0, "connection refused")
        found = await super().list(kind, namespace, selector)
        self.meanwhile()
        return found

    def label(self, name: str) -> None:
        self.objects["Pod", name]["metadata"]["labels"][LEADER_LABEL] = "true"

    def labelled(self) -> set[str]:
        pods = {name: pod["metadata"]["labels"] for (kind, name), pod in self.objects.items() if kind == "Pod"}
        return {name for name, labels in pods.items() if labels.get(LEADER_LABEL) == "true"}


class _Scene:
    """The operator `one`, which keeps its label, and its lease."""

    def __init__(self, pod: str) -> None:
        self.api = _Api()
        self.leads = False
        self.label = LeaderLabel(self.api, NAMESPACE, pod, lambda: self.leads)
        self.keeping = asyncio.create_task(self.label.keep())

    async def until(self, *labelled: str) -> None:
        while self.api.labelled() != set(labelled):
            assert not self.keeping.done()
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PERIOD_SECONDS", 0.02)
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(module, "_NEWS_SECONDS", 0.001)


def _run(body: Callable[[_Scene], Awaitable[None]], pod: str = "one") -> None:
    async def bounded() -> None:
        scene = _Scene(pod)
        try:
            async with asyncio.timeout(20):
                await body(scene)
        finally:
            scene.keeping.cancel()
            await asyncio.gather(scene.keeping, return_exceptions=True)

    asyncio.run(bounded())


def test_the_pod_of_the_leader_is_labelled_while_it_leads() -> None:
    async def body(scene: _Scene) -> None:
        await asyncio.sleep(0.01)
        assert scene.api.labelled() == set()
        scene.leads = True
        await scene.until("one")
        assert scene.api.objects["Pod", "one"]["metadata"]["labels"]["app.kubernetes.io/name"] == "anneal-operator"
        scene.leads = False
        await scene.until()
        assert scene.api.writes == ["Pod/one/patch"] * 2

    _run(body)


def test_a_container_that_begins_in_a_labelled_pod_drops_the_label() -> None:
    async def body(scene: _Scene) -> None:
        scene.api.label("one")
        await scene.until()

    _run(body)


def test_a_leader_takes_the_label_from_one_that_cannot_drop_it() -> None:
    async def body(scene: _Scene) -> None:
        scene.api.label("two")
        scene.leads = True
        await scene.until("one")

    _run(body)


def test_one_that_waits_leaves_the_leaders_label_alone() -> None:
    async def body(scene: _Scene) -> None:
        scene.api.label("one")
        scene.api.label("two")
        await scene.until("two")
        await asyncio.sleep(0.05)
        assert scene.api.labelled() == {"two"}

    _run(body)


@pytest.mark.parametrize("leads", [True, False])
def test_the_label_is_put_right_when_the_api_server_is_back(leads: bool) -> None:
    async def body(scene: _Scene) -> None:
        scene.api.unreachable = True
        if not leads:
            scene.api.label("one")
        scene.leads = leads
        await asyncio.sleep(0.03)
        scene.api.unreachable = False
        await scene.until(*(["one"] if leads else []))

    _run(body)


def test_a_label_that_was_lost_comes_back() -> None:
    async def body(scene: _Scene) -> None:
        scene.leads = True
        await scene.until("one")
        del scene.api.objects["Pod", "one"]["metadata"]["labels"][LEADER_LABEL]
        await scene.until("one")

    _run(body)


def test_one_that_lost_the_lease_in_mid_look_takes_no_label_away() -> None:
    async def body(scene: _Scene) -> None:
        def meanwhile() -> None:
            scene.leads = False

        scene.api.label("two")
        scene.leads, scene.api.meanwhile = True, meanwhile
        await asyncio.sleep(0.05)
        assert (scene.api.labelled(), scene.api.writes) == ({"two"}, [])

    _run(body)


def test_outside_a_cluster_nothing_is_labelled_and_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def body(scene: _Scene) -> None:
        scene.leads = True
        await scene.keeping
        assert (scene.api.labelled(), scene.api.writes) == (set(), [])

    with caplog.at_level("INFO", "anneal.lease"):
        _run(body, pod="laptop")
    assert caplog.messages == [f"no pod is called laptop, so none gets the label {LEADER_LABEL}"]
