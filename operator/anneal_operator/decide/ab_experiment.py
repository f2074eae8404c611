"""Where an ABExperiment stands, and its verdict.

Start and decision are immutable records, kept before the status tells of them: what was decided is never decided anew,
whatever becomes of the status. The end of the maximum duration comes first, whatever else is wrong.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from anneal_operator.api.ab_experiment_status import (
    ABExperimentStatus,
    DecisionStatus,
    ExperimentPhase,
    SampleRatio,
    VariantCost,
    VariantStatus,
)
from anneal_operator.api.quantities import seconds
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding, merged, without
from .cost import counted_since
from .experiment_approval import awaiting, followable, without_advice
from .experiment_end import decided, followed_up
from .experiment_guardrails import dropped_told, guardrails_kept, guardrails_told, is_breached, without_new_breaches
from .experiment_pause import resting, with_pause
from .experiment_sample import decision_of, freshness, health, power_told, sufficiency, variants_told, verdict_of
from .layers import clash
from .observed_experiment import (
    WAITED_FOR,
    ExperimentVerdict,
    Intent,
    KeepLatches,
    KeepStart,
    ObservedExperiment,
    Record,
    VariantSeen,
)
from .ramp import ramped
from .shadowing import shadowing
from .statistics.judgement import Judgement, judge
from .statistics.snapshot import Snapshot
from .statistics.terms import Counts
from .verdict import Verdict

__all__ = ["decide"]

_PERIOD_SECONDS, _WARM_UP_PERIOD_SECONDS = 5.0, 2.0
_GRACE = timedelta(seconds=30)
"""For how long a variant may not answer before its users are sent to the default version."""
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
    begun = seen.previous.having(phase=phase, started_at=remembered.started_at)
    status = followed_up(known, decision, now).status if decision else begun
    return _working(status, KeepStart(remembered), period=0.0)


def _course(seen: ObservedExperiment, now: datetime) -> ExperimentVerdict:
    if known := seen.decision:
        return followed_up(seen, known, now)
    started = seen.started_at
    over = _stopped(seen, now) or (_over(seen, started, now) if started else None)
    if over is not None:
        return over
    obstacle = _obstacle(seen, now, started=started is not None)
    if obstacle:
        phase: ExperimentPhase = "WarmingUp" if obstacle.reason == Reason.VERSION_NOT_READY else "Pending"
        # Once counting began, a variant that does not answer for a while changes nothing: its users stay its users.
        return _working(_status(seen, "Running" if started else phase, [obstacle], now))
    ready = Finding(ConditionType.VARIANTS_READY, "True", Reason.VARIANTS_READY, "every variant answers")
    if not _is_programmed(seen, started is not None):
        behind = Finding(ConditionType.ROUTE_PROGRAMMED, "False", Reason.ROUTER_BEHIND, _route_waits_for(seen))
        status = _status(seen, "Running" if started else "WarmingUp", [ready, behind], now, main=behind)
        return _working(status, period=_WARM_UP_PERIOD_SECONDS)
    routed = Finding(
        ConditionType.ROUTE_PROGRAMMED, "True", Reason.PROGRAMMED, f"every router {_routed(seen)}{_late(seen)}"
    )
    return _running(seen, [ready, routed], started or timestamp(now), now)


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


def _over(seen: ObservedExperiment, started: str, now: datetime) -> ExperimentVerdict | None:
    """What ends one that has begun, whatever else is wrong, or keeps it from all else."""
    if seen.record is None and not seen.is_heard:
        return _working(_status(seen, "Running", [_lost_record(seen)], now))
    if variant := seen.replaced:
        return _void(seen, variant, started, now)
    if is_breached(seen, now):
        return _running(seen, [], started, now)
    end = _begun(seen, started, now) + _duration(seen.spec.stopping.max_duration)
    return _at_deadline(seen, started, end, now) if now >= end else None


def _aborted(seen: ObservedExperiment, outcome: str, rule: str, reason: str, now: datetime) -> ExperimentVerdict:
    """Whoever was led elsewhere is not, from the first status on."""
    status = _status(seen, "Paused", [], now)
    return _without_winner(seen, status, outcome, rule, reason, now)


def _begun(seen: ObservedExperiment, started: str, now: datetime) -> datetime:
    """When it would have begun, had it never rested."""
    return datetime.fromisoformat(started) + seen.previous.paused_for(now)


def _lost_record(seen: ObservedExperiment) -> Finding:
    """MLflow may know by which terms it began, what was found against the data, and a decision."""
    message = f"its record was lost, and {seen.registry_problem}; nothing is decided until MLflow has told of it"
    return Finding(ConditionType.TRACKED, "False", Reason.REGISTRY_UNREACHABLE, message)


def _is_programmed(seen: ObservedExperiment, started: bool) -> bool:
    """Whether all routers split by it; once they did, a change of other routes, on its way, changes nothing."""
    before = seen.previous.condition(ConditionType.ROUTE_PROGRAMMED)
    was = started and before is not None and before.status == "True"
    return seen.identity in seen.route.split_by and (was or seen.route.has_arrived)


def _route_waits_for(seen: ObservedExperiment) -> str:
    if seen.identity in seen.route.split_by:
        return seen.route.waits_for
    return "the routers are being told" if seen.spec.is_plain else seen.route.holds_up


def _routed(seen: ObservedExperiment) -> str:
    return "copies requests" if seen.spec.type == "Shadow" else "splits users by weight"


def _late(seen: ObservedExperiment) -> str:
    arrival = seen.route.arrival
    return f"; {arrival.waits_for}" if arrival and arrival.late else ""


def _duration(text: str) -> timedelta:
    return timedelta(seconds=seconds(text))


def _working(status: ABExperimentStatus, *apply: Intent, period: float = _PERIOD_SECONDS) -> ExperimentVerdict:
    return Verdict(status, "Working", apply=apply, again=period)


def _obstacle(seen: ObservedExperiment, now: datetime, *, started: bool) -> Finding | None:
    """What keeps it from running; one that has started is not kept by what concerns only a start."""
    kind = ConditionType.VARIANTS_READY
    variants = [variant for variant in seen.spec.variants if variant.name not in seen.dropped]
    for variant in variants:
        version = seen.variants.get(variant.name, VariantSeen(None, ready=False))
        if version.model is None:
            message = f"there is no ModelVersion {variant.model_version_ref.name} yet"
            return _lost(seen, now, Finding(kind, "False", Reason.VERSION_NOT_FOUND, message), started=started)
        if version.model != seen.spec.model_name:
            message = (
                f"ModelVersion {variant.model_version_ref.name} is of model {version.model}, not {seen.spec.model_name}"
            )
            return Finding(kind, "False", Reason.VERSION_OF_ANOTHER_MODEL, message + ": create the experiment anew")
    if busy := _busy_with(seen):
        return Finding(kind, "False", Reason.MODEL_BUSY, busy)
    for variant in variants:
        if not seen.variants[variant.name].ready:
            message = f"ModelVersion {variant.model_version_ref.name} does not answer"
            return _lost(seen, now, Finding(kind, "False", Reason.VERSION_NOT_READY, message), started=started)
    return None if started else _not_to_begin(seen)


def _not_to_begin(seen: ObservedExperiment) -> Finding | None:
    """What MLflow says, or does not say, that keeps one from beginning."""
    kind, model, control = ConditionType.VARIANTS_READY, seen.spec.model_name, seen.number_of(seen.spec.control)
    if not seen.is_heard:
        message = f"{seen.registry_problem}; an experiment begins once it is known not to have begun before"
        return Finding(kind, "False", Reason.REGISTRY_UNREACHABLE, message)
    if seen.production not in {None, control}:
        message = (
            f"the control must hold `production` in MLflow, which version {seen.production} of {model} has: compare "
            f"with that one, or move the alias to version {control}"
        )
        return Finding(kind, "False", Reason.CONTROL_NOT_IN_PRODUCTION, message)
    return None


def _busy_with(seen: ObservedExperiment) -> str:
    """Which experiment has its users, and the remedy: one that has started, else the oldest that only waits to.

    One that cannot start holds up nobody; nobody holds up one that has started, which may be younger after a restore.
    """
    own = seen.created_at, seen.name
    for rival in () if seen.started_at else seen.rivals:
        is_first = rival.has_started or ((rival.created_at, rival.name) < own and rival.phase == "WarmingUp")
        if is_first and (why := clash(seen.spec, rival.name, rival.spec)):
            return why
    return ""


def _lost(seen: ObservedExperiment, now: datetime, finding: Finding, *, started: bool) -> Finding:
    """A variant that has not answered for a while loses its users to the default version, until it does again.

    At once where none are led to it now, as after a pause.
    """
    known = seen.previous.condition(finding.type)
    since = known.last_transition_time if known and known.status == "False" else timestamp(now)
    is_waited_for = seen.identity in seen.route.split_by and now - datetime.fromisoformat(since) < _GRACE
    if not started or is_waited_for:
        return finding
    message = f"{finding.message}; meanwhile all users get the default version and nothing is counted"
    return Finding(finding.type, "False", Reason.VARIANT_LOST, message)


def _running(seen: ObservedExperiment, findings: list[Finding], started: str, now: datetime) -> ExperimentVerdict:
    if seen.spec.type == "Shadow":
        return shadowing(seen, findings, started, now)
    start: tuple[Intent, ...] = () if seen.record else (seen.start(started),)
    counts = seen.counted
    if counts is None:
        silent = freshness(None, None, now)
        return _working(_status(seen, "Running", [*findings, silent], now, started_at=started, main=silent), *start)
    young, advice = now - _begun(seen, started, now) < _duration(seen.spec.stopping.min_duration), seen.recommendation
    status, decision = _looked(seen, counts, findings, started, now, may_decide=not (start or young or advice))
    latches = judge(seen.terms, counts).latched
    is_fresh = freshness(counts, seen.stored, now).status == "True"
    if seen.record and seen.terms.is_known and is_fresh and latches != seen.record.latches:
        return _working(status, KeepLatches(latches), period=0.0)
    if follows := followable(seen, status, decision, now):
        return decided(seen, status, follows, now)
    if advice := advice or decision:
        return awaiting(seen, status, advice, now)
    return _working(without_advice(status), *start)


def _looked(
    seen: ObservedExperiment, counts: Counts, findings: list[Finding], started: str, now: datetime, *, may_decide: bool
) -> tuple[ABExperimentStatus, DecisionStatus | None]:
    """The status with what was counted, and the decision where it is time for one and the numbers show it."""
    fresh = freshness(counts, seen.stored, now)
    judged = judge(seen.terms, counts)
    if fresh.status != "True":
        judged = without_new_breaches(judged, seen.latches)
    healthy = health(counts, judged)
    gates = [fresh, healthy, sufficiency(seen, counts, judged)]
    guards = guardrails_kept(seen, counts, judged)
    is_due = judged.outcome == "GuardrailBreach" or (may_decide and healthy.status == "True")
    may_decide = is_due and seen.terms.is_known and fresh.status == "True"
    decision = decision_of(_snapshot(seen, _decisive(seen, counts, judged)), now) if may_decide else None
    was_looked_at = decision is not None or seen.recommendation is not None or seen.looked is not None
    is_told = was_looked_at or (seen.terms.method == "Sequential" and judged.has_sample)
    status = _status(
        seen,
        "Running",
        [*findings, *gates, *([guards] if guards else [])],
        now,
        main=next((gate for gate in gates if gate.status != "True"), gates[-1]),
        started_at=started,
        users=sum(counts.users),
        variants=_variants(seen, counts, judged, is_told=is_told),
        sample_ratio=SampleRatio(p_value=judged.spread_p),
        power=power_told(seen, counts, judged, started, now),
    )
    return status, decision


def _decisive(seen: ObservedExperiment, counts: Counts, judged: Judgement) -> Counts:
    """Return what is decided by: where who won a fixed horizon's look was dropped since, the numbers of that look."""
    looked = seen.looked
    if looked is None or seen.terms.method != "FixedHorizon" or judged.outcome == "GuardrailBreach":
        return counts
    return replace(looked, latched=looked.latched | judged.latched)


