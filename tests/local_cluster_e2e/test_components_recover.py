"""A component that dies comes back by itself: what ran goes on, and new work is taken."""

import os
import signal

import pytest

from local_cluster.processes import find
from tests.support.cluster import Cluster
from tests.support.pods import pod, shell
from toolbox.polling import poll


@pytest.mark.parametrize("component", ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"])
def test_the_control_plane_recovers_from_a_crashed(component: str, cluster: Cluster) -> None:
    cluster.kubectl("create", "configmap", "before")
    _crash(cluster, component)
    cluster.kubectl("get", "configmap", "before")
    job = _simulated_job("after")
    assert poll(lambda: cluster.kubectl.process("apply", "-f", "-", given=job).returncode == 0, 30)
    cluster.kubectl("wait", "job/after", "--for=condition=Complete", "--timeout=60s")


def test_a_component_that_was_killed_on_purpose_stays_down_until_it_is_started(cluster: Cluster) -> None:
    cluster.tool("kill", "kube-scheduler")
    assert not poll(lambda: find(cluster.layout, "kube-scheduler") is not None, 3)
    assert f"{'kube-scheduler':24} stopped" in cluster.tool("status", check=False).stdout
    cluster.tool("start", "kube-scheduler")
    assert cluster.tool("status").returncode == 0


@pytest.mark.node
@pytest.mark.parametrize("component", ["containerd", "kubelet", "kube-proxy"])
def test_the_node_recovers_from_a_crashed(component: str, cluster: Cluster) -> None:
    cluster.apply(pod("before", shell("exec sleep 3600")))
    cluster.wait_for_pod("before")
    _crash(cluster, component)
    cluster.apply(pod("after", shell("nslookup kubernetes.default.svc.cluster.local")))
    cluster.wait_for_pod("after", "Succeeded")
    assert cluster.kubectl("exec", "before", "--", "echo", "alive") == "alive\n"
    status = cluster.get("pod", "before")["status"]["containerStatuses"][0]
    assert status["restartCount"] == 0


def _crash(cluster: Cluster, component: str) -> None:
    """End it as a crash does, and wait until all is well again."""
    process = find(cluster.layout, component)
    assert process
    os.kill(process.pid, signal.SIGKILL)
    assert poll(lambda: find(cluster.layout, component) not in (None, process), 30, every=0.2)
    assert poll(lambda: cluster.tool("status", check=False).returncode == 0, 60, every=0.5)


def test_a_frozen_api_server_answers_again_when_it_goes_on(cluster: Cluster) -> None:
    cluster.tool("freeze", "kube-apiserver")
    silent = cluster.kubectl.process("--request-timeout=2s", "get", "configmaps")
    assert silent.returncode != 0
    cluster.tool("continue", "kube-apiserver")
    assert poll(lambda: cluster.kubectl.process("get", "configmaps").returncode == 0, 30)


def _simulated_job(name: str) -> str:
    return f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  template:
    spec:
      restartPolicy: Never
      nodeSelector: {{type: kwok}}
      tolerations: [{{key: kwok.x-k8s.io/node, operator: Exists}}]
      containers: [{{name: main, image: none}}]
"""
