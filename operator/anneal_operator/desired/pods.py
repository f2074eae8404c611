"""What every pod of ours has in common: labels, owners, and the restricted Pod Security standard."""

from collections.abc import Sequence

from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.resources import Manifest

__all__ = [
    "HOME",
    "LEAVING",
    "LEAVING_SECONDS",
    "Manifest",
    "asked_resources",
    "container",
    "controller_of",
    "gpu_tolerations",
    "host_of",
    "labels",
    "owned_by_all",
    "owner",
    "pod_security",
    "scratch_volume",
]

_DEFAULTS = {"cpu": "1", "memory": "4Gi"}
LEAVING_SECONDS = 5
LEAVING = {"preStop": {"exec": {"command": ["sleep", str(LEAVING_SECONDS)]}}}
"""The `lifecycle` of a container that goes on for a moment when its pod is to end: until nobody sends it requests."""
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


def owned_by_all(versions: Sequence[Manifest]) -> list[Manifest]:
    """Return references to all owners of what goes with the last of them, in the order of their names."""
    return [owner(version) for version in sorted(versions, key=lambda v: str(v["metadata"]["name"]))]


def host_of(address: str) -> str:
    """Return an IP address as URLs have it."""
    return f"[{address}]" if ":" in address else address


def controller_of(parent: Manifest) -> Manifest:
    """The same for the one owner that manages the child."""
    return {**owner(parent), "controller": True, "blockOwnerDeletion": False}


def pod_security() -> Manifest:
    """The pod's part of the restricted standard."""
    return {"runAsNonRoot": True, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


def scratch_volume() -> Manifest:
    """The pod's own writable folder, mounted at HOME by every container."""
    return {"name": "scratch", "emptyDir": {}}


def asked_resources(wanted: ResourceRequirements) -> Manifest:
    """Return a container's resources: what is wanted, 1 CPU and 4Gi where nothing is said of either.

    Kubernetes takes a request for devices only with an equal limit; memory gets one, too, so that a container that
    takes more than it asked for is ended instead of its neighbours.
    """
    requests = {name: str(quantity) for name, quantity in wanted.requests.items()}
    limits = {name: str(quantity) for name, quantity in wanted.limits.items()}
    requests |= {name: default for name, default in _DEFAULTS.items() if name not in {**requests, **limits}}
    requests |= {name: quantity for name, quantity in limits.items() if _is_device(name) and name not in requests}
    limits |= {
        name: quantity
        for name, quantity in requests.items()
        if (name == "memory" or _is_device(name)) and name not in limits
    }
    return {"requests": requests, "limits": limits}


def _is_device(name: str) -> bool:
    return "/" in name or name.startswith("hugepages-")


def gpu_tolerations(wanted: ResourceRequirements) -> list[Manifest]:
    """The taint that nodes with GPUs bear, so that other pods stay away."""
    return [{"key": name, "operator": "Exists", "effect": "NoSchedule"} for name in wanted.gpu_names]


def container(
    name: str, image: str, pull_policy: str, arguments: list[str], resources: ResourceRequirements
) -> Manifest:
    """A container under the restricted standard, with nothing writable but its mounts."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": arguments,
        "env": [{"name": "HOME", "value": HOME}],
        "resources": asked_resources(resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "scratch", "mountPath": HOME}],
    }
