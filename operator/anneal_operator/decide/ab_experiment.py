"""Where an ABExperiment stands, and its verdict.

Start and decision are immutable records, kept before the status tells of them: what was decided is never decided anew,
whatever becomes of the status. The end of the maximum duration comes first, whatever else is wrong.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus, ExperimentPhase
from anneal_operator.api.quantities import seconds
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding, merged, without
from .experiment_approval import awaiting, followable, without_advice
from .experiment_end import decided, followed_up, lost_record
from .experiment_equals import not_shown
from .experiment_guardrails import dropped_told, with_dropped
from .experiment_look import Look, is_breached, look_at, looked, shows_breach, snapshot_of
from .experiment_obstacles import obstacle, routing_told
from .experiment_pause import resting, with_pause
from .experiment_sample import freshness, verdict_of
from .experiment_status import begun, standing, working
from .observed_experiment import (
    WAITED_FOR,
    ExperimentVerdict,
    Intent,
    KeepLatches,
    KeepStart,
    ObservedExperiment,
    Record,
)
from .ramp import ramped
from .shadowing import shadowing
from .verdict import Verdict

__all__ = ["decide"]

_WARM_UP_PERIOD_SECONDS = 2.0
_LONGEST_REASON = 380
"""Of an end without a winner: MLflow's database takes 5,000 characters of a record; the conditions say all of it."""


def decide(seen: ObservedExperiment, now: datetime) -> ExperimentVerdict:
    """Return the status and what follows; a decision, once kept, stands.

    MLflow is told what was kept before anything else follows from it: what is kept in the namespace may go with it.
    """
    if seen.spoilt_record:
        return _held(seen, now)
    verdict = _followed(seen, now)
    status = ramped(seen, verdict.status, now)
    if record := seen.record:
        kept_as = None if record.kept_as == seen.record_name else record.kept_as
        status = status.having(record=kept_as, started_at=record.started_at)
    return replace(verdict, status=dropped_told(seen, with_pause(status, seen.previous, now), verdict.apply))


def _followed(seen: ObservedExperiment, now: datetime) -> ExperimentVerdict:
    seen = replace(seen, previous=_without(seen.previous, ConditionType.RECORDED))
    if seen.record is None and seen.remembered:
        return _restored(seen, seen.remembered, now)
    verdict = _course(seen, now)
    remember = seen.to_remember
    is_told = not remember and not seen.registry_problem
    status = _without(verdict.status, ConditionType.TRACKED) if is_told else verdict.status
    return replace(verdict, status=status, effects=(*remember, *verdict.effects))


def _without(status: ABExperimentStatus, kind: ConditionType) -> ABExperimentStatus:
    return status.having(conditions=without(status.conditions, [kind]))


def _held(seen: ObservedExperiment, now: datetime) -> ExperimentVerdict:
    """Nothing follows while its record cannot be read: it may say when counting began, and what was decided.

    It rests all the same where people want that, or its end: whoever is to be led away is.
    """
    name, rests = seen.spoilt_record, seen.is_to_rest and seen.decision is None
    message = (
        f"ConfigMap {name} should be the record of this experiment, but it cannot be read, or its annotation "
        f"{OWNER_ANNOTATION} names another owner, so nothing is done: put it right, or delete ConfigMap {name}, "
        "which is made anew from MLflow and this status"
    )
    finding = Finding(ConditionType.RECORDED, "False", Reason.RECORD_UNREADABLE, message)
    conditions = merged(seen.previous.conditions, [finding], seen.generation, timestamp(now))
    phase = "Paused" if rests else seen.previous.phase
    status = seen.previous.having(phase=phase, reason=finding.reason.value, conditions=conditions)
    return Verdict(with_pause(status, seen.previous, now), "Failed", polls=True)


