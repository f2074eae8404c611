"""What the builders make of the example; `python -m tests.desired.examples` writes it to golden/."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.backend import Backend
from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.route import Route, Split
from anneal_operator.api.serving import Serving, WarmUp
from anneal_operator.desired.backends import asked_backend
from anneal_operator.desired.fetching import fetch_job
from anneal_operator.desired.gateway import GatewayEnvironment, http_route
from anneal_operator.desired.groups import workload
from anneal_operator.desired.keys import KEYS_ANNOTATION, KeyRing, Keys, kept
from anneal_operator.desired.operations import Create
from anneal_operator.desired.plan import Base
from anneal_operator.desired.policies import ROUTER_PODS, PolicyEnvironment, policies
from anneal_operator.desired.publishing import model_version
from anneal_operator.desired.recorder import RecorderEnvironment, recorder_claim, recorder_objects
from anneal_operator.desired.routing import (
    RouterEnvironment,
    ServedVersion,
    route_table,
    router_objects,
)
from anneal_operator.desired.scaling import scaled_object, without_replicas
from anneal_operator.desired.scorer import ScorerEnvironment, scorer_objects
from anneal_operator.desired.serving import VERSION_LABEL, ServingEnvironment, deployment, service
from anneal_operator.desired.shared_base import Member, adapters_config, engine_name, shared_deployment, shared_service
from anneal_operator.desired.stage_pod import TrainingEnvironment
from anneal_operator.desired.tasks import TasksEnvironment, task_table, tasks_objects
from anneal_operator.desired.training import headless_service, plan_config_map, stage_job, volume_claim
from anneal_operator.desired.weights import Authorities
from serving_runtime.scoring import ScoredMetric
from training_runtime.plan import Published

__all__ = ["EXAMPLES", "GOLDEN", "text"]

GOLDEN = Path(__file__).parent / "golden"
_CHECKOUT = Path(__file__).parents[2]
_ENGINE = {"VLLM_CPU_KVCACHE_SPACE": "1"}
_TRAINING = TrainingEnvironment(
    "trainer:1",
    "IfNotPresent",
    "http://mlflow:5000",
    "https://operator:8443",
    "CERTIFICATE",
    "server:1",
    _ENGINE,
    "here",
)
_KEYS = Keys("an engine's key", "the operator's key", "the key of users' hashes", "the task API's key")
_SERVING = ServingEnvironment("server:1", "IfNotPresent", "http://mlflow:5000", _ENGINE, _KEYS)
_ROUTER = RouterEnvironment("router:1", "IfNotPresent", _KEYS)
_PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


def _parent(kind: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "uid": f"uid-of-{name}"}
    return {"apiVersion": "anneal.dev/v1alpha1", "kind": kind, "metadata": metadata}


def _job(path: str) -> tuple[dict[str, Any], FineTuneJobSpec]:
    documents = yaml.safe_load_all((_CHECKOUT / f"examples/{path}.yaml").read_text())
    manifest = next(document for document in documents if document["kind"] == "FineTuneJob")
    return _parent("FineTuneJob", manifest["metadata"]["name"]), FineTuneJobSpec.parse(manifest["spec"])


def _training_objects() -> list[dict[str, Any]]:
    parent, spec = _job("spam-filter/cpu/tuned")
    base = Base("mlflow-artifacts:/1/run/artifacts/model", "models:/spam-filter/1", "sha256:" + "0" * 64)
    jobs = [
        stage_job(parent, spec, stage, _TRAINING, attempt=1) for stage in ("prepare", "train", "evaluate", "publish")
    ]
    claim = volume_claim(parent, spec)
    return [plan_config_map(parent, spec, base, _TRAINING), *([claim] if claim else []), *jobs]


def _random_objects() -> list[dict[str, Any]]:
    parent, spec = _job("spam-filter/cpu/base")
    base = Base("/inputs/configmap/tiny-qwen3", "configmap://tiny-qwen3")
    return [plan_config_map(parent, spec, base, _TRAINING), stage_job(parent, spec, "prepare", _TRAINING)]


def _many_gpus() -> list[dict[str, Any]]:
    parent, spec = _job("expressway-assistant/h100/job")
    base = Base("/inputs/pvc/models/Qwen3-32B", "pvc://models/Qwen3-32B")
    service, claim = headless_service(parent, spec), volume_claim(parent, spec)
    jobs = [
        stage_job(parent, spec, stage, _TRAINING, attempt=2, seconds_left=259000)
        for stage in ("prepare", "train", "evaluate")
    ]
    return [plan_config_map(parent, spec, base, _TRAINING), *(made for made in (claim, service) if made), *jobs]


def _answered_by_vllm() -> list[dict[str, Any]]:
    """One job with GPUs, one without."""
    jobs = [_job("expressway-assistant/h100/job"), _job("spam-filter/cpu/tuned")]
    return [stage_job(parent, spec, "evaluate", _TRAINING, engine="VLLM") for parent, spec in jobs]


def _version(path: str = "spam-filter/cpu/tuned") -> tuple[dict[str, Any], dict[str, Any]]:
    parent, spec = _job(path)
    published = Published(
        run_id="run",
        experiment_id="1",
        uri="mlflow-artifacts:/1/run/artifacts/model",
        digest="sha256:" + "0" * 64,
        bytes=1_600_000_000,
        format="Merged",
    )
    made = model_version(parent, spec, published, "sha256:" + "1" * 64)
    return made, {**made, "metadata": {**made["metadata"], "uid": "uid-of-version"}}


def _serving_objects() -> list[dict[str, Any]]:
    made, stored = _version()
    spec = ModelVersionSpec.parse(made["spec"])
    serving = spec.serving or Serving()
    return [made, deployment(stored, spec, serving, 1, _SERVING, startup_seconds=900), service(stored)]


def _one_after_the_other() -> list[dict[str, Any]]:
    """On a GPU that there is no other of."""
    _, stored = _version()
    spec = ModelVersionSpec.parse(stored["spec"])
    gpu = ResourceRequirements.parse({"limits": {"nvidia.com/gpu": 1}})
    given: dict[str, Any] = {
        "rollout": "Recreate",
        "drain_seconds": 30,
        "warm_up": WarmUp(requests=8, max_tokens=64),
        "resources": gpu,
    }
    return [deployment(stored, spec, Serving(**given), 2, _SERVING, startup_seconds=3600)]


def _serving_on_gpus() -> list[dict[str, Any]]:
    """With everything that the example leaves out, too."""
    _, stored = _version("expressway-assistant/h100/job")
    given = stored["spec"]["serving"]
    more = {
        "quantization": "FP8",
        "prefixCaching": False,
        "toolCallParser": "hermes",
        "reasoningParser": "qwen3",
        "trustRemoteCode": True,
        "engineArgs": [*given["engineArgs"], {"name": "async-scheduling", "value": "false"}],
        "resources": {"limits": {"nvidia.com/gpu": 2}},
        "cache": {"claimName": "models"},
        "podTemplate": {
            **given["podTemplate"],
            "labels": {"team": "roads", VERSION_LABEL: "not-mine"},
            "annotations": {"note": "a", KEYS_ANNOTATION: "not-mine"},
            "env": [{"name": "NCCL_DEBUG", "value": "WARN"}],
            "tolerations": [{"key": "night", "operator": "Exists"}],
            "priorityClassName": "serving",
            "imagePullSecrets": [{"name": "registry"}],
        },
    }
    spec = ModelVersionSpec.parse({**stored["spec"], "serving": {**given, **more}})
    return [deployment(stored, spec, spec.serving or Serving(), 1, _SERVING, startup_seconds=901)]


def _on_several_nodes() -> list[dict[str, Any]]:
    """An engine of two nodes with eight GPUs each."""
    _, stored = _version("expressway-assistant/h100/job")
    more = {
        "nodes": 2,
        "cache": {"claimName": "models"},
        "resources": {"limits": {"nvidia.com/gpu": 8}},
        "podTemplate": {"env": [{"name": "NCCL_SOCKET_IFNAME", "value": "eth0"}]},
    }
    spec = ModelVersionSpec.parse({**stored["spec"], "serving": {**stored["spec"]["serving"], **more}})
    return [workload(stored, spec, spec.serving or Serving(), 1, _SERVING, startup_seconds=901), service(stored)]


def _scaled_by_keda() -> list[dict[str, Any]]:
    """By what Prometheus says, and by the time of day."""
    _, stored = _version()
    prometheus = {
        "serverAddress": "http://prometheus.monitoring:9090",
        "query": 'sum(vllm:num_requests_waiting{namespace="team"})',
        "threshold": "4",
    }
    hours = {"timezone": "Asia/Seoul", "start": "0 8 * * *", "end": "0 20 * * *", "desiredReplicas": "2"}
    triggers = [
        {"type": "prometheus", "metadata": prometheus, "authenticationRef": {"name": "monitoring"}},
        {"type": "cron", "metadata": hours},
    ]
    scaling = {"minReplicas": 0, "maxReplicas": 6, "idleAfter": "20m", "scaleDownDelay": "2m", "triggers": triggers}
    serving = Serving.parse({"autoscaling": scaling})
    spec = ModelVersionSpec.parse({**stored["spec"], "serving": {"autoscaling": scaling}})
    made = without_replicas(workload(stored, spec, serving, 1, _SERVING, startup_seconds=900))
    return [made, scaled_object(stored, serving, serving.autoscaling, 0)] if serving.autoscaling else []


def _from_elsewhere() -> list[dict[str, Any]]:
    """Weights that are mounted as they are, and such as are read with credentials and kept."""
    _, stored = _version()
    artifact = stored["spec"]["artifact"]
    sources: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("pvc://models/spam/1", {}, {}),
        ("oci://registry.example.com/team/spam:1", {}, {}),
        ("s3://models/spam/1", {"secretRef": {"name": "reader"}}, {"cache": {"claimName": "models"}}),
    ]
    made = []
    for uri, more, cache in sources:
        serving = {**stored["spec"]["serving"], **cache}
        spec = ModelVersionSpec.parse(
            {**stored["spec"], "artifact": {**artifact, "uri": uri, **more}, "serving": serving}
        )
        made.append(deployment(stored, spec, spec.serving or Serving(), 1, _SERVING, startup_seconds=900))
    return made


def _behind_a_proxy() -> list[dict[str, Any]]:
    """Weights of a hub, onto the node's disk, where an installation says which way and whom to trust."""
    _, stored = _version()
    proxies = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": ".svc,10.0.0.0/8"}
    env = replace(
        _SERVING,
        variables=_ENGINE | proxies,
        authorities=Authorities("our-authorities", "ca.crt"),
        endpoints=["https://hub.example.com/"],
    )
    artifact = {**stored["spec"]["artifact"], "uri": "hf://our-team/spam@v1", "secretRef": {"name": "reader"}}
    serving = {
        **stored["spec"]["serving"],
        "resources": {"requests": {"cpu": "2"}, "limits": {"ephemeral-storage": "20Gi"}},
        "podTemplate": {"env": [{"name": "NO_PROXY", "value": ".svc,.example.com"}]},
    }
    spec = ModelVersionSpec.parse({**stored["spec"], "artifact": artifact, "serving": serving})
    return [deployment(stored, spec, spec.serving or Serving(), 1, env, startup_seconds=900)]


