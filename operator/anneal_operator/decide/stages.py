"""How a stage stands, read from its Job and its pods."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from anneal_operator.api.fine_tune_job_status import FailureClass
from training_runtime.plan import Failed

from .attempts import first_pods
from .failures import OVERDUE, classify, held_back, is_disrupted

__all__ = ["StageState", "read_stage"]

Manifest = dict[str, Any]
_LOG_TAIL = 600


@dataclass(frozen=True)
class StageState:
    """Absent, active, succeeded with a result, failed for a reason, or complete with its result lost."""

    state: Literal["Absent", "Active", "Succeeded", "Failed", "Lost"] = "Absent"
    result: Manifest | None = None
    message: str = ""
    exit_code: int | None = None
    pod: str | None = None
    node: str | None = None
    failure_class: str = "Internal"
    held_back: FailureClass | None = None
    """What keeps an active stage's pod from starting; `message` says more."""
    ending: bool = False
    """Its Job has failed, and waits for its pods to end."""
    suspended: bool = False
    preempted: bool = False
    """Its pod was taken away, and no other runs yet."""


def read_stage(job: Manifest | None, pods: Sequence[Manifest], *, is_passed: bool = False) -> StageState:
    """Return the state of a stage; `pods` are those of its Job, `is_passed` says that a later stage has begun.

    The result of a stage that is passed has done its work: its pod may go, with its node for example. Where nobody has
    read it yet, it is lost with the pod: nothing may be guessed, and the same stage hands it over once more.
    """
    if job is None:
        return StageState()
    conditions = {c["type"]: c for c in job.get("status", {}).get("conditions", ()) if c["status"] == "True"}
    if "Complete" in conditions:
        return _finished(pods, is_passed=is_passed)
    if "Failed" in conditions:
        return _failed(conditions["Failed"], pods)
    if job.get("spec", {}).get("suspend"):
        return StageState("Active", suspended=True)
    if "FailureTarget" in conditions:
        return StageState("Active", ending=True)
    kind, why = next((found for found in map(held_back, pods) if found), (None, ""))
    return StageState("Active", message=why, held_back=kind, preempted=_is_preempted(pods))


def _is_preempted(pods: Sequence[Manifest]) -> bool:
    alive = any(pod.get("status", {}).get("phase") == "Running" and not is_disrupted(pod) for pod in pods)
    ended = [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed" or is_disrupted(pod)]
    return not alive and any(classify(pod, _terminated(pod)) == "Preempted" for pod in ended)


def _finished(pods: Sequence[Manifest], *, is_passed: bool) -> StageState:
    succeeded = [pod for pod in first_pods(pods) if pod.get("status", {}).get("phase") == "Succeeded"]
    if succeeded:
        return _handed_over(succeeded[0])
    if is_passed:
        return StageState("Succeeded")
    if any(pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"} for pod in pods):
        return StageState("Active")  # the pods were listed before the Job was
    return StageState("Lost", message="the pod that held its result is gone, so it is run again")


def _handed_over(pod: Manifest) -> StageState:
    name, text = pod["metadata"]["name"], _terminated(pod).get("message", "")
    try:
        return StageState("Succeeded", result=json.loads(text), pod=name)
    except ValueError:
        message = f"its result cannot be read: {text[-_LOG_TAIL:] or 'the pod left no message'}"
        return StageState("Failed", message=message, exit_code=0, pod=name)


def _failed(condition: Manifest, pods: Sequence[Manifest]) -> StageState:
    if condition.get("reason") == "DeadlineExceeded":
        return StageState("Failed", message=OVERDUE, failure_class="Deadline")
    failed = [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed"]
    newest = max(failed, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)
    if newest is None:
        return StageState("Failed", message=condition.get("message", "the Job failed"))
    ended = _terminated(newest)
    text = ended.get("message", "")
    try:
        said = Failed.model_validate_json(text)
        message = said.message
    except ValueError:
        message = f"{ended.get('reason', 'Error')}: {text[-_LOG_TAIL:]}" if text else ended.get("reason", "Error")
    return StageState(
        "Failed",
        message=message,
        exit_code=ended.get("exitCode"),
        pod=newest["metadata"]["name"],
        node=newest.get("spec", {}).get("nodeName"),
        failure_class=classify(newest, ended),
    )


def _terminated(pod: Manifest) -> Manifest:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    ended: Manifest = statuses[0].get("state", {}).get("terminated") or {}
    return ended
