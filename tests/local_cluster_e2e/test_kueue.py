"""Kueue, as a test has it: Jobs of a queue wait until its quota admits them; others are left alone."""

from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.kueue import QUEUE_LABEL, add_queue
from tests.support.pods import shell
from toolbox.polling import poll

# A soak: in `make test`, test_fine_tune_job.py queues a training with the same Kueue.
pytestmark = [pytest.mark.node, pytest.mark.soak, pytest.mark.usefixtures("kueue")]


def test_a_job_within_the_quota_is_admitted_and_one_beyond_it_waits_for_its_turn(cluster: Cluster) -> None:
    add_queue(cluster.kubectl, "team", {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "2"})
    cluster.apply(_job("first", "exec sleep 3600", queue="team"))
    cluster.kubectl("wait", "job/first", "--for=jsonpath={.status.active}=1", "--timeout=60s")
    cluster.apply(_job("second", "true", queue="team"))
    assert cluster.get("job", "second")["spec"]["suspend"] is True  # from its first moment on, by Kueue's webhook
    assert poll(lambda: "insufficient unused quota for nvidia.com/gpu" in _told(cluster, "second"), 30, every=0.5)
    assert cluster.get("job", "second")["spec"]["suspend"] is True
    cluster.kubectl("delete", "job", "first")
    cluster.kubectl("wait", "job/second", "--for=condition=Complete", "--timeout=60s")


def test_a_job_without_a_queue_s_name_runs_at_once(cluster: Cluster) -> None:
    cluster.apply(_job("free", "true"))
    cluster.kubectl("wait", "job/free", "--for=condition=Complete", "--timeout=60s")
    assert cluster.get("workloads.kueue.x-k8s.io")["items"] == []


def _job(name: str, script: str, queue: str = "") -> dict[str, Any]:
    """A Job that asks for two GPUs."""
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"nvidia.com/gpu": "2"}}
    body = {"restartPolicy": "Never", "containers": [shell(script, resources=resources)]}
    labels = {QUEUE_LABEL: queue} if queue else {}
    spec = {"backoffLimit": 0, "template": {"spec": {**body, "terminationGracePeriodSeconds": 1}}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}, "spec": spec}


def _told(cluster: Cluster, job: str) -> str:
    """What Kueue says of the Job's Workload."""
    workloads = cluster.get("workloads.kueue.x-k8s.io")["items"]
    ours = [item for item in workloads if item["metadata"]["ownerReferences"][0]["name"] == job]
    return " ".join(condition["message"] for item in ours for condition in item.get("status", {}).get("conditions", []))