def _variants(seen: ObservedExperiment, counts: Counts, judged: Judgement, *, is_told: bool) -> list[VariantStatus]:
    names, level = [variant.name for variant in seen.spec.variants], seen.terms.level
    compared = {name: one for name, one in zip(names, judged.compared, strict=True) if one and is_told}
    stand = {name: guardrails_told(judged, place, level, is_told=is_told) for place, name in enumerate(names)}
    has_means = is_told or seen.terms.method != "FixedHorizon"
    return variants_told(seen.spec, counts, compared, _costs(seen), stand, has_means=has_means)


def _snapshot(seen: ObservedExperiment, counts: Counts) -> Snapshot:
    """The numbers as a decision keeps them."""
    names = tuple(variant.name for variant in seen.spec.variants)
    return Snapshot(seen.spec.metrics.primary.name, names, seen.terms, counts)


def _costs(seen: ObservedExperiment) -> dict[str, VariantCost | None]:
    known = {variant.name: variant.cost for variant in seen.previous.variants}
    return {name: counted_since(known.get(name), variant.cost) for name, variant in seen.variants.items()}


def _void(seen: ObservedExperiment, variant: str, started: str, now: datetime) -> ExperimentVerdict:
    """The numbers of a variant are of two models: no verdict can be had of them any more."""
    name = seen.spec.version_of(variant)
    reason = f"ModelVersion {name} was recreated with a different artifact, so {variant}'s numbers mix two models"
    status = _status(seen, "Running", [], now, started_at=started)
    return _without_winner(seen, status, "Inconclusive", "variant-replaced", reason, now)