def _ahead_of_nodes() -> list[dict[str, Any]]:
    """What brings weights to their claim while a GPU is awaited."""
    _, stored = _version("expressway-assistant/h100/job")
    chosen = {"nodeSelector": {"kubernetes.io/arch": "amd64", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}}
    serving = {**stored["spec"]["serving"], "cache": {"claimName": "models"}, "podTemplate": chosen}
    spec = ModelVersionSpec.parse({**stored["spec"], "serving": serving})
    return [fetch_job(stored, spec, spec.serving or Serving(), _SERVING)]


def _shared_objects() -> list[dict[str, Any]]:
    serving = {"sharing": "SharedBase", "dtype": "BF16", "adapters": {"maxRank": 32, "atOnce": 8}}
    members = [_adapter("spam-filter-german", "1", serving), _adapter("spam-filter-french", "2", serving)]
    name = engine_name(members[0].spec) if members[0].spec else ""
    made = [adapters_config(name, members), shared_service(name, members)]
    return [*made, shared_deployment(name, members, 2, _SERVING, startup_seconds=900)]


def _adapter(name: str, digit: str, serving: dict[str, Any]) -> Member:
    base = {"uri": "mlflow-artifacts:/1/base/artifacts/model", "digest": "sha256:" + "0" * 64}
    artifact = {"uri": f"mlflow-artifacts:/1/{digit}/artifacts/adapter", "digest": "sha256:" + digit * 64}
    artifact |= {"format": "Adapter", "base": base}  # type: ignore[dict-item] # of values of several kinds
    spec = {"modelName": "spam-filter", "artifact": artifact, "serving": serving}
    return Member(_parent("ModelVersion", name) | {"spec": spec}, ModelVersionSpec.parse(spec))


