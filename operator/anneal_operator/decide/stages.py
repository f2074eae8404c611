"""How a stage stands, read from its Job and its pods."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from pydantic import ValidationError

from anneal_operator.api.fine_tune_job_status import FailureClass
from anneal_operator.api.resources import Manifest
from training_runtime.plan import Evaluated, Failed, Prepared, Published, Stage, Trained

from .failures import KILLED, OVERDUE, RETRYABLE, classify, held_back, is_deleted, is_disrupted
from .observed_job import ObservedStage

__all__ = ["Result", "StageState", "first_pods", "has_pod_ended", "read_stage", "terminated"]

Result = Prepared | Trained | Evaluated | Published
_RESULTS: dict[Stage, type[Result]] = {
    "prepare": Prepared,
    "train": Trained,
    "evaluate": Evaluated,
    "publish": Published,
}
_LOG_TAIL = 600
_INDEX = "batch.kubernetes.io/job-completion-index"
_EXIT_CODE = re.compile(r"for pod \S+/(?P<pod>\S+) failed with exit code (?P<code>\d+)")
_TAKEN_AWAY = "its pod was taken away"
_TOGETHER = timedelta(seconds=2)


@dataclass(frozen=True)
class StageState:
    """Absent, active, going away, succeeded with a result, failed for a reason, or complete with its result lost."""

    state: Literal["Absent", "Active", "Going", "Succeeded", "Failed", "Lost"] = "Absent"
    result: Result | None = None
    message: str = ""
    exit_code: int | None = None
    pod: str | None = None
    node: str | None = None
    failure_class: FailureClass = "Internal"
    held_back: FailureClass | None = None
    """What keeps an active stage's pod from starting; `message` says more."""
    ending: bool = False
    """Its Job has failed, and waits for its pods to end."""
    suspended: bool = False
    """Its Job is suspended; Kueue does that, never this operator."""


def first_pods(pods: Sequence[Manifest]) -> list[Manifest]:
    """Return those that speak for a stage: the only pod, or the first of several nodes'."""
    return [pod for pod in pods if pod["metadata"].get("annotations", {}).get(_INDEX, "0") == "0"]


def has_pod_ended(pod: Manifest) -> bool:
    """Whether none of a pod's containers runs or will run."""
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def terminated(pod: Manifest) -> Manifest:
    """Return how a pod's container ended, as far as is known; or one before it, which kept it from starting."""
    status = pod.get("status", {})
    before = [found.get("state", {}).get("terminated") or {} for found in status.get("initContainerStatuses") or ()]
    statuses = status.get("containerStatuses") or [{}]
    ended: Manifest = statuses[0].get("state", {}).get("terminated") or {}
    return next((found for found in before if found.get("exitCode", 0) != 0), ended)


def read_stage(stage: Stage, found: ObservedStage, *, is_passed: bool = False) -> StageState:
    """Return the state of a stage; `is_passed` says that a later stage has begun.

    The result of a stage that is passed has done its work: its pod may go, with its node for example. Where nobody has
    read it yet, it is lost with the pod: nothing may be guessed, and the same stage hands it over once more.
    """
    job, pods = found.job, found.pods
    is_going = bool(found.orphans) or (job is not None and "deletionTimestamp" in job["metadata"])
    if is_passed and (job is None or is_going):
        return StageState("Succeeded")
    if is_going:
        return StageState("Going", message=_not_ending((*pods, *found.orphans)))
    if job is None:
        return StageState()
    conditions = {c["type"]: c for c in job.get("status", {}).get("conditions", ()) if c["status"] == "True"}
    if "Complete" in conditions:
        return _finished(stage, pods, is_passed=is_passed)
    if "Failed" in conditions:
        return _failed(stage, job, conditions["Failed"], pods)
    if "FailureTarget" in conditions:
        return StageState("Active", message=_not_ending(pods), ending=True)
    if job.get("spec", {}).get("suspend"):
        return StageState("Active", suspended=True)
    kind, why = next((found for found in map(held_back, pods) if found), None) or _unserved(pods)
    return StageState("Active", message=why or _not_ending(pods), held_back=kind)


def _unserved(pods: Sequence[Manifest]) -> tuple[FailureClass | None, str]:
    """What a pod said that could not reach a server, while Kubernetes waits to start the next."""
    newest = max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default={})
    ended = terminated(newest)
    is_held_up = newest.get("status", {}).get("phase") == "Failed" and classify(newest, ended) == "Access"
    return ("Access", f"retrying: {_last_words(ended)}") if is_held_up else (None, "")


def _not_ending(pods: Sequence[Manifest]) -> str:
    """A pod that Kubernetes took away and that does not end: its node may be lost, which only people know."""
    for pod in pods:
        if is_deleted(pod) and is_disrupted(pod) and not has_pod_ended(pod):
            node = pod.get("spec", {}).get("nodeName", "")
            remedy = f"if node {node} is gone, delete its Node object"
            return f"pod {pod['metadata']['name']} has not terminated yet; {remedy}"
    return ""


