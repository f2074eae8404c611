"""Scores row by row, so that two models can be compared on the same rows."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Difference", "Scores", "difference"]

_RESAMPLES = 2000


@dataclass(frozen=True)
class Scores:
    """A metric as the sum of its rows' parts over the sum of their weights, or e to that."""

    parts: Sequence[float]
    weights: Sequence[float]
    kind: Literal["mean", "exponential"] = "mean"

    @staticmethod
    def of(values: Sequence[float]) -> "Scores":
        """Return scores of rows that weigh the same."""
        return Scores(values, [1.0] * len(values))

    @property
    def value(self) -> float:
        """The metric over all rows; NaN over none."""
        return self.over(range(len(self.parts)))

    def over(self, rows: Sequence[int]) -> float:
        """The metric over some rows, each as often as it is named."""
        weight = sum(self.weights[row] for row in rows)
        if not weight:
            return math.nan
        mean = sum(self.parts[row] for row in rows) / weight
        return math.exp(min(mean, 700.0)) if self.kind == "exponential" else mean


@dataclass(frozen=True)
class Difference:
    """How much higher the tuned model scores, with its 95 % interval."""

    value: float
    low: float
    high: float


def difference(tuned: Scores, base: Scores, seed: int) -> Difference:
    """Compare two models on the same rows by the paired percentile bootstrap (Efron and Tibshirani 1993, ch. 13)."""
    count = len(tuned.parts)
    rng = random.Random(seed)  # noqa: S311 - reproducible on purpose
    drawn = []
    for _ in range(_RESAMPLES):
        rows = rng.choices(range(count), k=count)
        drawn.append(tuned.over(rows) - base.over(rows))
    drawn.sort()
    return Difference(tuned.value - base.value, drawn[int(0.025 * _RESAMPLES)], drawn[int(0.975 * _RESAMPLES) - 1])
