"""Two hundred simulated H100 nodes: for scheduling and scale, without a container."""

from typing import Any

from tests.support.cluster import Cluster
from tests.support.pods import pod, shell
from toolbox.polling import poll

TOLERATION = {"key": "kwok.x-k8s.io/node", "operator": "Exists"}


def _h100_pod(name: str, gpus: int) -> dict[str, Any]:
    container = shell("true", resources={"limits": {"nvidia.com/gpu": str(gpus)}})
    selector = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    return pod(name, container, nodeSelector=selector, tolerations=[TOLERATION])


def test_two_hundred_nodes_are_ready_and_offer_eight_gpus_each(cluster: Cluster) -> None:
    nodes = cluster.get("nodes", "-l", "type=kwok")["items"]
    ready = [n for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready" and c["status"] == "True"]
    assert len(ready) == 200
    assert {node["status"]["allocatable"]["nvidia.com/gpu"] for node in nodes} == {"8"}


def test_they_take_pods_until_their_gpus_are_spent(cluster: Cluster) -> None:
    items = [_h100_pod(f"eight-{number}", 8) for number in range(200)]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": items})
    assert poll(lambda: _running(cluster) == 200, 90), f"{_running(cluster)} of 200 pods run"
    used = {item["spec"]["nodeName"] for item in cluster.get("pods")["items"]}
    assert len(used) == 200
    cluster.apply(_h100_pod("one-too-many", 1))
    assert poll(lambda: "Insufficient nvidia.com/gpu" in cluster.kubectl("describe", "pod", "one-too-many"), 30)


def test_a_job_on_a_simulated_node_completes(cluster: Cluster) -> None:
    template = _h100_pod("train", 8)
    del template["apiVersion"], template["kind"], template["metadata"]["name"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"}, "spec": {"template": template}}
    cluster.apply(job)
    cluster.kubectl("wait", "job/train", "--for=condition=Complete", "--timeout=60s")


def _running(cluster: Cluster) -> int:
    return sum(item["status"]["phase"] == "Running" for item in cluster.get("pods")["items"])
