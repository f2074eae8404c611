"""Whether what evaluation measured is good enough to be published.

A gate is passed or missed by what was measured. Whether as many rows as were asked can tell is said beside it, by the
metric's 95 % interval, and decides nothing: how much doubt is too much is for people to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from typing_extensions import override

from anneal_operator.api.evaluation import Gate
from anneal_operator.api.fine_tune_job_status import EvaluationStatus, GateStatus, IntervalStatus
from training_runtime.plan import Evaluated, MetricInterval

__all__ = ["Measured", "References", "doubts", "judge_gates", "unmet"]

Measured = Evaluated | EvaluationStatus
"""What evaluation handed over; or what was told of it, in fewer digits, where that is all that is left."""

References = Mapping[str, Mapping[str, float] | None]
"""The metrics of the version that holds an alias, by alias; None where none holds it."""
_Interval = MetricInterval | IntervalStatus
_LOWER_IS_BETTER = ("loss", "perplexity", "seconds", ".bits_per_byte", ".brier_score", ".ter")
"""By their ends; those with a dot are lm-evaluation-harness's."""
_MOST_ROWS = 1_000_000
_Side = Literal["at least", "above", "at most"]


@dataclass(frozen=True)
class _Bound:
    side: _Side
    number: float

    @override
    def __str__(self) -> str:
        return f"{self.side} {self.number:.4g}"

    def holds(self, value: float) -> bool:
        if self.side == "at most":
            return value <= self.number
        return value > self.number if self.side == "above" else value >= self.number


def judge_gates(gates: Sequence[Gate], measured: Measured, references: References) -> list[GateStatus]:
    """Return what became of each gate, in their order."""
    return [_judge(gate, measured, references) for gate in gates]


def unmet(gates: Sequence[GateStatus], metrics: Mapping[str, float]) -> str | None:
    """Return a sentence on the gates that were not passed, None where all were."""
    failed = [
        f"{_told(gate)}, and must be {gate.required}"
        if gate.value is not None
        else f"no suite measures {gate.metric}; there are {', '.join(sorted(metrics)) or 'no metrics'}"
        for gate in gates
        if not gate.passed
    ]
    return "; ".join(failed) or None


def doubts(gates: Sequence[GateStatus]) -> str | None:
    """Return a sentence on the gates that were passed on too few rows to tell, None where there are none."""
    return "; ".join(_told(gate) for gate in gates if gate.passed and gate.supported is False) or None


def _told(gate: GateStatus) -> str:
    return f"{gate.metric} is {gate.value:.4g}" + (f" ({gate.sample})" if gate.sample else "")


def _judge(gate: Gate, measured: Measured, references: References) -> GateStatus:
    value, reference = measured.metrics.get(gate.metric), references.get(gate.vs_alias) if gate.vs_alias else None
    if reference is not None and gate.metric not in reference:
        there = ", ".join(sorted(reference)) or "none"
        remedy = "evaluate it with the same suites, or ask for `min`, `above` or `max`"
        required = f"comparable with {gate.vs_alias}, whose run has no such metric (it has {there}): {remedy}"
        return GateStatus(metric=gate.metric, value=value, required=required, passed=False)
    bounds = _bounds(gate, references)
    compared = f" (not worse than {gate.vs_alias})" if gate.vs_alias else ""
    required = (" and ".join(map(str, bounds)) or "measured") + compared
    passed = value is not None and all(bound.holds(value) for bound in bounds)
    found = GateStatus(metric=gate.metric, value=value, required=required, passed=passed)
    interval = measured.intervals.get(gate.metric)
    return _weighed(found, value, interval, bounds) if value is not None and interval and bounds else found


def _weighed(gate: GateStatus, value: float, interval: _Interval, bounds: Sequence[_Bound]) -> GateStatus:
    """The gate with what its sample can tell: nothing of a bound within the interval, unless another is missed."""
    told = f"95 % interval {interval.low:.4g} to {interval.high:.4g} on {interval.rows} rows"
    open_ = [bound for bound in bounds if bound.holds(interval.low) != bound.holds(interval.high)]
    is_missed = any(not bound.holds(interval.low) and not bound.holds(interval.high) for bound in bounds)
    if is_missed or not open_:
        return gate.having(supported=True, sample=told)
    needed = max(_needed(value, interval, bound) for bound in open_)
    more = f"; about {needed:,} would" if needed <= _MOST_ROWS else ""
    question = " and ".join(map(str, open_))
    return gate.having(supported=False, sample=f"{told}: too few to tell whether it is {question}{more}")


def _needed(value: float, interval: _Interval, bound: _Bound) -> int:
    """How many rows would have the interval end at the bound, were the metric the same: its width goes by the root."""
    half = value - interval.low if bound.number <= value else interval.high - value
    apart = abs(value - bound.number)
    times = (half / apart) ** 2 if apart > half / _MOST_ROWS else _MOST_ROWS
    return _rounded_up(max(interval.rows * times, interval.rows + 1))


def _rounded_up(rows: float) -> int:
    step = int(10 ** max(0, len(str(int(rows))) - 2))
    return ceil(round(rows / step, 6)) * step


def _bounds(gate: Gate, references: References) -> list[_Bound]:
    low, high = gate.min, gate.max
    other = (references.get(gate.vs_alias) or {}).get(gate.metric) if gate.vs_alias else None
    if other is not None:
        allowed = abs(other) * gate.max_regression_percent / 100
        if gate.metric.endswith(_LOWER_IS_BETTER):
            high = other + allowed if high is None else min(high, other + allowed)
        else:
            low = other - allowed if low is None else max(low, other - allowed)
    sides: tuple[tuple[_Side, float | None], ...] = (("at least", low), ("above", gate.above), ("at most", high))
    return [_Bound(side, number) for side, number in sides if number is not None]
