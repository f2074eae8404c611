"""Where a FineTuneJob stands and what comes next, as a table of stages."""

from typing import Any

import pytest

from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus, Provenance
from anneal_operator.decide.fine_tune_job import STAGES, ObservedJob, Obstacle, judge
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
        run_id="r", experiment_id="1", uri="mlflow-artifacts:/1/r/artifacts/model", digest="d", format="full"
    ),
}
ABSENT, ACTIVE = StageState(), StageState("Active")
FAILED = StageState("Failed", message="no row can be used", exit_code=65, pod="p")


def _done(stage: Stage) -> StageState:
    return StageState("Succeeded", result=RESULTS[stage].model_dump(mode="json"))


def _stages(*states: StageState | None) -> dict[Stage, StageState]:
    return {stage: state or _done(stage) for stage, state in zip(STAGES, states, strict=True)}


def _seen(**changes: Any) -> ObservedJob:
    provenance = Provenance(image="i", model_revision="m", plan_digest="p")
    return ObservedJob("job", 1, changes.pop("previous", FineTuneJobStatus()), provenance=provenance, **changes)


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
    assert status.model_version == "job"


def test_a_failure_names_stage_pod_exit_code_and_words() -> None:
    status = judge(_seen(stages=_stages(FAILED, ABSENT, ABSENT, ABSENT)), NOW).status
    assert status.failure is not None
    assert status.failure.dump() == {"stage": "prepare", "exitCode": 65, "pod": "p", "message": "no row can be used"}
    assert status.conditions[0].message == "the prepare stage failed: no row can be used"


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