def _restored(seen: ObservedExperiment, remembered: Record, now: datetime) -> ExperimentVerdict:
    """The record is made anew as MLflow has it, which may not have heard of a decision yet: then all is as it was."""
    known, decision = replace(seen, record=remembered), seen.decision
    phase: ExperimentPhase = "Paused" if seen.is_to_rest else "Running"
    as_begun = seen.previous.having(phase=phase, started_at=remembered.started_at)
    status = followed_up(known, decision, now).status if decision else as_begun
    return working(status, KeepStart(remembered), period=0.0)


def _course(seen: ObservedExperiment, now: datetime) -> ExperimentVerdict:
    if known := seen.decision:
        return followed_up(seen, known, now)
    started, look = seen.started_at, look_at(seen, now)
    over = _stopped(seen, now) or (_over(seen, look, started, now) if started else None)
    if over is not None:
        return over
    if found := obstacle(seen, now, started=started is not None):
        phase: ExperimentPhase = "WarmingUp" if found.reason == Reason.VERSION_NOT_READY else "Pending"
        # Once counting began, a variant that does not answer for a while changes nothing: its users stay its users.
        return working(standing(seen, "Running" if started else phase, [found], now))
    ready = Finding(ConditionType.VARIANTS_READY, "True", Reason.VARIANTS_READY, "every variant answers")
    routed = routing_told(seen, started=started is not None)
    if routed.status != "True":
        status = standing(seen, "Running" if started else "WarmingUp", [ready, routed], now, main=routed)
        return working(status, period=_WARM_UP_PERIOD_SECONDS)
    return _running(seen, look, [ready, routed], started or timestamp(now), now)


def _stopped(seen: ObservedExperiment, now: datetime) -> ExperimentVerdict | None:
    """What people want of it before all else: that it ends, compares with another version, or rests.

    It ends once it is known what was decided before; until then it rests, which takes all users from it as well.
    """
    is_known = seen.record is not None or seen.is_heard
    if seen.spec.abort and is_known:
        return _aborted(seen, "Aborted", "abort", "somebody has set `abort`", now)
    if seen.started_at and is_known and seen.is_control_replaced:
        model, number = seen.spec.model_name, seen.production
        reason = f"`production` of {model} was given to version {number}, which is not the control"
        return _aborted(seen, "ControlReplaced", "control-replaced", reason, now)
    if seen.spec.abort:
        return resting(seen, now, waits_for=f"it is aborted once MLflow has told of it: {seen.registry_problem}")
    return resting(seen, now) if seen.spec.suspend else None


def _over(seen: ObservedExperiment, look: Look | None, started: str, now: datetime) -> ExperimentVerdict | None:
    """What ends one that has begun, whatever else is wrong, or keeps it from all else."""
    if seen.record is None and not seen.is_heard:
        return working(_dropped_at_once(seen, look, now))
    if variant := seen.replaced:
        return _void(seen, variant, started, now)
    if is_breached(seen, look):
        return _running(seen, look, [], started, now)
    end = begun(seen, started, now) + _duration(seen.spec.stopping.max_duration)
    return _at_deadline(seen, look, started, end, now) if now >= end else None


def _aborted(seen: ObservedExperiment, outcome: str, rule: str, reason: str, now: datetime) -> ExperimentVerdict:
    """Whoever was led elsewhere is not, from the first status on."""
    status = standing(seen, "Paused", [], now)
    return _without_winner(seen, status, outcome, rule, reason, now)


def _dropped_at_once(seen: ObservedExperiment, look: Look | None, now: datetime) -> ABExperimentStatus:
    """Nothing is decided where the record was lost and MLflow may know more, but who breaks a guardrail is dropped.

    The status keeps that until there is a record again.
    """
    status = standing(seen, "Running", [lost_record(seen)], now)
    if look is None or not shows_breach(seen, look):
        return status
    told, _ = looked(seen, look, [lost_record(seen)], str(seen.started_at), now, may_decide=False)
    return with_dropped(seen.spec, told.having(reason=Reason.GUARDRAIL_BREACH.value), look.judged.latched)


def _duration(text: str) -> timedelta:
    return timedelta(seconds=seconds(text))