def _router_objects(file: str = "experiment.yaml") -> list[dict[str, Any]]:
    experiment = yaml.safe_load((_CHECKOUT / "examples/spam-filter" / file).read_text())
    name, spec = experiment["metadata"]["name"], ABExperimentSpec.parse(experiment["spec"])
    base, tuned = "spam-filter-base", "spam-filter-tuned"
    named = {"1": base, "base": base, "production": base, "2": tuned}
    to = Route(base, named, [Split(name, "uid-x", spec, f"team/{name}")])
    versions = [ServedVersion(base, "10.0.0.1", public="spam-filter"), ServedVersion(tuned, "10.0.0.2")]
    owners = [_parent("ModelVersion", version.name) for version in versions]
    table = route_table(versions, {"spam-filter": to})
    return router_objects("team", owners, table, table.stamped("2026-03-01T12:00:00Z", 1), _ROUTER)


def _routes_of_a_shadow() -> list[dict[str, Any]]:
    """The table alone: all else is as of any router."""
    return _router_objects("shadow.yaml")[:1]


def _recorder_objects() -> list[dict[str, Any]]:
    owners = [_parent("ModelVersion", name) for name in ("spam-filter-base", "spam-filter-tuned")]
    env = RecorderEnvironment("router:1", "IfNotPresent", "anneal-recorder", _KEYS)
    return [recorder_claim("team"), *recorder_objects("team", owners, "10.0.0.3", env)]


