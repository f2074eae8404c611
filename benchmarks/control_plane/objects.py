"""What is created, and the namespace it is created in."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp

from local_cluster.layout import Layout
from local_cluster.pki import administrator_tls

__all__ = [
    "AGENT",
    "LABEL",
    "NAMESPACE",
    "Manifest",
    "bare_job",
    "clean",
    "create",
    "fine_tune_job",
    "job_set",
    "scene",
    "session",
    "train_job",
    "training_runtime",
    "write_statuses",
]

Manifest = dict[str, Any]
LABEL = "anneal-bench/played"
NAMESPACE = "anneal-bench"
AGENT = "anneal-bench"
"""The user agent of what this benchmark itself asks for, by which the audit log tells it from the managers."""
_PARALLEL = 16
_RUNTIME = "anneal-bench"


def _template(container: str = "main") -> Manifest:
    return {
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": {LABEL: "true"},
            "tolerations": [{"key": LABEL, "operator": "Exists"}],
            "containers": [{"name": container, "image": "trainer", "resources": {"requests": {"cpu": "100m"}}}],
        }
    }


def bare_job(name: str) -> Manifest:
    """A Job of one pod, without any manager."""
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": _template()}}


def job_set(name: str) -> Manifest:
    """A JobSet of one such Job."""
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name},
        "spec": _job_set_spec("w", {}),
    }


def training_runtime() -> Manifest:
    """Trainer's template for TrainJobs of one such Job."""
    spec = _job_set_spec("node", {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"})
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "ClusterTrainingRuntime",
        "metadata": {"name": _RUNTIME},
        "spec": {"mlPolicy": {"numNodes": 1}, "template": {"spec": spec}},
    }


def train_job(name: str) -> Manifest:
    """A TrainJob of that runtime."""
    runtime = {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": _RUNTIME}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {"runtimeRef": runtime},
    }


def _job_set_spec(name: str, labels: Mapping[str, str]) -> Manifest:
    """One Job of one pod, with what JobSet's webhook would set."""
    template = _template(name)  # Trainer knows its own container by the name of the Job
    job = {"completionMode": "Indexed", "completions": 1, "parallelism": 1, "backoffLimit": 6, "template": template}
    return {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "successPolicy": {"operator": "All"},
        "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
        "replicatedJobs": [{"name": name, "replicas": 1, "template": {"metadata": {"labels": labels}, "spec": job}}],
    }


def fine_tune_job(name: str) -> Manifest:
    """A FineTuneJob on a volume that all share."""
    resources = {"resources": {"requests": {"cpu": "100m", "memory": "16Mi"}}}
    spec = {
        "base": {"uri": "configmap://tiny", "initialize": "Random"},
        "dataset": {"sources": [{"uri": "configmap://rows/rows.jsonl"}]},
        "tuning": {"method": "Full"},
        "stages": dict.fromkeys(("prepare", "train", "publish"), resources),
        "podTemplate": {"nodeSelector": {LABEL: "true"}, "tolerations": [{"key": LABEL, "operator": "Exists"}]},
        "storage": {"claimName": "shared"},
        "output": {"modelName": "bench"},
    }
    return {"apiVersion": "anneal.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}, "spec": spec}


def scene(layout: Layout) -> None:
    """Make anew what the jobs of a namespace share: data, model, and a volume."""
    clean(layout)
    size = {"storage": "1Gi"}
    volume = {
        "capacity": size,
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "hostPath": {"path": "/tmp/anneal-bench"},  # noqa: S108 - a played node mounts nothing
        "claimRef": {"namespace": NAMESPACE, "name": "shared"},
    }
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": size}, "storageClassName": ""}
    for manifest in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        _object("ConfigMap", "rows", data={"rows.jsonl": "{}\n"}),
        _object("ConfigMap", "tiny", data={"config.json": "{}"}),
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "anneal-bench", "labels": {LABEL: "true"}},
            "spec": volume,
        },
        _object("PersistentVolumeClaim", "shared", spec=claim),
    ):
        layout.kubectl("apply", "-f", "-", given=json.dumps(manifest))


def clean(layout: Layout) -> None:
    """Remove what an earlier round left: the Jobs first, as a namespace waits for pods, and those for their Jobs."""
    if layout.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found"):
        jobs = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs?propagationPolicy=Background"
        layout.kubectl("delete", "--raw", jobs)
    layout.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", timeout=300)
    layout.kubectl("delete", "persistentvolume", "anneal-bench", "--ignore-not-found", "--wait=true")


def session(layout: Layout) -> aiohttp.ClientSession:
    """The administrator's connections to the API server."""
    return aiohttp.ClientSession(
        f"https://{layout.address}:6443",
        connector=aiohttp.TCPConnector(ssl=administrator_tls(layout), limit=_PARALLEL),
        headers={"User-Agent": AGENT},
    )


async def create(layout: Layout, path: str, manifests: Iterable[Manifest], rate: float | None = None) -> None:
    """Create the objects, 16 at a time, or so many per second."""
    async with session(layout) as client:
        tasks = []
        for manifest in manifests:
            tasks.append(asyncio.ensure_future(_send(client.post(path, json=manifest))))
            if rate:
                await asyncio.sleep(1 / rate)
        await asyncio.gather(*tasks)


async def write_statuses(client: aiohttp.ClientSession, path: str, statuses: Mapping[str, Manifest]) -> None:
    """Give objects of a collection a status each, by their names."""
    headers = {"Content-Type": "application/merge-patch+json"}
    await asyncio.gather(
        *(
            _send(client.patch(f"{path}/{name}/status", data=json.dumps({"status": status}), headers=headers))
            for name, status in statuses.items()
        )
    )


async def _send(request: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> None:
    async with request as answer:
        if answer.status >= 300:
            raise RuntimeError(await answer.text())


def _object(kind: str, name: str, **fields: Any) -> Manifest:  # noqa: ANN401 - a manifest's fields
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, **fields}
