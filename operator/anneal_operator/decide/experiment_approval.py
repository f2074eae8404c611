"""A winner that a person is asked to approve, where an ABExperiment's `decision.mode` is `Recommend`.

What is recommended is kept, as a decision is, and never found anew: a fixed horizon has one look. Meanwhile all goes on
as before; users stay split, and are counted. Where the control wins, or nothing is found, nobody is asked: whoever has
the traffic anyway keeps it.
"""

from datetime import datetime

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding, merged, without
from .observed_experiment import ExperimentVerdict, KeepRecommendation, ObservedExperiment
from .verdict import Verdict

__all__ = ["awaiting", "followable", "without_advice"]

_PERIOD_SECONDS = 5.0


def followable(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus | None, now: datetime
) -> DecisionStatus | None:
    """Return the decision that follows, of what was recommended and of what the numbers decide now.

    A challenger is approved by its name, in advance, too; not once something was found against the data. That no
    challenger kept within the guardrails is followed whatever was recommended.
    """
    if decision is not None and decision.outcome == "GuardrailBreach":
        return decision
    advice = seen.recommendation or decision
    if advice is None or (advice is decision and not _is_asked(seen.spec, advice)):
        return decision
    healthy = status.condition(ConditionType.ASSIGNMENT_HEALTHY)
    is_approved = seen.spec.decision.approve == advice.winner and healthy is not None and healthy.status == "True"
    return advice.having(decided_at=timestamp(now)) if is_approved else None


def _is_asked(spec: ABExperimentSpec, decision: DecisionStatus) -> bool:
    return spec.decision.mode == "Recommend" and decision.winner not in {None, spec.control}


def awaiting(
    seen: ObservedExperiment, status: ABExperimentStatus, advice: DecisionStatus, now: datetime
) -> ExperimentVerdict:
    """It goes on until somebody approves, or its time is over; what is recommended is kept before it is told."""
    is_kept = seen.record is None or (seen.record.recommendation is not None and seen.recommendation is not None)
    told = _told(seen, status, advice, now)
    if is_kept:
        return Verdict(told, "Working", again=_PERIOD_SECONDS)
    return Verdict(told, "Working", apply=(KeepRecommendation(advice),), again=0.0)


def without_advice(status: ABExperimentStatus) -> ABExperimentStatus:
    """Return the status where nobody is recommended, or no more."""
    if status.recommended is None:
        return status
    return status.having(recommended=None, conditions=without(status.conditions, [ConditionType.AWAITING_APPROVAL]))


def _told(
    seen: ObservedExperiment, status: ABExperimentStatus, advice: DecisionStatus, now: datetime
) -> ABExperimentStatus:
    asked, winner = seen.spec.decision.approve, advice.winner
    reason, message = Reason.RECOMMENDED, f"set `decision.approve: {winner}` to promote it: {advice.reason}"
    if asked not in {None, winner}:
        reason = Reason.OTHER_APPROVED
        message = f"`decision.approve` names {asked}, but {winner} is recommended, so nothing follows; {message}"
    elif asked:
        reason, message = Reason.APPROVED, f"{winner} is approved, and is promoted once nothing else holds the decision"
    finding = Finding(ConditionType.AWAITING_APPROVAL, "False" if asked == winner else "True", reason, message)
    conditions = merged(status.conditions, [finding], seen.generation, timestamp(now))
    return status.having(recommended=winner, reason=reason.value, conditions=conditions)
