"""How a stage stands, from its Job and pods."""

from typing import Any

import pytest

from anneal_operator.decide.observed_job import ObservedStage
from anneal_operator.decide.stages import StageState, read_stage
from training_runtime.plan import Evaluated, Stage

Manifest = dict[str, Any]
METRICS = '{"metrics": {"accuracy": 0.5}}'


def _job(*conditions: tuple[str, str], **metadata: Any) -> Manifest:
    listed = [{"type": kind, "status": "True", "message": message} for kind, message in conditions]
    return {"metadata": {"name": "j", **metadata}, "status": {"conditions": listed}}


def _pod(phase: str, name: str = "j-x", made: str = "1", index: str = "0", **terminated: Any) -> Manifest:
    state = {"terminated": terminated} if terminated else {}
    annotations = {"batch.kubernetes.io/job-completion-index": index}
    metadata = {"name": name, "creationTimestamp": made, "annotations": annotations}
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [{"state": state}]}}


def _read(job: Manifest | None, pods: Any = (), stage: Stage = "evaluate", *, is_passed: bool = False) -> StageState:
    return read_stage(stage, ObservedStage(job, tuple(pods)), is_passed=is_passed)


def test_no_job_is_absent() -> None:
    assert _read(None).state == "Absent"


def test_a_job_without_an_end_is_active() -> None:
    state = _read(_job(("SuccessCriteriaMet", "")), [_pod("Running")])
    assert (state.state, state.message) == ("Active", "")


def test_a_condition_that_is_false_says_nothing() -> None:
    job = _job(("Complete", ""), ("Failed", ""))
    for condition in job["status"]["conditions"]:
        condition["status"] = "False"
    assert _read(job).state == "Active"


def test_a_job_that_is_deleted_is_going_whatever_it_says() -> None:
    assert _read(_job(("Failed", ""), deletionTimestamp="2026-03-01T12:00:00Z")).state == "Going"


def test_a_job_that_failed_is_ending_until_its_pods_have() -> None:
    state = _read(_job(("FailureTarget", "DeadlineExceeded")))
    assert (state.state, state.ending) == ("Active", True)
    assert not _read(_job()).ending


def test_the_result_is_the_pod_s_last_message() -> None:
    pods = [_pod("Failed", message="x", exitCode=70), _pod("Succeeded", message=METRICS, exitCode=0)]
    state = _read(_job(("Complete", "")), pods)
    assert (state.state, state.result) == ("Succeeded", Evaluated(metrics={"accuracy": 0.5}))


@pytest.mark.parametrize("pods", [[], [_pod("Failed", message="x", exitCode=70)], [_pod("Succeeded", index="1")]])
def test_a_result_whose_pod_is_gone_is_lost(pods: list[Manifest]) -> None:
    state = _read(_job(("Complete", "")), pods)
    assert (state.state, state.message) == ("Lost", "the pod that held its result is gone, so it is run again")


def test_a_pod_that_was_listed_before_its_job_completed_is_waited_for() -> None:
    assert _read(_job(("Complete", "")), [_pod("Running")]).state == "Active"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no JSON", "its result cannot be read: no JSON"),
        ("", "its result cannot be read: the pod left no message"),
        ('{"metrics": {"f1": NaN}}', "its result cannot be used: metrics.f1: Input should be a finite number"),
        ('{"metrics": {"f1": 1e999}}', "its result cannot be used: metrics.f1: Input should be a finite number"),
        ("{}", "its result cannot be used: metrics: Field required"),
    ],
)
def test_a_result_that_cannot_be_read_is_not_guessed(said: str, told: str) -> None:
    state = _read(_job(("Complete", "")), [_pod("Succeeded", message=said, exitCode=0)])
    assert (state.state, state.message, state.exit_code) == ("Failed", told, 0)


