"""A namespace's recorder: which variant answered whom, and what users said of it.

A workload of its own, for its database has one writer while routers are several; they keep what they have for it while
it is away, and models answer all the same. It goes with the last served version, its volume stays: what was recorded
outlives the versions that it was recorded of, and people may let it grow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.resources import OWNER_ANNOTATION
from serving_runtime.plan import ADMIN_KEY_VARIABLE, RECORDER_PORT

from .keys import KEYS_ANNOTATION, Keys, key_variable
from .pods import Manifest, container, host_of, labels, owned_by_all, pod_security, scratch_volume

__all__ = [
    "ADDRESS_FILE",
    "RECORDER",
    "RECORDER_LABEL",
    "RecorderEnvironment",
    "address_mount",
    "address_volume",
    "recorder_claim",
    "recorder_objects",
    "recorder_url",
]

RECORDER = "anneal-recorder"
RECORDER_LABEL = {"anneal.dev/component": "recorder"}
_ADDRESS_KEY, _ADDRESS_FOLDER = "address", "/etc/anneal/recorder"
ADDRESS_FILE = f"{_ADDRESS_FOLDER}/{_ADDRESS_KEY}"
"""Where a router's pod finds the recorder's address; router.conf says so, too."""
_GRACE_SECONDS = 30
_START_SECONDS = 600


@dataclass(frozen=True)
class RecorderEnvironment:
    """What the installation and the namespace give the recorder."""

    image: str
    pull_policy: str
    claim: str
    """The volume's claim."""
    keys: Keys


def recorder_url(namespace: str) -> str:
    """Where the operator reads what was recorded."""
    return f"http://{RECORDER}.{namespace}.svc:{RECORDER_PORT}"


def recorder_claim(namespace: str) -> Manifest:
    """The volume, which nobody owns."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": _metadata(namespace), "spec": spec}


def recorder_objects(
    namespace: str, owners: Sequence[Manifest], address: str | None, env: RecorderEnvironment
) -> list[Manifest]:
    """Return everything a recorder needs but its volume.

    `address` is its Service's, None before there is one. Routers read it from a ConfigMap: they need no name server,
    and no new pods where the Service is made anew.
    """
    metadata = {**_metadata(namespace), "ownerReferences": owned_by_all(owners)}
    ports = [{"name": "http", "port": RECORDER_PORT, "targetPort": "http"}]
    service = {"selector": RECORDER_LABEL, "ports": ports}
    made: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": _deployment(env)},
    ]
    if address:
        data = {_ADDRESS_KEY: f"{host_of(address)}:{RECORDER_PORT}"}
        made.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return made


def address_volume() -> Manifest:
    """The volume of a router's pod that says where the recorder is, once that is known."""
    return {"name": "recorder", "configMap": {"name": RECORDER, "optional": True}}


def address_mount() -> Manifest:
    """Where its containers have that volume."""
    return {"name": "recorder", "mountPath": _ADDRESS_FOLDER, "readOnly": True}


def _metadata(namespace: str) -> Manifest:
    return {
        "namespace": namespace,
        "name": RECORDER,
        "labels": labels("recorder", RECORDER),
        "annotations": {OWNER_ANNOTATION: RECORDER},
    }


def _deployment(env: RecorderEnvironment) -> Manifest:
    """One pod: the next one starts when the last has closed the database."""
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": RECORDER_LABEL},
        "template": {
            "metadata": {
                "labels": {**labels("recorder", RECORDER), **RECORDER_LABEL},
                "annotations": {KEYS_ANNOTATION: env.keys.of_recorder()},
            },
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": _GRACE_SECONDS,
                "securityContext": pod_security(),
                "containers": [_container(env)],
                "volumes": [
                    scratch_volume(),
                    {"name": "data", "persistentVolumeClaim": {"claimName": env.claim}},
                ],
            },
        },
    }


def _container(env: RecorderEnvironment) -> Manifest:
    resources = ResourceRequirements(requests={"cpu": "100m", "memory": "512Mi"})
    arguments = ["-m", "serving_runtime.recorder", "--port", str(RECORDER_PORT), "--folder", "/data"]
    made = container("recorder", env.image, env.pull_policy, arguments, resources)
    made["env"] = [*made["env"], key_variable(ADMIN_KEY_VARIABLE)]
    made["ports"] = [{"name": "http", "containerPort": RECORDER_PORT}]
    made["volumeMounts"].append({"name": "data", "mountPath": "/data"})
    probe = {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": 5}
    made["startupProbe"] = {**probe, "periodSeconds": 2, "failureThreshold": _START_SECONDS // 2}
    made["readinessProbe"] = {**probe, "periodSeconds": 2}
    made["livenessProbe"] = {**probe, "periodSeconds": 10, "failureThreshold": 6}
    return made
