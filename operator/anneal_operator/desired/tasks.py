"""A namespace's task API: it asks the router as clients do, so it may be replaced or away at any time.

A workload of its own, for what it does in Python must not hold up what the router does for everybody. One pod, as it
remembers for an hour which batches it has answered.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.prompt import VersionPrompt
from anneal_operator.api.resources import OWNER_ANNOTATION
from serving_runtime.plan import CLIENT_PORT, TASKS_KEY_VARIABLE, TASKS_PORT, TaskDictionary, TaskRules, TaskTable

from .keys import KEYS_ANNOTATION, Keys, key_variable
from .pods import (
    LEAVING,
    LEAVING_SECONDS,
    Manifest,
    container,
    host_of,
    labels,
    owned_by_all,
    pod_security,
    scratch_volume,
)

__all__ = ["TASKS", "TasksEnvironment", "task_table", "tasks_mount", "tasks_objects", "tasks_volume"]

TASKS = "anneal-tasks"
_LABEL = {"anneal.dev/component": "tasks"}
_ADDRESS_KEY, _VERSIONS_KEY = "address", "versions.json"
_FOLDER = "/etc/anneal/tasks"
"""Where a router finds the address, which router.conf says, too, and the task API how versions are asked."""
_ANSWERING_SECONDS = 600
_GRACE_SECONDS = LEAVING_SECONDS + _ANSWERING_SECONDS + 10


@dataclass(frozen=True)
class TasksEnvironment:
    """What the installation and the namespace give it."""

    image: str
    pull_policy: str
    keys: Keys
    router: str
    """The router's Service."""


def task_table(versions: Iterable[Manifest]) -> TaskTable:
    """Return how each version is asked; one whose prompt cannot be read, as after a downgrade, as any model is."""
    return TaskTable.of(
        {version["metadata"]["name"]: (str(version["spec"].get("modelName")), _rules(version)) for version in versions}
    )


def _rules(version: Manifest) -> TaskRules:
    try:
        prompt = VersionPrompt.parse(version["spec"].get("prompt") or {})
    except ValueError:
        return TaskRules()
    words = prompt.response_dictionary
    return TaskRules(
        format=prompt.format,
        text=prompt.text,
        text_without_input=prompt.text_without_input,
        defaults=prompt.defaults,
        remove_pattern=prompt.clean.remove_pattern if prompt.clean else None,
        collapse_whitespace=prompt.clean is not None and prompt.clean.collapse_whitespace,
        response_schema=prompt.response_schema,
        dictionary=TaskDictionary(**words.model_dump()) if words else None,
    )


def tasks_objects(
    namespace: str, owners: Sequence[Manifest], table: TaskTable, address: str | None, env: TasksEnvironment
) -> list[Manifest]:
    """Return everything that it needs. `address` is its Service's, None before there is one."""
    metadata: Manifest = {
        "namespace": namespace,
        "name": TASKS,
        "labels": labels("tasks", TASKS),
        "annotations": {OWNER_ANNOTATION: TASKS},
        "ownerReferences": owned_by_all(owners),
    }
    data = {_VERSIONS_KEY: table.model_dump_json()}
    if address:
        data[_ADDRESS_KEY] = f"{host_of(address)}:{TASKS_PORT}"
    service = {"selector": _LABEL, "ports": [{"name": "http", "port": TASKS_PORT, "targetPort": "http"}]}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": _deployment(env)},
    ]


def tasks_volume() -> Manifest:
    """The volume of a router's pod that says where the task API is, once that is known."""
    items = [{"key": _ADDRESS_KEY, "path": _ADDRESS_KEY}]
    return {"name": "tasks", "configMap": {"name": TASKS, "optional": True, "items": items}}


def tasks_mount() -> Manifest:
    """Where its nginx has that volume."""
    return {"name": "tasks", "mountPath": _FOLDER, "readOnly": True}


def _deployment(env: TasksEnvironment) -> Manifest:
    """The next pod answers before the last one ends."""
    return {
        "replicas": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": _LABEL},
        "template": {
            "metadata": {
                "labels": {**labels("tasks", TASKS), **_LABEL},
                "annotations": {KEYS_ANNOTATION: env.keys.of_tasks()},
            },
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": _GRACE_SECONDS,
                "securityContext": pod_security(),
                "containers": [_container(env)],
                "volumes": [scratch_volume(), {"name": "versions", "configMap": {"name": TASKS}}],
            },
        },
    }


def _container(env: TasksEnvironment) -> Manifest:
    resources = ResourceRequirements(requests={"cpu": "100m", "memory": "512Mi"})
    arguments = ["-m", "serving_runtime.tasks", "--port", str(TASKS_PORT), "--router", f"{env.router}:{CLIENT_PORT}"]
    arguments += ["--versions", f"{_FOLDER}/{_VERSIONS_KEY}"]
    made = container("tasks", env.image, env.pull_policy, arguments, resources)
    made["env"] = [*made["env"], key_variable(TASKS_KEY_VARIABLE)]
    made["ports"] = [{"name": "http", "containerPort": TASKS_PORT}]
    made["volumeMounts"].append({"name": "versions", "mountPath": _FOLDER, "readOnly": True})
    probe = {"httpGet": {"path": "/alive", "port": "http"}, "timeoutSeconds": 5}
    made["startupProbe"] = {**probe, "periodSeconds": 2, "failureThreshold": 60}
    made["readinessProbe"] = {**probe, "periodSeconds": 2}
    made["livenessProbe"] = {**probe, "periodSeconds": 10, "failureThreshold": 6}
    made["lifecycle"] = LEAVING
    return made
