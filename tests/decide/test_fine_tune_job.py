"""Where a FineTuneJob stands and what comes next, as a table of stages."""

from datetime import UTC, datetime
from typing import Any

import pytest

from anneal_operator.api.conditions import Condition
from anneal_operator.api.evaluation import Gate
from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus, GateStatus, Provenance
from anneal_operator.api.schema import LocalReference
from anneal_operator.decide.fine_tune_job import has_passed, judge, seconds_to_live
from anneal_operator.decide.observed_job import STAGES, ObservedJob, Obstacle
from anneal_operator.decide.progress import progress_of
from anneal_operator.decide.stages import StageState
from anneal_operator.reasons import Reason
from training_runtime.plan import Evaluated, Prepared, Published, Stage, Trained

NOW = "2026-03-01T12:00:00Z"
PREPARED = Prepared(
    rows=10, rejected=1, duplicates_removed=2, pii_found=3, tokens=100, p99_tokens=20, truncated_percent=0.0,
    train=8, validation=1, test=1, digest="sha256:d",
)  # fmt: skip
RESULTS: dict[Stage, Any] = {
    "prepare": PREPARED,
    "train": Trained(step=100, loss=0.5, eval_loss=0.6),
    "evaluate": Evaluated(metrics={"accuracy": 0.9}),
    "publish": Published(
        run_id="r", experiment_id="1", uri="mlflow-artifacts:/1/r/artifacts/model", digest="d", format="Full"
    ),
}
ABSENT, ACTIVE = StageState(), StageState("Active")
FAILED = StageState("Failed", message="no row can be used", exit_code=65, pod="p", node="n", failure_class="Data")
LATE = StageState("Failed", message="not done in time", failure_class="Deadline")
LOST, PASSED = StageState("Lost"), StageState("Succeeded")
SUSPENDED, TAKEN_AWAY = StageState("Active", suspended=True), StageState("Active", preempted=True)
GATE, HIGH_GATE = Gate(metric="accuracy", min=0.5), Gate(metric="accuracy", min=0.95)


def _done(stage: Stage) -> StageState:
    return StageState("Succeeded", result=RESULTS[stage].model_dump(mode="json"))


def _stages(*states: StageState | None) -> dict[Stage, StageState]:
    return {stage: state or _done(stage) for stage, state in zip(STAGES, states, strict=True)}


def _seen(**changes: Any) -> ObservedJob:
    provenance = Provenance(images={"train": "i"}, model_revision="m", plan_digest="p")
    return ObservedJob("job", 1, changes.pop("previous", FineTuneJobStatus()), provenance=provenance, **changes)


def _training(state: StageState) -> dict[Stage, StageState]:
    return _stages(None, state, ABSENT, ABSENT)


def _evaluated(publishing: StageState) -> dict[Stage, StageState]:
    return _stages(None, None, None, publishing)


OBSTACLE = Obstacle(Reason.BASE_NOT_FOUND, "no base")


