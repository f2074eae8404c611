"""What counts as a change by others, and what is only the server's way of writing it down."""

import copy
from typing import Any

import pytest

from anneal_operator.cluster.drift import has_drifted

MANIFEST: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d", "labels": {"a": "b"}},
    "spec": {
        "replicas": 2,
        "containers": [{"name": "c", "cpu": "1000m", "memory": "1Gi", "args": ["x"], "env": []}],
    },
}


def _current(**spec: Any) -> dict[str, Any]:
    made = copy.deepcopy(MANIFEST)
    made["metadata"] |= {"uid": "u", "labels": {"a": "b", "theirs": "too"}}
    made["spec"] |= {"strategy": "the server's default"} | spec
    return made


@pytest.mark.parametrize(
    ("current", "drifted"),
    [
        (_current(), False),
        (_current(containers=[{"name": "c", "cpu": "1", "memory": "1024Mi", "args": ["x"], "image": "more"}]), False),
        (_current(replicas=0), True),
        (_current(containers=[{"name": "c", "cpu": "2", "memory": "1Gi", "args": ["x"]}]), True),
        (_current(containers=[{"name": "c", "cpu": "1", "memory": "1Gi", "args": ["y"]}]), True),
        (_current(containers=[]), True),
        (_current(containers=None), True),
        ({**_current(), "metadata": {"labels": {"a": "changed"}}}, True),
        ({**_current(), "metadata": {}}, True),
    ],
)
def test_drift(current: dict[str, Any], drifted: bool) -> None:
    assert has_drifted(MANIFEST, current) is drifted
