"""A namespace's router: where each model name goes, and the pod that sends it there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anneal_operator.api.assignment import KeySource
from anneal_operator.api.backend import SecretKey
from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.quantities import seconds
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.api.route import Route, Split
from anneal_operator.api.shadow import Shadow
from serving_runtime.plan import (
    ADMIN_KEY_VARIABLE,
    ADMIN_PORT,
    BUCKETS,
    CLIENT_PORT,
    ENGINE_KEY_VARIABLE,
    RECORDS_FOLDER,
    TASKS_KEY_VARIABLE,
    USER_KEY_VARIABLE,
    ExperimentRoute,
    KeyRoute,
    LayerRoute,
    ModelRoute,
    OverrideRoute,
    RouteTable,
    ScoresRoute,
    ShadowRoute,
    Stamp,
    Target,
    VariantRoute,
    boundaries,
    covered,
)
from serving_runtime.scoring import SCORER_PORT

from .backends import AskedBackend, Trusted, key_mounts, key_volumes, trusted_mounts, trusted_volumes
from .baking import held_back
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
from .recorder import ADDRESS_FILE, address_mount, address_volume
from .scorer import scored_experiments
from .serving import ENGINE_PORT, digest_of, server_name
from .tasks import tasks_mount, tasks_volume
from .weights import Authorities, authorities_volumes, trusting

__all__ = [
    "ROUTER",
    "ROUTER_LABEL",
    "KnownRoute",
    "RouterEnvironment",
    "ServedVersion",
    "backend_target",
    "format_of",
    "known_routes",
    "known_services",
    "pod_admin_url",
    "publicly_known",
    "route_table",
    "routed_versions",
    "router_objects",
    "router_url",
    "stamp_of",
]

ROUTER = "anneal-router"
_TRUSTED_ANNOTATION = "anneal.dev/backend-authorities"
ROUTER_LABEL = "anneal.dev/router"
"""On a router's pods, which its name follows: their Deployment, Service and budget choose no other pod by it."""
_HTTP, _ADMIN = CLIENT_PORT, ADMIN_PORT
_TABLE_KEY = "routes.json"
_REPLICAS = 2
_ANSWERING_SECONDS, _SHIPPING_SECONDS = 600, 25
"""What nginx has to finish its answers (router.conf), as long as an engine by default, and the shipper for the last."""
_GRACE_SECONDS = LEAVING_SECONDS + _ANSWERING_SECONDS + _SHIPPING_SECONDS + 10
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where clients look for it
_TOKEN_SOURCES: list[Manifest] = [  # as Kubernetes itself would mount it into every container
    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
]
_CHOSEN = {ROUTER_LABEL: ROUTER}


@dataclass(frozen=True)
class ServedVersion:
    """A ModelVersion that has a Service, or is a backend."""

    name: str
    address: str
    """The Service's cluster IP: the router needs no name server for it."""
    public: str = ""
    """The name of the model, where all its pods know that, beside the version's."""
    service: str = ""
    """The Service's name, where that is not the version's own."""
    backend: AskedBackend | None = None
    wakes_after: int | None = None
    """In how many seconds a request starts a pod where there is none; None where there always is."""


@dataclass(frozen=True)
class KnownRoute:
    """What a table that was written says of a model."""

    default: str | None
    named: Mapping[str, str]
    experiments: Mapping[str, int]
    """The uids of those that split, each with the step of its ramp."""
    covered: Mapping[str, int]
    """Of each, before which second place its users take part."""
    versions: frozenset[str]
    """All that it sends anybody to."""


@dataclass(frozen=True)
class RouterEnvironment:
    """What the installation gives every router."""

    image: str
    pull_policy: str
    keys: Keys
    backend_keys: Mapping[str, SecretKey] = field(default_factory=dict)
    """Those that backends demand, by file."""
    trusted: Mapping[str, Trusted] = field(default_factory=dict)
    """Who vouches for single backends, by file."""
    authorities: Authorities | None = None
    """Whose certificates backends may have, beside those of the public ones."""


def router_url(namespace: str) -> str:
    """Where clients call the models of a namespace."""
    return f"http://{ROUTER}.{namespace}.svc:{_HTTP}"


def pod_admin_url(address: str) -> str:
    """Where the operator asks what one router has applied, by its pod's IP; clients have no business there."""
    return f"http://{host_of(address)}:{_ADMIN}"


