"""Where a FineTuneJob stands and what comes next, as a table of stages."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.conditions import Condition
from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job_status import (
    Attempt,
    Attempts,
    Checkpoint,
    DatasetStatus,
    EvaluationStatus,
    FineTuneJobStatus,
    GateStatus,
    Splits,
)
from anneal_operator.api.schema import LocalReference
from anneal_operator.decide.fine_tune_job import decide
from anneal_operator.decide.observed_job import (
    STAGES,
    ObservedBase,
    ObservedJob,
    ObservedPlan,
    ObservedStage,
    Obstacle,
)
from anneal_operator.decide.progress import Report, progress_of
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
    soon = decide(_training(work, previous=status, spec={"maxAttempts": 100}), now + timedelta(seconds=300))
    assert [getattr(step, "attempt", None) for step in soon.apply] == [8]


def test_an_attempt_that_made_a_step_is_followed_at_once() -> None:
    told = ATTEMPT_2.having(last=[ATTEMPT_2.last[0]], total=1, failed=1)
    assert _steps(_training(CRASHED, previous=FineTuneJobStatus(attempts=told))) == ["StartStage train"]


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


BY_VLLM: dict[str, Any] = {
    "evaluation": {"maxRows": 2000},
    "stages": {"train": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
}


def test_the_rows_that_preparation_found_decide_who_answers_and_that_is_told_with_its_image() -> None:
    plan = ObservedPlan("trainer:1", "models:/spam/1", "p", "server:1")
    told = decide(_seen(None, ACTIVE, ABSENT, ABSENT), NOW).status
    assert told.dataset is not None
    many = told.having(dataset=told.dataset.having(splits=Splits(train=1, validation=0, test=2000)))
    found = decide(_seen(LOST, None, ABSENT, ABSENT, spec=BY_VLLM, plan=plan, previous=many), NOW)
    assert [getattr(step, "engine", None) for step in found.apply] == ["VLLM"]
    assert found.status.conditions[0].message.startswith("the model is being evaluated; vLLM answers the questions (in")
    assert found.status.provenance is not None
    assert found.status.provenance.images["answer"] == "server:1"
    older = decide(_seen(LOST, None, ABSENT, ABSENT, spec=BY_VLLM, previous=many), NOW)
    assert [getattr(step, "engine", None) for step in older.apply] == ["Transformers"], "its plan knows no vLLM"
    few = decide(_seen(None, None, ABSENT, ABSENT, spec=BY_VLLM, plan=plan), NOW)
    assert [getattr(step, "engine", None) for step in few.apply] == ["Transformers"], "the pod said: one row"
    assert few.status.conditions[0].message == "the model is being evaluated"
    assert few.status.provenance is not None
    assert "answer" not in few.status.provenance.images


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


def test_an_attempt_that_was_suspended_is_told_so_also_when_it_is_resumed_at_once() -> None:
    suspended = decide(_training(ACTIVE, spec=SUSPEND), NOW).status
    resumed = decide(_training(ABSENT, previous=suspended), NOW).status
    assert resumed.attempts is not None
    assert [attempt.reason for attempt in resumed.attempts.last] == ["Suspended"]


@pytest.mark.parametrize(
    ("previous", "steps"),
    [
        (FineTuneJobStatus(phase="Preparing"), ["delete Job the-job"]),
        (FineTuneJobStatus(phase="Running"), ["StartStage train"]),
        (FineTuneJobStatus(phase="Suspended", attempts=ATTEMPT_2), ["StartStage train"]),
    ],
)
def test_the_status_tells_which_results_were_read(previous: FineTuneJobStatus, steps: list[str]) -> None:
    assert _steps(_seen(LOST, ABSENT, ABSENT, ABSENT, previous=previous)) == steps


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


@pytest.mark.parametrize(
    ("status", "ttl", "gone", "left"),
    [
        ("True", 60, False, 30.0),
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


def test_the_condition_s_time_changes_with_its_status_only() -> None:
    first = decide(_seen(ACTIVE, ABSENT, ABSENT, ABSENT), NOW).status
    later = decide(_training(ACTIVE, previous=first), NOW + timedelta(hours=1)).status
    assert later.conditions[0].last_transition_time == AT
    end = decide(_training(FAILED, previous=later), NOW + timedelta(hours=2)).status
    assert end.conditions[0].last_transition_time == "2026-03-01T14:00:00Z"


def test_only_active_time_counts_for_the_deadline() -> None:
    spec = {"activeDeadlineSeconds": 100}
    status, now = FineTuneJobStatus(), NOW
    for work, seconds in ((ACTIVE, 30), (SUSPENDED, 1000), (ACTIVE, 30), (SUSPENDED, 1000), (ACTIVE, 39)):
        status = decide(_training(work, previous=status, spec=spec), now).status
        assert status.phase in {"Running", "Queued"}
        now += timedelta(seconds=seconds)
    assert decide(_training(ABSENT, previous=status, spec=spec), now).apply, "one second is left"
    assert decide(_training(ABSENT, previous=status, spec=spec), now + timedelta(seconds=1)).status.phase == "Failed"


@pytest.mark.parametrize(("seconds", "text"), [(None, None), (0, None), (42, "42s"), (125, "2m5s"), (7384, "2h3m")])
def test_the_remaining_time_reads_like_an_age(seconds: int | None, text: str | None) -> None:
    assert progress_of(1, 10, 10, seconds, AT, {}).remaining == text


def test_losses_are_rounded() -> None:
    assert progress_of(1, 10, 10, 5, AT, {"loss": 0.14927289485931397}).loss == 0.1493
