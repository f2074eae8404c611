"""A component that dies and comes back: what ran goes on, and new work is taken."""

import pytest

from toolbox.polling import poll

from .conftest import Cluster
from .pods import pod, shell


@pytest.mark.parametrize("component", ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"])
def test_the_control_plane_recovers_from_a_killed(component: str, cluster: Cluster) -> None:
    cluster.kubectl("create", "configmap", "before")
    cluster.tool("kill", component)
    assert f"{component:24} stopped" in cluster.tool("status", check=False).stdout
    cluster.tool("start", component)
    cluster.kubectl("get", "configmap", "before")
    job = _simulated_job("after")
    assert poll(lambda: cluster.kubectl_process("apply", "-f", "-", given=job).returncode == 0, 30)
    cluster.kubectl("wait", "job/after", "--for=condition=Complete", "--timeout=60s")


@pytest.mark.node
@pytest.mark.parametrize("component", ["containerd", "kubelet", "kube-proxy"])
def test_the_node_recovers_from_a_killed(component: str, cluster: Cluster) -> None:
    cluster.apply(pod("before", shell("exec sleep 3600")))
    cluster.wait_for_pod("before")
    cluster.tool("kill", component)
    cluster.tool("start", component)
    cluster.apply(
        pod(
            "after",
            shell("nslookup kubernetes.default.svc.cluster.local"),
        )
    )
    cluster.wait_for_pod("after", "Succeeded")
    assert cluster.kubectl("exec", "before", "--", "echo", "alive") == "alive\n"
    status = cluster.get("pod", "before")["status"]["containerStatuses"][0]
    assert status["restartCount"] == 0


def test_a_frozen_api_server_answers_again_when_it_goes_on(cluster: Cluster) -> None:
    cluster.tool("freeze", "kube-apiserver")
    silent = cluster.kubectl_process("--request-timeout=2s", "get", "configmaps")
    assert silent.returncode != 0
    cluster.tool("continue", "kube-apiserver")
    assert poll(lambda: cluster.kubectl_process("get", "configmaps").returncode == 0, 30)


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