def _scorer_objects() -> list[dict[str, Any]]:
    owners = [_parent("ModelVersion", "spam-filter-base")]
    metrics = [
        ScoredMetric(name="valid", source="SchemaValidity", percent=50, response_schema='{"type": "object"}'),
        ScoredMetric(name="declined", source="Refusals", percent=100),
    ]
    env = ScorerEnvironment("router:1", "IfNotPresent", "10.0.0.3", ROUTER_PODS, _KEYS)
    return scorer_objects("team", owners, {"uid-of-experiment": metrics}, env)


def _tasks_objects() -> list[dict[str, Any]]:
    """Two versions of one job's settings, one of another's, and one that says nothing."""
    owners = [_version(path)[1] for path in ("claims-extraction/h100/job", "spam-filter/cpu/tuned")]
    owners.append({**owners[0], "metadata": {**owners[0]["metadata"], "name": "claims-extraction-2"}})
    owners.append(_parent("ModelVersion", "hosted") | {"spec": {"modelName": "hosted", "backend": {}}})
    env = TasksEnvironment("router:1", "IfNotPresent", _KEYS, "anneal-router")
    return tasks_objects("team", owners, task_table(owners), "10.0.0.4", env)


def _policies() -> list[dict[str, Any]]:
    owners = [_parent("ModelVersion", "spam-filter-base")]
    return policies("team", owners, PolicyEnvironment("anneal-system", [_PROMETHEUS]))


