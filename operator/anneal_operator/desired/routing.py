"""A namespace's router: where each model name goes, and the pod that sends it there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.resources import OWNER_ANNOTATION
from serving_runtime.plan import BUCKETS, ExperimentRoute, ModelRoute, RouteTable, Target, VariantRoute

from .pods import Manifest, container, labels, owner, pod_security, scratch_volume
from .recorder import ADDRESS_FILE, address_mount, address_volume
from .serving import ENGINE_PORT, IMAGE_ANNOTATION

__all__ = [
    "ROUTER",
    "RouterEnvironment",
    "ServedVersion",
    "SplitTraffic",
    "admin_url",
    "default_of",
    "defaults_of",
    "route_table",
    "routed_versions",
    "router_objects",
    "router_url",
]

ROUTER = "anneal-router"
_HTTP, _ADMIN = 8080, 8082
_TABLE_KEY = "routes.json"
_RECORDS = "/shared/records"
_GRACE_SECONDS = 30  # nginx takes 20 to finish its answers (router.conf), the shipper up to 25 to hand over the last
_SHIPPING_SECONDS = 25


@dataclass(frozen=True)
class ServedVersion:
    """A ModelVersion that has a Service."""

    name: str
    model: str
    version: str
    aliases: tuple[str, ...]
    address: str
    """The Service's cluster IP: the router needs no name server for it."""


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


def router_url(namespace: str) -> str:
    """Where clients call the models of a namespace."""
    return f"http://{ROUTER}.{namespace}.svc:{_HTTP}"


def admin_url(namespace: str) -> str:
    """Where the operator asks what a router has applied; clients have no business there."""
    return f"http://{ROUTER}.{namespace}.svc:{_ADMIN}"


def route_table(
    versions: Sequence[ServedVersion], defaults: Mapping[str, str | None], splits: Mapping[str, SplitTraffic]
) -> RouteTable:
    """Return where each model name goes; `defaults` and `splits` are by model."""
    targets = {version.name: Target(host=version.address, port=ENGINE_PORT, model=version.name) for version in versions}
    models = {}
    for model in sorted({version.model for version in versions}):
        own = [version for version in versions if version.model == model]
        named = {alias: version.name for version in own for alias in (version.version, *version.aliases)}
        split = splits.get(model)
        experiment = _experiment_route(split) if split else None
        models[model] = ModelRoute(default=defaults.get(model), named=named, experiment=experiment)
    return RouteTable(targets=targets, models=models)


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
    """Return everything a router needs; it is deleted with the last of the ModelVersions that own it."""
    metadata: Manifest = {
        "namespace": namespace,
        "name": ROUTER,
        "labels": labels("router", ROUTER),
        "annotations": {OWNER_ANNOTATION: ROUTER},
        "ownerReferences": [owner(version) for version in sorted(owners, key=lambda v: str(v["metadata"]["name"]))],
    }
    rolled = {**metadata, "annotations": {**metadata["annotations"], IMAGE_ANNOTATION: env.image}}
    account = {"kind": "ServiceAccount", "name": ROUTER, "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ROUTER}
    rule = {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": [ROUTER],
        "verbs": ["get", "list", "watch"],
    }
    rbac = "rbac.authorization.k8s.io/v1"
    ports = [{"name": "http", "port": _HTTP, "targetPort": "http"}]
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
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": rolled, "spec": _deployment(env)},
    ]


def _deployment(env: RouterEnvironment) -> Manifest:
    """One pod; while it is replaced, clients wait."""
    own = labels("router", ROUTER)
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app.kubernetes.io/name": "router"}},
        "template": {
            "metadata": {"labels": own},
            "spec": {
                "serviceAccountName": ROUTER,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": _GRACE_SECONDS,
                "securityContext": pod_security(),
                "containers": [_nginx(env), _agent(env), _shipper(env)],
                "volumes": [
                    scratch_volume(),
                    {"name": "shared", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "routes", "configMap": {"name": ROUTER}},
                    address_volume(),
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
    made["ports"] = [{"name": "http", "containerPort": _HTTP}, {"name": "admin", "containerPort": _ADMIN}]
    made["readinessProbe"] = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 2}
    made["volumeMounts"].append(address_mount())
    return made


def _agent(env: RouterEnvironment) -> Manifest:
    arguments = ["-m", "serving_runtime.router.agent", "--config-map", ROUTER, "--key", _TABLE_KEY]
    arguments += ["--mounted", f"/etc/anneal/{_TABLE_KEY}", "--to", f"/shared/{_TABLE_KEY}"]
    made = _router_container("agent", env, arguments, "256Mi")
    made["volumeMounts"].append({"name": "routes", "mountPath": "/etc/anneal", "readOnly": True})
    return made


def _shipper(env: RouterEnvironment) -> Manifest:
    """Apart from the agent: the end of either leaves the other alone, and this one rests in a few megabytes."""
    arguments = ["-m", "serving_runtime.router.shipper", "--records", _RECORDS, "--recorder", ADDRESS_FILE]
    arguments += ["--end-within", str(_SHIPPING_SECONDS)]
    made = _router_container("shipper", env, arguments, "64Mi")
    made["volumeMounts"].append(address_mount())
    return made
