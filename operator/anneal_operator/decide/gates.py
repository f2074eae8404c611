"""Whether what evaluation measured is good enough to be published."""

from collections.abc import Mapping, Sequence

from anneal_operator.api.evaluation import Gate
from anneal_operator.api.fine_tune_job_status import GateStatus

__all__ = ["References", "judge_gates", "unmet"]

References = Mapping[str, Mapping[str, float] | None]
"""The metrics of the version that holds an alias, by alias; None where none holds it."""
_LOWER_IS_BETTER = ("loss", "perplexity", "seconds")


def judge_gates(gates: Sequence[Gate], metrics: Mapping[str, float], references: References) -> list[GateStatus]:
    """Return what became of each gate, in their order."""
    return [_judge(gate, metrics.get(gate.metric), references) for gate in gates]


def unmet(gates: Sequence[GateStatus], metrics: Mapping[str, float]) -> str | None:
    """Return a sentence on the gates that were not passed, None where all were."""
    failed = [
        f"{gate.metric} is {gate.value:.4g}, and must be {gate.required}"
        if gate.value is not None
        else f"no suite measures {gate.metric}; there are {', '.join(sorted(metrics)) or 'no metrics'}"
        for gate in gates
        if not gate.passed
    ]
    return "; ".join(failed) or None


def _judge(gate: Gate, value: float | None, references: References) -> GateStatus:
    reference = references.get(gate.vs_alias) if gate.vs_alias else None
    if reference is not None and gate.metric not in reference:
        there = ", ".join(sorted(reference)) or "none"
        remedy = "evaluate it with the same suites, or ask for `min` or `max`"
        required = f"comparable with {gate.vs_alias}, whose run has no such metric (it has {there}): {remedy}"
        return GateStatus(metric=gate.metric, value=value, required=required, passed=False)
    low, high = _bounds(gate, references)
    bounds = (("at least", low), ("at most", high))
    wanted = [f"{side} {bound:.4g}" for side, bound in bounds if bound is not None]
    compared = f" (not worse than {gate.vs_alias})" if gate.vs_alias else ""
    passed = value is not None and (low is None or value >= low) and (high is None or value <= high)
    return GateStatus(
        metric=gate.metric, value=value, required=(" and ".join(wanted) or "measured") + compared, passed=passed
    )


def _bounds(gate: Gate, references: References) -> tuple[float | None, float | None]:
    low, high = gate.min, gate.max
    other = (references.get(gate.vs_alias) or {}).get(gate.metric) if gate.vs_alias else None
    if other is None:
        return low, high
    allowed = abs(other) * gate.max_regression_percent / 100
    if gate.metric.endswith(_LOWER_IS_BETTER):
        return low, min(high, other + allowed) if high is not None else other + allowed
    return max(low, other - allowed) if low is not None else other - allowed, high
