"""Manifests of small pods that the tests share."""

from typing import Any

from local_cluster.system_images import BUSYBOX

__all__ = ["HARDENED", "claim", "pod", "shell"]

HARDENED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def shell(script: str, **fields: Any) -> dict[str, Any]:
    """A busybox container that runs a script."""
    image = {"image": BUSYBOX, "imagePullPolicy": "Never"}
    return {"name": "main", **image, "command": ["sh", "-c", script], **fields}


def pod(name: str, container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod of one container that is not started again."""
    metadata = {"name": name, "labels": {"app": name}}
    body = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}


def claim(name: str) -> dict[str, Any]:
    """A claim for one gibibyte of the default StorageClass."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
