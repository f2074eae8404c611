"""What every pod of ours has in common: labels, owners, and the restricted Pod Security standard."""

from typing import Any

from anneal_operator.api.serving import Resources

__all__ = ["HOME", "Manifest", "container", "controller_of", "labels", "owner", "pod_security", "scratch_volume"]

Manifest = dict[str, Any]
HOME = "/tmp"  # noqa: S108 - a volume of the pod's own, the only writable place beside what is mounted


def labels(component: str, instance: str) -> dict[str, str]:
    """The labels by which an object is found again."""
    return {
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/managed-by": "anneal",
    }


def owner(parent: Manifest) -> Manifest:
    """The reference by which the garbage collector deletes a child after its last owner."""
    reference = {key: parent[key] for key in ("apiVersion", "kind")}
    return {**reference, "name": parent["metadata"]["name"], "uid": parent["metadata"]["uid"]}


def controller_of(parent: Manifest) -> Manifest:
    """The same for the one owner that manages the child."""
    return {**owner(parent), "controller": True, "blockOwnerDeletion": False}


def pod_security() -> Manifest:
    """The pod's part of the restricted standard."""
    return {"runAsNonRoot": True, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


def scratch_volume() -> Manifest:
    """The pod's own writable folder, mounted at HOME by every container."""
    return {"name": "scratch", "emptyDir": {}}


def container(name: str, image: str, pull_policy: str, arguments: list[str], resources: Resources) -> Manifest:
    """A container under the restricted standard, with nothing writable but its mounts."""
    memory = {"memory": resources.memory}
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": arguments,
        "env": [{"name": "HOME", "value": HOME}],
        "resources": {"requests": {"cpu": resources.cpu, **memory}, "limits": memory},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "scratch", "mountPath": HOME}],
    }
