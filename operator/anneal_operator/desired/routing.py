"""A namespace's router: where each model name goes, and the pod that sends it there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.resources import OWNER_ANNOTATION
from serving_runtime.plan import (
    ADMIN_KEY_VARIABLE,
    ADMIN_PORT,
    BUCKETS,
    CLIENT_PORT,
    ENGINE_KEY_VARIABLE,
    RECORDER_PORT,
    USER_KEY_VARIABLE,
    ExperimentRoute,
    ModelRoute,
    RouteTable,
    Target,
    VariantRoute,
)

from .keys import KEYS_ANNOTATION, Keys, key_variable
from .pods import Manifest, container, labels, owner, pod_security, scratch_volume
from .serving import ENGINE_PORT, IMAGE_ANNOTATION

__all__ = [
    "ROUTER",
    "RouterEnvironment",
    "ServedVersion",
    "SplitTraffic",
    "admin_url",
    "default_of",
    "defaults_of",
    "publicly_known",
    "recorder_url",
    "route_table",
    "routed_versions",
    "router_objects",
    "router_url",
]

ROUTER = "anneal-router"
_HTTP, _RECORDER, _ADMIN = CLIENT_PORT, RECORDER_PORT, ADMIN_PORT
_TABLE_KEY = "routes.json"
_RECORDS = "/shared/records"
_GRACE_SECONDS = 30  # nginx takes 20 to finish its answers (router.conf), the recorder up to 25 to record the last


@dataclass(frozen=True)
class ServedVersion:
    """A ModelVersion that has a Service."""

    name: str
    model: str
    version: str
    aliases: tuple[str, ...]
    address: str
    """The Service's cluster IP: the router needs no name server for it."""
    knows_model: bool = False
    """Whether all its pods know the name of the model, beside the version's."""


@dataclass(frozen=True)
class SplitTraffic:
    """An experiment that splits a model's clients now."""

    name: str
    uid: str
    salt: str
    spec: ABExperimentSpec


@dataclass(frozen=True)
class RouterEnvironment:
    """What the installation gives every router."""

    image: str
    pull_policy: str
    keys: Keys


def router_url(namespace: str) -> str:
    """Where clients call the models of a namespace."""
    return f"http://{ROUTER}.{namespace}.svc:{_HTTP}"


def admin_url(namespace: str) -> str:
    """Where the operator asks what a router has applied; clients have no business there."""
    return f"http://{ROUTER}.{namespace}.svc:{_ADMIN}"


def recorder_url(namespace: str) -> str:
    """Where the operator reads what was recorded."""
    return f"http://{ROUTER}.{namespace}.svc:{_RECORDER}"


def route_table(
    versions: Sequence[ServedVersion], defaults: Mapping[str, str | None], splits: Mapping[str, SplitTraffic]
) -> RouteTable:
    """Return where each model name goes; `defaults` and `splits` are by model."""
    targets = {version.name: _target(version) for version in versions}
    models = {}
    for model in sorted({version.model for version in versions}):
        own = [version for version in versions if version.model == model]
        named = {alias: version.name for version in own for alias in (version.version, *version.aliases)}
        split = splits.get(model)
        experiment = _experiment_route(split) if split else None
        models[model] = ModelRoute(default=defaults.get(model), named=named, experiment=experiment)
    return RouteTable(targets=targets, models=models)


def _target(version: ServedVersion) -> Target:
    public = version.model if version.knows_model else ""
    return Target(host=version.address, port=ENGINE_PORT, model=version.name, public=public)


def publicly_known(table: Manifest | None) -> frozenset[str]:
    """Return the versions that a router's ConfigMap says to know their model's name."""
    try:
        targets = json.loads(table["data"][_TABLE_KEY])["targets"] if table else {}
        return frozenset(name for name, target in targets.items() if target.get("public"))
    except (AttributeError, KeyError, TypeError, ValueError):
        return frozenset()


def defaults_of(table: Manifest | None) -> dict[str, str]:
    """Return the default version of each model in a router's ConfigMap."""
    return {model: route["default"] for model, route in _models(table).items() if route["default"]}


def default_of(table: Manifest | None, model: str) -> str | None:
    """Return the default version of a model in a router's ConfigMap."""
    return defaults_of(table).get(model)


def routed_versions(table: Manifest | None) -> frozenset[str]:
    """Return the versions that a router's ConfigMap names."""
    return frozenset(name for route in _models(table).values() for name in route["named"].values())