def test_of_long_last_words_the_end_is_told() -> None:
    long = "x" + "y" * 600
    state = _read(_job(("Complete", "")), [_pod("Succeeded", message=long, exitCode=0)])
    assert state.message == f"its result cannot be read: {'y' * 600}"
    state = _read(_job(("Failed", "")), [_pod("Failed", message=long, exitCode=1)])
    assert state.message == f"Error: {'y' * 600}"


def test_a_stage_that_is_passed_has_succeeded_also_when_its_pod_is_gone() -> None:
    state = _read(_job(("Complete", "")), is_passed=True)
    assert (state.state, state.result) == ("Succeeded", None)


SAID = '{"error": "DataError", "message": "no row can be used"}'


def test_a_failure_tells_what_the_newest_pod_said() -> None:
    pods = [_pod("Failed", "old", "1", message="x", exitCode=1), _pod("Failed", "new", "2", message=SAID, exitCode=65)]
    state = _read(_job(("Failed", "exit code 65")), pods)
    assert (state.state, state.message, state.exit_code, state.pod) == ("Failed", "no row can be used", 65, "new")


@pytest.mark.parametrize(
    ("ended", "failure_class", "words"),
    [
        ({"exitCode": 71, "message": '{"error": "E", "message": "larger GPUs"}'}, "CudaOutOfMemory", "larger GPUs"),
        ({"exitCode": 64, "message": '{"error": "E", "message": "simplify it"}'}, "UserCode", "simplify it"),
        ({"exitCode": 137, "reason": "OOMKilled"}, "HostOutOfMemory", "OOMKilled"),
        ({"exitCode": 70, "message": "ncclSystemError: no route"}, "NCCL", "Error: ncclSystemError: no route"),
    ],
)
def test_a_container_before_the_stage_s_own_fails_as_the_stage_does(
    ended: Manifest, failure_class: str, words: str
) -> None:
    pod = _pod("Failed")
    pod["status"]["initContainerStatuses"] = [
        {"state": {"terminated": {"exitCode": 0, "message": '{"questions": 8}'}}},
        {"state": {"terminated": ended}},
    ]
    pod["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": "PodInitializing"}}}]
    state = _read(_job(("Failed", "")), [pod])
    assert (state.failure_class, state.message, state.exit_code) == (failure_class, words, ended["exitCode"])


def test_what_containers_before_the_stage_s_own_handed_back_is_not_the_stage_s_result() -> None:
    pod = _pod("Succeeded", message=METRICS, exitCode=0)
    pod["status"]["initContainerStatuses"] = [{"state": {"terminated": {"exitCode": 0, "message": '{"questions": 8}'}}}]
    assert _read(_job(("Complete", "")), [pod]).result == Evaluated(metrics={"accuracy": 0.5})


def test_a_sidecar_that_still_runs_hides_neither_result_nor_failure() -> None:
    sidecar: dict[str, Any] = {"initContainerStatuses": [{"state": {"running": {}}}]}
    pod = _pod("Succeeded", message=METRICS, exitCode=0)
    pod["status"] |= sidecar
    assert _read(_job(("Complete", "")), [pod]).result == Evaluated(metrics={"accuracy": 0.5})
    pod = _pod("Failed", message=SAID, exitCode=65)
    pod["status"] |= sidecar
    assert _read(_job(("Failed", "")), [pod]).exit_code == 65


def test_a_pod_that_still_runs_is_not_the_cause() -> None:
    pods = [_pod("Running", "running"), _pod("Failed", "failed", exitCode=71, finishedAt="2026-03-01T12:00:01Z")]
    assert _read(_job(("Failed", "")), pods, "train").pod == "failed"


