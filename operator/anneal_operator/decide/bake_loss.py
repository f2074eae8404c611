"""A winner that does not answer while it bakes.

Routers have the control answer in its place, request by request. Where that goes on for a while everybody returns to
the control, which the routes alone bring about: a person looks at what failed before it is tried again. Nobody returns
to a control that does not answer, either: then what fails is not the winner's.
"""

from datetime import datetime

from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding
from .experiment_obstacles import GRACE
from .observed_experiment import ObservedExperiment, Returned, VariantSeen

__all__ = ["loss_while_baking", "winner_answering"]

_NOT_THERE = VariantSeen(None, ready=False)


def winner_answering(seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus) -> Finding | None:
    """Say that the winner does not answer, and that it does again; nothing where it does, as was told.

    `Unknown` where the control does not, either: so the time in which the winner alone does not begins after that.
    """
    kind, name = ConditionType.VARIANTS_READY, seen.spec.version_of(decision.winner)
    winner, known = seen.variants.get(decision.winner or "", _NOT_THERE), status.condition(kind)
    if winner.ready:
        is_told = known is None or known.status == "True"
        return None if is_told else Finding(kind, "True", Reason.VARIANTS_READY, f"ModelVersion {name} answers")
    reason = Reason.VERSION_NOT_READY if winner.model else Reason.VERSION_NOT_FOUND
    message = f"ModelVersion {name} does not answer" if winner.model else f"there is no ModelVersion {name}"
    if not seen.variants.get(seen.spec.control, _NOT_THERE).ready:
        return Finding(kind, "Unknown", reason, f"{message}, nor does the control answer")
    return Finding(kind, "False", reason, f"{message}; the control answers in its place")


def loss_while_baking(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> Returned | None:
    """Return why everybody returns where the winner, who has the traffic, has not answered for a while."""
    found, known = winner_answering(seen, status, decision), status.condition(ConditionType.VARIANTS_READY)
    has_traffic = bool(status.baking_since) or seen.route.default == seen.spec.version_of(decision.winner)
    if not has_traffic or found is None or known is None or {found.status, known.status} != {"False"}:
        return None
    if now - datetime.fromisoformat(known.last_transition_time) < GRACE:
        return None
    reason = f"{decision.winner} did not answer for {GRACE.total_seconds():.0f} s while it baked"
    return Returned("WinnerLost", f"{reason}, so everybody returned to the control")
