"""What of an evaluation the operator is told: as much as a pod's termination message has room for."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from training_runtime.plan import Evaluated, MetricInterval

__all__ = ["handed_over"]

_MAX_BYTES = 3800
"""Of the 4,096 that there are; everything is in metrics.json."""
_DIGITS = 6

_Part = tuple[Literal["metrics", "intervals"], str]


def handed_over(
    metrics: Mapping[str, float], intervals: Mapping[str, MetricInterval], gated: Sequence[str]
) -> Evaluated:
    """Return the metrics of gates, their intervals, then other metrics, then other intervals, until it is full."""
    told: dict[str, dict[str, object]] = {"metrics": {}, "intervals": {}}
    room = _MAX_BYTES
    for kind, name in _ordered(metrics, intervals, gated):
        value = metrics[name] if kind == "metrics" else _short(intervals[name])
        room -= len(json.dumps({name: value})) + 1
        if room < 0:
            break
        told[kind][name] = value
    return Evaluated.model_validate(told)


def _ordered(
    metrics: Mapping[str, float], intervals: Mapping[str, MetricInterval], gated: Sequence[str]
) -> Iterator[_Part]:
    finite = [name for name, value in metrics.items() if math.isfinite(value)]
    first = [name for name in dict.fromkeys(gated) if name in finite]
    others = [name for name in finite if name not in first]
    for names in (first, others):
        for name in names:
            yield "metrics", name
        for name in names:
            if name in intervals and math.isfinite(intervals[name].low) and math.isfinite(intervals[name].high):
                yield "intervals", name


def _short(interval: MetricInterval) -> dict[str, float]:
    low, high = (float(f"{bound:.{_DIGITS}g}") for bound in (interval.low, interval.high))
    return {"low": low, "high": high, "rows": interval.rows}
