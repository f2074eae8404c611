"""An ABExperiment's verdict for other systems: few fields that are always there, so that a gate can be written on them.

Fields are added, and none is renamed or taken away. Nothing is null: what is not known yet is empty, 0 or left out of
`variants`, as those who read this evaluate expressions on it.
"""

import json
from typing import Any

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, GuardrailStatus, MetricStatus, VariantStatus

from .looks import primary_of
from .page import Papers
from .sentences import may_compare, standing

__all__ = ["verdict", "verdict_text"]

_HOLD = ("AssignmentHealthy", "GuardrailsHealthy")
_BACK = {"RolledBack", "Aborted"}
_AGAINST = {"ControlWins", "Unsound"}


def verdict(papers: Papers) -> dict[str, Any]:
    """Return it for JSON."""
    spec, status, metadata = papers.spec, papers.status, papers.experiment["metadata"]
    decision, primary = status.decision, spec.metrics.primary
    is_told = may_compare(spec, status)
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "type": spec.type,
        "model": spec.model_name,
        "phase": status.phase,
        "reason": status.reason,
        "message": standing(spec, status, papers.now),
        "healthy": _is_healthy(status),
        "recommended": status.recommended or "",
        "dropped": list(status.dropped or ()),
        "decided": decision is not None,
        "outcome": decision.outcome if decision else "",
        "winner": (decision.winner or "") if decision else "",
        "winnerVersion": spec.version_of(decision.winner) if decision and decision.winner else "",
        "decidedAt": decision.decided_at if decision else "",
        "startedAt": status.started_at or "",
        "metric": primary.name,
        "source": primary.source,
        "direction": "Increase" if primary.increases else "Decrease",
        "minimumDetectableEffect": primary.minimum_detectable_effect or 0,
        "control": spec.control,
        "users": status.users,
        "variants": {
            variant.name: _variant(variant, primary_of(spec, variant.metrics), is_told=is_told)
            | _beside(spec, variant, is_told=is_told)
            for variant in status.variants
        },
    }


def verdict_text(papers: Papers) -> str:
    """Return it as it is kept."""
    return f"{json.dumps(verdict(papers), indent=1)}\n"


def _is_healthy(status: ABExperimentStatus) -> bool:
    """Whether nothing was found against the data or the challengers: that nothing is decided yet is nothing against."""
    against = [one for one in map(status.condition, _HOLD) if one and one.status == "False"]
    is_beaten = status.decision is not None and status.decision.outcome in _AGAINST
    return not (against or is_beaten or status.phase in _BACK)


def _variant(variant: VariantStatus, metric: MetricStatus | None, *, is_told: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"users": variant.users, **_metric(metric, is_told=is_told)}
    if variant.shadow:
        told["shadow"] = variant.shadow.dump()
    if variant.guardrails:
        told["guardrails"] = {one.name: _guardrail(one) for one in variant.guardrails}
    return told


def _beside(spec: ABExperimentSpec, variant: VariantStatus, *, is_told: bool) -> dict[str, Any]:
    names = {one.name for one in spec.metrics.secondary}
    told = {one.name: _metric(one, is_told=is_told) for one in variant.metrics if one.name in names}
    return {"secondary": told} if told else {}


def _metric(metric: MetricStatus | None, *, is_told: bool) -> dict[str, Any]:
    if metric is None or not is_told:
        return {"values": metric.users if metric else 0}
    known = {"mean": metric.mean, "lift": metric.lift, "lower": metric.lower, "upper": metric.upper}
    return {"values": metric.users, **_known(known | {"pValue": metric.p_value})}


def _guardrail(told: GuardrailStatus) -> dict[str, Any]:
    return {"state": told.state, **_known({"value": told.value, "ratio": told.ratio, "bound": told.bound})}


def _known(told: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in told.items() if value is not None}
