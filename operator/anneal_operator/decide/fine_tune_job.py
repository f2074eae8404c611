"""Where a FineTuneJob stands and what comes next, from what was observed.

The first thing that is not done decides. Nothing here suspends or resumes a Job: a job rests by having its Job deleted,
and goes on with another from the newest checkpoint, so whatever else suspends Jobs (Kueue) is never contradicted.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus
from anneal_operator.api.resources import DEADLINE_ANNOTATION
from anneal_operator.reasons import ConditionType, Reason
from training_runtime.plan import Engine, Evaluated, Stage

from .conditions import without
from .gates import judge_gates, unmet
from .job_status import failed, failed_gates, overdue, pending, queued, resting, retrying, succeeded, working
from .observed_job import STAGES, Manifest, ObservedJob, Obstacle
from .retries import retry
from .situation import Situation
from .stages import StageState
from .verdict import Call, Deletion, Progress, Verdict

__all__ = ["EndRun", "Intent", "MakeExperiment", "MakePlan", "MakeVersion", "MoveDeadline", "StartStage", "decide"]

_KEPT_EARLIER = 1
"""Of the attempts before the newest that many Jobs stay, for their pods' logs."""


@dataclass(frozen=True)
class MakePlan:
    """Settle what every stage reads."""


@dataclass(frozen=True)
class StartStage:
    """Make a stage's Job, with the volume where it is missing; `attempt` counts training's Jobs, and `engine` answers
    evaluation's questions.
    """

    stage: Stage
    attempt: int = 0
    seconds_left: int | None = None
    engine: Engine = "Transformers"


@dataclass(frozen=True)
class MoveDeadline:
    """Have a Job that is at work end after so many seconds from its start; None for never."""

    stage: Stage
    seconds: int | None


@dataclass(frozen=True)
class MakeVersion:
    """Make the ModelVersion of the result."""


@dataclass(frozen=True)
class MakeExperiment:
    """Make the experiment of the new version beside this one."""

    control: str


@dataclass(frozen=True)
class EndRun(Call):
    """Have the run in MLflow say by what kind of failure the job ended."""

    failure: str


Intent = MakePlan | StartStage | MoveDeadline | MakeVersion | MakeExperiment
_Verdict = Verdict[FineTuneJobStatus, Intent, EndRun]


def decide(seen: ObservedJob, now: datetime) -> _Verdict:
    """Return the status and what is to be done."""
    if seen.previous.is_ended:
        return _ended(seen, now)
    verdict = _course(seen, now)
    if verdict.status.phase == "Failed":
        verdict = replace(verdict, effects=_end_of_run(verdict.status))
    ttl = seen.spec.ttl_seconds_after_finished
    if ttl is not None and verdict.status.is_ended:  # nobody else tells when the time to live is over
        return replace(verdict, again=float(ttl))
    return verdict


def _course(seen: ObservedJob, now: datetime) -> _Verdict:
    situation = Situation.of(seen, now)
    held_up = _rests(situation) or _cannot_go_on(situation)
    if held_up:
        return held_up
    if seen.plan is None:
        begin = (MakePlan(), _start(situation, "prepare"))
        return Verdict(working(situation, "prepare", StageState()), "Working", apply=begin, again=_left(situation))
    for stage in STAGES:
        verdict = _at_stage(situation, stage, situation.states[stage])
        if verdict:
            return verdict
    return _published(situation)


def _rests(situation: Situation) -> _Verdict | None:
    """A job that is suspended: its Jobs go, and nothing begins."""
    if not situation.seen.spec.suspend or _is_decided(situation):
        return None
    for stage, state in situation.states.items():
        if state.state == "Active":
            message = f"stopping the {stage} stage's pods"
            return Verdict(resting(situation, message), "Working", delete=_gone(situation.seen, stage))
        if state.state == "Going":
            message = state.message or f"the pods of the {stage} stage save what they have and end"
            return Verdict(resting(situation, message), "Working")
    return Verdict(resting(situation, "set `suspend: false` to go on"), "Settled")


