"""The end of an ABExperiment: its decision is kept, told, recorded in MLflow, and followed by the alias."""

from datetime import datetime

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus, DecisionStatus, ExperimentPhase
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding, merged
from .observed_experiment import (
    Effect,
    ExperimentVerdict,
    KeepDecision,
    MoveAlias,
    ObservedExperiment,
    RecordDecision,
)
from .verdict import Progress, Verdict

__all__ = ["decided", "followed_up"]

_PERIOD_SECONDS = 2.0


def decided(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ExperimentVerdict:
    """A decision is kept before anybody is told of it; what follows from it comes with the next reconcile."""
    apply = (*seen.start_kept(seen.started_at or timestamp(now)), KeepDecision(decision))
    return Verdict(_concluded(seen, status, decision, now), "Working", apply=apply, again=0.0)


def _concluded(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ABExperimentStatus:
    phase, reason = _ends_as(seen.spec, decision)
    finding = Finding(ConditionType.DECIDED, "True", reason, decision.reason)
    variants = status.variants
    if phase in {"Promoted", "RolledBack"}:
        total = sum(variant.weight for variant in variants)
        variants = [v.model_copy(update={"weight": total if v.name == decision.winner else 0}) for v in variants]
    return status.having(
        phase=phase,
        reason=reason.value,
        observed_generation=seen.generation,
        started_at=seen.started_at,
        decision=decision,
        variants=variants,
        conditions=merged(status.conditions, [finding], seen.generation, timestamp(now)),
    )


def _ends_as(spec: ABExperimentSpec, decision: DecisionStatus) -> tuple[ExperimentPhase, Reason]:
    if decision.winner is None:
        return "Inconclusive", Reason.INCONCLUSIVE
    if spec.decision.mode == "Observe":
        return "Observed", Reason.OBSERVED
    return ("RolledBack", Reason.CONTROL_WINS) if decision.winner == spec.control else ("Promoted", Reason.PROMOTED)


def followed_up(seen: ObservedExperiment, decision: DecisionStatus, now: datetime) -> ExperimentVerdict:
    """Move the alias after a promotion, unless somebody else has; then wait until every version has read it.

    Until then the decision is the route.
    """
    status = seen.previous
    if status.decision is None or status.observed_generation != seen.generation:
        status = _concluded(seen, status, decision, now)
    keep = seen.start_kept(seen.started_at or decision.decided_at)
    if seen.record is None or seen.record.decision is None:
        keep += (KeepDecision(decision),)
    alias = status.condition(ConditionType.ALIAS_MOVED)
    over = alias is not None and (alias.status == "True" or alias.reason == Reason.HELD_BY_ANOTHER)
    if status.phase != "Promoted" or over:
        return Verdict(status, "Settled", apply=keep)
    finding, effects = _alias(seen, decision)
    progress: Progress = "Settled" if finding.reason in {Reason.MOVED, Reason.HELD_BY_ANOTHER} else "Working"
    told = status.having(conditions=merged(status.conditions, [finding], seen.generation, timestamp(now)))
    return Verdict(told, progress, apply=keep, effects=effects, again=_PERIOD_SECONDS)


def _alias(seen: ObservedExperiment, decision: DecisionStatus) -> tuple[Finding, tuple[Effect, ...]]:
    kind, model = ConditionType.ALIAS_MOVED, seen.spec.model_name
    winner, control = seen.number_of(decision.winner), seen.number_of(seen.spec.control)
    if seen.registry_problem or not winner:
        problem = seen.registry_problem or "the winner's version in MLflow is not known yet"
        return Finding(kind, "False", Reason.REGISTRY_UNREACHABLE, problem), ()
    if seen.production == winner:
        read = {name: variant.holds_production for name, variant in seen.variants.items()}
        if read == {name: name == decision.winner for name in read}:
            message = f"alias production of {model} was moved to version {winner} in MLflow"
            return Finding(kind, "True", Reason.MOVED, message), ()
        message = f"moved to version {winner} in MLflow; the versions have yet to read it"
        return Finding(kind, "False", Reason.MOVING, message), ()
    if seen.production not in {None, control}:
        message = f"somebody gave production of {model} to version {seen.production}: it is left there"
        return Finding(kind, "False", Reason.HELD_BY_ANOTHER, message), ()
    effects = (RecordDecision(winner, decision), MoveAlias(control, winner))
    return Finding(kind, "False", Reason.MOVING, f"being moved to version {winner} in MLflow"), effects
