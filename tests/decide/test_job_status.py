"""What a job's status tells in each of its phases."""

from datetime import timedelta

import pytest

from anneal_operator.api.fine_tune_job_status import (
    Checkpoint,
    EvaluationStatus,
    Failure,
    FineTuneJobStatus,
    GateStatus,
)
from anneal_operator.api.schema import LocalReference
from anneal_operator.decide.failures import OVERDUE
from anneal_operator.decide.fine_tune_job import decide
from anneal_operator.decide.observed_job import STAGES, ObservedJob
from anneal_operator.decide.progress import Report, progress_of
from training_runtime.plan import Evaluated

from .test_fine_tune_job import (
    ABSENT,
    ACTIVE,
    AT,
    ATTEMPT_2,
    CRASHED,
    EVALUATED,
    FAILED,
    GATE,
    GOING,
    HIGH_GATE,
    LATE,
    LATER,
    LOST,
    NOW,
    OBSTACLE,
    PREPARED,
    QUEUE,
    SUITES,
    SUSPEND,
    SUSPENDED,
    TWICE,
    WITH_ENGINE,
    _done,
    _pod,
    _seen,
    _training,
    _work,
)


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (_training(ACTIVE), "the model is being trained"),
        (_training(GOING), "the model is being trained; the pods of its last Job are still ending"),
        (_training(SUSPENDED), "the train stage's Job is suspended; it continues when it is resumed"),
        (_training(SUSPENDED, spec=QUEUE), "the train stage waits in queue research for Kueue to admit it"),
        (
            _seen(None, None, SUSPENDED, ABSENT, spec=QUEUE),
            "the evaluate stage's Job is suspended; it continues when it is resumed",
        ),
        (
            _seen(None, None, ACTIVE, ABSENT, spec={"evaluation": {"engine": "VLLM"}}, plan=WITH_ENGINE),
            "the model is being evaluated; vLLM answers the questions",
        ),
        (_seen(None, None, None, ABSENT, unreachable="no MLflow"), "the model is being evaluated; no MLflow"),
        (_seen(None, None, None, ACTIVE), "the result is being published"),
        (_training(FAILED, spec={"maxAttempts": 1}), "the train stage failed: no row can be used"),
        (_seen(CRASHED, ABSENT, ABSENT, ABSENT, spec={"maxAttempts": 1}), "the prepare stage failed: a bug"),
        (_seen(**LATER), OVERDUE),
        (_seen(obstacle=OBSTACLE, **LATER), f"{OVERDUE} (it waited: no base)"),
        (_seen(None, None, None, None, version="Ours"), "published as ModelVersion job"),
    ],
)
def test_people_are_told_what_happens(seen: ObservedJob, message: str) -> None:
    assert decide(seen, NOW).status.conditions[0].message == message


def test_a_job_whose_time_is_up_failed_at_the_stage_that_was_next() -> None:
    failure = decide(_training(ABSENT, **LATER), NOW).status.failure
    assert failure is not None
    assert (failure.stage, failure.failure_class) == ("train", "Deadline")


def test_the_gpus_of_all_nodes_that_train_are_told() -> None:
    train = {"nodes": 2, "resources": {"limits": {"nvidia.com/gpu": 4}}}
    seen = _training(ACTIVE, spec={"stages": {"train": train}, "storage": {"claimName": "shared"}})
    assert decide(seen, NOW).status.gpus == 8
    assert not seen.claim_missing, "what nobody looked for is not missing"


def test_where_a_job_comes_from_is_told_once_there_is_more_to_tell() -> None:
    for seen in (_seen(ACTIVE, ABSENT, ABSENT, ABSENT), _seen(ABSENT, ABSENT, ABSENT, ABSENT, obstacle=OBSTACLE)):
        assert decide(seen, NOW).status.provenance is None
    told = decide(_training(ACTIVE), NOW).status
    assert told.provenance is not None
    assert told.provenance.dump() == {
        "images": dict.fromkeys(STAGES, "trainer:1"),
        "modelRevision": "models:/spam/1",
        "datasetDigest": "sha256:d",
        "planDigest": "p",
    }
    without_plan = decide(_seen(previous=told, spec=SUSPEND), NOW).status
    assert (without_plan.phase, without_plan.provenance) == ("Suspended", told.provenance)


