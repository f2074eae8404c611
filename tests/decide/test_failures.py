"""What kind of failure ended a pod, as a table."""

from typing import Any, get_args

import pytest

from anneal_operator.api.fine_tune_job_status import FailureClass
from anneal_operator.decide.failures import RETRYABLE, classify, held_back

Manifest = dict[str, Any]
DISRUPTED: Manifest = {
    "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
}


@pytest.mark.parametrize(
    ("status", "ended", "kind"),
    [
        ({}, {"exitCode": 64}, "UserCode"),
        ({}, {"exitCode": 65}, "Data"),
        ({}, {"exitCode": 70}, "Internal"),
        ({}, {"exitCode": 71}, "CudaOutOfMemory"),
        ({}, {"exitCode": 75}, "Preempted"),
        ({}, {"exitCode": 76}, "Diverged"),
        ({}, {"exitCode": 77}, "Access"),
        ({}, {"exitCode": 1}, "Internal"),
        ({}, {"exitCode": 137, "reason": "Error"}, "Internal"),
        ({}, {"exitCode": 137, "reason": "OOMKilled"}, "HostOutOfMemory"),
        ({}, {"exitCode": 0, "reason": "OOMKilled"}, "HostOutOfMemory"),
        ({}, {}, "Internal"),
        (DISRUPTED, {"exitCode": 137, "reason": "Error"}, "Preempted"),
        (DISRUPTED, {"exitCode": 71}, "Preempted"),
        ({"conditions": [{"type": "DisruptionTarget", "status": "False"}]}, {"exitCode": 71}, "CudaOutOfMemory"),
        ({"conditions": [{"type": "PodScheduled", "status": "True"}]}, {"exitCode": 71}, "CudaOutOfMemory"),
        ({"reason": "Evicted"}, {}, "Internal"),
        ({"reason": "NodeLost"}, {}, "Preempted"),
        ({"reason": "Preempting"}, {}, "Preempted"),
        ({}, {"exitCode": 70, "message": "ncclSystemError: System call failed"}, "NCCL"),
        ({}, {"exitCode": 1, "message": "NCCL error in: ProcessGroupNCCL"}, "NCCL"),
        ({}, {"exitCode": 70, "message": "ncclRemoteError: a remote process exited"}, "NCCL"),
        (
            {},
            {"exitCode": 70, "message": "NVRM: Xid (PCI:0000:01:00): 48, an uncorrectable double bit error"},
            "Hardware",
        ),
        ({}, {"exitCode": 70, "message": "GPU 0000:01:00.0: GPU has fallen off the bus."}, "Hardware"),
        ({}, {"exitCode": 70, "message": "Unable to determine the device handle: GPU is lost"}, "Hardware"),
        ({}, {"exitCode": 70, "message": "CUDA error: uncorrectable ECC error encountered"}, "Hardware"),
        ({}, {"exitCode": 70, "message": "KeyError: 'x'"}, "Internal"),
        ({}, {"exitCode": 78}, "Stalled"),
        ({}, {"exitCode": 137, "message": '{"error": "StalledError", "message": "no step"}'}, "Stalled"),
    ],
)
def test_a_failure_has_a_class(status: Manifest, ended: Manifest, kind: FailureClass) -> None:
    assert classify({"status": status}, ended) == kind


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        ({"exitCode": 75}, "Preempted"),
        ({"exitCode": 137, "reason": "Error"}, "Preempted"),  # it used up its grace period
        ({"exitCode": 143}, "Preempted"),  # before it could save
        ({"exitCode": 137, "reason": "OOMKilled"}, "HostOutOfMemory"),
        ({"exitCode": 137, "message": '{"error": "StalledError", "message": "no step"}'}, "Stalled"),
        ({"exitCode": 70}, "Internal"),
        ({"exitCode": 76}, "Diverged"),
    ],
)
def test_a_pod_that_was_deleted_by_hand_was_preempted_unless_it_ended_of_itself(
    ended: Manifest, kind: FailureClass
) -> None:
    deleted = {"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}}
    assert classify(deleted, ended) == kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ({"conditions": [{"type": "PodScheduled", "status": "False"}]}, "Unschedulable"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}, "ImagePull"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]}, "ImagePull"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "InvalidImageName"}}}]}, "ImagePull"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "CreateContainerConfigError"}}}]}, "Access"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, None),
        ({"containerStatuses": [{"state": {"running": {}}}]}, None),
        (
            {
                "initContainerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}],
                "containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}],
            },
            "ImagePull",
        ),
        (
            {
                "initContainerStatuses": [
                    {"state": {"terminated": {"exitCode": 0}}},
                    {"state": {"waiting": {"reason": "PodInitializing"}}},
                ],
                "containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}],
            },
            None,
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}]},
            None,
        ),
        ({}, None),
    ],
)
def test_what_keeps_a_pod_from_starting_has_a_class(status: Manifest, kind: FailureClass | None) -> None:
    found = held_back({"status": status})
    assert (found[0] if found else None) == kind


@pytest.mark.parametrize(
    "kind",
    ["HostOutOfMemory", "NCCL", "Hardware", "Access", "ImagePull", "Unschedulable", "Preempted", "Stalled", "Internal"],
)
def test_what_may_pass_another_time_is_retryable(kind: FailureClass) -> None:
    assert kind in RETRYABLE


@pytest.mark.parametrize("kind", ["Data", "UserCode", "CudaOutOfMemory", "Diverged", "Deadline", "Gate"])
def test_what_would_fail_again_is_not_retryable(kind: FailureClass) -> None:
    assert kind not in RETRYABLE
    assert set(get_args(FailureClass)) >= RETRYABLE
