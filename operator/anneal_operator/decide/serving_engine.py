"""How the pods that serve a version stand: its phase while they are wanted, and what the condition Ready says of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from anneal_operator.api.fine_tune_job_status import FailureClass
from anneal_operator.api.model_version import Download, ModelVersionSpec, VersionPhase
from anneal_operator.api.quantities import worded
from anneal_operator.api.resources import Manifest
from anneal_operator.api.serving import Serving
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding
from .downloading import brings_since, in_words, weights_container
from .failures import held_back, is_deleted
from .fetching import Fetching, fetched_in_words
from .startup import startup_seconds

__all__ = ["Engine", "Front", "standing"]

_MESSAGE_LIMIT = 600
_NO_ROOM = "Insufficient ephemeral-storage"
"""The scheduler's words."""
_ANSWERS = "weights are verified and the engine answers"
_HELD_BACK: Mapping[FailureClass, Reason] = {
    "Unschedulable": Reason.UNSCHEDULABLE,
    "ImagePull": Reason.IMAGE_PULL,
    "Access": Reason.ACCESS,
}


@dataclass(frozen=True)
class Engine:
    """The Deployment that serves a version, as its newest generation stands."""

    ready: int
    build: str
    """What an installation made its pods of; an earlier build's does not say."""
    replicas: int = 1
    """The pods that it is to have."""
    is_rolling: bool = False
    """Whether pods of its newest generation are missing or do not answer yet, or older ones are left."""
    demands_key: bool = False
    """Whether it answers those alone who have the namespace's key; an earlier build's answers everybody."""
    wish: str = ""
    """What people asked of its pods when they were made; an earlier build's does not say."""
    refusal: str = ""
    """What the API server says of a pod that cannot be made, as where a quota is used up."""
    has_answered: bool = True
    """Whether any pod of it ever did."""
    is_complete: bool = False
    """Whether all pods of its newest make once answered: what befalls it since is no update."""


@dataclass(frozen=True)
class Front:
    """The namespace's router, as its engines depend on it."""

    sends_key: bool
    """Whether it was made to send engines their key; an earlier build's was not."""
    is_rolling: bool
    """Whether there may be pods yet of how it was made before; one that merely cannot start holds up no engine."""


def standing(
    engine: Engine | None,
    wanted: int,
    pods: Iterable[Manifest],
    spec: ModelVersionSpec,
    update_waits_for: str,
    download: Download | None,
    fetching: Fetching | None = None,
) -> tuple[VersionPhase, Finding]:
    """Return the phase, and the condition Ready. Pods that are to end count for nothing: they end in any way. Of those
    that were evicted, others are made; they count where that is all there is.

    `update_waits_for` is what keeps the engine as an earlier build made it; `fetching`, what brings its weights
    before its pods have a node.
    """
    ready, staying = engine.ready if engine else 0, [pod for pod in pods if not is_deleted(pod)]
    at_work = [pod for pod in staying if not _is_evicted(pod)]
    (failed, problem), (reason, waiting) = _problem(at_work), _waiting(engine, at_work or staying, spec, download)
    if reason is Reason.UNSCHEDULABLE:
        waiting += fetched_in_words(fetching, download)
        if not problem and (problem := _weights_problem(fetching.at_work if fetching else ())):
            failed = Reason.WEIGHTS_FAILED
    if engine and ready < wanted and _suffices(ready, spec.serving):
        few = f"; {ready} of {wanted} pods answer" + (f": {problem or waiting}" if problem or waiting else "")
        return "Ready", Finding(ConditionType.READY, "True", Reason.ANSWERS, f"{_ANSWERS}{few}")
    if engine and ready >= wanted:
        stuck = problem or waiting if engine.is_rolling else ""
        is_surging = spec.serving is not None and spec.serving.rollout == "Surge"
        remedy = reason is Reason.UNSCHEDULABLE and not problem and is_surging
        return "Ready", _answers(update_waits_for, stuck, may_recreate=remedy)
    kind, said = ConditionType.READY, f"{ready} of {wanted} pods answer"
    because = f"{said}: {problem or waiting}" if problem or waiting else said
    if ready:
        return "Degraded", Finding(kind, "False", Reason.SOME_ANSWER, because)
    if problem:
        return "Failed", Finding(kind, "False", failed, problem)
    return "Loading", Finding(kind, "False", reason, because)