def _is_decided(situation: Situation) -> bool:
    """Whether nothing is left to rest from: the job has failed, or all is published."""
    states = situation.states
    failed = any(state.state == "Failed" for stage, state in states.items() if stage != "train")
    spent = states["train"].state == "Failed" and retry(situation, states["train"]) is None
    return failed or spent or states["publish"].state == "Succeeded"


def _cannot_go_on(situation: Situation) -> _Verdict | None:
    """No time is left and no Job is at work that would tell so; or something is missing."""
    seen, states = situation.seen, situation.states.values()
    at_work = any(state.state in {"Active", "Going", "Failed"} and not state.suspended for state in states)
    if situation.is_overdue and not at_work:
        return Verdict(overdue(situation), "Failed", delete=_at_work(situation))
    if seen.obstacle and not at_work:
        return Verdict(pending(situation, seen.obstacle), "Working", again=_left(situation), polls=True)
    return None


def _at_stage(situation: Situation, stage: Stage, state: StageState) -> _Verdict | None:
    """The verdict where this stage decides: it failed, is not done, or its result is not good enough."""
    if state.state == "Failed" and stage != "train":
        return Verdict(failed(situation, stage, state), "Failed", delete=_at_work(situation))
    if state.state in {"Failed", "Lost"} and stage == "train":
        return _after_attempt(situation, state)
    if state.state == "Absent":
        return _started(situation, stage)
    if state.state == "Lost":
        return Verdict(working(situation, stage, state), "Working", delete=_gone(situation.seen, stage))
    if state.state == "Going":
        ending = replace(state, message=state.message or "the pods of its last Job are still ending")
        return Verdict(working(situation, stage, ending), "Working")
    if state.state == "Active":
        status = queued(situation, stage) if state.suspended else working(situation, stage, state)
        return Verdict(status, "Working", apply=_moved_deadline(situation, stage, state))
    if stage == "evaluate" and situation.states["publish"].state == "Absent":
        return _at_gates(situation, state)
    return None


def _started(situation: Situation, stage: Stage) -> _Verdict:
    """A stage's Job is made; that of training may have to queue first."""
    is_queued = stage == "train" and situation.seen.spec.scheduling.queue_name
    status = queued(situation, stage) if is_queued else working(situation, stage, StageState())
    old = _old_attempts(situation) if stage == "train" else ()
    return Verdict(status, "Working", delete=old, apply=(_start(situation, stage),))


def _after_attempt(situation: Situation, state: StageState) -> _Verdict:
    """Training ended without a result: it is tried again, soon or at once, or the job has failed."""
    found = retry(situation, state)
    if found is None:
        return Verdict(failed(situation, "train", state), "Failed")
    if situation.is_overdue:
        return Verdict(overdue(situation), "Failed")
    if found.seconds > 0:
        return Verdict(retrying(situation, state, found), "Working", again=found.seconds)
    return _started(situation, "train")


def _at_gates(situation: Situation, state: StageState) -> _Verdict | None:
    seen = situation.seen
    told = seen.previous.evaluation  # where the Job is gone, but not what it handed over
    measured = state.result if isinstance(state.result, Evaluated) else told
    if measured is None:
        return None
    if seen.unreachable:
        waiting = replace(state, message=seen.unreachable)
        return Verdict(working(situation, "evaluate", waiting), "Working", polls=True)
    reason = unmet(judge_gates(seen.spec.evaluation.gates, measured, seen.references), measured.metrics)
    return Verdict(failed_gates(situation, reason), "Failed") if reason else None


def _published(situation: Situation) -> _Verdict:
    """Everything is done but what it ends as."""
    seen = situation.seen
    if seen.version == "Foreign":
        message = f"ModelVersion {seen.name} is not this job's: delete it, and this job makes its own"
        return Verdict(pending(situation, Obstacle(Reason.NAME_TAKEN, message)), "Working", polls=True)
    making: tuple[Intent, ...] = (MakeVersion(),) if seen.version == "Missing" else ()
    if not making and seen.opponent:
        making = (MakeExperiment(seen.opponent),)
    if making:
        done = situation.states["publish"]
        return Verdict(working(situation, "publish", done), "Working", apply=making, again=0.0)
    return Verdict(succeeded(situation), "Settled")


