"""Engines that several versions share: a base with their adapters, in a Deployment that all of them own.

One per base, prompt and settings, called by a digest of these. Which adapters it is to have is a ConfigMap that its
pods mount, and that the kubelet brings up to date: sooner where the pod changes, so an annotation tells each pod of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from anneal_operator.api.model_version import ANSWERING, ModelVersionSpec
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.api.serving import AdapterLimits, Serving
from serving_runtime.plan import ADAPTERS_FILE, ServingPlan, WantedAdapter, WantedAdapters
from serving_runtime.plan import AdapterLimits as PlannedLimits

from .operations import Operation, Patch
from .pods import Manifest, host_of, labels, owned_by_all
from .serving import ENGINE_PORT, ServingEnvironment, deployment_of, digest_of, engine_pod, plan_of, service_of

__all__ = [
    "SHARED_BASES",
    "SHARED_BASES_LABEL",
    "SHARED_BASE_LABEL",
    "Member",
    "adapters_config",
    "engine_name",
    "engine_of",
    "kept_as_it_is",
    "listed_in",
    "pod_engine_url",
    "settings_of",
    "shared_deployment",
    "shared_selector",
    "shared_service",
    "told_pods",
]

SHARED_BASES = "anneal-shared-bases"
SHARED_BASES_LABEL = "anneal.dev/shared-bases"
"""On all such Deployments and pods of a namespace: they are looked at together."""
SHARED_BASE_LABEL = "anneal.dev/shared-base"
"""On those of one engine: its name."""
_TOLD_ANNOTATION = "anneal.dev/adapters"
_FOLDER = "/etc/anneal"
_OF_TASKS = {"clean", "response_schema", "response_dictionary"}
"""Of a prompt, what no engine reads: versions that differ in it alone share one."""
_OF_NO_ENGINE = {"replicas", "rollback_window", "retire_after"}


@dataclass(frozen=True)
class Member:
    """A version that an engine is to answer with."""

    manifest: Manifest
    spec: ModelVersionSpec | None
    """None where it cannot be read, as after a downgrade: it goes on where it is."""

    @property
    def name(self) -> str:
        """The version's name, by which the engine knows it."""
        return str(self.manifest["metadata"]["name"])

    @property
    def answers(self) -> bool:
        """Whether it did when its status was written."""
        return (self.manifest.get("status") or {}).get("phase") in ANSWERING

    @property
    def wanted(self) -> WantedAdapter:
        """What is to be loaded."""
        artifact = self.manifest["spec"]["artifact"]
        return WantedAdapter(uri=str(artifact["uri"]), digest=str(artifact["digest"]))


def engine_name(spec: ModelVersionSpec) -> str:
    """The Deployment, Service and ConfigMap of the engine that a version shares; empty where it shares none.

    What is left at its default is not part of it, so that a field that a release adds gives nobody another engine.
    """
    if not spec.shares_base or spec.serving is None or spec.artifact is None or spec.artifact.base is None:
        return ""
    base = spec.artifact.base.model_dump(mode="json", exclude_defaults=True)
    prompt = spec.prompt.model_dump(mode="json", exclude=_OF_TASKS, exclude_defaults=True) if spec.prompt else {}
    settings = spec.serving.model_dump(mode="json", exclude=_OF_NO_ENGINE, exclude_defaults=True)
    return f"shared-base-{digest_of([base, prompt, settings])}"


def engine_of(selector: str) -> str:
    """The engine whose pods a version's status selects; empty where these are its own."""
    label, _, name = selector.partition("=")
    return name if label == SHARED_BASE_LABEL else ""


def shared_selector(engine: str) -> str:
    """The labels of an engine's pods, as the scale subresource tells them."""
    return f"{SHARED_BASE_LABEL}={engine}"


def pod_engine_url(address: str) -> str:
    """Where the operator asks one engine what it has loaded, by its pod's IP."""
    return f"http://{host_of(address)}:{ENGINE_PORT}"


def shared_service(name: str, members: Sequence[Member]) -> Manifest:
    """The Service in front of an engine's pods."""
    return service_of(_metadata(name, members), {SHARED_BASE_LABEL: name})


