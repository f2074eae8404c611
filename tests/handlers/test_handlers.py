"""kopf on an API server that the test plays: its events become keys of the work queue, its ends become beginnings."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import kopf
import pytest
from typing_extensions import override

from anneal_operator.api.resources import CUSTOM_RESOURCES
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.store import Store
from anneal_operator.desired.fetching import FETCH_LABEL
from anneal_operator.desired.routing import ROUTER, ROUTER_LABEL
from anneal_operator.desired.serving import VERSION_LABEL, WORKER_LABEL
from anneal_operator.desired.shared_base import SHARED_BASES, SHARED_BASES_LABEL
from anneal_operator.desired.training_names import JOB_LABEL
from anneal_operator.handlers import supervising
from anneal_operator.handlers.supervising import watch_forever
from anneal_operator.handlers.watching import OWNERS, build_registry, children
from anneal_operator.reconcile.queue import Key

from .api_server import ApiServer

OURS = ["abexperiments", "customresourcedefinitions", "customresourcedefinitions", "finetunejobs", "modelversions"]
"""What is watched; definitions twice, as kopf itself watches them, too."""


class _HeardStore(Store):
    """Remembers which versions it was told of."""

    def __init__(self) -> None:
        super().__init__(OWNERS)
        self.heard: list[str] = []

    @override
    def observe(self, manifest: Manifest, *, deleted: bool = False) -> bool:
        self.heard.append(manifest["metadata"]["resourceVersion"])
        return super().observe(manifest, deleted=deleted)


class _Watching:
    """The operator's watches, on an API server of their own."""

    def __init__(self) -> None:
        self.server = ApiServer()
        self.woken: list[Key] = []
        self.ready = asyncio.Event()
        self.store = _HeardStore()
        self.registry = build_registry(self._wake, self.store)

    def _wake(self, key: Key, after: float = 0.0) -> None:
        assert after == 0
        self.woken.append(key)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        async with self.server.serve() as url:
            _log_in(url)
            life = asyncio.create_task(watch_forever(self.registry, self.ready))
            try:
                await self.until(lambda: sorted(self.server.watched) == OURS)
                yield
            finally:
                life.cancel()
                await asyncio.gather(life, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - the condition is another object's
                await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def _impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("random.uniform", lambda *_: 0.01)
    monkeypatch.setattr(supervising, "_DISCOVERY_SECONDS", 0.01)


def _log_in(url: str) -> None:
    kubeconfig = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": "t"}}],
    }
    Path(os.environ["KUBECONFIG"]).write_text(json.dumps(kubeconfig))


def _play(body: Callable[[_Watching], Awaitable[None]]) -> None:
    async def run() -> None:
        watching = _Watching()
        async with watching.run():
            await body(watching)

    asyncio.run(run())


