"""How a stage stands, from its Job and pods."""

import json
from typing import Any

import pytest

from anneal_operator.decide.stages import read_stage

Manifest = dict[str, Any]


def _job(*conditions: tuple[str, str]) -> Manifest:
    listed = [{"type": kind, "status": "True", "message": message} for kind, message in conditions]
    return {"metadata": {"name": "j"}, "status": {"conditions": listed}}


def _pod(phase: str, name: str = "j-x", made: str = "1", index: str = "0", **terminated: Any) -> Manifest:
    state = {"terminated": terminated} if terminated else {}
    annotations = {"batch.kubernetes.io/job-completion-index": index}
    metadata = {"name": name, "creationTimestamp": made, "annotations": annotations}
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [{"state": state}]}}


def test_no_job_is_absent() -> None:
    assert read_stage(None, []).state == "Absent"


def test_a_job_without_an_end_is_active() -> None:
    assert read_stage(_job(("SuccessCriteriaMet", "")), [_pod("Running")]).state == "Active"


def test_a_job_that_failed_is_ending_until_its_pods_have() -> None:
    state = read_stage(_job(("FailureTarget", "DeadlineExceeded")), [])
    assert (state.state, state.ending) == ("Active", True)
    assert not read_stage(_job(), []).ending


def test_the_result_is_the_pod_s_last_message() -> None:
    pods = [_pod("Failed", message="x", exitCode=70), _pod("Succeeded", message=json.dumps({"step": 5}), exitCode=0)]
    state = read_stage(_job(("Complete", "")), pods)
    assert (state.state, state.result) == ("Succeeded", {"step": 5})


@pytest.mark.parametrize("pods", [[], [_pod("Failed", message="x", exitCode=70)], [_pod("Succeeded", index="1")]])
def test_a_result_whose_pod_is_gone_is_lost(pods: list[Manifest]) -> None:
    state = read_stage(_job(("Complete", "")), pods)
    assert (state.state, state.message) == ("Lost", "the pod that held its result is gone, so it is run again")


def test_a_pod_that_was_listed_before_its_job_completed_is_waited_for() -> None:
    assert read_stage(_job(("Complete", "")), [_pod("Running")]).state == "Active"


@pytest.mark.parametrize(("said", "told"), [("no JSON", "no JSON"), ("", "the pod left no message")])
def test_a_result_that_cannot_be_read_is_not_guessed(said: str, told: str) -> None:
    state = read_stage(_job(("Complete", "")), [_pod("Succeeded", message=said, exitCode=0)])
    assert (state.state, state.message) == ("Failed", f"its result cannot be read: {told}")


def test_a_stage_that_is_passed_has_succeeded_also_when_its_pod_is_gone() -> None:
    state = read_stage(_job(("Complete", "")), [], is_passed=True)
    assert (state.state, state.result) == ("Succeeded", None)


def test_a_failure_tells_what_the_newest_pod_said() -> None:
    said = json.dumps({"error": "DataError", "message": "no row can be used"})
    pods = [_pod("Failed", "old", "1", message="x", exitCode=1), _pod("Failed", "new", "2", message=said, exitCode=65)]
    state = read_stage(_job(("Failed", "exit code 65")), pods)
    assert (state.state, state.message, state.exit_code, state.pod) == ("Failed", "no row can be used", 65, "new")


def test_a_kill_without_words_has_the_kubelet_s_reason() -> None:
    state = read_stage(_job(("Failed", "")), [_pod("Failed", reason="OOMKilled", exitCode=137)])
    assert (state.message, state.exit_code) == ("OOMKilled", 137)


def test_a_failure_without_pods_has_the_job_s_message() -> None:
    assert read_stage(_job(("Failed", "deadline exceeded")), []).message == "deadline exceeded"


def test_a_pod_that_waits_says_for_what() -> None:
    unschedulable = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Pending", "conditions": [unschedulable]}}
    assert read_stage(_job(), [pod]).message == "the pod waits for a node: 0/1 nodes are available"
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    pod = {
        "metadata": {"name": "p"},
        "status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]},
    }
    assert read_stage(_job(), [pod]).message == "the container waits: ErrImagePull not found"