def _running(
    seen: ObservedExperiment, look: Look | None, findings: list[Finding], started: str, now: datetime
) -> ExperimentVerdict:
    if seen.spec.type == "Shadow":
        return shadowing(seen, findings, started, now)
    start: tuple[Intent, ...] = () if seen.record else (seen.start(started),)
    if look is None:
        silent = freshness(None, None, now)
        return working(standing(seen, "Running", [*findings, silent], now, started_at=started, main=silent), *start)
    young, advice = now - begun(seen, started, now) < _duration(seen.spec.stopping.min_duration), seen.recommendation
    status, decision = looked(seen, look, findings, started, now, may_decide=not (start or young or advice))
    latches = look.judged.latched
    if seen.record and seen.terms.is_known and look.is_fresh and latches != seen.record.latches:
        return working(status, KeepLatches(latches), period=0.0)
    if follows := followable(seen, status, decision, now):
        return decided(seen, status, follows, now)
    if advice := advice or decision:
        return awaiting(seen, status, advice, now)
    return working(without_advice(status), *start)


def _void(seen: ObservedExperiment, variant: str, started: str, now: datetime) -> ExperimentVerdict:
    """The numbers of a variant are of two models: no verdict can be had of them any more."""
    name = seen.spec.version_of(variant)
    reason = f"ModelVersion {name} was recreated with a different artifact, so {variant}'s numbers mix two models"
    status = standing(seen, "Running", [], now, started_at=started)
    return _without_winner(seen, status, "Inconclusive", "variant-replaced", reason, now)


def _without_winner(
    seen: ObservedExperiment, status: ABExperimentStatus, outcome: str, rule: str, reason: str, now: datetime
) -> ExperimentVerdict:
    snapshot = snapshot_of(seen, seen.counted) if seen.counted else None
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[: _LONGEST_REASON - 3]}..."
    return decided(seen, status, verdict_of(outcome, None, rule, reason, snapshot, now), now)


def _at_deadline(
    seen: ObservedExperiment, look: Look | None, started: str, end: datetime, now: datetime
) -> ExperimentVerdict:
    """The time is over: the verdict is what sound numbers show by now, and Inconclusive where they show nothing."""
    if seen.spec.type == "Shadow":
        return shadowing(seen, [], started, now, end)
    fresh = look.fresh if look else freshness(None, None, now)
    if fresh.status != "True" and now - end < WAITED_FOR:
        late = replace(fresh, message=f"the time is over, and what was counted is waited for: {fresh.message}")
        return working(standing(seen, "Running", [late], now, started_at=started))
    status = standing(seen, "Running", [], now, started_at=started)
    missing = f"what was counted could not be read since: {fresh.message}"
    if look is not None:
        status, decision = looked(seen, look, [], started, now, may_decide=seen.recommendation is None)
        if follows := followable(seen, status, decision, now):
            return decided(seen, status, follows, now)
        missing = _missing(seen, status, seen.recommendation or decision) or missing
    return _without_winner(seen, status, "Inconclusive", "max-duration", f"maxDuration passed: {missing}", now)


def _missing(seen: ObservedExperiment, status: ABExperimentStatus, advice: DecisionStatus | None) -> str:
    """What a verdict was short of; empty where what was counted is not fresh, and nobody was recommended."""
    kinds = (ConditionType.ASSIGNMENT_HEALTHY, ConditionType.SAMPLE_SUFFICIENT, ConditionType.GUARDRAILS_HEALTHY)
    found = [one.message for one in map(status.condition, kinds) if one and one.status != "True"]
    if advice:
        is_approved = seen.spec.decision.approve == advice.winner
        why = f"{advice.winner} was approved" if is_approved else f"nobody approved {advice.winner} in time"
        return "; ".join([why, *found, advice.reason])
    fresh = status.condition(ConditionType.DATA_FRESH)
    if fresh is None or fresh.status != "True":
        return ""
    return "; ".join(found) or not_shown(seen)
