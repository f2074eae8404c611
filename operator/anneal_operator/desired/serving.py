"""What serves a ModelVersion: a Deployment of vLLM and its Service; `groups.py`, where several nodes share an engine.

Whatever an operator changes in the pods replaces all of them, so engines that another build made stay as they are until
it is their turn (`decide/model_version.py`): a Deployment says what it was made of.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from anneal_operator.api.artifact import Artifact
from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.api.serving import Serving
from serving_runtime.plan import (
    ALIVE_PATH,
    ANY_ENDPOINT,
    ENGINE_KEY_VARIABLE,
    LEFT_BY_ALL_SECONDS,
    SILENCE_VARIABLE,
    STARTED_PATH,
    WARM_UP_VARIABLE,
    ServingPlan,
    WarmUp,
)

from .keys import KEYS_ANNOTATION, Keys, key_variable
from .pod_wishes import with_wishes
from .pods import Manifest, container, controller_of, gpu_tolerations, labels, pod_security, scratch_volume
from .weights import (
    MODEL_FOLDER,
    Authorities,
    Downloading,
    Weights,
    authorities_volumes,
    trusting,
    weights,
    with_room,
)

__all__ = [
    "BUILD_ANNOTATION",
    "ENGINE_PORT",
    "GROUP_LABEL",
    "MARGIN_SECONDS",
    "ROLLOUTS",
    "VERSION_LABEL",
    "WISH_ANNOTATION",
    "WORKER_LABEL",
    "ServingEnvironment",
    "deployment",
    "deployment_of",
    "digest_of",
    "engine_pod",
    "metadata_of",
    "plan_of",
    "runs",
    "selector",
    "server_name",
    "service",
    "service_of",
    "wish_of",
]

ENGINE_PORT = 8000
VERSION_LABEL = "anneal.dev/model-version"
GROUP_LABEL = "anneal.dev/engine-group"
"""On all pods of engines that several nodes share: they talk to each other, on ports of their choice."""
WORKER_LABEL = "anneal.dev/model-version-worker"
"""On pods that have a part of an engine, and no server: whom they work for."""
BUILD_ANNOTATION = "anneal.dev/build"
"""On a Deployment: what an installation makes pods of, so that what a watch keeps of it tells. Another release has
another image, which holds the same code.
"""
WISH_ANNOTATION = "anneal.dev/wish"
"""On a Deployment: what people asked of its pods, to be told from what an operator made of that."""
_PROBE_SECONDS, _STARTUP_PROBE_SECONDS, _READINESS_PROBES = 5, 2, 3
_LIVENESS_PROBES = 12
"""For two minutes: while it reads a long prompt or compiles, an engine's server may not answer at all."""
_LONGEST_SILENCE_SECONDS = "600"
"""Of an engine without a GPU, whose step with a long prompt may take that long."""
MARGIN_SECONDS = 10
_LIMITS = {
    "VLLM_MAX_COMPLETION_PROMPTS": "64",
    "VLLM_MAX_N_SEQUENCES": "16",
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
}
"""What one request may cost the others, unless the installation says otherwise; vLLM's own are 1,024 and 16,384."""
_OF_NO_POD = {"replicas", "autoscaling", "rollout", "rollback_window", "retire_after"}
_PROGRESS_DEADLINE_SECONDS = 30 * 86400
"""A download may take hours. Not 2**31 - 1: with that Kubernetes tells of no progress, and so of no rollout's end."""
_ONCE_THE_DEADLINE = "15m"
"""What an earlier API wrote into every object, so that nobody may have asked for it."""
ROLLOUTS: dict[str, Manifest] = {
    "Surge": {"maxSurge": 1, "maxUnavailable": 0},
    "Recreate": {"maxSurge": 0, "maxUnavailable": 1},
}


@dataclass(frozen=True)
class ServingEnvironment:
    """What the installation gives every serving pod."""

    image: str
    pull_policy: str
    mlflow_url: str
    variables: dict[str, str]
    keys: Keys
    authorities: Authorities | None = None
    endpoints: Sequence[str] = ANY_ENDPOINT
    """How the endpoints of hubs and S3 may begin."""

    @property
    def build(self) -> str:
        """Tells one installation's pods from another's; the keys are not its own."""
        trusted = [self.authorities.config_map, self.authorities.key] if self.authorities else []
        return digest_of([self.image, self.pull_policy, self.mlflow_url, self.variables, trusted, [*self.endpoints]])

    @property
    def downloading(self) -> Downloading:
        """How weights are downloaded."""
        return Downloading(self.image, self.pull_policy, self.variables, self.authorities, self.endpoints)


