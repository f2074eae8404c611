"""The end of an ABExperiment: its decision is kept, told, recorded in MLflow, and followed by the alias."""

from datetime import datetime

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus, ExperimentPhase
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .bake_loss import winner_answering
from .conditions import Finding, merged, without
from .experiment_bake import (
    bake_uid,
    baking,
    promotion_stage,
    return_due,
    return_told,
    returning,
    told_return,
)
from .observed_experiment import (
    CloseRecord,
    Effect,
    ExperimentVerdict,
    Intent,
    KeepDecision,
    KeepReturn,
    MoveAlias,
    ObservedExperiment,
    Record,
    RecordDecision,
)
from .verdict import Verdict

__all__ = ["decided", "followed_up", "has_users", "is_followed", "kept_versions", "lost_record", "recalled"]

_PERIOD_SECONDS = 2.0
_NOT_TO_BE_MOVED = {Reason.HELD_BY_ANOTHER, Reason.VERSION_REPLACED}
_WITHOUT_WINNER: dict[str, tuple[ExperimentPhase, Reason]] = {
    "Aborted": ("Aborted", Reason.ABORTED),
    "Observed": ("Observed", Reason.OBSERVED),
    "ControlReplaced": ("Aborted", Reason.CONTROL_REPLACED),
    "Sound": ("Observed", Reason.SOUND),
    "Unsound": ("Observed", Reason.UNSOUND),
}


