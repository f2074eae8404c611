"""Children: only what is ours is written, and only where it differs."""

import asyncio
from typing import Any

import pytest

from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.cluster.children import ensure_applied, ensure_created
from anneal_operator.errors import NameTakenError
from tests.reconcile.world import NAMESPACE, FakeApi

OWNED = {"ownerReferences": [{"uid": "u-1"}]}
MARKED = {"annotations": {OWNER_ANNOTATION: "router"}}


def _manifest(**metadata: Any) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": "c", "namespace": NAMESPACE, **metadata}, "data": {"a": "1"}}


@pytest.mark.parametrize(
    ("wanted", "current", "taken"),
    [
        (OWNED, OWNED, False),
        (OWNED, {"ownerReferences": [{"uid": "u-0"}, {"uid": "u-1"}]}, False),
        (OWNED, {"ownerReferences": [{"uid": "u-2"}]}, True),
        (OWNED, {}, True),
        (MARKED, MARKED, False),
        (MARKED | OWNED, MARKED, False),
        (MARKED, {"annotations": {OWNER_ANNOTATION: "another"}}, True),
        (MARKED, {}, True),
        ({}, {}, False),
        (OWNED, OWNED | {"deletionTimestamp": "2026-01-01T00:00:00Z"}, True),
    ],
)
@pytest.mark.parametrize("ensure", [ensure_created, ensure_applied])
def test_what_is_not_ours_or_is_going_is_never_taken_over(
    ensure: Any, wanted: dict[str, Any], current: dict[str, Any], taken: bool
) -> None:
    api = FakeApi()
    before = api.put("ConfigMap", "c", metadata=current, data={"a": "theirs"})
    if taken:
        with pytest.raises(NameTakenError, match="ConfigMap c"):
            asyncio.run(ensure(api, _manifest(**wanted)))
        assert api.objects["ConfigMap", "c"] == before
        assert api.writes == []
    else:
        asyncio.run(ensure(api, _manifest(**wanted)))


def test_applying_twice_writes_once_until_others_change_it() -> None:
    api, manifest = FakeApi(), _manifest(**OWNED)
    for _ in range(2):
        asyncio.run(ensure_applied(api, manifest))
    assert api.writes == ["ConfigMap/c"]
    api.edit("ConfigMap", "c", data={"a": "theirs"})
    asyncio.run(ensure_applied(api, manifest))
    assert api.objects["ConfigMap", "c"]["data"] == {"a": "1"}
    asyncio.run(ensure_applied(api, {**manifest, "data": {"b": "2"}}))
    assert len(api.writes) == 3