def test_of_pods_that_train_together_the_first_that_ended_tells_why() -> None:
    pods = [
        _pod("Failed", "last", message="NCCL error", exitCode=70, finishedAt="2026-03-01T12:00:09Z"),
        _pod("Failed", "first", reason="OOMKilled", exitCode=137, finishedAt="2026-03-01T12:00:01Z"),
        _pod("Failed", "told", exitCode=75, finishedAt="2026-03-01T12:00:05Z"),
    ]
    state = _read(_job(("Failed", "")), pods, "train")
    assert (state.failure_class, state.pod) == ("HostOutOfMemory", "first")


@pytest.mark.parametrize(
    ("message", "failure_class", "exit_code"),
    [
        (
            "Container train for pod team/p failed with exit code 71 matching FailJob rule at index 1",
            "CudaOutOfMemory",
            71,
        ),
        ("Container train for pod team/p failed with exit code 75 matching FailJob rule at index 1", "Preempted", 75),
        (
            "Container train for pod team/p failed with exit code 137 matching FailJob rule at index 2",
            "Preempted",
            137,
        ),
        (
            "Container train for pod team/p failed with exit code 143 matching FailJob rule at index 2",
            "Preempted",
            143,
        ),
        ("Container train for pod team/p failed with exit code 70 matching FailJob rule at index 2", "Internal", 70),
        ("Pod team/p has condition DisruptionTarget matching FailJob rule at index 0", "Preempted", None),
        ("Job has reached the specified backoff limit", "Preempted", None),
    ],
)
def test_when_an_attempt_s_pods_are_gone_its_job_tells_why(
    message: str, failure_class: str, exit_code: int | None
) -> None:
    state = _read(_job(("Failed", message)), (), "train")
    assert (state.failure_class, state.exit_code) == (failure_class, exit_code)


@pytest.mark.parametrize(
    ("named", "failure_class"), [("deleted", "Preempted"), ("left", "NCCL")], ids=["gone", "there"]
)
def test_a_pod_that_was_deleted_is_the_cause_and_not_what_the_others_lost_with_it(
    named: str, failure_class: str
) -> None:
    message = f"Container train for pod team/{named} failed with exit code 137 matching FailJob rule at index 2"
    left = _pod("Failed", "left", index="1", message="NCCL error", exitCode=70, finishedAt="2026-03-01T12:00:01Z")
    assert _read(_job(("Failed", message)), [left], "train").failure_class == failure_class


