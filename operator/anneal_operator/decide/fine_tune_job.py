"""Where a FineTuneJob stands and what comes next, from what was observed."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from anneal_operator.api.fine_tune_job_status import Failure, FineTuneJobStatus, JobPhase
from anneal_operator.api.schema import LocalReference
from anneal_operator.reasons import ConditionType, Reason
from training_runtime.plan import Evaluated, Stage

from .conditions import Finding, merged
from .failures import OVERDUE, RETRYABLE
from .gates import judge_gates, unmet
from .job_status import with_finding
from .observed_job import STAGES, ObservedJob, Obstacle
from .stages import StageState

__all__ = ["Verdict", "has_passed", "judge", "refused", "seconds_to_live"]

_PHASES: dict[Stage, JobPhase] = {
    "prepare": "Preparing",
    "train": "Running",
    "evaluate": "Evaluating",
    "publish": "Publishing",
}
_SENTENCES: dict[Stage, str] = {
    "prepare": "the data is being prepared",
    "train": "the model is being trained",
    "evaluate": "the model is being evaluated",
    "publish": "the result is being published",
}


@dataclass(frozen=True)
class Verdict:
    """The status to write, and what to do."""

    status: FineTuneJobStatus
    action: Literal[
        "Wait",
        "Plan",
        "StartStage",
        "SuspendStage",
        "ResumeStage",
        "RemoveStage",
        "MakeVersion",
        "MakeExperiment",
        "Nothing",
    ]
    stage: Stage | None = None


def judge(seen: ObservedJob, now: str) -> Verdict:
    """Return the status and the next action; the first thing that is not done decides."""
    if seen.previous.phase in {"Succeeded", "Failed"}:
        return Verdict(seen.previous, "Nothing")
    held = _held_up(seen, now)
    if held:
        return held
    if seen.stages is None:
        return Verdict(_pending(seen, Obstacle(Reason.STAGE_RUNNING, "the plan is being written"), now), "Plan")
    for stage in STAGES:
        verdict = _at_stage(seen, stage, seen.stages[stage], now)
        if verdict:
            return verdict
    if not seen.version_made:
        return Verdict(_working(seen, "publish", seen.stages["publish"], now), "MakeVersion")
    if seen.opponent:
        return Verdict(_working(seen, "publish", seen.stages["publish"], now), "MakeExperiment")
    return Verdict(_succeeded(seen, now), "Nothing")


def has_passed(previous: FineTuneJobStatus, stage: Stage) -> bool:
    """Whether a later stage was the job's phase when its status was written: then this one's result was read."""
    later = STAGES[STAGES.index(stage) + 1 :]
    return previous.phase in {_PHASES[found] for found in later}


def seconds_to_live(status: FineTuneJobStatus, ttl: int | None, now: datetime) -> float | None:
    """Return the seconds after which a job that has ended is to be deleted, 0 where it is time, None for never."""
    ended = next((c for c in status.conditions if c.type == ConditionType.SUCCEEDED and c.status != "Unknown"), None)
    if ttl is None or ended is None:
        return None
    left = datetime.fromisoformat(ended.last_transition_time) + timedelta(seconds=ttl) - now
    return max(0.0, left.total_seconds())


def _held_up(seen: ObservedJob, now: str) -> Verdict | None:
    """What keeps a job from going on while none of its Jobs is at work, or has failed."""
    states = (seen.stages or {}).values()
    between = all(state.state in {"Absent", "Succeeded"} for state in states)
    if seen.overdue and (between or any(state.suspended for state in states)):
        return Verdict(_overdue(seen, now), "Nothing")
    if between and seen.suspend:
        return Verdict(_resting(seen, "it goes on when suspend is false", now), "Wait")
    return Verdict(_pending(seen, seen.obstacle, now), "Wait") if seen.obstacle else None


def _at_stage(seen: ObservedJob, stage: Stage, state: StageState, now: str) -> Verdict | None:
    """The verdict where this stage decides: it failed, is not done, or its result is not good enough."""
    if state.state == "Failed":
        return Verdict(_failed(seen, stage, state, now), "Nothing")
    if state.state == "Absent":
        return Verdict(_working(seen, stage, state, now), "StartStage", stage)
    if state.state == "Lost":
        return Verdict(_working(seen, stage, state, now), "RemoveStage", stage)
    if state.state == "Active":
        return _at_work(seen, stage, state, now)
    if stage == "evaluate" and state.result and seen.stages and seen.stages["publish"].state == "Absent":
        return _at_gates(seen, state, now)
    return None


def _at_work(seen: ObservedJob, stage: Stage, state: StageState, now: str) -> Verdict:
    """A stage whose Job is there: resumed, suspended, or waited for."""
    if seen.suspend:
        action: Literal["Wait", "SuspendStage"] = "Wait" if state.suspended else "SuspendStage"
        return Verdict(_resting(seen, f"{stage} goes on when suspend is false", now), action, stage)
    if state.suspended and seen.queue:
        message = f"the {stage} stage waits in queue {seen.queue} for Kueue to admit it"
        return Verdict(with_finding(seen, "Queued", "Unknown", Reason.STAGE_QUEUED, message, now), "Wait", stage)
    if state.suspended:
        return Verdict(_working(seen, stage, state, now), "ResumeStage", stage)
    if state.preempted and stage == "train":
        message = "the training's pod was taken away; the next one goes on from the newest checkpoint"
        return Verdict(with_finding(seen, "Preempted", "Unknown", Reason.STAGE_PREEMPTED, message, now), "Wait", stage)
    return Verdict(_working(seen, stage, state, now), "Wait", stage)


def _at_gates(seen: ObservedJob, state: StageState, now: str) -> Verdict | None:
    if seen.unreachable:
        waiting = replace(state, message=seen.unreachable)
        return Verdict(_working(seen, "evaluate", waiting, now), "Wait", "evaluate")
    metrics = Evaluated.model_validate(state.result).metrics
    reason = unmet(judge_gates(seen.gates, metrics, seen.references), metrics)
    return Verdict(_not_good_enough(seen, reason, now), "Nothing") if reason else None


def refused(seen: ObservedJob, status: FineTuneJobStatus, obstacle: Obstacle, now: str) -> FineTuneJobStatus:
    """Return the status of a job whose next step cannot be taken now; it is tried again."""
    finding = Finding(ConditionType.SUCCEEDED, "Unknown", obstacle.reason, obstacle.message)
    conditions = merged(status.conditions, [finding], seen.generation, now)
    return status.having(reason=finding.reason.value, conditions=conditions)


def _pending(seen: ObservedJob, obstacle: Obstacle, now: str) -> FineTuneJobStatus:
    return with_finding(seen, "Pending", "Unknown", obstacle.reason, obstacle.message, now)


def _working(seen: ObservedJob, stage: Stage, state: StageState, now: str) -> FineTuneJobStatus:
    message = _SENTENCES[stage] + (f"; {state.message}" if state.message else "")
    status = with_finding(seen, _PHASES[stage], "Unknown", Reason.STAGE_RUNNING, message, now)
    if state.ending:  # the pods that told what held them back may be gone before the Job says that it failed
        return status.model_copy(update={"failure": seen.previous.failure})
    if not state.held_back:
        return status
    failure = Failure(stage=stage, failure_class=state.held_back, retryable=True, message=state.message)
    return status.model_copy(update={"failure": failure})


def _succeeded(seen: ObservedJob, now: str) -> FineTuneJobStatus:
    message = f"published as ModelVersion {seen.name}"
    status = with_finding(seen, "Succeeded", "True", Reason.PUBLISHED, message, now)
    return status.model_copy(update={"model_version_ref": LocalReference(name=seen.name)})


def _failed(seen: ObservedJob, stage: Stage, state: StageState, now: str) -> FineTuneJobStatus:
    known, overdue = seen.previous.failure, state.failure_class == "Deadline"
    if overdue and known and known.stage == stage:  # its pods, which told what held them back, are gone by now
        state = replace(state, failure_class=known.failure_class, message=f"{state.message}; {known.message}")
    message = f"the {stage} stage failed: {state.message}"
    reason = Reason.DEADLINE_EXCEEDED if overdue else Reason.STAGE_FAILED
    status = with_finding(seen, "Failed", "False", reason, message, now)
    failure = Failure(
        stage=stage,
        failure_class=state.failure_class,
        retryable=state.failure_class in RETRYABLE,
        exit_code=state.exit_code,
        pod=state.pod,
        node=state.node,
        message=state.message,
    )
    return status.model_copy(update={"failure": failure})


def _overdue(seen: ObservedJob, now: str) -> FineTuneJobStatus:
    because = f": {seen.obstacle.message}" if seen.obstacle else ""
    message = OVERDUE + because
    status = with_finding(seen, "Failed", "False", Reason.DEADLINE_EXCEEDED, message, now)
    failure = Failure(stage=_next_stage(seen), failure_class="Deadline", message=message)
    return status.model_copy(update={"failure": failure})


def _not_good_enough(seen: ObservedJob, reason: str, now: str) -> FineTuneJobStatus:
    message = f"the result is not published: {reason}"
    status = with_finding(seen, "Failed", "False", Reason.GATE_FAILED, message, now)
    return status.model_copy(update={"failure": Failure(stage="evaluate", failure_class="Gate", message=message)})


def _resting(seen: ObservedJob, message: str, now: str) -> FineTuneJobStatus:
    return with_finding(seen, "Suspended", "Unknown", Reason.SUSPENDED, f"the job is suspended: {message}", now)


def _next_stage(seen: ObservedJob) -> Stage:
    return next((stage for stage in STAGES if not seen.stages or seen.stages[stage].state != "Succeeded"), "publish")