def route_table(
    versions: Sequence[ServedVersion],
    routes: Mapping[str, Route],
    *,
    only_plain: bool = False,
    scorer: str | None = None,
) -> RouteTable:
    """Return where each model name goes, and all backends: a router tells how one stands before it sends it anybody.

    `only_plain` leaves experiments out that routers of an earlier build could not obey: these wait. `scorer` is the
    address of the scorer's Service, None before there is one: until then nothing is handed to it.
    """
    models = {model: _model_route(to, scorer, only_plain=only_plain) for model, to in sorted(routes.items())}
    used = frozenset().union(*(_known(route.model_dump()).versions for route in models.values()))
    targets = {
        version.name: _target(version)
        for version in sorted(versions, key=lambda version: version.name)
        if version.name in used or version.backend
    }
    return RouteTable(targets=targets, models=models)


def _model_route(to: Route, scorer: str | None, *, only_plain: bool) -> ModelRoute:
    made = ModelRoute(
        default=to.default,
        named=dict(sorted(to.named.items())),
        experiments=[_experiment_route(split, scorer) for split in to.splits],
    )
    return made.model_copy(update={"experiments": []}) if only_plain and not made.is_plain else made


def backend_target(asked: AskedBackend) -> Target:
    """Return a backend as the table has it."""
    return Target(host="", port=0, model=asked.model, backend=asked.target)


def _target(version: ServedVersion) -> Target:
    if asked := version.backend:
        return backend_target(asked)
    service = version.service or server_name(version.name)
    return Target(
        host=version.address,
        port=ENGINE_PORT,
        model=version.name,
        public=version.public,
        service=service,
        wakes_after=version.wakes_after,
    )


def publicly_known(table: Manifest | None) -> frozenset[str]:
    """Return the versions that a router's ConfigMap says to know their model's name."""
    try:
        targets = json.loads(table["data"][_TABLE_KEY])["targets"] if table else {}
        return frozenset(name for name, target in targets.items() if target.get("public"))
    except (AttributeError, KeyError, TypeError, ValueError):
        return frozenset()


def stamp_of(table: Manifest | None) -> Stamp | None:
    """Return which table a router's ConfigMap holds; None of one that an earlier build wrote, or somebody spoilt.

    Its digest is that of what is there, whatever it says: one that was edited by hand is another table.
    """
    try:
        found = json.loads(table["data"][_TABLE_KEY]) if table else {}
        stamp = Stamp(**{name: found[name] for name in Stamp.model_fields})
    except (KeyError, TypeError, ValueError):
        return None
    return stamp.model_copy(update={"digest": _digest(found)})


def format_of(table: Manifest | None) -> int:
    """Return the format of a router's table; 0 where there is none, or none that can be read."""
    try:
        return int(json.loads(table["data"][_TABLE_KEY])["format"]) if table else 0
    except (KeyError, TypeError, ValueError):
        return 0


def _digest(document: Manifest) -> str:
    """Of the content; empty of one that this build would not have written."""
    try:
        return RouteTable.read(document).digest()
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""


def routed_versions(table: Manifest | None) -> frozenset[str]:
    """Return the versions that a router's ConfigMap names."""
    return frozenset().union(*(route.versions for route in known_routes(table).values()))


