"""What a node must do: run containers, connect them, store for them, and hold them to their limits."""

import json
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.pods import HARDENED, claim, pod, shell
from toolbox.polling import poll

pytestmark = pytest.mark.node


def test_a_deployment_behind_a_service_answers_by_its_dns_name_from_another_pod(cluster: Cluster) -> None:
    serve = shell("mkdir -p /tmp/www && echo hello > /tmp/www/index.html && httpd -f -p 8080 -h /tmp/www")
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [serve]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    ports = [{"port": 80, "targetPort": 8080}]
    service = {"selector": {"app": "web"}, "ports": ports}
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service})
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    url = f"http://web.{cluster.namespace}.svc.cluster.local/"
    cluster.apply(pod("client", shell(f"until wget -q -O - {url}; do sleep 1; done")))
    assert cluster.logs_until("client", "hello") == "hello\n"


def test_a_claim_binds_with_its_first_pod_and_its_data_outlives_the_pod(cluster: Cluster) -> None:
    cluster.apply(claim("data"))
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    mounts = [{"name": "data", "mountPath": "/data"}]
    writer = shell("echo kept > /data/file", volumeMounts=mounts, securityContext=HARDENED)
    cluster.apply(pod("writer", writer, volumes=volumes))
    cluster.wait_for_pod("writer", "Succeeded")
    assert cluster.get("pvc", "data")["status"]["phase"] == "Bound"
    assert "FailedScheduling" not in cluster.kubectl("get", "events")
    cluster.kubectl("delete", "pod", "writer")
    cluster.apply(pod("reader", shell("cat /data/file", volumeMounts=mounts), volumes=volumes))
    assert cluster.logs_until("reader", "kept") == "kept\n"


def test_a_pod_over_its_memory_limit_is_killed_and_reported_so(cluster: Cluster) -> None:
    limits = {"limits": {"memory": "32Mi"}}
    cluster.apply(pod("greedy", shell("tail /dev/zero", resources=limits)))
    cluster.wait_for_pod("greedy", "Failed")
    terminated = cluster.get("pod", "greedy")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)


def test_logs_and_exec_reach_a_container(cluster: Cluster) -> None:
    cluster.apply(pod("main", shell("echo from the log; exec sleep 600")))
    assert cluster.logs_until("main", "from the log") == "from the log\n"
    assert cluster.kubectl("exec", "main", "--", "echo", "from", "exec") == "from exec\n"
    assert cluster.kubectl.process("exec", "main", "--", "sh", "-c", "exit 7").returncode == 7


def test_port_forward_reaches_a_container(cluster: Cluster) -> None:
    cluster.apply(
        pod("web", shell("mkdir -p /tmp/www && echo forwarded > /tmp/www/index.html && httpd -f -p 8080 -h /tmp/www"))
    )
    cluster.wait_for_pod("web")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kubectl = [
        str(cluster.layout.bin / "kubectl"),
        f"--kubeconfig={cluster.layout.kubeconfig}",
        "-n",
        cluster.namespace,
    ]
    with subprocess.Popen([*kubectl, "port-forward", "pod/web", f"{port}:8080"], stdout=subprocess.PIPE) as forward:
        assert forward.stdout is not None
        assert b"Forwarding from" in forward.stdout.readline()
        try:
            assert _fetch(f"http://127.0.0.1:{port}/") == "forwarded\n"
        finally:
            forward.terminate()


def test_a_restricted_namespace_rejects_a_root_pod_and_takes_a_hardened_one(cluster: Cluster) -> None:
    cluster.kubectl("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted")
    refused = cluster.kubectl.process("apply", "-f", "-", given=json.dumps(pod("root", shell("true"))))
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted:latest"' in refused.stderr
    assert "runAsNonRoot != true" in refused.stderr
    cluster.apply(pod("user", shell("true", securityContext=HARDENED)))
    cluster.wait_for_pod("user", "Succeeded")


def test_a_job_that_asks_for_gpus_runs_on_the_node(cluster: Cluster) -> None:
    gpus = {"limits": {"nvidia.com/gpu": "8"}}
    body = {"restartPolicy": "Never", "containers": [shell("echo trained", resources=gpus)]}
    spec = {"backoffLimit": 0, "template": {"spec": body}}
    cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"}, "spec": spec})
    cluster.kubectl("wait", "job/train", "--for=condition=Complete", "--timeout=60s")
    assert cluster.kubectl("logs", "job/train") == "trained\n"
    cluster.apply(pod("greedy", shell("true", resources={"limits": {"nvidia.com/gpu": "9"}})))
    assert poll(lambda: "Insufficient nvidia.com/gpu" in cluster.kubectl("describe", "pod", "greedy"), 30)


def test_helm_installs_and_removes_a_chart(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: probe\nversion: 0.1.0\n")
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-helm}\ndata: {value: {{ .Values.value }}}\n"
    (tmp_path / "templates/map.yaml").write_text(manifest)
    access = [f"--kubeconfig={cluster.layout.kubeconfig}", f"--namespace={cluster.namespace}"]
    helm = str(cluster.layout.bin / "helm")
    install = [helm, "install", "probe", str(tmp_path), "--set", "value=set", "--wait", *access]
    subprocess.run(install, check=True, capture_output=True)
    assert cluster.get("configmap", "from-helm")["data"] == {"value": "set"}
    subprocess.run([helm, "uninstall", "probe", "--wait", *access], check=True, capture_output=True)
    assert "from-helm" not in cluster.kubectl("get", "configmaps")


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text
