"""Guardrails after the verdict: the winner of an ABExperiment is held against the users who stay with the control.

Until it gets everybody, as when it waits for its pods, users stay split as before the verdict. They go on being counted
with all that they had: what was shown to keep within a limit may be shown to be beyond it by more of the same.

While it bakes their evidence begins anew, and is of what was answered since: of the winner alone, at the same error.
That the time passes without a breach proves nothing; the proof that promotes was the verdict's.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from anneal_operator.api.ab_experiment import ABExperimentSpec, buckets_held_back
from anneal_operator.api.ab_experiment_status import DecisionStatus
from anneal_operator.reasons import ConditionType, Reason
from serving_runtime.plan import BUCKETS

from .conditions import Finding
from .experiment_sample import freshness, rule_unknown
from .observed_experiment import ObservedExperiment, Returned
from .statistics.guardrails import Guarded, guarded
from .statistics.snapshot import stands
from .statistics.terms import Terms

__all__ = ["bake_freshness", "breach_before_traffic", "breach_while_baking", "is_awaited", "terms_while_baking"]

_CONTROL, _WINNER = 0, 1


def terms_while_baking(terms: Terms, spec: ABExperimentSpec) -> Terms:
    """Return the terms of two arms: the control's buckets that are held back, and all others, which the winner has."""
    held = buckets_held_back(terms.shares[terms.control], spec.decision.bake_holdback_percent)
    return replace(terms, control=_CONTROL, shares=(held, BUCKETS - held))


def bake_freshness(seen: ObservedExperiment, now: datetime) -> Finding | None:
    """Say whether a breach would be seen; nothing where there are no guardrails. Of a later rule's nothing is known."""
    if not seen.terms.is_known:
        message = f"{rule_unknown(seen.terms)}: guardrails are not watched until that build is back"
        return Finding(ConditionType.GUARDRAILS_HEALTHY, "Unknown", Reason.RULE_UNKNOWN, message)
    counted = seen.observations if is_awaited(seen) else seen.baked
    return freshness(counted, seen.stored, now) if seen.terms.guardrails else None


def is_awaited(seen: ObservedExperiment) -> bool:
    """Whether a winner has yet to get its users, whom routers split as before the verdict."""
    is_promoted = seen.decision is not None and seen.previous.phase in {"Baking", "Promoted"}
    return is_promoted and seen.identity in seen.route.split_by


def breach_before_traffic(seen: ObservedExperiment, decision: DecisionStatus, now: datetime) -> Returned | None:
    """Return why everybody returns where the winner is shown to be beyond a guardrail while it waits for its users."""
    counts = seen.counted
    if counts is None or not is_awaited(seen) or not _is_to_judge(seen, freshness(counts, seen.stored, now)):
        return None
    place = [variant.name for variant in seen.spec.variants].index(str(decision.winner))
    return _returned(decision, guarded(seen.terms, counts.guards, place), "before it had the traffic")


def breach_while_baking(seen: ObservedExperiment, decision: DecisionStatus, now: datetime) -> Returned | None:
    """Return why everybody returns where the winner is shown to be beyond a guardrail; by fresh numbers alone."""
    fresh = bake_freshness(seen, now)
    if fresh is None or seen.baked is None or not _is_to_judge(seen, fresh):
        return None
    stand = guarded(terms_while_baking(seen.terms, seen.spec), seen.baked, _WINNER)
    return _returned(decision, stand, "while it baked")


def _is_to_judge(seen: ObservedExperiment, fresh: Finding) -> bool:
    return bool(seen.terms.guardrails) and seen.terms.is_known and fresh.status == "True"


def _returned(decision: DecisionStatus, stand: Iterable[Guarded], when: str) -> Returned | None:
    beyond = [one for one in stand if one.is_breached]
    if not beyond:
        return None
    names = ", ".join(one.guardrail.name for one in beyond)
    reason = f"{decision.winner} was shown to be beyond {names} {when} ({stands(beyond[0])})"
    return Returned("GuardrailBreach", f"{reason}, so everybody returned to the control")
