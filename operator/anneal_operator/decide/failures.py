"""What kind of failure ended a pod, and whether trying again may help.

The exit codes are the runtime's own; what a pod could not say itself, Kubernetes says of it.
"""

import re
from typing import Any

from anneal_operator.api.fine_tune_job_status import FailureClass
from training_runtime.plan import ExitCode

__all__ = ["OVERDUE", "RETRYABLE", "classify", "is_disrupted", "waiting_class"]

Manifest = dict[str, Any]
RETRYABLE: frozenset[FailureClass] = frozenset(
    {"HostOutOfMemory", "NCCL", "Hardware", "Access", "ImagePull", "Unschedulable", "Preempted", "Stalled", "Internal"}
)
OVERDUE = "the job was not done within activeDeadlineSeconds: raise it"
_BY_EXIT_CODE: dict[int, FailureClass] = {
    ExitCode.BAD_PLAN: "UserCode",
    ExitCode.BAD_DATA: "Data",
    ExitCode.OUT_OF_MEMORY: "CudaOutOfMemory",
    ExitCode.PREEMPTED: "Preempted",
    ExitCode.DIVERGED: "Diverged",
    ExitCode.NO_ACCESS: "Access",
    ExitCode.STALLED: "Stalled",
}
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


def classify(pod: Manifest, terminated: Manifest) -> FailureClass:
    """Return the class of a pod that failed; `terminated` is how its container ended, as far as is known."""
    said = terminated.get("message", "")
    if is_disrupted(pod) or pod.get("status", {}).get("reason") in {"Evicted", "Preempting", "NodeLost"}:
        return "Preempted"
    if terminated.get("reason") == "OOMKilled":
        return "HostOutOfMemory"
    found = _BY_EXIT_CODE.get(terminated.get("exitCode", -1))
    if found:
        return found
    if '"StalledError"' in said:  # the probe's word for it, of a process that could not end by itself
        return "Stalled"
    if _HARDWARE.search(said):
        return "Hardware"
    return "NCCL" if _NCCL.search(said) else "Internal"


def waiting_class(pod: Manifest) -> FailureClass | None:
    """Return what keeps a pod from starting, None where nothing that we know does."""
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return "Unschedulable"
    for container in status.get("containerStatuses", ()):
        found = _BY_WAITING.get(container.get("state", {}).get("waiting", {}).get("reason", ""))
        if found:
            return found
    return None
