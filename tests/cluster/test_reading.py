"""When a reconcile may rely on what the watches told, and when the API server is asked."""

import asyncio
from typing import Any

import pytest
from typing_extensions import override

from anneal_operator.cluster.reading import RESYNC_SECONDS, Reader, Readers
from anneal_operator.cluster.store import Store
from tests.reconcile.world import NAMESPACE, FakeApi

ADDRESS = ("ModelVersion", NAMESPACE, "one")


class _Counting(FakeApi):
    """Notes what is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    @override
    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append(f"{kind}/{name}")
        return await super().get(kind, namespace, name)

    @override
    async def list(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        self.asked.append(kind)
        return await super().list(kind, namespace, selector)


class _Cluster:
    """An API server, what the watches told of it, and a clock."""

    def __init__(self) -> None:
        self.api, self.store, self.time = _Counting(), Store({}), 1000.0
        self.readers = Readers(self.api, self.store, lambda: self.time)
        self.api.put("ModelVersion", "one", spec={})
        self.api.put("ConfigMap", "settings", data={"a": "1"})

    def reader(self) -> Reader:
        return self.readers.reader(*ADDRESS)

    def read(self) -> list[str]:
        """Read the version, a ConfigMap and the versions; return what was asked for it."""
        self.api.asked.clear()
        reader = self.reader()

        async def run() -> None:
            await reader.subject(*ADDRESS)
            await reader.get("ConfigMap", NAMESPACE, "settings")
            await reader.list("ModelVersion", NAMESPACE)

        asyncio.run(run())
        if reader.is_fresh:
            self.readers.note_fresh(*ADDRESS, reader)
        return self.api.asked


@pytest.fixture
def cluster() -> _Cluster:
    """One that nothing has been read of."""
    return _Cluster()


ALL = ["ModelVersion/one", "ConfigMap/settings", "ModelVersion"]


def test_everything_is_asked_for_once_then_once_in_five_minutes(cluster: _Cluster) -> None:
    assert cluster.read() == ALL
    assert cluster.read() == []
    cluster.time += RESYNC_SECONDS
    assert cluster.read() == ALL


def test_of_an_object_that_is_new_the_watch_has_told_enough(cluster: _Cluster) -> None:
    cluster.store.observe(cluster.api.objects["ModelVersion", "one"])
    assert cluster.read() == ALL[1:]


def test_what_was_forgotten_is_asked_for_anew(cluster: _Cluster) -> None:
    cluster.read()
    cluster.readers.forget(*ADDRESS)
    assert cluster.read()[0] == "ConfigMap/settings", "of the version the store knows"


def test_what_is_missing_is_asked_for_each_time(cluster: _Cluster) -> None:
    cluster.read()
    cluster.api.asked.clear()
    for _ in range(2):
        assert asyncio.run(cluster.reader().get("ConfigMap", NAMESPACE, "none")) is None
    assert cluster.api.asked == ["ConfigMap/none"] * 2


def test_what_the_watches_told_since_is_what_is_read(cluster: _Cluster) -> None:
    cluster.read()
    cluster.api.edit("ModelVersion", "one", spec={"modelName": "m"})
    cluster.store.observe(cluster.api.objects["ModelVersion", "one"])
    found = asyncio.run(cluster.reader().get(*ADDRESS))
    assert found is not None
    assert found["spec"] == {"modelName": "m"}
    cluster.store.observe(cluster.api.objects["ModelVersion", "one"], deleted=True)
    assert asyncio.run(cluster.reader().get(*ADDRESS)) is None


def test_of_what_a_write_was_answered_the_bulk_is_not_kept(cluster: _Cluster) -> None:
    cluster.read()
    metadata = {"name": "plan", "namespace": NAMESPACE, "managedFields": [{"manager": "anneal"}]}
    cluster.readers.remembers(*ADDRESS, {"kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}})
    found = asyncio.run(cluster.reader().get("ConfigMap", NAMESPACE, "plan"))
    assert found == {"kind": "ConfigMap", "metadata": {"name": "plan", "namespace": NAMESPACE}, "data": {"a": "1"}}
    assert cluster.api.asked == ALL, "it was not asked for"


def test_what_the_store_has_is_kept_once(cluster: _Cluster) -> None:
    cluster.read()
    plan = {"kind": "ConfigMap", "metadata": {"name": "plan", "namespace": NAMESPACE, "resourceVersion": "1"}}
    cluster.store.observe(plan)
    cluster.readers.remembers(*ADDRESS, {**plan, "data": {"a": "1"}})
    assert ("ConfigMap", NAMESPACE, "plan") not in cluster.reader().memory.found