@pytest.mark.parametrize(
    ("seen", "phase", "action", "stage", "reason"),
    [
        (_seen(obstacle=Obstacle(Reason.BASE_NOT_FOUND, "no base")), "Pending", "Wait", None, "BaseNotFound"),
        (_seen(stages=None), "Pending", "Plan", None, "StageRunning"),
        (_seen(stages=_stages(ABSENT, ABSENT, ABSENT, ABSENT)), "Preparing", "StartStage", "prepare", "StageRunning"),
        (_seen(stages=_stages(ACTIVE, ABSENT, ABSENT, ABSENT)), "Preparing", "Wait", "prepare", "StageRunning"),
        (_seen(stages=_stages(FAILED, ABSENT, ABSENT, ABSENT)), "Failed", "Nothing", None, "StageFailed"),
        (_seen(stages=_stages(None, ABSENT, ABSENT, ABSENT)), "Running", "StartStage", "train", "StageRunning"),
        (_seen(stages=_stages(None, ACTIVE, ABSENT, ABSENT)), "Running", "Wait", "train", "StageRunning"),
        (_seen(stages=_stages(None, FAILED, ABSENT, ABSENT)), "Failed", "Nothing", None, "StageFailed"),
        (_seen(stages=_stages(None, None, ABSENT, ABSENT)), "Evaluating", "StartStage", "evaluate", "StageRunning"),
        (_seen(stages=_stages(None, None, None, ABSENT)), "Publishing", "StartStage", "publish", "StageRunning"),
        (_seen(stages=_stages(None, None, None, None)), "Publishing", "MakeVersion", None, "StageRunning"),
        (_seen(stages=_stages(None, None, None, None), version_made=True), "Succeeded", "Nothing", None, "Published"),
        # Gates
        (_seen(stages=_evaluated(ABSENT), gates=(GATE,)), "Publishing", "StartStage", "publish", "StageRunning"),
        (_seen(stages=_evaluated(ABSENT), gates=(HIGH_GATE,)), "Failed", "Nothing", None, "GateFailed"),
        (_seen(stages=_evaluated(ACTIVE), gates=(HIGH_GATE,)), "Publishing", "Wait", "publish", "StageRunning"),
        (_seen(stages=_evaluated(ABSENT), unreachable="no MLflow"), "Evaluating", "Wait", "evaluate", "StageRunning"),
        # Suspension
        (_seen(suspend=True), "Suspended", "Wait", None, "Suspended"),
        (_seen(suspend=True, obstacle=OBSTACLE), "Suspended", "Wait", None, "Suspended"),
        (_seen(suspend=True, stages=_training(ABSENT)), "Suspended", "Wait", None, "Suspended"),
        (_seen(suspend=True, stages=_training(ACTIVE)), "Suspended", "SuspendStage", "train", "Suspended"),
        (_seen(suspend=True, stages=_training(SUSPENDED)), "Suspended", "Wait", "train", "Suspended"),
        (_seen(suspend=True, stages=_training(FAILED)), "Failed", "Nothing", None, "StageFailed"),
        (_seen(stages=_training(SUSPENDED)), "Running", "ResumeStage", "train", "StageRunning"),
        # Queues
        (_seen(stages=_training(SUSPENDED), queue="research"), "Queued", "Wait", "train", "StageQueued"),
        (_seen(stages=_training(ACTIVE), queue="research"), "Running", "Wait", "train", "StageRunning"),
        (_seen(stages=_training(SUSPENDED), queue="research", suspend=True), "Suspended", "Wait", "train", "Suspended"),
        # Preemption
        (_seen(stages=_training(TAKEN_AWAY)), "Preempted", "Wait", "train", "StagePreempted"),
        (_seen(stages=_stages(TAKEN_AWAY, ABSENT, ABSENT, ABSENT)), "Preparing", "Wait", "prepare", "StageRunning"),
        (_seen(stages=_training(TAKEN_AWAY), suspend=True), "Suspended", "SuspendStage", "train", "Suspended"),
        # A result that is lost with its pod
        (_seen(stages=_training(LOST)), "Running", "RemoveStage", "train", "StageRunning"),
        (_seen(stages=_stages(None, None, None, LOST)), "Publishing", "RemoveStage", "publish", "StageRunning"),
        (_seen(stages=_training(LOST), suspend=True), "Running", "RemoveStage", "train", "StageRunning"),
        (
            _seen(stages=_stages(None, None, PASSED, ABSENT), gates=(GATE,)),
            "Publishing",
            "StartStage",
            "publish",
            "StageRunning",
        ),
        # Deadline
        (_seen(overdue=True), "Failed", "Nothing", None, "DeadlineExceeded"),
        (_seen(overdue=True, obstacle=OBSTACLE), "Failed", "Nothing", None, "DeadlineExceeded"),
        (_seen(overdue=True, suspend=True), "Failed", "Nothing", None, "DeadlineExceeded"),
        (_seen(overdue=True, stages=_training(ABSENT)), "Failed", "Nothing", None, "DeadlineExceeded"),
        (_seen(overdue=True, stages=_training(SUSPENDED), queue="q"), "Failed", "Nothing", None, "DeadlineExceeded"),
        (_seen(overdue=True, stages=_training(SUSPENDED), suspend=True), "Failed", "Nothing", None, "DeadlineExceeded"),
        (_seen(overdue=True, stages=_training(ACTIVE)), "Running", "Wait", "train", "StageRunning"),
        (_seen(overdue=True, stages=_training(FAILED)), "Failed", "Nothing", None, "StageFailed"),
        (_seen(overdue=True, stages=_training(LATE)), "Failed", "Nothing", None, "DeadlineExceeded"),
        (_seen(overdue=True, stages=_stages(None, None, None, None)), "Failed", "Nothing", None, "DeadlineExceeded"),
    ],
)
def test_the_first_stage_that_is_not_done_decides(
    seen: ObservedJob, phase: str, action: str, stage: str | None, reason: str
) -> None:
    verdict = judge(seen, NOW)
    assert (verdict.status.phase, verdict.action, verdict.stage) == (phase, action, stage)
    assert [condition.reason for condition in verdict.status.conditions] == [reason]


def test_what_stages_handed_back_is_in_the_status() -> None:
    status = judge(_seen(stages=_stages(None, None, None, None), version_made=True), NOW).status
    assert status.dataset is not None
    assert (status.dataset.rows, status.dataset.splits.train) == (10, 8)
    assert status.progress is not None
    assert (status.progress.summary, status.progress.loss) == ("100/100 100%", 0.5)
    assert status.evaluation is not None
    assert status.evaluation.metrics == {"accuracy": 0.9}
    assert status.mlflow is not None
    assert status.mlflow.run_id == "r"
    assert status.provenance is not None
    assert status.provenance.dataset_digest == "sha256:d"
    assert status.model_version_ref == LocalReference(name="job")


def test_what_was_told_stays_when_the_pod_that_handed_it_back_is_gone() -> None:
    told = judge(_seen(stages=_stages(None, ACTIVE, ABSENT, ABSENT)), NOW).status
    gone = {**_stages(None, ACTIVE, ABSENT, ABSENT), "prepare": StageState("Succeeded")}
    assert judge(_seen(stages=gone, previous=told), NOW).status == told


