"""Guardrails while the winner of an ABExperiment bakes: it is held against the users who stay with the control.

Their evidence begins anew, and is of what was answered since: of the winner alone, at the same error. That the time
passes without a breach proves nothing; the proof that promotes was the verdict's.
"""

from dataclasses import replace
from datetime import datetime

from anneal_operator.api.ab_experiment import ABExperimentSpec, buckets_held_back
from anneal_operator.api.ab_experiment_status import DecisionStatus
from serving_runtime.plan import BUCKETS

from .conditions import Finding
from .experiment_sample import freshness
from .observed_experiment import ObservedExperiment, Returned
from .statistics.guardrails import guarded
from .statistics.snapshot import stands
from .statistics.terms import Terms

__all__ = ["bake_freshness", "breach_while_baking", "terms_while_baking"]

_CONTROL, _WINNER = 0, 1


def terms_while_baking(terms: Terms, spec: ABExperimentSpec) -> Terms:
    """Return the terms of two arms: the control's buckets that are held back, and all others, which the winner has."""
    held = buckets_held_back(terms.shares[terms.control], spec.decision.bake_holdback_percent)
    return replace(terms, control=_CONTROL, shares=(held, BUCKETS - held))


def bake_freshness(seen: ObservedExperiment, now: datetime) -> Finding | None:
    """Say whether a breach would be seen; nothing where there are no guardrails."""
    return freshness(seen.baked, seen.stored, now) if seen.terms.guardrails else None


def breach_while_baking(seen: ObservedExperiment, decision: DecisionStatus, now: datetime) -> Returned | None:
    """Return why everybody returns where the winner is shown to be beyond a guardrail; by fresh numbers alone."""
    fresh = bake_freshness(seen, now)
    if fresh is None or fresh.status != "True":
        return None
    stand = guarded(terms_while_baking(seen.terms, seen.spec), seen.baked, _WINNER)
    beyond = [one for one in stand if one.is_breached]
    if not beyond:
        return None
    names = ", ".join(one.guardrail.name for one in beyond)
    reason = f"{decision.winner} was shown to be beyond {names} while it baked ({stands(beyond[0])})"
    return Returned("GuardrailBreach", f"{reason}, so everybody returned to the control")