def test_of_one_second_a_pod_that_its_job_deleted_is_not_the_cause() -> None:
    ended = {"finishedAt": "2026-03-01T12:00:01Z"}
    pods = [_pod("Failed", "deleted", exitCode=75, **ended), _pod("Failed", "first", exitCode=70, index="1", **ended)]
    pods[0]["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    assert _read(_job(("Failed", "")), pods, "train").pod == "first"


def test_a_pod_that_never_began_was_taken_away() -> None:
    state = _read(_job(("Failed", "")), [_pod("Failed")], "train")
    assert (state.failure_class, state.message) == ("Preempted", "its pod was taken away")


@pytest.mark.parametrize(
    ("reason", "began", "failure_class", "words"),
    [
        ("UnexpectedAdmissionError", False, "Unschedulable", "no healthy devices"),
        ("Evicted", True, "Internal", "Error"),
        ("Preempting", True, "Preempted", "Error"),
    ],
)
def test_what_the_node_says_of_its_own_accord_is_no_preemption(
    reason: str, began: bool, failure_class: str, words: str
) -> None:
    pod = _pod("Failed", exitCode=137) if began else _pod("Failed")
    pod["status"] |= {"reason": reason, "message": "no healthy devices"}
    state = _read(_job(("Failed", "")), [pod], "train")
    assert (state.failure_class, words in state.message) == (failure_class, True)


@pytest.mark.parametrize(
    ("exit_code", "failure_class"), [(137, "Preempted"), (70, "Preempted"), (71, "CudaOutOfMemory")]
)
def test_an_attempt_that_kueue_took_back_is_preempted_whatever_its_pod_said(exit_code: int, failure_class: str) -> None:
    job = _job(("Failed", f"Container train for pod team/p failed with exit code {exit_code}"))
    job["spec"] = {"suspend": True}
    assert _read(job, (), "train").failure_class == failure_class


@pytest.mark.parametrize(("seconds", "cause"), [(0, "lasting"), (2, "lasting"), (3, "first")])
def test_of_pods_that_ended_together_one_that_would_fail_again_is_the_cause(seconds: int, cause: str) -> None:
    pods = [
        _pod("Failed", "first", message="ncclRemoteError", exitCode=70, finishedAt="2026-03-01T12:00:01Z"),
        _pod("Failed", "lasting", exitCode=71, finishedAt=f"2026-03-01T12:00:0{1 + seconds}Z"),
    ]
    assert _read(_job(("Failed", "")), pods, "train").pod == cause


def test_a_stage_whose_job_is_gone_waits_for_its_pods() -> None:
    assert read_stage("train", ObservedStage(orphans=(_pod("Running"),))).state == "Going"


def test_a_kill_without_words_has_the_kubelet_s_reason() -> None:
    state = _read(_job(("Failed", "")), [_pod("Failed", reason="OOMKilled", exitCode=137)])
    assert (state.message, state.exit_code) == ("OOMKilled", 137)


def test_a_failure_without_pods_has_the_job_s_message() -> None:
    assert _read(_job(("Failed", "deadline exceeded"))).message == "deadline exceeded"


def test_a_pod_that_waits_says_for_what() -> None:
    unschedulable = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Pending", "conditions": [unschedulable]}}
    assert _read(_job(), [pod]).message == "the pod waits for a node: 0/1 nodes are available"
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    pod = {
        "metadata": {"name": "p"},
        "status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]},
    }
    assert _read(_job(), [pod]).message == "the container waits: ErrImagePull not found"
    assert _read(_job(), [_pod("Running"), pod]).held_back == "ImagePull", "of several one is enough"


def test_a_server_that_is_away_is_told_while_the_stage_waits_for_it() -> None:
    said = '{"error": "AccessError", "message": "MLflow does not answer"}'
    state = _read(_job(), [_pod("Failed", message=said, exitCode=77)], "publish")
    assert (state.state, state.held_back, state.message) == (
        "Active",
        "Access",
        "retrying: MLflow does not answer",
    )
    again = [_pod("Failed", made="1", message=said, exitCode=77), _pod("Running", made="2")]
    assert _read(_job(), again, "publish").held_back is None
    assert _read(_job(), [_pod("Failed", message=said, exitCode=70)], "publish").held_back is None, "a mistake is not"


@pytest.mark.parametrize("job", [_job(), _job(("FailureTarget", "")), _job(deletionTimestamp="2026-03-01T12:00:00Z")])
def test_a_pod_on_a_lost_node_is_told_with_what_people_can_do(job: Manifest) -> None:
    pod = _pod("Running")
    pod["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    pod["spec"] = {"nodeName": "gone"}
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    assert "if node gone is gone, delete its Node object" in _read(job, [pod], "train").message
    orphan = read_stage("train", ObservedStage(orphans=(pod,)))
    assert "if node gone is gone, delete its Node object" in orphan.message


@pytest.mark.parametrize(
    ("phase", "metadata", "status"),
    [
        ("Running", {"deletionTimestamp": "2026-03-01T12:00:00Z"}, {}),
        ("Running", {}, {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}),
        (
            "Failed",
            {"deletionTimestamp": "2026-03-01T12:00:00Z"},
            {"conditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ),
    ],
    ids=["deleted by hand", "not deleted yet", "ended"],
)
def test_a_pod_that_ends_by_itself_needs_nobody(phase: str, metadata: Manifest, status: Manifest) -> None:
    pod = _pod(phase)
    pod["metadata"] |= metadata
    pod["status"] |= status
    assert _read(_job(("FailureTarget", "")), [pod], "train").message == ""