def _models(table: Manifest | None) -> dict[str, Manifest]:
    """Of a table that cannot be read nothing is known: it is written anew."""
    try:
        models = json.loads(table["data"][_TABLE_KEY])["models"] if table else {}
        return {model: {"default": route["default"], "named": dict(route["named"])} for model, route in models.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _experiment_route(experiment: SplitTraffic) -> ExperimentRoute:
    spec = experiment.spec
    total = sum(variant.weight for variant in spec.variants)
    reached, variants = 0, []
    for variant in spec.variants:
        reached += variant.weight
        up_to = BUCKETS * reached // total
        variants.append(VariantRoute(name=variant.name, target=variant.model_version_ref.name, up_to=up_to))
    return ExperimentRoute(
        name=experiment.name,
        uid=experiment.uid,
        salt=experiment.salt,
        headers=[source.header.lower() for source in spec.assignment.key_from],
        control=spec.control,
        variants=variants,
    )


def router_objects(
    namespace: str, owners: Sequence[Manifest], table: RouteTable, env: RouterEnvironment
) -> list[Manifest]:
    """Return everything a router needs; it is deleted with the last of the ModelVersions that own it.

    Its claim is not: what clients said outlives the versions that they said it of.
    """
    kept: Manifest = {
        "namespace": namespace,
        "name": ROUTER,
        "labels": labels("router", ROUTER),
        "annotations": {OWNER_ANNOTATION: ROUTER},
    }
    references = [owner(version) for version in sorted(owners, key=lambda v: str(v["metadata"]["name"]))]
    metadata = {**kept, "ownerReferences": references}
    rolled = {**metadata, "annotations": {**kept["annotations"], IMAGE_ANNOTATION: env.image, **_marked(env)}}
    account = {"kind": "ServiceAccount", "name": ROUTER, "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ROUTER}
    rule = {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": [ROUTER],
        "verbs": ["get", "list", "watch"],
    }
    rbac = "rbac.authorization.k8s.io/v1"
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    ports = [{"name": "http", "port": _HTTP, "targetPort": "http"}]
    ports.append({"name": "recorder", "port": _RECORDER, "targetPort": "recorder"})
    ports.append({"name": "admin", "port": _ADMIN, "targetPort": "admin"})
    service = {
        "selector": {"app.kubernetes.io/name": "router"},
        "ports": ports,
        "publishNotReadyAddresses": True,  # a container that cannot start takes nothing from the others
    }
    content = json.dumps(table.document(), indent=1)
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {_TABLE_KEY: content}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": [rule]},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "subjects": [account], "roleRef": role},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": kept, "spec": claim},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": rolled, "spec": _deployment(env)},
    ]


def _marked(env: RouterEnvironment) -> dict[str, str]:
    """So that new keys replace the pods."""
    return {KEYS_ANNOTATION: env.keys.of_router()}


def _deployment(env: RouterEnvironment) -> Manifest:
    """One pod, as the recorder's database has one writer; while it is replaced, clients wait."""
    own = labels("router", ROUTER)
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app.kubernetes.io/name": "router"}},
        "template": {
            "metadata": {"labels": own, "annotations": _marked(env)},
            "spec": {
                "serviceAccountName": ROUTER,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": _GRACE_SECONDS,
                "securityContext": pod_security(),
                "containers": [_nginx(env), _agent(env), _recorder(env)],
                "volumes": [
                    scratch_volume(),
                    {"name": "shared", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "routes", "configMap": {"name": ROUTER}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": ROUTER}},
                ],
            },
        },
    }


def _router_container(name: str, env: RouterEnvironment, arguments: list[str], memory: str) -> Manifest:
    resources = ResourceRequirements(requests={"cpu": "100m", "memory": memory})
    made = container(name, env.image, env.pull_policy, arguments, resources)
    made["volumeMounts"] += [{"name": "shared", "mountPath": "/shared"}]
    return made


def _nginx(env: RouterEnvironment) -> Manifest:
    made = _router_container("nginx", env, ["-m", "serving_runtime.router"], "256Mi")
    cores = {"resourceFieldRef": {"containerName": "nginx", "resource": "requests.cpu"}}
    made["env"] = [*made["env"], {"name": "ANNEAL_CORES", "valueFrom": cores}]  # rounded up: a worker for each
    made["env"] += map(key_variable, (ENGINE_KEY_VARIABLE, ADMIN_KEY_VARIABLE, USER_KEY_VARIABLE))
    made["ports"] = [{"name": "http", "containerPort": _HTTP}, {"name": "admin", "containerPort": _ADMIN}]
    made["readinessProbe"] = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 2}
    return made


def _agent(env: RouterEnvironment) -> Manifest:
    arguments = ["-m", "serving_runtime.router.agent", "--config-map", ROUTER, "--key", _TABLE_KEY]
    arguments += ["--mounted", f"/etc/anneal/{_TABLE_KEY}", "--to", f"/shared/{_TABLE_KEY}"]
    made = _router_container("agent", env, arguments, "256Mi")
    made["volumeMounts"].append({"name": "routes", "mountPath": "/etc/anneal", "readOnly": True})
    return made


def _recorder(env: RouterEnvironment) -> Manifest:
    """Without a readiness of its own: models answer while it doesn't, and nginx says 502 or 504 to feedback."""
    arguments = ["-m", "serving_runtime.recorder", "--port", str(_RECORDER), "--folder", "/data"]
    arguments += ["--records", _RECORDS]
    made = _router_container("recorder", env, arguments, "256Mi")
    made["env"].append(key_variable(ADMIN_KEY_VARIABLE))
    made["ports"] = [{"name": "recorder", "containerPort": _RECORDER}]
    made["volumeMounts"].append({"name": "data", "mountPath": "/data"})
    return made