def _suffices(ready: int, serving: Serving | None) -> bool:
    """Whether a version that is scaled has its fewest pods: those above answer when they do."""
    return serving is not None and serving.autoscaling is not None and ready >= max(1, serving.autoscaling.min_replicas)


def _answers(update_waits_for: str, stuck: str, *, may_recreate: bool) -> Finding:
    message = _ANSWERS
    if update_waits_for:
        message += f"; it is brought up to date when {update_waits_for}"
    if not stuck:
        return Finding(ConditionType.READY, "True", Reason.ANSWERS, message)
    message += f"; of the pods that replace its own: {stuck}"
    if may_recreate:
        message += "; free what one asks for, or set `serving.rollout: Recreate`"
    return Finding(ConditionType.READY, "True", Reason.ROLLOUT_WAITS, message)


def _problem(pods: Iterable[Manifest]) -> tuple[Reason, str]:
    """What an engine that ended said last, or what was to bring its weights; one that runs again has no problem."""
    for pod in pods:
        if problem := _weights_problem([pod]):
            return Reason.WEIGHTS_FAILED, problem
        for container in pod.get("status", {}).get("containerStatuses", ()):
            if ended := _ended(container):
                return Reason.ENGINE_FAILED, f"the engine ended with {_said(ended)}"[:_MESSAGE_LIMIT]
    return Reason.ENGINE_FAILED, ""


def _weights_problem(pods: Iterable[Manifest]) -> str:
    for pod in pods:
        ended = _ended(weights_container(pod))
        if ended.get("exitCode"):
            return f"what brings the weights ended with {_said(ended)}"[:_MESSAGE_LIMIT]
    return ""


def _ended(container: Manifest) -> Manifest:
    """How a container ended that does not run again yet."""
    state = container.get("state", {})
    ended: Manifest | None = state.get("terminated")
    if "waiting" in state:
        ended = ended or container.get("lastState", {}).get("terminated")
    return ended or {}


def _said(ended: Manifest) -> str:
    said = (ended.get("message") or "").strip().splitlines()[-3:]
    return f"{ended.get('reason')} ({ended.get('exitCode')}): {' '.join(said)}"


def _waiting(
    engine: Engine | None, pods: Sequence[Manifest], spec: ModelVersionSpec, download: Download | None
) -> tuple[Reason, str]:
    """What its pods wait for, as far as Kubernetes says; what is furthest from an answer first."""
    if engine and engine.refusal:
        return Reason.REFUSED, f"no pod can be made: {engine.refusal}"[:_MESSAGE_LIMIT]
    if evicted := next(filter(_is_evicted, pods), None):
        return Reason.EVICTED, f"a pod was evicted: {evicted['status'].get('message', '')}"[:_MESSAGE_LIMIT]
    if found := next((found for found in map(held_back, pods) if found), None):
        return _HELD_BACK.get(found[0], Reason.STARTING), found[1][:_MESSAGE_LIMIT] + _room_missing(found[1], spec)
    if since := min((since for pod in pods if (since := _loads_since(pod))), default=""):
        deadline = startup_seconds(spec.serving or Serving(), spec.weights)
        again = f"what takes longer than {worded(deadline)} is started again"
        return Reason.STARTING, f"the weights are verified and loaded since {since}; {again}"
    if since := min((since for pod in pods if (since := brings_since(pod))), default=""):
        far = f": {in_words(download)}" if download else ""
        return Reason.DOWNLOADING, f"the weights are downloaded since {since}{far}"
    return Reason.STARTING, ""


def _room_missing(said: str, spec: ModelVersionSpec) -> str:
    """What to do where no node's disk has room for the weights."""
    size = spec.weights.bytes
    if _NO_ROOM not in said or size is None or (spec.serving and spec.serving.cache):
        return ""
    return (
        f"; its weights take {size / 1e9:.1f} GB of a node's disk: free some, or keep them on a claim (serving.cache)"
    )


def _is_evicted(pod: Manifest) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Failed")


def _loads_since(pod: Manifest) -> str:
    """When a container began that does not answer yet; empty where none runs, or it answers."""
    status = pod.get("status", {})
    if any(told["type"] == "Ready" and told["status"] == "True" for told in status.get("conditions", ())):
        return ""
    running = [container.get("state", {}).get("running") for container in status.get("containerStatuses", ())]
    return next((str(one.get("startedAt", "")) for one in running if one), "")