def _without_winner(
    seen: ObservedExperiment, status: ABExperimentStatus, outcome: str, rule: str, reason: str, now: datetime
) -> ExperimentVerdict:
    snapshot = _snapshot(seen, seen.counted) if seen.counted else None
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[: _LONGEST_REASON - 3]}..."
    return decided(seen, status, verdict_of(outcome, None, rule, reason, snapshot, now), now)


def _at_deadline(seen: ObservedExperiment, started: str, end: datetime, now: datetime) -> ExperimentVerdict:
    """The time is over: the verdict is what sound numbers show by now, and Inconclusive where they show nothing."""
    if seen.spec.type == "Shadow":
        return shadowing(seen, [], started, now, end)
    counts = seen.counted
    fresh = freshness(counts, seen.stored, now)
    if fresh.status != "True" and now - end < WAITED_FOR:
        late = replace(fresh, message=f"the time is over, and what was counted is waited for: {fresh.message}")
        return _working(_status(seen, "Running", [late], now, started_at=started))
    status = _status(seen, "Running", [], now, started_at=started)
    missing = f"what was counted could not be read since: {fresh.message}"
    if counts is not None:
        status, decision = _looked(seen, counts, [], started, now, may_decide=seen.recommendation is None)
        if follows := followable(seen, status, decision, now):
            return decided(seen, status, follows, now)
        kinds = (
            ConditionType.ASSIGNMENT_HEALTHY,
            ConditionType.SAMPLE_SUFFICIENT,
            ConditionType.GUARDRAILS_HEALTHY,
        )
        found = [one.message for one in map(status.condition, kinds) if one and one.status != "True"]
        if fresh.status == "True":
            missing = "; ".join(found) or "by then no variant was shown to be better than the control, nor the control"
        if advice := seen.recommendation or decision:
            is_approved = seen.spec.decision.approve == advice.winner
            why = f"{advice.winner} was approved" if is_approved else f"nobody approved {advice.winner} in time"
            missing = "; ".join([why, *found, advice.reason])
    return _without_winner(seen, status, "Inconclusive", "max-duration", f"maxDuration passed: {missing}", now)


def _status(
    seen: ObservedExperiment,
    phase: ExperimentPhase,
    findings: list[Finding],
    now: datetime,
    main: Finding | None = None,
    **fields: object,
) -> ABExperimentStatus:
    """The status with these findings; `main` is the one that matters most, else the first."""
    reason = (main or findings[0]).reason.value if main or findings else seen.previous.reason
    return seen.previous.having(
        phase=phase,
        reason=reason,
        observed_generation=seen.generation,
        conditions=merged(seen.previous.conditions, findings, seen.generation, timestamp(now)),
        **fields,
    )
