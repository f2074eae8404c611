"""Pods of FineTuneJobs that live by a script: each stage takes its time, and hands back what a stage does."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local_cluster.simulation import completion, played_nodes
from tests.decide.test_fine_tune_job import RESULTS
from toolbox.kubectl import Kubectl
from training_runtime.plan import Stage

from .conftest import Cluster

__all__ = ["EXIT_CODES", "GPU", "ROWS", "SLOW", "at_home", "clear_away", "scripted_nodes", "scripted_spec"]

GPU = "anneal-test/gpu"
"""What those nodes alone offer; they are labelled and tainted with it, too."""
_CLASS = "scripted"
SLOW, SLOW_TRAINING_SECONDS = "slow", 75.0
EXIT_CODES = (64, 65, 70, 71, 76, 77, 78)
_PUBLISHED = {"uri": "mlflow-artifacts:/1/r/artifacts/model", "digest": "sha256:" + "0" * 64}
ROWS = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": {"rows.jsonl": "{}\n"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tiny"}, "data": {"config.json": "{}"}},
]


def scripted_spec(**spec: Any) -> dict[str, Any]:
    """A job whose pods run there; it needs no MLflow until it is published."""
    resources = {"resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    return {
        "base": {"uri": "configmap://tiny", "initialize": "Random"},
        "dataset": {"sources": [{"uri": "configmap://rows/rows.jsonl"}]},
        "tuning": {"method": "Full"},
        "stages": dict.fromkeys(("prepare", "train", "publish"), resources),
        "podTemplate": {"nodeSelector": {GPU: "true"}, "tolerations": [{"key": GPU, "operator": "Exists"}]},
        "storage": {"template": {"size": "1Gi", "storageClassName": _CLASS}},
        "output": {"modelName": "scripted"},
        **spec,
    }


def at_home(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return a spec whose pods run there, and are few."""
    made: dict[str, Any] = json.loads(json.dumps(spec))
    if kind == "FineTuneJob":
        usual = scripted_spec()
        made["podTemplate"] = {**(made.get("podTemplate") or {}), **usual["podTemplate"]}
        made["storage"] = usual["storage"]
        made.pop("ttlSecondsAfterFinished", None)
        if train := (made.get("stages") or {}).get("train"):
            train["nodes"] = 1
    if kind == "ModelVersion" and made.get("serving") is not None:
        one = {GPU: "1"}
        replicas = min(made["serving"].get("replicas", 1), 2)
        made["serving"] |= {"replicas": replicas, "resources": {"requests": one, "limits": one}}
    return made


def clear_away(kubectl: Kubectl, namespace: str) -> None:
    """Delete a namespace that an interrupted run may have left: with its nodes gone, nobody ends the pods on them."""
    within = kubectl.within(namespace)
    within("delete", "deployments,statefulsets,jobs", "--all", "--ignore-not-found", "--cascade=background")
    within("delete", "pods", "--all", "--ignore-not-found", "--force", "--grace-period=0")
    kubectl.delete_namespaces(namespace)


@contextmanager
def scripted_nodes(cluster: Cluster, folder: Path, *, volumes: int, seconds: dict[str, float]) -> Iterator[None]:
    """Two nodes whose pods do as the script says, and volumes for as many jobs; all of it goes at the end.

    Every pod of a job `exit-CODE` ends with that code; the job SLOW trains for longer than others.
    """
    failing = {f"exit-{code}": code for code in EXIT_CODES}
    stages = [_completion(cluster, "train", SLOW_TRAINING_SECONDS, {"anneal.dev/fine-tune-job": SLOW}, "slow")]
    key = '.metadata.labels["anneal.dev/fine-tune-job"]'
    for stage in RESULTS:
        elsewhere = [*failing, *([SLOW] if stage == "train" else [])]
        others = {"key": key, "operator": "NotIn", "values": elsewhere}
        stages.append(_completion(cluster, stage, seconds.get(stage, 0.0), {}, "usual", others))
    for job, code in failing.items():
        said = json.dumps({"error": "StageError", "message": f"ended with {code}"})
        label = {"anneal.dev/fine-tune-job": job}
        stages.append(completion(cluster.layout, f"anneal-{job}", label, said, 0.0, exit_code=code))
    with played_nodes(cluster.layout, folder, GPU, 2, stages):
        cluster.apply({"apiVersion": "v1", "kind": "List", "items": _volumes(cluster.namespace, volumes)})
        yield


def _completion(
    cluster: Cluster, stage: Stage, seconds: float, labels: Mapping[str, str], name: str, *but_not: dict[str, Any]
) -> dict[str, Any]:
    """The end of a stage's pod, with what that stage hands back."""
    handed = RESULTS[stage].model_dump(mode="json") | (_PUBLISHED if stage == "publish" else {})
    own = {"anneal.dev/stage": stage, **labels}
    return completion(cluster.layout, f"{name}-{stage}", own, json.dumps(handed), seconds, but_not=but_not)


def _volumes(namespace: str, count: int) -> list[dict[str, Any]]:
    """A volume of another stand may still be going, so each stand's have names of their own."""
    storage = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": _CLASS, "labels": {GPU: "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
    }
    volumes = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{namespace}-{number}", "labels": {GPU: "true"}},
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