def _object(kind: str, name: str = "a", version: str = "7", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": version}
    return {"apiVersion": "anneal.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {}, **fields}


@pytest.mark.parametrize("event", ["ADDED", "MODIFIED", "DELETED"])
def test_an_event_wakes_the_object_and_what_routes_to_it(event: str) -> None:
    expected = {
        "finetunejobs": [Key("FineTuneJob", "team", "a")],
        "modelversions": [Key("ModelVersion", "team", "a"), Key("Router", "team", ROUTER)],
        "abexperiments": [Key("ABExperiment", "team", "a"), Key("Router", "team", ROUTER)],
    }

    async def body(watching: _Watching) -> None:
        for plural, keys in expected.items():
            for told in ("ADDED", event) if event == "DELETED" else (event,):
                watching.woken.clear()
                await watching.server.tell(plural, told, _object(keys[0].kind))
                await watching.until(lambda: len(watching.woken) >= len(keys))  # noqa: B023 - awaited here
                assert watching.woken == keys

    _play(body)


def test_a_deletion_is_news_though_its_version_is_known() -> None:
    async def body(watching: _Watching) -> None:
        for event in ("ADDED", "DELETED"):
            watching.woken.clear()
            await watching.server.tell("finetunejobs", event, _object("FineTuneJob", version="7"))
            await watching.until(lambda: watching.woken == [Key("FineTuneJob", "team", "a")])

    _play(body)


@pytest.mark.parametrize(("plural", "kind"), [(r.plural, r.kind) for r in CUSTOM_RESOURCES])
def test_a_status_that_this_operator_wrote_itself_wakes_nobody(plural: str, kind: str) -> None:
    async def body(watching: _Watching) -> None:
        await watching.server.tell(plural, "ADDED", _object(kind))
        await watching.until(lambda: Key(kind, "team", "a") in watching.woken)
        written = _object(kind, version="8", status={"phase": "Pending"})
        watching.store.observe(written)  # as the harness does with what it wrote
        watching.woken.clear()
        await watching.server.tell(plural, "MODIFIED", written)
        await watching.until(lambda: watching.store.heard == ["7", "8", "8"])
        assert watching.woken == []
        await watching.server.tell(plural, "MODIFIED", _object(kind, version="9", status={"phase": "another's"}))
        await watching.until(lambda: Key(kind, "team", "a") in watching.woken)

    _play(body)


def test_a_child_wakes_its_owner_once_for_each_news() -> None:
    woken: list[tuple[Key, float]] = []
    store = Store(OWNERS)
    store.observe(_object("FineTuneJob"))
    store.observe(_object("ModelVersion", "v"))
    told = children(lambda key, after=0.0: woken.append((key, after)), store)
    labels = {
        JOB_LABEL: "a",
        VERSION_LABEL: "v",
        WORKER_LABEL: "v",
        FETCH_LABEL: "v",
        ROUTER_LABEL: ROUTER,
        SHARED_BASES_LABEL: SHARED_BASES,
    }
    for kind, label, tell in told:
        child = _object(kind, f"{kind}-{label}")
        child["metadata"]["labels"] = {label: labels[label]}
        for _ in range(2 if label == JOB_LABEL else 1):
            tell(child, False)
    assert [(kind, label) for kind, label, _ in told] == [
        ("Job", JOB_LABEL),
        ("Pod", JOB_LABEL),
        ("Deployment", VERSION_LABEL),
        ("Pod", VERSION_LABEL),
        ("Pod", WORKER_LABEL),
        ("Job", FETCH_LABEL),
        ("Pod", FETCH_LABEL),
        ("Pod", ROUTER_LABEL),
        ("Deployment", SHARED_BASES_LABEL),
        ("Pod", SHARED_BASES_LABEL),
    ]
    job, version = Key("FineTuneJob", "team", "a"), Key("ModelVersion", "team", "v")
    shared = Key("SharedBase", "team", SHARED_BASES)
    router = Key("Router", "team", ROUTER)
    assert [key for key, _ in woken] == [job, job, *[version] * 5, router, shared, shared]
    assert [after for key, after in woken if key == job] == [0.5, 0.5], "a Job and its pod change together"


def test_ready_is_said_while_all_kinds_are_watched() -> None:
    ready: list[asyncio.Event] = []

    async def body(watching: _Watching) -> None:
        await watching.until(watching.ready.is_set)
        ready.append(watching.ready)

    _play(body)
    assert not ready[0].is_set(), "and no longer"


def _definition(group: str, established: str) -> dict[str, Any]:
    metadata = {"name": f"finetunejobs.{group}", "uid": "uid-crd", "resourceVersion": "7"}
    status = {"conditions": [{"type": "Established", "status": established}]}
    return {"kind": "CustomResourceDefinition", "metadata": metadata, "spec": {"group": group}, "status": status}


def test_the_watches_begin_anew_when_a_definition_comes_back() -> None:
    async def body(watching: _Watching) -> None:
        await watching.server.tell("customresourcedefinitions", "MODIFIED", _definition("anneal.dev", "True"))
        await watching.until(lambda: sorted(watching.server.watched) == sorted(OURS * 2))
        await watching.server.tell("finetunejobs", "ADDED", _object("FineTuneJob"))
        await watching.until(lambda: watching.woken == [Key("FineTuneJob", "team", "a")])

    _play(body)


def test_a_definition_that_is_listed_ends_no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Any] = []
    ended: list[Any] = []

    def judge(definition: Any) -> bool:
        judged.append(definition)
        return True

    monkeypatch.setattr(supervising, "_is_established", judge)  # what is asked just before it is decided
    monkeypatch.setattr(supervising._Life, "end_soon", lambda life: ended.append(life))  # noqa: SLF001 - the seam

    async def run() -> None:
        watching = _Watching()
        watching.server.listed["customresourcedefinitions"] = [_definition("anneal.dev", "True")]
        async with watching.run():
            await watching.until(lambda: bool(judged))

    asyncio.run(run())
    assert ended == []


def test_a_definition_that_only_changes_ends_no_watch() -> None:
    async def body(watching: _Watching) -> None:
        for times in (2, 2):  # made, then only annotated
            await watching.server.tell("customresourcedefinitions", "MODIFIED", _definition("anneal.dev", "True"))
            await asyncio.sleep(30 * supervising._DISCOVERY_SECONDS)  # noqa: SLF001 - after which they would begin anew
            await watching.until(lambda: sorted(watching.server.watched) == sorted(OURS * times))  # noqa: B023 - awaited

    _play(body)


def test_a_definition_that_goes_or_is_not_established_or_anothers_ends_no_watch() -> None:
    told = [
        ("DELETED", _definition("anneal.dev", "True")),
        ("MODIFIED", _definition("anneal.dev", "False")),
        ("MODIFIED", _definition("example.com", "True")),
    ]

    async def body(watching: _Watching) -> None:
        for event, definition in told:
            await watching.server.tell("customresourcedefinitions", event, definition)
        await asyncio.sleep(30 * supervising._DISCOVERY_SECONDS)  # noqa: SLF001 - after which they would begin anew
        assert sorted(watching.server.watched) == OURS

    _play(body)


def _forever(monkeypatch: pytest.MonkeyPatch, *lives: Callable[..., Awaitable[None]]) -> tuple[int, bool]:
    """Watch with these lives of kopf in turn; return how many began, and whether it still counts as watching."""
    begun: list[Any] = []

    async def operator(*, ready_flag: asyncio.Event, **told: Any) -> None:
        begun.append(told)
        ready_flag.set()
        await lives[len(begun) - 1](**told)

    async def run() -> bool:
        watching = asyncio.Event()
        await asyncio.wait_for(watch_forever(kopf.OperatorRegistry(), watching), 60)
        return watching.is_set()

    monkeypatch.setattr(kopf, "operator", operator)
    still = asyncio.run(run())
    return len(begun), still


async def _fails(**_: Any) -> None:
    raise RuntimeError("the API server refused for too long")


async def _ends(**_: Any) -> None:
    """As kopf does at a signal."""


def test_a_kopf_that_fails_is_started_again_and_one_that_ends_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _forever(monkeypatch, _fails, _fails, _ends) == (3, False)


def test_between_two_lives_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[bool] = []
    sleep = asyncio.sleep

    async def run() -> None:
        watching = asyncio.Event()

        async def operator(*, ready_flag: asyncio.Event, **_: Any) -> None:
            ready_flag.set()
            if not watched:
                raise RuntimeError("the API server refused for too long")

        async def observed(seconds: float) -> None:
            watched.append(watching.is_set())
            await sleep(seconds)

        monkeypatch.setattr(kopf, "operator", operator)
        monkeypatch.setattr(asyncio, "sleep", observed)
        await watch_forever(kopf.OperatorRegistry(), watching)

    asyncio.run(run())
    assert watched == [False]


def test_kopf_neither_writes_to_objects_nor_ends_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    async def look(**given: Any) -> None:
        told.update(given)

    _forever(monkeypatch, look)
    settings = told["settings"]
    assert (told["clusterwide"], told["standalone"]) == (True, True)
    assert not settings.posting.enabled
    assert settings.process.ultimate_exiting_timeout is None
    assert settings.watching.client_timeout == 300
    backoffs = iter(settings.networking.error_backoffs)
    assert len([next(backoffs) for _ in range(1000)]) == 1000, "they never end"