@pytest.mark.parametrize(
    ("phase", "passed"),
    [
        ("Pending", []),
        ("Preparing", []),
        ("Running", ["prepare"]),
        ("Publishing", ["prepare", "train", "evaluate"]),
        ("Suspended", []),
    ],
)
def test_the_phase_that_was_told_tells_which_results_were_read(phase: Any, passed: list[str]) -> None:
    assert [stage for stage in STAGES if has_passed(FineTuneJobStatus(phase=phase), stage)] == passed


def test_a_failure_names_stage_pod_exit_code_and_words() -> None:
    status = judge(_seen(stages=_stages(FAILED, ABSENT, ABSENT, ABSENT)), NOW).status
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


def test_what_holds_a_stage_back_has_a_class_and_names_the_cause_when_time_is_up() -> None:
    pulling = StageState("Active", message="the container waits: ErrImagePull", held_back="ImagePull")
    waiting = judge(_seen(stages=_training(pulling)), NOW).status
    assert waiting.failure is not None
    assert (waiting.phase, waiting.failure.failure_class, waiting.failure.retryable) == ("Running", "ImagePull", True)
    ending = judge(_seen(stages=_training(StageState("Active", ending=True)), previous=waiting), NOW).status
    late = judge(_seen(stages=_training(LATE), previous=ending), NOW).status
    assert late.failure is not None
    assert (late.phase, late.conditions[0].reason) == ("Failed", "DeadlineExceeded")
    assert (late.failure.failure_class, late.failure.message) == (
        "ImagePull",
        "not done in time; the container waits: ErrImagePull",
    )
    assert judge(_seen(stages=_training(ACTIVE), previous=waiting), NOW).status.failure is None


def test_gates_are_told_with_what_they_asked_for() -> None:
    status = judge(_seen(stages=_evaluated(ABSENT), gates=(GATE, HIGH_GATE)), NOW).status
    assert status.evaluation is not None
    assert [(gate.required, gate.passed) for gate in status.evaluation.gates] == [
        ("at least 0.5", True),
        ("at least 0.95", False),
    ]
    assert status.failure is not None
    assert (status.failure.stage, status.failure.failure_class) == ("evaluate", "Gate")
    assert status.conditions[0].message == "the result is not published: accuracy is 0.9, and must be at least 0.95"


def test_gates_that_were_passed_stay_passed_when_what_they_compare_with_changes() -> None:
    told = (
        GateStatus(metric="accuracy", value=0.9, required="at least 0.88 (not worse than production)", passed=True),
    )
    gate = Gate(metric="accuracy", vs_alias="production")
    seen = _seen(stages=_evaluated(ACTIVE), gates=(gate,), references={"production": {"accuracy": 0.99}}, judged=told)
    status = judge(seen, NOW).status
    assert status.evaluation is not None
    assert tuple(status.evaluation.gates) == told


@pytest.mark.parametrize(
    ("status", "ttl", "left"),
    [
        ("True", 60, 30.0),
        ("False", 60, 30.0),
        ("True", 30, 0.0),
        ("True", 0, 0.0),
        ("True", None, None),
        ("Unknown", 0, None),
    ],
)
def test_a_job_that_has_ended_lives_as_long_as_it_may(status: Any, ttl: int | None, left: float | None) -> None:
    condition = Condition(
        type="Succeeded", status=status, reason="R", message="", last_transition_time=NOW, observed_generation=1
    )
    now = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
    assert seconds_to_live(FineTuneJobStatus(conditions=[condition]), ttl, now) == left


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_the_end_is_the_end(phase: Any) -> None:
    previous = FineTuneJobStatus(phase=phase)
    verdict = judge(_seen(previous=previous, obstacle=Obstacle(Reason.NAME_TAKEN, "")), NOW)
    assert (verdict.status, verdict.action) == (previous, "Nothing")


def test_the_condition_s_time_changes_with_its_status_only() -> None:
    first = judge(_seen(stages=_stages(ACTIVE, ABSENT, ABSENT, ABSENT)), NOW).status
    later = judge(_seen(stages=_stages(None, ACTIVE, ABSENT, ABSENT), previous=first), "2026-03-01T13:00:00Z").status
    assert later.conditions[0].last_transition_time == NOW
    end = judge(_seen(stages=_stages(None, FAILED, ABSENT, ABSENT), previous=later), "2026-03-01T14:00:00Z").status
    assert end.conditions[0].last_transition_time == "2026-03-01T14:00:00Z"


@pytest.mark.parametrize(("seconds", "text"), [(None, None), (0, None), (42, "42s"), (125, "2m5s"), (7384, "2h3m")])
def test_the_remaining_time_reads_like_an_age(seconds: int | None, text: str | None) -> None:
    assert progress_of(1, 10, 10, seconds, NOW, {}).remaining == text


def test_losses_are_rounded() -> None:
    assert progress_of(1, 10, 10, 5, NOW, {"loss": 0.14927289485931397}).loss == 0.1493
