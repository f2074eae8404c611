"""Where a FineTuneJob stands and what comes next, as a table of stages."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.conditions import Condition
from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job_status import (
    Attempt,
    Attempts,
    DatasetStatus,
    EvaluationStatus,
    FineTuneJobStatus,
    Splits,
)
from anneal_operator.decide.fine_tune_job import MakePlan, StartStage, decide
from anneal_operator.decide.observed_job import (
    STAGES,
    ObservedBase,
    ObservedJob,
    ObservedPlan,
    ObservedStage,
    Obstacle,
)
from anneal_operator.reasons import Reason
from training_runtime.plan import Evaluated, Prepared, Published, Stage, Trained

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AT = "2026-03-01T12:00:00Z"
PREPARED = Prepared(
    rows=10, rejected=1, duplicates_removed=2, pii_found=3, tokens=100, p99_tokens=20, truncated_percent=0.0,
    train=8, validation=1, test=1, digest="sha256:d",
)  # fmt: skip
RESULTS: dict[Stage, Any] = {
    "prepare": PREPARED,
    "train": Trained(step=100, loss=0.5, eval_loss=0.6),
    "evaluate": Evaluated(metrics={"rows/accuracy": 0.9}),
    "publish": Published(
        run_id="r", experiment_id="1", uri="mlflow-artifacts:/1/r/artifacts/model", digest="d", format="Full"
    ),
}
SPEC: dict[str, Any] = {
    "base": {"uri": "models:/spam@base"},
    "dataset": {"sources": [{"uri": "configmap://data/rows.jsonl"}]},
    "output": {"modelName": "spam"},
}
PLAN = ObservedPlan("trainer:1", "models:/spam/1", "p")
WITH_ENGINE = replace(PLAN, engine_image="server:1")
OBSTACLE = Obstacle(Reason.BASE_NOT_FOUND, "no base")
GATE, HIGH_GATE = {"metric": "rows/accuracy", "min": 0.5}, {"metric": "rows/accuracy", "min": 0.95}


def _work(*conditions: str, pods: tuple[dict[str, Any], ...] = (), reason: str = "", **job: Any) -> ObservedStage:
    listed = [{"type": kind, "status": "True", "reason": reason, "message": ""} for kind in conditions]
    metadata = {"name": "the-job", "uid": "the-uid", "creationTimestamp": AT, **job.pop("metadata", {})}
    made = {"metadata": metadata, "spec": job, "status": {"startTime": AT, "conditions": listed}}
    return ObservedStage(made, pods, attempt=1)


def _pod(phase: str, *conditions: dict[str, str], **terminated: Any) -> dict[str, Any]:
    ended = {"startedAt": AT, "finishedAt": AT, **terminated}
    state = {"terminated": ended} if terminated else {"running": {"startedAt": AT}}
    status = {"phase": phase, "conditions": list(conditions), "containerStatuses": [{"state": state}]}
    return {"metadata": {"name": "p"}, "spec": {"nodeName": "n"}, "status": status}


def _done(stage: Stage) -> ObservedStage:
    result = RESULTS[stage].model_dump_json()
    return _work("Complete", pods=(_pod("Succeeded", exitCode=0, message=result),))


def _crashed(code: int, message: str = "no row can be used") -> ObservedStage:
    said = json.dumps({"error": "Error", "message": message})
    return _work("Failed", pods=(_pod("Failed", exitCode=code, message=said),))


ABSENT, ACTIVE, LOST = ObservedStage(), _work(pods=(_pod("Running"),)), _work("Complete")
FAILED, CRASHED, LATE = _crashed(65), _crashed(70, "a bug"), _work("Failed", reason="DeadlineExceeded")
ORPHANED = ObservedStage(orphans=({"metadata": {"name": "p"}},))
SUSPENDED, GOING = _work(suspend=True), _work(metadata={"deletionTimestamp": AT})
TAKEN = _work("Failed", pods=(_pod("Failed", {"type": "DisruptionTarget", "status": "True"}, exitCode=75),))
REFUSED = _work("Failed", pods=({"metadata": {"name": "p"}, "status": {"phase": "Failed", "reason": "OutOfcpu"}},))


def _stages(*work: ObservedStage | None) -> dict[Stage, ObservedStage]:
    return {stage: found or _done(stage) for stage, found in zip(STAGES, work, strict=True)}


def _seen(*work: ObservedStage | None, spec: dict[str, Any] | None = None, **changes: Any) -> ObservedJob:
    """A job with a plan, and with these stages, None for one that is done; without any nothing has begun."""
    given: dict[str, Any] = {"plan": PLAN if work else None, "base": ObservedBase("b", "b")}
    given |= {"previous": FineTuneJobStatus(), "stages": _stages(*work) if work else {}, **changes}
    return ObservedJob("job", "uid", 1, spec=FineTuneJobSpec.parse(SPEC | (spec or {})), **given)


def _training(work: ObservedStage, **changes: Any) -> ObservedJob:
    return _seen(None, work, ABSENT, ABSENT, **changes)


def _steps(seen: ObservedJob, now: datetime = NOW) -> list[str]:
    verdict = decide(seen, now)
    made = [f"{type(step).__name__} {getattr(step, 'stage', '')}".strip() for step in verdict.apply]
    return [f"delete {gone.kind} {gone.name}" for gone in verdict.delete] + made


ATTEMPT_2 = Attempts(
    total=2,
    failed=2,
    gpu_seconds=0,
    last=[
        Attempt(number=number, reason="Internal", started_at=AT, ended_at=AT, start_step=0, end_step=5)
        for number in (1, 2)
    ],
)
EVALUATED = FineTuneJobStatus(
    dataset=DatasetStatus(
        rows=1, rejected=0, duplicates_removed=0, pii_masked=0, tokens=1, p99_tokens=1, truncated_percent=0,
        splits=Splits(train=1, validation=0, test=0), digest="d",
    ),
    attempts=ATTEMPT_2.having(last=[ATTEMPT_2.last[0].having(reason="Completed")]),
    evaluation=EvaluationStatus(metrics={"rows/accuracy": 0.9}),
)  # fmt: skip
SUSPEND, TWICE = {"suspend": True}, {"maxAttempts": 2}
SUITES = [{"name": "rows", "type": "Classification"}]
GATED = {"evaluation": {"suites": SUITES, "gates": [GATE]}}
HIGHLY_GATED = {"evaluation": {"suites": SUITES, "gates": [HIGH_GATE]}}
LATER: dict[str, Any] = {
    "previous": FineTuneJobStatus(observed_generation=1, active_seconds=60),
    "spec": {"activeDeadlineSeconds": 60},
}
QUEUE = {"scheduling": {"queueName": "research"}}


@pytest.mark.parametrize(
    ("seen", "phase", "steps", "reason"),
    [
        (_seen(obstacle=OBSTACLE), "Pending", [], "BaseNotFound"),
        (_seen(), "Preparing", ["MakePlan", "StartStage prepare"], "StageRunning"),
        (_seen(ABSENT, ABSENT, ABSENT, ABSENT), "Preparing", ["StartStage prepare"], "StageRunning"),
        (_seen(ACTIVE, ABSENT, ABSENT, ABSENT), "Preparing", [], "StageRunning"),
        (_seen(FAILED, ABSENT, ABSENT, ABSENT), "Failed", [], "StageFailed"),
        (_seen(CRASHED, ABSENT, ABSENT, ABSENT), "Failed", [], "StageFailed"),
        (_training(ABSENT), "Running", ["StartStage train"], "StageRunning"),
        (_training(ABSENT, spec=QUEUE), "Queued", ["StartStage train"], "StageQueued"),
        (_seen(ABSENT, ABSENT, ABSENT, ABSENT, spec=QUEUE), "Preparing", ["StartStage prepare"], "StageRunning"),
        (_training(ORPHANED), "Running", [], "StageRunning"),
        (_training(ACTIVE), "Running", [], "StageRunning"),
        (_training(ACTIVE, obstacle=OBSTACLE), "Running", [], "StageRunning"),
        (_training(FAILED), "Failed", [], "StageFailed"),
        (_seen(None, None, ABSENT, ABSENT), "Evaluating", ["StartStage evaluate"], "StageRunning"),
        (_seen(None, None, None, ABSENT), "Publishing", ["StartStage publish"], "StageRunning"),
        (_seen(None, None, None, ABSENT, obstacle=OBSTACLE), "Pending", [], "BaseNotFound"),
        (_seen(None, None, None, None), "Publishing", ["MakeVersion"], "StageRunning"),
        (_seen(None, None, None, None, version="Foreign"), "Pending", [], "NameTaken"),
        (_seen(None, None, None, None, version="Ours", opponent="x"), "Publishing", ["MakeExperiment"], "StageRunning"),
        (_seen(None, None, None, None, version="Ours"), "Succeeded", [], "Published"),
        # Attempts of training
        (_training(TAKEN), "Preempted", [], "StagePreempted"),
        (_training(CRASHED), "Running", [], "StageRetrying"),
        (_training(REFUSED), "Running", [], "StageRetrying"),
        (_training(CRASHED, previous=FineTuneJobStatus(attempts=ATTEMPT_2), spec=TWICE), "Failed", [], "StageFailed"),
        (
            _training(TAKEN, previous=FineTuneJobStatus(attempts=ATTEMPT_2), spec=TWICE),
            "Running",
            ["StartStage train"],
            "StageRunning",
        ),
        (_training(LOST), "Running", ["StartStage train"], "StageRunning"),
        (_training(GOING), "Running", [], "StageRunning"),
        # Gates
        (_seen(None, None, None, ABSENT, spec=GATED), "Publishing", ["StartStage publish"], "StageRunning"),
        (_seen(None, None, None, ABSENT, spec=HIGHLY_GATED), "Failed", [], "GateFailed"),
        (_seen(None, None, None, ACTIVE, spec=HIGHLY_GATED), "Publishing", [], "StageRunning"),
        (_seen(None, None, None, ABSENT, unreachable="no MLflow"), "Evaluating", [], "StageRunning"),
        # Suspension
        (_seen(spec=SUSPEND), "Suspended", [], "Suspended"),
        (_seen(spec=SUSPEND, obstacle=OBSTACLE), "Suspended", [], "Suspended"),
        (_training(ABSENT, spec=SUSPEND), "Suspended", [], "Suspended"),
        (_training(ACTIVE, spec=SUSPEND), "Suspended", ["delete Job the-job"], "Suspended"),
        (_training(SUSPENDED, spec=SUSPEND), "Suspended", ["delete Job the-job"], "Suspended"),
        (_training(GOING, spec=SUSPEND), "Suspended", [], "Suspended"),
        (_training(FAILED, spec=SUSPEND), "Failed", [], "StageFailed"),
        (_seen(FAILED, ABSENT, ABSENT, ABSENT, spec=SUSPEND), "Failed", [], "StageFailed"),
        (_training(TAKEN, spec=SUSPEND), "Suspended", [], "Suspended"),
        (_training(CRASHED, spec=SUSPEND), "Suspended", [], "Suspended"),
        (_training(LOST, spec=SUSPEND), "Suspended", [], "Suspended"),
        (_seen(None, None, None, None, spec=SUSPEND, version="Ours"), "Succeeded", [], "Published"),
        # Queues: whatever suspends a Job resumes it
        (_training(SUSPENDED, spec=QUEUE), "Queued", [], "StageQueued"),
        (_training(SUSPENDED), "Queued", [], "StageQueued"),
        (_training(ACTIVE, spec=QUEUE), "Running", [], "StageRunning"),
        # A result that is lost with its pod
        (_seen(None, None, None, LOST), "Publishing", ["delete Job the-job"], "StageRunning"),
        (_seen(None, None, LOST, ABSENT), "Evaluating", ["delete Job the-job"], "StageRunning"),
        (_seen(None, None, LOST, ACTIVE), "Publishing", [], "StageRunning"),
        # A finished stage whose Job is removed has been read
        (_seen(ABSENT, ACTIVE, ABSENT, ABSENT), "Running", [], "StageRunning"),
        (
            _seen(ABSENT, ABSENT, ABSENT, ABSENT, previous=EVALUATED),
            "Publishing",
            ["StartStage publish"],
            "StageRunning",
        ),
        (
            _seen(ABSENT, ABSENT, ABSENT, ABSENT, previous=EVALUATED, spec=HIGHLY_GATED),
            "Failed",
            [],
            "GateFailed",
        ),
        # Deadline
        (_seen(**LATER), "Failed", [], "DeadlineExceeded"),
        (_seen(obstacle=OBSTACLE, **LATER), "Failed", [], "DeadlineExceeded"),
        (_training(ABSENT, **LATER), "Failed", [], "DeadlineExceeded"),
        (_training(SUSPENDED, **LATER), "Failed", ["delete Job the-job"], "DeadlineExceeded"),
        (_training(CRASHED, **LATER), "Failed", [], "DeadlineExceeded"),
        (_training(FAILED, **LATER), "Failed", [], "StageFailed"),
        (_training(LATE, **LATER), "Failed", [], "DeadlineExceeded"),
        (_training(GOING, **LATER), "Running", [], "StageRunning"),
        (_training(ACTIVE, **LATER), "Running", ["MoveDeadline train"], "StageRunning"),
        (_training(_work("FailureTarget"), **LATER), "Running", [], "StageRunning"),
    ],
)
def test_the_first_stage_that_is_not_done_decides(seen: ObservedJob, phase: str, steps: list[str], reason: str) -> None:
    verdict = decide(seen, NOW)
    assert (verdict.status.phase, _steps(seen)) == (phase, steps)
    assert [condition.reason for condition in verdict.status.conditions] == [reason]


def test_an_attempt_that_fails_again_is_followed_after_a_pause_that_doubles() -> None:
    status, now, pauses = FineTuneJobStatus(), NOW, []
    for number in range(1, 8):
        work = ObservedStage(CRASHED.job, CRASHED.pods, attempt=number)
        verdict = decide(_training(work, previous=status, spec={"maxAttempts": 100}), now)
        status = verdict.status
        pauses.append(verdict.again)
    assert pauses == [10, 20, 40, 80, 160, 300, 300]
    early = decide(_training(work, previous=status, spec={"maxAttempts": 100}), now + timedelta(seconds=299.5))
    assert (early.apply, early.again) == ((), 0.5)
    soon = decide(_training(work, previous=status, spec={"maxAttempts": 100}), now + timedelta(seconds=300))
    assert soon.apply == (StartStage("train", 8),)


def test_the_first_attempt_has_the_number_1_and_no_other_stage_has_any() -> None:
    assert decide(_training(ABSENT), NOW).apply == (StartStage("train", 1),)
    assert decide(_seen(), NOW).apply == (MakePlan(), StartStage("prepare"))
    assert decide(_seen(None, None, ABSENT, ABSENT), NOW).apply == (StartStage("evaluate", 0),)


def test_an_attempt_that_made_a_step_is_followed_at_once() -> None:
    told = ATTEMPT_2.having(last=[ATTEMPT_2.last[0]], total=1, failed=1)
    assert _steps(_training(CRASHED, previous=FineTuneJobStatus(attempts=told))) == ["StartStage train"]


def test_a_version_that_is_being_made_is_looked_for_at_once() -> None:
    assert decide(_seen(None, None, None, None), NOW).again == 0.0


@pytest.mark.parametrize(
    ("seen", "polls"),
    [
        (_seen(obstacle=OBSTACLE), True),
        (_seen(None, None, None, ABSENT, unreachable="no MLflow"), True),
        (_seen(None, None, None, None, version="Foreign"), True),
        (_training(ACTIVE), False),
        (_training(CRASHED), False),
    ],
)
def test_only_what_no_watch_tells_of_is_looked_at_again_and_again(seen: ObservedJob, *, polls: bool) -> None:
    assert decide(seen, NOW).polls is polls


@pytest.mark.parametrize(
    ("work", "progress", "message"),
    [
        (ACTIVE, "Working", "the job is suspended: stopping the train stage's pods"),
        (GOING, "Working", "the job is suspended: the pods of the train stage save what they have and end"),
        (ABSENT, "Settled", "the job is suspended: set `suspend: false` to go on"),
    ],
)
def test_a_job_rests_once_its_pods_have_ended(work: ObservedStage, progress: str, message: str) -> None:
    verdict = decide(_training(work, spec=SUSPEND), NOW)
    assert (verdict.progress, verdict.status.conditions[0].message) == (progress, message)


def test_of_earlier_attempts_one_job_is_kept() -> None:
    earlier = tuple(
        ObservedStage({"metadata": {"name": f"job-train-{n}", "uid": "u", "creationTimestamp": AT}}, attempt=n)
        for n in (1, 2, 3)
    )
    lost = ObservedStage(LOST.job, attempt=4)
    assert _steps(_training(lost, earlier=earlier)) == [
        "delete Job job-train-1",
        "delete Job job-train-2",
        "StartStage train",
    ]


@pytest.mark.parametrize(
    ("status", "ttl", "gone", "left"),
    [
        ("True", 60, False, 30.0),
        ("True", 31, False, 1.0),
        ("False", 60, False, 30.0),
        ("True", 30, True, None),
        ("True", 0, True, None),
        ("True", None, False, None),
    ],
)
def test_a_job_that_has_ended_lives_as_long_as_it_may(
    status: Any, ttl: int | None, gone: bool, left: float | None
) -> None:
    condition = Condition(
        type="Succeeded", status=status, reason="R", message="", last_transition_time=AT, observed_generation=1
    )
    previous = FineTuneJobStatus(phase="Succeeded", conditions=[condition])
    seen = _seen(previous=previous, spec={"ttlSecondsAfterFinished": ttl})
    verdict = decide(seen, NOW + timedelta(seconds=30))
    assert ([one.kind for one in verdict.delete], verdict.again) == (["FineTuneJob"] if gone else [], left)


@pytest.mark.parametrize(("work", "ttl", "again"), [(FAILED, 60, 60.0), (FAILED, None, None), (ACTIVE, 60, None)])
def test_a_job_that_ends_is_looked_at_again_when_its_time_to_live_is_over(
    work: ObservedStage, ttl: int | None, again: float | None
) -> None:
    assert decide(_training(work, spec={"ttlSecondsAfterFinished": ttl}), NOW).again == again


def test_an_end_whose_time_nobody_told_is_kept() -> None:
    seen = _seen(previous=FineTuneJobStatus(phase="Failed"), spec={"ttlSecondsAfterFinished": 0})
    assert decide(seen, NOW).delete == ()


@pytest.mark.parametrize(
    ("phase", "status", "progress"),
    [
        ("Succeeded", None, "Settled"),
        ("Failed", None, "Failed"),
        ("Succeeded", "True", "Settled"),
        ("Failed", "False", "Failed"),
        ("NamedByAnotherVersion", "True", "Settled"),
        ("NamedByAnotherVersion", "False", "Failed"),
    ],
)
def test_an_end_is_told_of_the_spec_as_it_is_now(phase: str, status: Any, progress: str) -> None:
    end = Condition(
        type="Succeeded", status=status or "True", reason="R", message="", last_transition_time=AT,
        observed_generation=0,
    )  # fmt: skip
    previous = FineTuneJobStatus(phase=phase, conditions=[end] if status else [])
    verdict = decide(_seen(previous=previous), NOW)
    assert (verdict.progress, verdict.status.phase, verdict.status.observed_generation) == (progress, phase, 1)
    assert [condition.observed_generation for condition in verdict.status.conditions] == ([1] if status else [])


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_the_end_is_the_end(phase: Any) -> None:
    previous = FineTuneJobStatus(phase=phase)
    verdict = decide(_seen(previous=previous, obstacle=Obstacle(Reason.NAME_TAKEN, "")), NOW)
    assert verdict.status == previous.having(observed_generation=1)
    assert (verdict.delete, verdict.apply, verdict.effects) == ((), (), ())


@pytest.mark.parametrize(
    ("seen", "failure"),
    [
        (_training(FAILED), ["Data"]),
        (_seen(None, None, None, ABSENT, spec=HIGHLY_GATED, previous=FineTuneJobStatus(attempts=ATTEMPT_2)), ["Gate"]),
        (_training(LATE), ["Deadline"]),
        (_seen(FAILED, ABSENT, ABSENT, ABSENT), []),
        (_training(ACTIVE), []),
        (_training(CRASHED), []),
    ],
    ids=["training", "gates", "deadline", "before training", "at work", "to be tried again"],
)
def test_the_run_of_a_job_that_failed_ends_with_the_class_of_the_failure(seen: ObservedJob, failure: list[str]) -> None:
    assert [effect.failure for effect in decide(seen, NOW).effects] == failure


@pytest.mark.parametrize(("tracked", "again"), [("False", True), (None, False)])
def test_a_run_that_could_not_be_told_is_told_again(tracked: Any, *, again: bool) -> None:
    failed = decide(_training(FAILED), NOW).status
    told: dict[str, Any] = {
        "reason": "RegistryUnreachable",
        "message": "",
        "last_transition_time": AT,
        "observed_generation": 1,
    }
    untold = Condition(type="Tracked", status="False", **told)
    previous = failed.having(conditions=[*failed.conditions, *([untold] if tracked else [])])
    verdict = decide(_training(FAILED, previous=previous), NOW)
    assert [effect.failure for effect in verdict.effects] == (["Data"] if again else [])
    assert verdict.status == failed
    assert (verdict.progress, verdict.status.phase) == ("Failed", "Failed")