def test_a_report_is_of_training_and_its_last_words_stay_when_that_is_done() -> None:
    numbers: dict[str, float | None] = {
        "epoch": 0.5, "loss": 9.0, "learning_rate": 0.1, "tokens_per_second": 7.0, "gpu_memory_gib": 3.0,
    }  # fmt: skip
    report = Report(progress_of(7, 10, 70, 60, AT, numbers), checkpoint=Checkpoint(step=6))
    training = decide(_training(ACTIVE, report=report, previous=FineTuneJobStatus(checkpoint=Checkpoint(step=5))), NOW)
    assert (training.status.progress, training.status.checkpoint) == (report.progress, Checkpoint(step=6))
    done = decide(_seen(None, None, ACTIVE, ABSENT, report=report, previous=training.status), NOW).status
    assert done.progress is not None
    assert done.progress.dump() == {
        "summary": "100/100 100%", "step": 100, "totalSteps": 100, "percent": 100, "updatedAt": AT,
        "epoch": 0.5, "loss": 0.5, "evalLoss": 0.6, "learningRate": 0.1, "tokensPerSecond": 7.0, "gpuMemoryGib": 3.0,
    }  # fmt: skip
    assert done.checkpoint == Checkpoint(step=100)
    later = decide(_seen(LOST, LOST, ACTIVE, ABSENT, report=report, previous=done), NOW).status
    assert later.progress == done.progress, "what was reported before is no news"


def test_gates_whose_references_cannot_be_read_are_not_judged() -> None:
    gates = {"evaluation": {"suites": SUITES, "gates": [{"metric": "rows/accuracy", "vsAlias": "production"}]}}
    status = decide(_seen(None, None, None, ABSENT, spec=gates, unreachable="no MLflow"), NOW).status
    assert status.evaluation is not None
    assert (status.evaluation.metrics, status.evaluation.gates) == ({"rows/accuracy": 0.9}, [])


def test_what_held_up_another_stage_is_not_why_this_one_is_late() -> None:
    waited = Failure(stage="prepare", failure_class="ImagePull", retryable=True, message="no image")
    failure = decide(_training(LATE, previous=FineTuneJobStatus(failure=waited)), NOW).status.failure
    assert failure is not None
    assert (failure.failure_class, failure.message) == ("Deadline", OVERDUE)


def test_what_stages_handed_back_is_in_the_status() -> None:
    status = decide(_seen(None, None, None, None, version="Ours"), NOW).status
    assert status.dataset is not None
    assert (status.dataset.rows, status.dataset.splits.train) == (10, 8)
    assert status.progress is not None
    assert (status.progress.summary, status.progress.loss) == ("100/100 100%", 0.5)
    assert status.evaluation is not None
    assert status.evaluation.metrics == {"rows/accuracy": 0.9}
    assert status.mlflow is not None
    assert status.mlflow.run_id == "r"
    assert status.provenance is not None
    assert (status.provenance.dataset_digest, set(status.provenance.images.values())) == ("sha256:d", {"trainer:1"})
    assert status.model_version_ref == LocalReference(name="job")


def test_what_answered_is_in_the_status() -> None:
    done = Evaluated(metrics={"rows/accuracy": 0.9}, engine="VLLM")
    work = _work("Complete", pods=(_pod("Succeeded", exitCode=0, message=done.model_dump_json()),))
    status = decide(_seen(None, None, work, ABSENT), NOW).status
    assert status.evaluation is not None
    assert status.evaluation.engine == "VLLM"


def test_what_preparation_warns_of_is_in_the_status() -> None:
    assert decide(_seen(_done("prepare"), ACTIVE, ABSENT, ABSENT), NOW).status.warnings is None
    told = PREPARED.model_copy(update={"warnings": ["the adapter does not reach the experts"]})
    done = _work("Complete", pods=(_pod("Succeeded", exitCode=0, message=told.model_dump_json()),))
    status = decide(_seen(done, ACTIVE, ABSENT, ABSENT), NOW).status
    assert status.warnings == ["the adapter does not reach the experts"]
    later = decide(_seen(LOST, ACTIVE, ABSENT, ABSENT, previous=status), NOW).status
    assert later.warnings == status.warnings, "also when the pod that said so is gone"


def test_what_was_told_stays_when_the_pod_that_handed_it_back_is_gone() -> None:
    told = decide(_training(ACTIVE), NOW).status
    assert decide(_seen(LOST, ACTIVE, ABSENT, ABSENT, previous=told), NOW).status == told


def test_a_report_without_a_checkpoint_keeps_the_last() -> None:
    report, kept = Report(progress_of(7, 10, 70, None, AT, {})), Checkpoint(step=5)
    status = decide(_training(ACTIVE, report=report, previous=FineTuneJobStatus(checkpoint=kept)), NOW).status
    assert (status.progress, status.checkpoint) == (report.progress, kept)