def shared_deployment(
    name: str, members: Sequence[Member], replicas: int, env: ServingEnvironment, *, startup_seconds: int
) -> Manifest:
    """The Deployment, by the settings that those of its members agree on who ask for this engine."""
    spec = settings_of(name, members)
    serving = spec.serving or Serving()
    wanted = ("--wanted", f"{_FOLDER}/{ADAPTERS_FILE}")
    plan = _plan(name, spec, serving, env)
    pod = engine_pod(spec.weights, plan, serving, env, *wanted, startup_seconds=startup_seconds)
    pod["volumes"] = [*pod["volumes"], {"name": "adapters", "configMap": {"name": name}}]
    mount = {"name": "adapters", "mountPath": _FOLDER, "readOnly": True}
    [engine] = pod["containers"]
    pod["containers"] = [{**engine, "volumeMounts": [*engine["volumeMounts"], mount]}]
    chosen = {SHARED_BASE_LABEL: name, SHARED_BASES_LABEL: SHARED_BASES}
    return deployment_of(_metadata(name, members), chosen, pod, serving, replicas, env)


def settings_of(name: str, members: Sequence[Member]) -> ModelVersionSpec:
    """Return the spec of one of those who ask for an engine."""
    return next(member.spec for member in members if member.spec and engine_name(member.spec) == name)


def kept_as_it_is(made: Manifest, members: Sequence[Member], replicas: int) -> list[Operation]:
    """Return what changes of an engine whose pods stay as they were made: how many there are, and whose they are."""
    owners = owned_by_all([member.manifest for member in members])
    metadata = made["metadata"]
    known = [owner["uid"] for owner in metadata.get("ownerReferences", ())]
    if known == [owner["uid"] for owner in owners] and made["spec"].get("replicas") == replicas:
        return []
    changes = {"metadata": {"ownerReferences": owners}, "spec": {"replicas": replicas}}
    return [Patch("Deployment", metadata["name"], changes)]


def adapters_config(name: str, members: Sequence[Member], listed: Sequence[str] = ()) -> Manifest:
    """The ConfigMap that says which adapters an engine is to have.

    By the first that fits an engine is asked at its next start, so those are first that answer; then, those that were
    `listed` before, as they were, so that while none answers nothing changes; then, by their age.
    """
    places = {one: place for place, one in enumerate(listed)}

    def rank(member: Member) -> tuple[bool, int, str, str]:
        age = str(member.manifest["metadata"].get("creationTimestamp", ""))
        return not member.answers, places.get(member.name, len(places)), age, member.name

    data = {ADAPTERS_FILE: _text(sorted(members, key=rank))}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(name, members), "data": data}


def listed_in(config: Manifest | None) -> list[str]:
    """Return which adapters such a ConfigMap asks for, in its order; none where it cannot be read."""
    try:
        return list(WantedAdapters.model_validate_json(config["data"][ADAPTERS_FILE]).adapters) if config else []
    except (KeyError, TypeError, ValueError):
        return []


def told_pods(members: Iterable[Member], pods: Iterable[Manifest]) -> list[Operation]:
    """Return what has the kubelet bring the ConfigMap to pods that were not told of it: at once, not in a minute."""
    digest = digest_of(_text(sorted(members, key=lambda member: member.name)))
    late = [pod for pod in pods if (pod["metadata"].get("annotations") or {}).get(_TOLD_ANNOTATION) != digest]
    told = {"metadata": {"annotations": {_TOLD_ANNOTATION: digest}}}
    return [Patch("Pod", pod["metadata"]["name"], told) for pod in late if "deletionTimestamp" not in pod["metadata"]]


def _text(members: Iterable[Member]) -> str:
    adapters = {member.name: member.wanted for member in members}
    return WantedAdapters(adapters=adapters).model_dump_json()


def _plan(name: str, spec: ModelVersionSpec, serving: Serving, env: ServingEnvironment) -> ServingPlan:
    limits = serving.adapters or AdapterLimits()
    changed: Mapping[str, object] = {
        "uri": spec.weights.uri,
        "digest": spec.weights.digest,
        "public_name": "",
        "adapters": PlannedLimits(max_rank=limits.max_rank, at_once=limits.at_once),
    }
    return plan_of(name, spec, serving, env).model_copy(update=changed)


def _metadata(name: str, members: Sequence[Member]) -> Manifest:
    found = {SHARED_BASE_LABEL: name, SHARED_BASES_LABEL: SHARED_BASES}
    return {
        "name": name,
        "namespace": members[0].manifest["metadata"]["namespace"],
        "labels": {**labels("shared-base", name), **found},
        "annotations": {OWNER_ANNOTATION: SHARED_BASES},
        "ownerReferences": owned_by_all([member.manifest for member in members]),
    }
