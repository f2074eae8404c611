"""An engine that several nodes share, as LeaderWorkerSet 0.7.0 makes it of what we build, on simulated nodes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from anneal_operator.desired.serving import VERSION_LABEL, WORKER_LABEL
from tests.desired.connections import golden
from tests.local_cluster_e2e.test_simulated_nodes import TOLERATION
from tests.support.cluster import Cluster, Live
from tests.support.lws import leader_worker_sets
from toolbox.polling import poll

pytestmark = [pytest.mark.node, pytest.mark.soak]


@pytest.fixture(scope="module", autouse=True)
def lws(running: Cluster, live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """LeaderWorkerSet in the cluster."""
    with live(), leader_worker_sets(running.layout, tmp_path_factory.mktemp("lws")):
        yield


def test_each_engine_is_a_group_whose_leader_alone_is_asked(cluster: Cluster) -> None:
    group, service = _objects(cluster.namespace)
    cluster.apply(group)
    cluster.apply(service)
    _await_groups(cluster, group, 1)
    for label, rank in ((VERSION_LABEL, "0"), (WORKER_LABEL, "1")):
        [pod] = _pods(cluster, label)
        given = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
        assert given["LWS_WORKER_INDEX"] == rank
        assert given["LWS_LEADER_ADDRESS"]
    _patch(cluster, group, {"replicas": 2})
    _await_groups(cluster, group, 2)
    leaders = {pod["status"]["podIP"] for pod in _pods(cluster, VERSION_LABEL)}
    assert poll(lambda: _asked(cluster, service) == leaders, 30, every=0.5), (_asked(cluster, service), leaders)
    _patch(cluster, group, {"replicas": 0})
    assert poll(lambda: not _pods(cluster, VERSION_LABEL) and not _pods(cluster, WORKER_LABEL), 120, every=0.5)


def _objects(namespace: str) -> list[dict[str, Any]]:
    """The golden file's, without an owner and a claim, which are not there, for simulated nodes."""
    made = golden("serving-group")
    for each in made:
        each["metadata"]["namespace"] = namespace
        del each["metadata"]["ownerReferences"]
    template = made[0]["spec"]["leaderWorkerTemplate"]
    for pod in (template["leaderTemplate"]["spec"], template["workerTemplate"]["spec"]):
        pod["nodeSelector"] = {"type": "kwok"}
        pod["tolerations"].append(TOLERATION)
        for volume in pod["volumes"]:
            if volume.pop("persistentVolumeClaim", None):
                volume["emptyDir"] = {}
    return made


def _await_groups(cluster: Cluster, group: dict[str, Any], count: int) -> None:
    """Scaled while one is not ready, LeaderWorkerSet makes one more than was asked for (its `maxSurge`)."""
    assert poll(
        lambda: (
            len(_pods(cluster, VERSION_LABEL)) == len(_pods(cluster, WORKER_LABEL)) == count
            and _status(cluster, group).get("readyReplicas") == count
        ),
        90,
        every=0.5,
    ), (_status(cluster, group), cluster.kubectl("get", "statefulsets,pods", "-o", "wide"))


def _patch(cluster: Cluster, group: dict[str, Any], spec: dict[str, Any]) -> None:
    cluster.kubectl(
        "patch", "leaderworkerset", group["metadata"]["name"], "--type=merge", "-p", json.dumps({"spec": spec})
    )


def _status(cluster: Cluster, group: dict[str, Any]) -> dict[str, Any]:
    [found] = cluster.get("leaderworkersets", "--field-selector", f"metadata.name={group['metadata']['name']}")["items"]
    status: dict[str, Any] = found.get("status", {})
    return status


def _asked(cluster: Cluster, service: dict[str, Any]) -> set[str]:
    """The addresses behind the version's Service."""
    slices = cluster.get("endpointslices", "-l", f"kubernetes.io/service-name={service['metadata']['name']}")
    return {address for one in slices["items"] for end in one["endpoints"] or () for address in end["addresses"]}


def _pods(cluster: Cluster, label: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("pods", "-l", label)["items"]
    return found