def test_a_failure_names_stage_pod_exit_code_and_words() -> None:
    status = decide(_seen(FAILED, ABSENT, ABSENT, ABSENT), NOW).status
    assert status.failure is not None
    assert status.failure.dump() == {
        "stage": "prepare",
        "class": "Data",
        "retryable": False,
        "exitCode": 65,
        "pod": "p",
        "node": "n",
        "message": "no row can be used",
    }
    assert status.conditions[0].message == "the prepare stage failed: no row can be used"


def test_a_job_whose_attempts_are_spent_says_so() -> None:
    seen = _training(CRASHED, previous=FineTuneJobStatus(attempts=ATTEMPT_2), spec=TWICE)
    assert (
        decide(seen, NOW).status.conditions[0].message
        == "the train stage failed: a bug (all 2 attempts that maxAttempts allows were made)"
    )


def test_what_holds_a_stage_back_has_a_class_and_names_the_cause_when_time_is_up() -> None:
    waits = {"waiting": {"reason": "ErrImagePull", "message": ""}}
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Pending", "containerStatuses": [{"state": waits}]}}
    waiting = decide(_training(_work(pods=(pod,))), NOW).status
    assert waiting.failure is not None
    assert (waiting.phase, waiting.failure.failure_class, waiting.failure.retryable) == ("Running", "ImagePull", True)
    ending = decide(_training(_work("FailureTarget"), previous=waiting), NOW).status
    late = decide(_training(LATE, previous=ending), NOW).status
    assert late.failure is not None
    assert (late.phase, late.conditions[0].reason) == ("Failed", "DeadlineExceeded")
    assert late.failure.failure_class == "ImagePull"
    assert late.failure.message.endswith("a larger value or less work; the container waits: ErrImagePull")
    assert decide(_training(ACTIVE, previous=waiting), NOW).status.failure is None


def test_gates_are_told_with_what_they_asked_for() -> None:
    status = decide(
        _seen(None, None, None, ABSENT, spec={"evaluation": {"suites": SUITES, "gates": [GATE, HIGH_GATE]}}), NOW
    ).status
    assert status.evaluation is not None
    assert [(gate.required, gate.passed) for gate in status.evaluation.gates] == [
        ("at least 0.5", True),
        ("at least 0.95", False),
    ]
    assert status.failure is not None
    assert (status.failure.stage, status.failure.failure_class) == ("evaluate", "Gate")
    assert (
        status.conditions[0].message == "the result is not published: rows/accuracy is 0.9, and must be at least 0.95"
    )


def test_a_result_that_is_published_on_too_few_rows_to_tell_says_so() -> None:
    sample = "95 % interval 0.85 to 0.94 on 100 rows: too few to tell whether it is above 0.88; about 500 would"
    gate = GateStatus(
        metric="rows/accuracy", value=0.9, required="above 0.88", passed=True, supported=False, sample=sample
    )
    measured = EvaluationStatus(metrics={"rows/accuracy": 0.9}, gates=[gate])
    previous = EVALUATED.having(evaluation=measured)
    status = decide(_seen(None, None, None, None, version="Ours", previous=previous), NOW).status
    assert status.conditions[0].message == f"published as ModelVersion job; rows/accuracy is 0.9 ({sample})"


def test_gates_that_were_passed_stay_passed_when_what_they_compare_with_changes() -> None:
    told = [
        GateStatus(metric="rows/accuracy", value=0.9, required="at least 0.88 (not worse than production)", passed=True)
    ]
    published = decide(_seen(None, None, None, ABSENT), NOW).status
    assert published.evaluation is not None
    previous = published.having(evaluation=published.evaluation.having(gates=told))
    gates = {"evaluation": {"suites": SUITES, "gates": [{"metric": "rows/accuracy", "vsAlias": "production"}]}}
    references = {"production": {"rows/accuracy": 0.99}}
    status = decide(_seen(None, None, None, ACTIVE, spec=gates, previous=previous, references=references), NOW).status
    assert status.evaluation is not None
    assert status.evaluation.gates == told


def test_the_condition_s_time_changes_with_its_status_only() -> None:
    first = decide(_seen(ACTIVE, ABSENT, ABSENT, ABSENT), NOW).status
    later = decide(_training(ACTIVE, previous=first), NOW + timedelta(hours=1)).status
    assert later.conditions[0].last_transition_time == AT
    end = decide(_training(FAILED, previous=later), NOW + timedelta(hours=2)).status
    assert end.conditions[0].last_transition_time == "2026-03-01T14:00:00Z"