def known_routes(table: Manifest | None) -> dict[str, KnownRoute]:
    """Return what a router's ConfigMap says; of one that cannot be read nothing is known: it is written anew."""
    try:
        models = json.loads(table["data"][_TABLE_KEY])["models"] if table else {}
        return {model: _known(route) for model, route in models.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def known_services(table: Manifest | None) -> dict[str, str]:
    """Return which Service a router's ConfigMap sends each version's clients to; none where it cannot be read."""
    try:
        targets = json.loads(table["data"][_TABLE_KEY])["targets"] if table else {}
        return {version: str(target["service"]) for version, target in targets.items() if target.get("service")}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _known(route: Manifest) -> KnownRoute:
    """Leniently: what another build wrote may say more."""
    splits = route["experiments"] if "experiments" in route else filter(None, [route.get("experiment")])
    steps, places, targets = {}, {}, {*route["named"].values(), route["default"]}
    for split in splits:
        steps[str(split["uid"])] = int(split.get("epoch", 0))
        places[str(split["uid"])] = int(split.get("covered", BUCKETS))
        targets |= {variant["target"] for variant in split.get("variants", ())}
    return KnownRoute(route["default"], dict(route["named"]), steps, places, frozenset(targets - {None}))


def _experiment_route(experiment: Split, scorer: str | None) -> ExperimentRoute:
    spec, assignment = experiment.spec, experiment.spec.assignment
    layer, override = assignment.layer, None if experiment.baking else assignment.override
    ends = boundaries([variant.weight for variant in spec.variants])
    variants = [
        VariantRoute(name=variant.name, target=_answers(experiment, variant.name), up_to=up_to)
        for variant, up_to in zip(spec.variants, ends, strict=True)
    ]
    if experiment.baking:
        variants = held_back(variants, spec.control, experiment.baking, spec.decision.bake_holdback_percent)
    return ExperimentRoute(
        name=experiment.name,
        uid=experiment.uid,
        salt=experiment.salt,
        keys=[_key(source) for source in assignment.key_from],
        control=experiment.baking or spec.control,
        variants=variants,
        covered=_covered(experiment),
        epoch=experiment.step,
        layer=layer and LayerRoute(salt=experiment.layer_salt, begin=layer.begin, end=layer.end),
        override=override and OverrideRoute(header=override.header.lower(), users=override.users),
        shadow=_shadow_route(spec.shadow or Shadow()) if spec.type == "Shadow" else None,
        scores=_scores_route(experiment, scorer),
        fallback=spec.control if experiment.baking else None,
    )


def _scores_route(experiment: Split, scorer: str | None) -> ScoresRoute | None:
    metrics = scored_experiments([experiment]).get(experiment.uid)
    if not metrics or not scorer:
        return None
    return ScoresRoute(percent=max(one.percent for one in metrics), host=host_of(scorer), port=SCORER_PORT)


def _covered(experiment: Split) -> int:
    """Where challengers get copies alone nobody takes part, with a router that does not know of copies, either."""
    if experiment.spec.type == "Shadow":
        return 0
    return BUCKETS if experiment.baking else covered(experiment.coverage, experiment.spec.assignment.holdout_percent)


def _shadow_route(shadow: Shadow) -> ShadowRoute:
    return ShadowRoute(
        percent=shadow.percent,
        per_second=shadow.max_requests_per_second,
        in_flight=shadow.max_in_flight,
        seconds=seconds(shadow.timeout),
    )


def _answers(experiment: Split, variant: str) -> str:
    """Whose users are taken from a variant stay its users, so that nobody's turn changes who is counted where."""
    return experiment.spec.version_of(experiment.spec.control if variant in experiment.dropped else variant)


def _key(source: KeySource) -> KeyRoute:
    if source.header:
        return KeyRoute(kind="header", name=source.header.lower())
    if source.cookie:
        return KeyRoute(kind="cookie", name=source.cookie)
    return KeyRoute(kind="body", name=str(source.body_field))


def router_objects(
    namespace: str, owners: Sequence[Manifest], table: RouteTable, stamp: Stamp, env: RouterEnvironment
) -> list[Manifest]:
    """Return everything a router needs; it is deleted with the last of the ModelVersions that own it."""
    metadata: Manifest = {
        "namespace": namespace,
        "name": ROUTER,
        "labels": labels("router", ROUTER),
        "annotations": {OWNER_ANNOTATION: ROUTER},
        "ownerReferences": owned_by_all(owners),
    }
    keyed = {**metadata, "annotations": {**metadata["annotations"], **_marked(env)}}
    account = {"kind": "ServiceAccount", "name": ROUTER, "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ROUTER}
    rule = {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": [ROUTER],
        "verbs": ["get", "list", "watch"],
    }
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}
    rbac = "rbac.authorization.k8s.io/v1"
    ports = [{"name": "http", "port": _HTTP, "targetPort": "http"}]
    ports.append({"name": "admin", "port": _ADMIN, "targetPort": "admin"})
    service = {"selector": _CHOSEN, "ports": ports}
    budget = {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": {"matchLabels": _CHOSEN}}
    content = json.dumps(table.document(stamp), indent=1)
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {_TABLE_KEY: content}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": [rule, slices]},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "subjects": [account], "roleRef": role},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": budget},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": keyed, "spec": _deployment(env)},
    ]


