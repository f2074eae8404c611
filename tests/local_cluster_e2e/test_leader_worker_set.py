"""An engine that several nodes share, as LeaderWorkerSet 0.7.0 makes it of what we build.

No pod of it comes to a node, as there is no volume of the name: which there are, and what each is told, is shown.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from anneal_operator.desired.serving import VERSION_LABEL, WORKER_LABEL
from tests.desired.connections import golden
from tests.support.cluster import Cluster, Live
from tests.support.lws import leader_worker_sets
from toolbox.polling import poll

pytestmark = [pytest.mark.node, pytest.mark.soak]


@pytest.fixture(scope="module", autouse=True)
def lws(running: Cluster, live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """LeaderWorkerSet in the cluster."""
    with live(), leader_worker_sets(running.layout, tmp_path_factory.mktemp("lws")):
        yield


def _objects(namespace: str) -> list[dict[str, Any]]:
    """The golden file's, without an owner, which is not there."""
    made = golden("serving-group")
    for each in made:
        each["metadata"]["namespace"] = namespace
        del each["metadata"]["ownerReferences"]
    return made


def _pods(cluster: Cluster, label: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("pods", "-l", label)["items"]
    return found


def test_each_engine_is_a_group_whose_leader_alone_is_asked(cluster: Cluster) -> None:
    for each in _objects(cluster.namespace):
        cluster.apply(each)
    assert poll(lambda: len(_pods(cluster, VERSION_LABEL)) == len(_pods(cluster, WORKER_LABEL)) == 1, 60, every=0.5)
    for label, rank in ((VERSION_LABEL, "0"), (WORKER_LABEL, "1")):
        [pod] = _pods(cluster, label)
        given = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
        assert given["LWS_WORKER_INDEX"] == rank
        assert given["LWS_LEADER_ADDRESS"]
    name = _objects(cluster.namespace)[0]["metadata"]["name"]
    cluster.kubectl("patch", "leaderworkerset", name, "--type=merge", "-p", '{"spec": {"replicas": 2}}')
    assert poll(lambda: len(_pods(cluster, VERSION_LABEL)) == len(_pods(cluster, WORKER_LABEL)) == 2, 60, every=0.5)
    cluster.kubectl("patch", "leaderworkerset", name, "--type=merge", "-p", '{"spec": {"replicas": 0}}')
    assert poll(lambda: not _pods(cluster, VERSION_LABEL) and not _pods(cluster, WORKER_LABEL), 120, every=0.5)
