"""Pods of FineTuneJobs that live by a script: a kwok of their own plays their nodes, and hands back what stages do.

A stage takes as many seconds as the script says.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from local_cluster.layout import Layout
from local_cluster.polling import poll
from tests.decide.test_fine_tune_job import RESULTS

from .conftest import Cluster

__all__ = ["ROWS", "scripted_nodes", "scripted_spec"]

_LABEL = "anneal-test/scripted"
_TAINT = {"key": _LABEL, "value": "true", "effect": "NoSchedule"}
_CLASS = "scripted"
_PORT = 10248 + 1000
PUBLISHED = {"uri": "mlflow-artifacts:/1/r/artifacts/model", "digest": "sha256:" + "0" * 64}
ROWS = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": {"rows.jsonl": "{}\n"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tiny"}, "data": {"config.json": "{}"}},
]


def scripted_spec(**spec: Any) -> dict[str, Any]:
    """A job whose pods run there; it needs no MLflow until it is published."""
    return {
        "model": {"source": "configmap://tiny", "initialize": "Random"},
        "dataset": {"source": "configmap://rows/rows.jsonl"},
        "tuning": {"method": "full"},
        "resources": {"cpu": "10m", "memory": "16Mi"},
        "scheduling": {"nodeSelector": {_LABEL: "true"}, "tolerations": [{"key": _LABEL, "operator": "Exists"}]},
        "storage": {"template": {"size": "1Gi", "storageClassName": _CLASS}},
        "output": {"modelName": "scripted"},
        **spec,
    }


@contextmanager
def scripted_nodes(cluster: Cluster, folder: Path, *, volumes: int, seconds: dict[str, float]) -> Iterator[None]:
    """Two nodes whose pods do as the script says, and volumes for as many jobs; all of it goes at the end."""
    layout = cluster.layout
    config = folder / "stages.yaml"
    config.write_text(yaml.safe_dump_all(_stages(layout, seconds)))
    made = {"apiVersion": "v1", "kind": "List", "items": [*_nodes(), *_volumes(volumes)]}
    _remove(cluster)
    cluster.kubectl("apply", "-f", "-", given=json.dumps(made))
    with (folder / "kwok.log").open("w") as log:
        kwok = subprocess.Popen(_command(layout, config), stdout=log, stderr=log)
    try:
        ready = ("wait", "node", "-l", _LABEL, "--for=condition=Ready", "--timeout=60s")
        assert poll(lambda: cluster.kubectl_process(*ready).returncode == 0, 90), (folder / "kwok.log").read_text()
        yield
    finally:
        kwok.terminate()
        kwok.wait(20)
        _remove(cluster)


def _remove(cluster: Cluster) -> None:
    for kind in ("node", "persistentvolume", "storageclass"):
        cluster.kubectl("delete", kind, "-l", _LABEL, "--ignore-not-found", "--wait=false")


def _command(layout: Layout, config: Path) -> list[str]:
    standard = [layout.bin / name for name in ("node-initialize.yaml", "node-heartbeat-with-lease.yaml")]
    pods = [layout.bin / name for name in ("pod-ready.yaml", "pod-delete.yaml")]
    return [
        str(layout.bin / "kwok"),
        f"--kubeconfig={layout.config / 'kwok.kubeconfig'}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={_LABEL}=true",
        "--node-lease-duration-seconds=40",
        "--cidr=10.97.0.1/16",
        f"--server-address={layout.address}:{_PORT}",
        *(f"--config={path}" for path in (*standard, *pods, config)),
    ]


def _nodes() -> list[dict[str, Any]]:
    room = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "500"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"scripted-{number}",
                "labels": {_LABEL: "true", "kubernetes.io/hostname": f"scripted-{number}"},
                "annotations": {_LABEL: "true"},
            },
            "spec": {"taints": [_TAINT]},
            "status": {"capacity": room, "allocatable": room},
        }
        for number in range(2)
    ]


def _volumes(count: int) -> list[dict[str, Any]]:
    storage = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": _CLASS, "labels": {_LABEL: "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
    }
    volumes = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"scripted-{number}", "labels": {_LABEL: "true"}},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": _CLASS,
                "hostPath": {"path": "/tmp/anneal-scripted"},  # noqa: S108 - a simulated node mounts nothing
            },
        }
        for number in range(count)
    ]
    return [storage, *volumes]


def _stages(layout: Layout, seconds: dict[str, float]) -> list[dict[str, Any]]:
    """kwok's own way for a pod to complete, once for each of our stages: with a time it takes, and a message."""
    standard = yaml.safe_load((layout.bin / "pod-complete.yaml").read_text())
    made = []
    for stage, result in RESULTS.items():
        handed = result.model_dump(mode="json") | (PUBLISHED if stage == "publish" else {})
        script = json.loads(json.dumps(standard))
        script["metadata"]["name"] = f"anneal-{stage}"
        script["spec"]["selector"]["matchLabels"] = {"anneal.dev/stage": stage}
        script["spec"]["delay"] = {"durationMilliseconds": int(seconds.get(stage, 0.0) * 1000)}
        template = script["spec"]["next"]["statusTemplate"]
        indent, ending = " " * 6, f"message: {json.dumps(json.dumps(handed))}\n"
        assert f"{indent}exitCode: 0\n" in template
        template = template.replace("exitCode: 0\n", f"exitCode: 0\n{indent}{ending}")
        began = "$origin.state.running.startedAt"  # kwok's own template says that it began when it ended
        script["spec"]["next"]["statusTemplate"] = template.replace("startedAt: {{ $now", f"startedAt: {{{{ {began}")
        made.append(script)
    return made