def server_name(version: str) -> str:
    """The Deployment and Service of a version."""
    return f"{version}-server"


def selector(version: str) -> str:
    """The labels of a version's pods, as the scale subresource tells them."""
    return f"{VERSION_LABEL}={version}"


def wish_of(serving: Serving, keys: Keys) -> str:
    """What a change of pods is for that no operator makes by itself: fields that people set, and the engine's key."""
    asked = serving.model_dump(mode="json", exclude=_OF_NO_POD, exclude_defaults=True)
    if asked.get("startup_deadline") == _ONCE_THE_DEADLINE:
        del asked["startup_deadline"]
    return digest_of([asked, keys.of_engine()])


def digest_of(what: object) -> str:
    """Return the address of content, short enough for a name."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def deployment(
    parent: Manifest,
    spec: ModelVersionSpec,
    serving: Serving,
    replicas: int,
    env: ServingEnvironment,
    *,
    startup_seconds: int,
) -> Manifest:
    """The Deployment of vLLM; a pod is ready when the weights are verified and the engine has answered a question,
    for which it has so many seconds.
    """
    plan = plan_of(parent["metadata"]["name"], spec, serving, env)
    pod = engine_pod(spec.weights, plan, serving, env, startup_seconds=startup_seconds)
    return deployment_of(metadata_of(parent), _chosen(parent), pod, serving, replicas, env)


def deployment_of(
    metadata: Manifest,
    chosen: dict[str, str],
    pod: Manifest,
    serving: Serving,
    replicas: int,
    env: ServingEnvironment,
) -> Manifest:
    """A Deployment of engines, whoever they serve; `chosen` are the labels that its pods have and no others."""
    marked = {KEYS_ANNOTATION: env.keys.of_engine()}
    made_of = {BUILD_ANNOTATION: env.build, WISH_ANNOTATION: wish_of(serving, env.keys)}
    template = {"metadata": {"labels": {**metadata["labels"], **chosen}, "annotations": marked}, "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **made_of, **marked}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": chosen},
            "progressDeadlineSeconds": _PROGRESS_DEADLINE_SECONDS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": ROLLOUTS[serving.rollout]},
            "template": with_wishes(template, serving.pod_template),
        },
    }


def _chosen(parent: Manifest) -> dict[str, str]:
    return {VERSION_LABEL: parent["metadata"]["name"]}


def engine_pod(
    artifact: Artifact,
    plan: ServingPlan,
    serving: Serving,
    env: ServingEnvironment,
    *arguments: str,
    startup_seconds: int,
) -> Manifest:
    """The spec of an engine's pod; `arguments` are the launcher's beside those that every engine has."""
    brought = weights(artifact, serving, env.downloading, plan.model_dump_json(), ENGINE_PORT)
    engine = _engine(plan, serving, env, brought, startup_seconds, arguments)
    engine["resources"] = with_room(engine["resources"], artifact, serving)
    volumes = [*brought.volumes, *authorities_volumes(env.authorities)]
    return _pod(serving, trusting(engine, env.authorities), brought.before, volumes)


def _pod(serving: Serving, engine: Manifest, before: list[Manifest], volumes: list[Manifest]) -> Manifest:
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": LEFT_BY_ALL_SECONDS + serving.drain_seconds + MARGIN_SECONDS,
        "securityContext": pod_security(),
        **({"initContainers": before} if before else {}),
        "containers": [engine],
        "volumes": [scratch_volume(), {"name": "shared-memory", "emptyDir": {"medium": "Memory"}}, *volumes],
    }
    if tolerations := gpu_tolerations(serving.resources):
        pod["tolerations"] = tolerations
    return pod


def _engine(
    plan: ServingPlan,
    serving: Serving,
    env: ServingEnvironment,
    brought: Weights,
    startup_seconds: int,
    arguments: Sequence[str],
) -> Manifest:
    """The container. It ends by what `leave` says, so that no request is lost, and is killed where it hangs."""
    launch = ["-m", "serving_runtime.launch", "--port", str(ENGINE_PORT), "--folder", MODEL_FOLDER]
    launch += ["--plan", plan.model_dump_json(), *arguments]
    started = ["-m", "serving_runtime.supervise", *launch]
    made = container("engine", env.image, env.pull_policy, started, serving.resources)
    made["env"] += [{"name": key, "value": value} for key, value in sorted({**_LIMITS, **env.variables}.items())]
    warm_up = WarmUp(requests=serving.warm_up.requests, max_tokens=serving.warm_up.max_tokens)
    made["env"].append({"name": WARM_UP_VARIABLE, "value": warm_up.model_dump_json()})
    if not serving.resources.gpus:
        made["env"].append({"name": SILENCE_VARIABLE, "value": _LONGEST_SILENCE_SECONDS})
    made["env"].append(key_variable(ENGINE_KEY_VARIABLE))
    made["ports"] = [{"name": "http", "containerPort": ENGINE_PORT}]
    deadline = -(-startup_seconds // _STARTUP_PROBE_SECONDS)
    made["startupProbe"] = _killing_probe(STARTED_PATH, _STARTUP_PROBE_SECONDS, deadline)
    made["readinessProbe"] = _probe("/health", _PROBE_SECONDS, _READINESS_PROBES)
    made["livenessProbe"] = _killing_probe(ALIVE_PATH, 2 * _PROBE_SECONDS, _LIVENESS_PROBES)
    made["lifecycle"] = runs(
        "serving_runtime.leave", "--port", str(ENGINE_PORT), "--seconds", str(serving.drain_seconds)
    )
    made["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})  # noqa: S108 - torch's workers
    made["volumeMounts"].append(brought.mount)
    return made


def _probe(path: str, period: int, failures: int) -> Manifest:
    asked = {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": _PROBE_SECONDS}
    return {**asked, "periodSeconds": period, "failureThreshold": failures}


def _killing_probe(path: str, period: int, failures: int) -> Manifest:
    """What ends an engine that fails it, without waiting for answers: they do not come."""
    return {**_probe(path, period, failures), "terminationGracePeriodSeconds": MARGIN_SECONDS}


def runs(module: str, *arguments: str) -> Manifest:
    """What a pod does before its container is asked to end."""
    return {"preStop": {"exec": {"command": ["python", "-m", module, *arguments]}}}


def plan_of(name: str, spec: ModelVersionSpec, serving: Serving, env: ServingEnvironment) -> ServingPlan:
    """What a pod is told of the version that it serves."""
    return ServingPlan(
        tracking_uri=env.mlflow_url,
        uri=spec.weights.uri,
        digest=spec.weights.digest,
        served_name=name,
        public_name=spec.model_name,
        dtype=serving.dtype,
        max_model_length=serving.max_model_length,
        thinks=spec.prompt is not None and spec.prompt.thinking == "Keep",
        engine_args=[argument.word for argument in serving.engine_args],
        tensor_parallel=serving.tensor_parallel,
        quantization=serving.quantization,
        prefix_caching=serving.prefix_caching,
        trust_remote_code=serving.trust_remote_code,
        tool_call_parser=serving.tool_call_parser,
        reasoning_parser=serving.reasoning_parser,
        drain_seconds=serving.drain_seconds,
        canary_tolerance=serving.canary_tolerance,
    )


def service(parent: Manifest) -> Manifest:
    """The Service in front of the Deployment."""
    return service_of(metadata_of(parent), _chosen(parent))


def service_of(metadata: Manifest, chosen: dict[str, str]) -> Manifest:
    """The Service in front of the engines with these labels."""
    ports = [{"name": "http", "port": ENGINE_PORT, "targetPort": "http"}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": chosen, "ports": ports}}


def metadata_of(parent: Manifest) -> Manifest:
    """Of all that serves a version."""
    name = parent["metadata"]["name"]
    return {
        "name": server_name(name),
        "namespace": parent["metadata"]["namespace"],
        "labels": {**labels("model-version", name), VERSION_LABEL: name},
        "ownerReferences": [controller_of(parent)],
    }