def _finished(stage: Stage, pods: Sequence[Manifest], *, is_passed: bool) -> StageState:
    succeeded = [pod for pod in first_pods(pods) if pod.get("status", {}).get("phase") == "Succeeded"]
    if succeeded:
        return _handed_over(stage, succeeded[0])
    if is_passed:
        return StageState("Succeeded")
    if not all(map(has_pod_ended, pods)):
        return StageState("Active")  # the pods were listed before the Job was
    return StageState("Lost", message="the pod that held its result is gone, so it is run again")


def _handed_over(stage: Stage, pod: Manifest) -> StageState:
    """A number that is not finite is refused here: no status could hold it."""
    name, text = pod["metadata"]["name"], terminated(pod).get("message", "")
    try:
        return StageState("Succeeded", result=_RESULTS[stage].model_validate_json(text), pod=name)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
    if not field:
        message = f"its result cannot be read: {text[-_LOG_TAIL:] or 'the pod left no message'}"
    else:
        message = f"its result cannot be used: {field}: {first['msg']}"
    return StageState("Failed", message=message, exit_code=0, pod=name)


def _failed(stage: Stage, job: Manifest, condition: Manifest, pods: Sequence[Manifest]) -> StageState:
    found = _cause(stage, condition, pods)
    is_taken_back = stage == "train" and job.get("spec", {}).get("suspend") and found.failure_class in RETRYABLE
    return replace(found, message=_TAKEN_AWAY, failure_class="Preempted") if is_taken_back else found


def _cause(stage: Stage, condition: Manifest, pods: Sequence[Manifest]) -> StageState:
    if condition.get("reason") == "DeadlineExceeded":
        return StageState("Failed", message=OVERDUE, failure_class="Deadline")
    message = condition.get("message", "")
    named, there = _EXIT_CODE.search(message), {pod["metadata"]["name"] for pod in pods}
    culprit = _culprit(stage, [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed"])
    if culprit is None or (stage == "train" and named and named["pod"] not in there):
        return _told_by_job(stage, message)
    ended = terminated(culprit)
    found = StageState(
        "Failed",
        message=_last_words(ended),
        exit_code=ended.get("exitCode"),
        pod=culprit["metadata"]["name"],
        node=culprit.get("spec", {}).get("nodeName"),
        failure_class=classify(culprit, ended),
    )
    return found if ended else _never_began(found, culprit)


def _never_began(found: StageState, pod: Manifest) -> StageState:
    """A pod that ended before its container began: its node refused it, saying why, or it was taken away."""
    status = pod.get("status", {})
    if status.get("reason") and not is_disrupted(pod):
        message = f"the node refused the pod: {status['reason']}: {status.get('message', '')}"
        return replace(found, message=message, failure_class="Unschedulable")
    return replace(found, message=_TAKEN_AWAY, failure_class="Preempted")


def _culprit(stage: Stage, failed: list[Manifest]) -> Manifest | None:
    """The pod that decides: of an attempt the first that ended, which took the others with it; else the newest."""
    if stage == "train":
        return _first_to_end(failed)
    return max(failed, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


def _first_to_end(failed: list[Manifest]) -> Manifest | None:
    """Kubernetes tells whole seconds: of those that ended about together, one that would fail again is the cause, and
    of one second none that was deleted, which the Job does to the others.
    """
    ordered = sorted(failed, key=lambda pod: (str(terminated(pod).get("finishedAt", "")), is_deleted(pod)))
    times = [terminated(pod).get("finishedAt") for pod in ordered]
    if not times or not times[0]:
        return ordered[0] if ordered else None
    first = datetime.fromisoformat(times[0])
    together = [
        pod for pod, at in zip(ordered, times, strict=True) if at and datetime.fromisoformat(at) - first <= _TOGETHER
    ]
    lasting = (pod for pod in together if classify(pod, terminated(pod)) not in RETRYABLE)
    return next(lasting, ordered[0])


def _told_by_job(stage: Stage, message: str) -> StageState:
    """What the Job's condition still knows when the pod is gone, which somebody deleted: failed ones stay."""
    if code := _EXIT_CODE.search(message):
        exit_code = int(code["code"])
        was_deleted = stage == "train" and exit_code in KILLED
        found = "Preempted" if was_deleted else classify({}, {"exitCode": exit_code})
        return StageState("Failed", message=message, exit_code=exit_code, failure_class=found)
    if stage == "train":
        return StageState("Failed", message=_TAKEN_AWAY, failure_class="Preempted")
    return StageState("Failed", message=message or "the Job failed")


def _last_words(ended: Manifest) -> str:
    text = ended.get("message", "")
    try:
        return Failed.model_validate_json(text).message
    except ValidationError:
        reason = str(ended.get("reason", "Error"))
        return f"{reason}: {text[-_LOG_TAIL:]}" if text else reason
