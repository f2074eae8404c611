"""What kind of failure ended a pod, and whether trying again may help.

The exit codes are the runtime's own; what a pod could not say itself, Kubernetes says of it.
"""

import re

from anneal_operator.api.fine_tune_job_status import FailureClass
from anneal_operator.api.resources import Manifest
from training_runtime import STALLED
from training_runtime.plan import ExitCode

__all__ = ["KILLED", "OVERDUE", "RETRYABLE", "classify", "held_back", "is_deleted", "is_disrupted"]

RETRYABLE: frozenset[FailureClass] = frozenset(
    {"HostOutOfMemory", "NCCL", "Hardware", "Access", "ImagePull", "Unschedulable", "Preempted", "Stalled", "Internal"}
)
OVERDUE = "the job was not done within activeDeadlineSeconds: recreate the job with a larger value or less work"
KILLED = frozenset({128 + 9, 128 + 15})
"""How a process ends that was killed, or asked to end before it could save: with its pod, where that was deleted."""
_BY_EXIT_CODE: dict[int, FailureClass] = {
    ExitCode.BAD_PLAN: "UserCode",
    ExitCode.BAD_DATA: "Data",
    ExitCode.OUT_OF_MEMORY: "CudaOutOfMemory",
    ExitCode.PREEMPTED: "Preempted",
    ExitCode.DIVERGED: "Diverged",
    ExitCode.NO_ACCESS: "Access",
    ExitCode.STALLED: "Stalled",
}
_STARTING = {"ContainerCreating", "PodInitializing"}
_BY_WAITING: dict[str, FailureClass] = {
    "ErrImagePull": "ImagePull",
    "ImagePullBackOff": "ImagePull",
    "InvalidImageName": "ImagePull",
    "CreateContainerConfigError": "Access",
}
# NVIDIA's driver names a fault of the card by an Xid; NCCL names its own errors.
_HARDWARE = re.compile(r"\bXid\b|uncorrectable ECC|GPU is lost|fallen off the bus", re.IGNORECASE)
_NCCL = re.compile(r"\bNCCL\b|ncclSystemError|ncclRemoteError")


def is_disrupted(pod: Manifest) -> bool:
    """Whether Kubernetes itself ended the pod: preemption, eviction, a drained or lost node."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(found["type"] == "DisruptionTarget" and found["status"] == "True" for found in conditions)


def is_deleted(pod: Manifest) -> bool:
    """Whether somebody deleted the pod, by hand for example; Kubernetes calls that no disruption."""
    return "deletionTimestamp" in pod.get("metadata", {})


def classify(pod: Manifest, terminated: Manifest) -> FailureClass:
    """Return the class of a pod that failed; `terminated` is how its container ended, as far as is known."""
    said = terminated.get("message", "")
    if is_disrupted(pod) or pod.get("status", {}).get("reason") in {"Preempting", "NodeLost"}:
        return "Preempted"  # not "Evicted" alone, which is also said of a pod that took more than its own limits
    if terminated.get("reason") == "OOMKilled":
        return "HostOutOfMemory"
    found = _BY_EXIT_CODE.get(terminated.get("exitCode", -1))
    if found:
        return found
    if f'"{STALLED}"' in said:  # the probe's word for it, of a process that could not end by itself
        return "Stalled"
    if is_deleted(pod) and terminated.get("exitCode") in KILLED:
        return "Preempted"
    if _HARDWARE.search(said):
        return "Hardware"
    return "NCCL" if _NCCL.search(said) else "Internal"


def held_back(pod: Manifest) -> tuple[FailureClass, str] | None:
    """Return what keeps a pod from starting, and what Kubernetes says of it; None where nothing does."""
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return "Unschedulable", f"the pod waits for a node: {condition.get('message', '')}"
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = container.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "ContainerCreating")
        if reason not in _STARTING:
            said = f"the container waits: {reason} {waiting.get('message', '')}".strip()
            return _BY_WAITING.get(reason, "Internal"), said
    return None