def _secret() -> list[dict[str, Any]]:
    return [step.manifest for step in kept("team", KeyRing(_KEYS)) if isinstance(step, Create)]


def _router_to_backends() -> list[dict[str, Any]]:
    """A hosted API with a key and an authority of its own, and another server of the namespace."""
    hosted = Backend.parse(
        {
            "url": "https://api.example.com/v1",
            "apiKey": {"secretKeyRef": {"name": "hosted", "key": "token"}},
            "caCertificateRef": {"name": "hosted-ca"},
            "model": "large-2",
        }
    )
    inside = Backend.parse({"serviceRef": {"name": "kserve", "port": 80, "path": "/openai/v1"}})
    service = {"spec": {"ports": [{"name": "metrics", "port": 9090}, {"name": "http", "port": 80}]}}
    held = {"data": {"ca.crt": "PEM"}}
    versions = [
        ServedVersion("hosted", "", backend=asked_backend("team", "hosted", hosted, "large-2", None).trusting(held)),
        ServedVersion("inside", "", backend=asked_backend("team", "inside", inside, "spam-filter", service)),
    ]
    owners = [_parent("ModelVersion", version.name) for version in versions]
    table = route_table(versions, {"spam-filter": Route("inside", {"1": "inside", "production": "inside"})})
    asked = [version.backend for version in versions if version.backend]
    keys = {backend.target.key: backend.key for backend in asked if backend.key}
    trusted = {backend.target.trusted: backend.trusted for backend in asked if backend.trusted}
    env = replace(_ROUTER, backend_keys=keys, trusted=trusted)
    return router_objects("team", owners, table, table.stamped("2026-03-01T12:00:00Z", 1), env)


def _http_route() -> list[dict[str, Any]]:
    gateways = GatewayEnvironment(
        [{"name": "public", "namespace": "gateways", "sectionName": "https"}], ["{namespace}.models.example.com"]
    )
    return [http_route("team", [_parent("ModelVersion", "spam-filter-base")], gateways)]


EXAMPLES = {
    "training": _training_objects,
    "training-from-new-weights": _random_objects,
    "training-on-many-gpus": _many_gpus,
    "evaluation-by-vllm": _answered_by_vllm,
    "serving": _serving_objects,
    "serving-one-after-the-other": _one_after_the_other,
    "serving-on-gpus": _serving_on_gpus,
    "serving-from-elsewhere": _from_elsewhere,
    "serving-behind-a-proxy": _behind_a_proxy,
    "weights-ahead": _ahead_of_nodes,
    "serving-group": _on_several_nodes,
    "serving-keda": _scaled_by_keda,
    "serving-shared": _shared_objects,
    "router": _router_objects,
    "router-to-backends": _router_to_backends,
    "routes-of-a-shadow": _routes_of_a_shadow,
    "http-route": _http_route,
    "recorder": _recorder_objects,
    "scorer": _scorer_objects,
    "tasks": _tasks_objects,
    "keys": _secret,
    "policies": _policies,
}


class _Dumper(yaml.SafeDumper):
    """Writes no anchors, and long texts as blocks."""


_Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]
_Dumper.add_representer(
    str,
    lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None),
)


def text(name: str) -> str:
    """Return what a golden file must hold."""
    return yaml.dump_all(EXAMPLES[name](), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    for name in EXAMPLES:
        (GOLDEN / f"{name}.yaml").write_text(text(name))
