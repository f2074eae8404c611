"""What serves a ModelVersion: a Deployment of vLLM and its Service."""

from dataclasses import dataclass

from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.api.serving import Serving
from serving_runtime.plan import ENGINE_KEY_VARIABLE, ServingPlan

from .keys import KEYS_ANNOTATION, Keys, key_variable
from .pod_wishes import with_wishes
from .pods import LEAVING, Manifest, container, controller_of, gpu_tolerations, labels, pod_security, scratch_volume

__all__ = [
    "ENGINE_PORT",
    "IMAGE_ANNOTATION",
    "VERSION_LABEL",
    "ServingEnvironment",
    "deployment",
    "selector",
    "server_name",
    "service",
]

ENGINE_PORT = 8000
VERSION_LABEL = "anneal.dev/model-version"
IMAGE_ANNOTATION = "anneal.dev/image"
"""On a Deployment: the image that its pods run, so that what a watch keeps of it tells."""
_START_SECONDS = 900


@dataclass(frozen=True)
class ServingEnvironment:
    """What the installation gives every serving pod."""

    image: str
    pull_policy: str
    mlflow_url: str
    variables: dict[str, str]
    keys: Keys | None
    """None for an engine that an earlier build made, which stays as it is: it demands no key, knows no public name, and
    ends at once.
    """


def server_name(version: str) -> str:
    """The Deployment and Service of a version."""
    return f"{version}-server"


def selector(version: str) -> str:
    """The labels of a version's pods, as the scale subresource tells them."""
    return f"{VERSION_LABEL}={version}"


def deployment(
    parent: Manifest, spec: ModelVersionSpec, serving: Serving, replicas: int, env: ServingEnvironment
) -> Manifest:
    """The Deployment of vLLM; a pod is ready when the weights are verified and the engine answers."""
    name = parent["metadata"]["name"]
    arguments = ["-m", "serving_runtime.launch", "--port", str(ENGINE_PORT), "--plan", _plan(name, spec, serving, env)]
    made = container("engine", env.image, env.pull_policy, arguments, serving.resources)
    made["env"] += [{"name": key, "value": value} for key, value in sorted(env.variables.items())]
    made["ports"] = [{"name": "http", "containerPort": ENGINE_PORT}]
    probe = {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": 5}
    made["startupProbe"] = {**probe, "periodSeconds": 2, "failureThreshold": _START_SECONDS // 2}
    made["readinessProbe"] = {**probe, "periodSeconds": 5}
    if env.keys:
        made["env"].append(key_variable(ENGINE_KEY_VARIABLE))
        made["lifecycle"] = LEAVING
    marked = {KEYS_ANNOTATION: env.keys.of_engine()} if env.keys else {}
    own: Manifest = {"labels": {**labels("model-version", name), VERSION_LABEL: name}}
    own |= {"annotations": marked} if marked else {}
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [made],
        "volumes": [scratch_volume(), {"name": "shared-memory", "emptyDir": {"medium": "Memory"}}],
    }
    if tolerations := gpu_tolerations(serving.resources):
        pod["tolerations"] = tolerations
    made["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})  # noqa: S108 - torch's workers
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_metadata(parent), "annotations": {IMAGE_ANNOTATION: env.image, **marked}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {VERSION_LABEL: name}},
            "template": with_wishes({"metadata": own, "spec": pod}, serving.pod_template),
        },
    }


def _plan(name: str, spec: ModelVersionSpec, serving: Serving, env: ServingEnvironment) -> str:
    """As JSON; an earlier build's launcher takes no field that it does not know."""
    plan = ServingPlan(
        tracking_uri=env.mlflow_url,
        uri=spec.artifact.uri,
        digest=spec.artifact.digest,
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
    )
    return plan.document(without=frozenset() if env.keys else frozenset({"public_name"}))


def service(parent: Manifest) -> Manifest:
    """The Service in front of the Deployment."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(parent),
        "spec": {
            "selector": {VERSION_LABEL: parent["metadata"]["name"]},
            "ports": [{"name": "http", "port": ENGINE_PORT, "targetPort": "http"}],
        },
    }


def _metadata(parent: Manifest) -> Manifest:
    name = parent["metadata"]["name"]
    return {
        "name": server_name(name),
        "namespace": parent["metadata"]["namespace"],
        "labels": {**labels("model-version", name), VERSION_LABEL: name},
        "ownerReferences": [controller_of(parent)],
    }