def _ended(seen: ObservedJob, now: datetime) -> _Verdict:
    """What is left to do for a job that has ended: to say so of a changed spec, too, and to delete it in time."""
    told = [found.model_copy(update={"observed_generation": seen.generation}) for found in seen.previous.conditions]
    previous = seen.previous.having(observed_generation=seen.generation, conditions=told)
    ttl, end = seen.spec.ttl_seconds_after_finished, previous.condition(ConditionType.SUCCEEDED)
    progress: Progress = "Settled" if previous.phase == "Succeeded" or (end and end.status == "True") else "Failed"
    verdict: _Verdict = Verdict(previous, progress)
    if previous.condition(ConditionType.TRACKED):
        without_it = previous.having(conditions=without(previous.conditions, [ConditionType.TRACKED]))
        verdict = Verdict(without_it, progress, effects=_end_of_run(previous))
    if ttl is None or end is None:
        return verdict
    left = (datetime.fromisoformat(end.last_transition_time) + timedelta(seconds=ttl) - now).total_seconds()
    if left > 0:
        return replace(verdict, again=left)
    return replace(verdict, delete=(Deletion("FineTuneJob", seen.name, seen.uid),), effects=())


def _end_of_run(status: FineTuneJobStatus) -> tuple[EndRun, ...]:
    """A job that never began to train has no run."""
    return (EndRun(status.failure.failure_class),) if status.attempts and status.failure else ()


def _start(situation: Situation, stage: Stage) -> StartStage:
    attempt = situation.next_attempt if stage == "train" else 0
    left = situation.seconds_left
    engine = situation.answering.engine if stage == "evaluate" else "Transformers"
    return StartStage(stage, attempt, None if left is None else _whole(left), engine)


def _whole(left: float) -> int:
    """As a Job takes a deadline: in whole seconds, and never none."""
    return max(1, int(left))


def _moved_deadline(situation: Situation, stage: Stage, state: StageState) -> tuple[Intent, ...]:
    """A Job's own deadline, where the spec's has changed since the Job was made, or where Kueue took the Job back: its
    clock begins anew when it is admitted again.
    """
    job, left = situation.seen.stages[stage].job, situation.seconds_left
    if job is None or state.ending:
        return ()
    if state.suspended and left is not None and job["spec"].get("activeDeadlineSeconds", 0) > _whole(left):
        return (MoveDeadline(stage, _whole(left)),)
    if _told_deadline(job) == situation.seen.spec.active_deadline_seconds:
        return ()
    if left is None:
        return (MoveDeadline(stage, None),)
    started = job.get("status", {}).get("startTime")
    running = (situation.now - datetime.fromisoformat(started)).total_seconds() if started else 0.0
    return (MoveDeadline(stage, _whole(left + running)),)


def _told_deadline(job: Manifest) -> int | None:
    told = job["metadata"].get("annotations", {}).get(DEADLINE_ANNOTATION)
    return int(told) if told else None


def _gone(seen: ObservedJob, stage: Stage) -> tuple[Deletion, ...]:
    job = seen.stages[stage].job
    return (Deletion("Job", job["metadata"]["name"], job["metadata"]["uid"]),) if job else ()


def _at_work(situation: Situation) -> tuple[Deletion, ...]:
    """The Jobs that nobody waits for any more."""
    active = [stage for stage, state in situation.states.items() if state.state == "Active"]
    return tuple(gone for stage in active for gone in _gone(situation.seen, stage))


def _old_attempts(situation: Situation) -> tuple[Deletion, ...]:
    """The attempts whose Jobs have been kept for long enough once another is made."""
    jobs = [earlier.job["metadata"] for earlier in situation.seen.earlier if earlier.job]
    return tuple(Deletion("Job", metadata["name"], metadata["uid"]) for metadata in jobs[:-_KEPT_EARLIER])


def _left(situation: Situation) -> float | None:
    """When the deadline may have passed, with nobody else telling."""
    return None if situation.seconds_left is None else max(0.0, situation.seconds_left) + 1