def _marked(env: RouterEnvironment) -> dict[str, str]:
    """So that new keys replace the pods."""
    marked = {KEYS_ANNOTATION: env.keys.of_router()}
    told = {file: one.content for file, one in sorted(env.trusted.items())}
    return {**marked, _TRUSTED_ANNOTATION: digest_of(told)} if told else marked


def _deployment(env: RouterEnvironment) -> Manifest:
    """Several pods that keep nothing: each is replaced by one that is ready before it ends, in an experiment, too."""
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _CHOSEN},
    }
    return {
        "replicas": _REPLICAS,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": _CHOSEN},
        "template": {
            "metadata": {"labels": {**labels("router", ROUTER), **_CHOSEN}, "annotations": _marked(env)},
            "spec": {
                "serviceAccountName": ROUTER,
                "automountServiceAccountToken": False,  # the agent alone has it
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": _GRACE_SECONDS,
                "topologySpreadConstraints": [spread],
                "securityContext": pod_security(),
                "containers": [_nginx(env), _agent(env), _shipper(env)],
                "volumes": [
                    scratch_volume(),
                    {"name": "shared", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "routes", "configMap": {"name": ROUTER}},
                    {"name": "token", "projected": {"sources": _TOKEN_SOURCES}},
                    address_volume(),
                    tasks_volume(),
                    *key_volumes(env.backend_keys),
                    *trusted_volumes(env.trusted),
                    *authorities_volumes(env.authorities),
                ],
            },
        },
    }


def _router_container(name: str, env: RouterEnvironment, arguments: list[str], memory: str) -> Manifest:
    resources = ResourceRequirements(requests={"cpu": "100m", "memory": memory})
    made = container(name, env.image, env.pull_policy, arguments, resources)
    made["volumeMounts"] += [{"name": "shared", "mountPath": "/shared"}]
    made["lifecycle"] = LEAVING  # all of them: what still takes requests needs the newest routes
    return made


def _nginx(env: RouterEnvironment) -> Manifest:
    made = _router_container("nginx", env, ["-m", "serving_runtime.router"], "256Mi")
    cores = {"resourceFieldRef": {"containerName": "nginx", "resource": "requests.cpu"}}
    made["env"] = [*made["env"], {"name": "ANNEAL_CORES", "valueFrom": cores}]  # rounded up: a worker for each
    made["env"] += map(key_variable, (ENGINE_KEY_VARIABLE, ADMIN_KEY_VARIABLE, USER_KEY_VARIABLE, TASKS_KEY_VARIABLE))
    made["ports"] = [{"name": "http", "containerPort": _HTTP}, {"name": "admin", "containerPort": _ADMIN}]
    made["readinessProbe"] = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 2}
    made["volumeMounts"] += [
        address_mount(),
        tasks_mount(),
        *key_mounts(env.backend_keys),
        *trusted_mounts(env.trusted),
    ]
    return trusting(made, env.authorities)


def _agent(env: RouterEnvironment) -> Manifest:
    arguments = ["-m", "serving_runtime.router.agent", "--config-map", ROUTER, "--key", _TABLE_KEY]
    arguments += ["--mounted", f"/etc/anneal/{_TABLE_KEY}", "--to", f"/shared/{_TABLE_KEY}"]
    made = _router_container("agent", env, arguments, "128Mi")
    made["volumeMounts"].append({"name": "routes", "mountPath": "/etc/anneal", "readOnly": True})
    made["volumeMounts"].append({"name": "token", "mountPath": _TOKEN, "readOnly": True})
    made["volumeMounts"] += [*key_mounts(env.backend_keys), *trusted_mounts(env.trusted)]
    return trusting(made, env.authorities)


def _shipper(env: RouterEnvironment) -> Manifest:
    """Apart from the agent: the end of either leaves the other alone, and this one rests in a few megabytes."""
    arguments = ["-m", "serving_runtime.router.shipper", "--records", RECORDS_FOLDER, "--recorder", ADDRESS_FILE]
    arguments += ["--end-within", str(_SHIPPING_SECONDS)]
    made = _router_container("shipper", env, arguments, "64Mi")
    made["env"].append(key_variable(ADMIN_KEY_VARIABLE))
    made["volumeMounts"].append(address_mount())
    return made