def decided(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ExperimentVerdict:
    """A decision is kept before anybody is told of it; what follows from it comes with the next reconcile."""
    if seen.record is None:
        return Verdict(status, "Working", apply=(seen.start(seen.started_at or timestamp(now)),), again=0.0)
    return Verdict(_concluded(seen, status, decision, now), "Working", apply=(_kept(seen, decision),), again=0.0)


def _kept(seen: ObservedExperiment, decision: DecisionStatus) -> KeepDecision:
    return KeepDecision(decision, closes=_ends_as(seen.spec, decision)[0] != "Promoted")


def _concluded(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ABExperimentStatus:
    phase, reason = _ends_as(seen.spec, decision)
    if phase == "Promoted":
        phase, reason = promotion_stage(seen.spec, status, seen.record)
    returned = seen.record.returned if seen.record else None
    told = status.condition(ConditionType.DECIDED) if status.decision and status.phase == phase else None
    message = returned.reason if returned else told.message if told else decision.reason
    finding = Finding(ConditionType.DECIDED, "True", reason, message)
    if phase in {"Promoted", "Baking", "RolledBack"}:
        status = status.led_to(seen.spec.control if phase == "RolledBack" else decision.winner)
    return status.having(
        phase=phase,
        reason=reason.value,
        observed_generation=seen.generation,
        started_at=seen.started_at,
        decision=decision,
        conditions=merged(
            without(status.conditions, [ConditionType.AWAITING_APPROVAL]), [finding], seen.generation, timestamp(now)
        ),
    )


def _ends_as(spec: ABExperimentSpec, decision: DecisionStatus) -> tuple[ExperimentPhase, Reason]:
    if decision.winner is None:
        return _WITHOUT_WINNER.get(decision.outcome, ("Inconclusive", Reason.INCONCLUSIVE))
    if decision.outcome == "GuardrailBreach":
        return "RolledBack", Reason.GUARDRAIL_BREACH
    if spec.decision.mode == "Observe":
        return "Observed", Reason.OBSERVED
    return ("RolledBack", Reason.CONTROL_WINS) if decision.winner == spec.control else ("Promoted", Reason.PROMOTED)


def recalled(spec: ABExperimentSpec, status: ABExperimentStatus, record: Record | None) -> ABExperimentStatus:
    """Return a status with what routes follow from, where it was lost and the record has it.

    Nothing follows from a decision once it is over.
    """
    if not status.is_new or record is None or record.decision is None:
        return status
    phase = _ends_as(spec, record.decision)[0]
    if phase == "Promoted":
        phase = promotion_stage(spec, status, record)[0]
    return status.having(phase=status.phase if record.is_closed else phase, decision=record.decision)


def followed_up(seen: ObservedExperiment, decision: DecisionStatus, now: datetime) -> ExperimentVerdict:
    """Move the alias after a promotion, once all routers send everybody to the winner, unless somebody else has.

    Not where that is shown to be beyond a guardrail before: then everybody returns, as from one that bakes. Then wait
    until every version has read it.

    Until then the decision is the route. Once it is over the record is closed: it is not begun again where the status
    was lost, whatever people have done since.
    """
    status, record = seen.previous, seen.record
    is_unsaid = status.decision is None or status.reason == Reason.RECORD_UNREADABLE
    if is_unsaid or status.observed_generation != seen.generation:
        status = _concluded(seen, status, decision, now)
    if record is None and not seen.is_heard:
        return _unheard(seen, status, decision, now)
    if kept := _to_keep(seen, status, decision):
        return Verdict(status, "Working", apply=(kept,), again=0.0)
    is_returned = record is not None and record.returned is not None
    if status.phase == "Baking" or (status.phase == "Promoted" and is_returned):
        return baking(seen, status, decision, now)
    if status.phase != "Promoted":  # as the decision says, or a phase that another build knows: left to it
        return Verdict(status, "Settled")
    return _promoted(seen, status, decision, now)


def _to_keep(seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus) -> Intent | None:
    """Return what the record has yet to say of what was told."""
    if seen.record is None:
        return seen.start(seen.started_at or decision.decided_at)
    if seen.record.decision is None:
        return _kept(seen, decision)
    returned = return_told(seen, status, decision)
    return KeepReturn(returned) if returned else None


def _promoted(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ExperimentVerdict:
    is_closed = seen.record is not None and seen.record.is_closed
    close = () if is_closed else (CloseRecord(),)
    if is_followed(status):
        return Verdict(status, "Settled", apply=close)
    is_taken = is_closed or seen.is_control_replaced
    if returned := None if is_taken else return_due(seen, status, decision, now):
        return returning(seen, status, returned, now)
    finding, effects = _alias(seen, decision)
    told = status.having(conditions=merged(status.conditions, [finding], seen.generation, timestamp(now)))
    if is_followed(told):
        return Verdict(told, "Settled", apply=close)
    return Verdict(told, "Working", effects=effects, again=_PERIOD_SECONDS)


def _unheard(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ExperimentVerdict:
    """Its record was lost, and MLflow may know more of it: nothing follows, but users return who are to.

    That is told first, and kept once there is a record again.
    """
    is_over = status.phase not in {"Baking", "Promoted"} or is_followed(status)
    if returned := None if is_over else return_due(seen, status, decision, now):
        status = told_return(seen, status, returned, now)
    answering = winner_answering(seen, status, decision) if status.phase == "Baking" else None
    found = [lost_record(seen), *filter(None, [answering])]
    told = status.having(conditions=merged(status.conditions, found, seen.generation, timestamp(now)))
    return Verdict(told, "Working", again=_PERIOD_SECONDS)


def lost_record(seen: ObservedExperiment) -> Finding:
    """MLflow may know by which terms it began, what was found against the data, a decision, and what came of it."""
    message = f"its record was lost, and {seen.registry_problem}; nothing is decided until MLflow has told of it"
    return Finding(ConditionType.TRACKED, "False", Reason.REGISTRY_UNREACHABLE, message)


def is_followed(status: ABExperimentStatus) -> bool:
    """Whether a promotion is over: the alias is the winner's, or it is not to be."""
    alias = status.condition(ConditionType.ALIAS_MOVED)
    return alias is not None and (alias.status == "True" or alias.reason in _NOT_TO_BE_MOVED)


def has_users(status: ABExperimentStatus) -> bool:
    """Whether it has its model's users: before the verdict, and until a promotion is over, if there is what has won."""
    if status.decision is None or status.phase == "Baking":
        return True
    alias = status.condition(ConditionType.ALIAS_MOVED)
    is_there = alias is None or alias.reason != Reason.VERSION_NOT_FOUND
    return status.phase == "Promoted" and is_there and not is_followed(status)


def kept_versions(spec: ABExperimentSpec, status: ABExperimentStatus) -> frozenset[str] | None:
    """Return the versions that go on, of those that were compared; None where none has to end.

    So it is until a promotion is over, and where only the verdict is told.
    """
    control = spec.version_of(spec.control)
    if status.decision is None:
        return None
    if status.phase == "Promoted":
        return frozenset({spec.version_of(status.decision.winner)}) if is_followed(status) else None
    if status.phase == "Baking":
        return frozenset({control, spec.version_of(status.decision.winner)}) if status.baking_since else None
    is_over = status.phase in {"RolledBack", "Inconclusive"} and spec.decision.mode != "Observe"
    return frozenset({control}) if is_over or status.phase == "Aborted" else None


def _alias(seen: ObservedExperiment, decision: DecisionStatus) -> tuple[Finding, tuple[Effect, ...]]:
    kind, model = ConditionType.ALIAS_MOVED, seen.spec.model_name
    winner, control = seen.number_of(decision.winner), seen.number_of(seen.spec.control)
    if missing := _missing_winner(seen, decision):
        return missing, ()
    if seen.registry_problem or not winner:
        problem = seen.registry_problem or "the winner's version in MLflow is not known yet"
        return Finding(kind, "False", Reason.REGISTRY_UNREACHABLE, problem), ()
    is_over = seen.record is not None and seen.record.is_closed
    if seen.production == winner:
        read = {name: variant.holds_production for name, variant in seen.variants.items()}
        if is_over or read == {name: name == decision.winner for name in read}:
            message = f"alias production of {model} was moved to version {winner} in MLflow"
            return Finding(kind, "True", Reason.MOVED, message), ()
        message = f"moved to version {winner} in MLflow; the versions have yet to read it"
        return Finding(kind, "False", Reason.MOVING, message), ()
    if is_over:
        message = f"the promotion is over; production of {model} has been given to version {seen.production} since"
        return Finding(kind, "False", Reason.HELD_BY_ANOTHER, message), ()
    if seen.production not in {None, control}:
        message = f"`production` of {model} was moved to version {seen.production} by someone else; leaving it"
        return Finding(kind, "False", Reason.HELD_BY_ANOTHER, message), ()
    if waits := _route_waits_for(seen, decision):
        return Finding(
            kind, "False", Reason.ROUTER_BEHIND, f"it moves when all clients get version {winner}: {waits}"
        ), ()
    effects = (RecordDecision(winner, decision), MoveAlias(control, winner))
    return Finding(kind, "False", Reason.MOVING, f"being moved to version {winner} in MLflow"), effects


def _route_waits_for(seen: ObservedExperiment, decision: DecisionStatus) -> str:
    """What keeps clients from getting the winner, all of them; empty where nothing does."""
    name, route = seen.spec.version_of(decision.winner), seen.route
    if not seen.variants[decision.winner or ""].ready and route.default != name:
        return f"ModelVersion {name} does not answer, so they stay with the control until it does"
    if route.awaited and route.awaited.version == name and route.default != name:
        return f"ModelVersion {name} is to have pods for all of them: {route.awaited.in_words}"
    if route.default != name or {seen.identity, bake_uid(seen.identity)} & route.split_by.keys():
        return "the routers are being told"
    return "" if route.has_arrived else route.waits_for


def _missing_winner(seen: ObservedExperiment, decision: DecisionStatus) -> Finding | None:
    """Only what was compared is promoted."""
    kind, name = ConditionType.ALIAS_MOVED, seen.spec.version_of(decision.winner)
    found = seen.variants.get(decision.winner or "")
    if found is None or found.model is None:
        return Finding(kind, "False", Reason.VERSION_NOT_FOUND, f"there is no ModelVersion {name} to promote")
    if seen.is_replaced(decision.winner or ""):
        why = "was recreated with a different artifact: it is not what won, and is not promoted"
        return Finding(kind, "False", Reason.VERSION_REPLACED, f"ModelVersion {name} {why}")
    return None
