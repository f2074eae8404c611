"""Metrics that know their rows, so that each has an interval and two models are compared on the same rows."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from .intervals import RESAMPLES, Interval, resampled, wilson

if TYPE_CHECKING:
    import numpy

    from .intervals import Rows

    Numbers = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float64]]

__all__ = ["Aggregate", "Average", "ClassAverage", "Difference", "Measured", "Scores", "difference"]

Average = Literal["precision", "recall", "f1"]


class Measured(ABC):
    """A metric over rows."""

    resamples = RESAMPLES

    @property
    @abstractmethod
    def count(self) -> int:
        """How many rows it is of."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Between what it lies, where that is known."""
        return None

    @property
    def value(self) -> float:
        """The metric over all rows; NaN over none."""
        import numpy as np

        return self.over(np.arange(self.count))

    @property
    def strata(self) -> "Sequence[Rows]":
        """Rows that are drawn among each other when chance is played through: all of them, unless told otherwise."""
        import numpy as np

        return [np.arange(self.count)]

    @abstractmethod
    def over(self, rows: "Rows") -> float:
        """The metric over some rows, each as often as it is named."""

    def interval(self, seed: int) -> Interval:
        """The metric's 95 % interval. Rows that all say the same have no spread to draw from: a bound gives it one."""
        found = resampled(self.over, self.strata, seed, self.resamples)
        return found if found.low < found.high or self.bounds is None else self._by_bounds(self.bounds)

    def _by_bounds(self, bounds: tuple[float, float]) -> Interval:
        low, high = bounds
        share = wilson((self.value - low) / (high - low), self.count)
        return Interval(low + share.low * (high - low), low + share.high * (high - low))


@dataclass(frozen=True)
class Scores(Measured):
    """The sum of the rows' parts over the sum of their weights, or e to that."""

    parts: Sequence[float]
    weights: Sequence[float]
    kind: Literal["mean", "exponential"] = "mean"
    range: tuple[float, float] | None = None

    @staticmethod
    def of(values: Sequence[float], bounds: tuple[float, float] | None = (0.0, 1.0)) -> "Scores":
        """Return scores of rows that weigh the same."""
        return Scores(values, [1.0] * len(values), range=bounds)

    @property
    @override
    def count(self) -> int:
        return len(self.parts)

    @property
    @override
    def bounds(self) -> tuple[float, float] | None:
        return self.range

    @cached_property
    def _arrays(self) -> "tuple[Numbers, Numbers]":
        import numpy as np

        return np.asarray(self.parts, dtype=float), np.asarray(self.weights, dtype=float)

    @override
    def over(self, rows: "Rows") -> float:
        parts, weights = self._arrays
        weight = float(weights[rows].sum())
        if not weight:
            return math.nan
        mean = float(parts[rows].sum()) / weight
        return math.exp(min(mean, 700.0)) if self.kind == "exponential" else mean

    @override
    def interval(self, seed: int) -> Interval:
        is_share = self.range == (0.0, 1.0) and set(self.parts) <= {0.0, 1.0} and set(self.weights) == {1.0}
        return wilson(self.value, self.count) if is_share else super().interval(seed)


@dataclass(frozen=True)
class ClassAverage(Measured):
    """Precision, recall or F1, averaged over the true labels; a label that was drawn in no row has no part in it."""

    truth: Sequence[str]
    predicted: Sequence[str]
    kind: Average

    @property
    @override
    def count(self) -> int:
        return len(self.truth)

    @property
    @override
    def bounds(self) -> tuple[float, float] | None:
        return (0.0, 1.0)

    @cached_property
    def _codes(self) -> "tuple[Rows, Rows, int]":
        """The labels as numbers; whatever is predicted that is no true label is one more."""
        import numpy as np

        numbers = {label: number for number, label in enumerate(sorted(set(self.truth)))}
        truth = np.array([numbers[label] for label in self.truth])
        predicted = np.array([numbers.get(label, len(numbers)) for label in self.predicted])
        return truth, predicted, len(numbers) + 1

    @property
    @override
    def strata(self) -> "Sequence[Rows]":
        """Each label's rows: drawn from all of them, a rare label would often have no part in the mean."""
        import numpy as np

        truth, _, labels = self._codes
        return [rows for label in range(labels) if len(rows := np.flatnonzero(truth == label))]

    @override
    def over(self, rows: "Rows") -> float:
        import numpy as np

        truth, predicted, labels = self._codes
        true, said = truth[rows], predicted[rows]
        hits = np.bincount(true[true == said], minlength=labels)
        asked, told = np.bincount(true, minlength=labels), np.bincount(said, minlength=labels)
        twice, wanted = {"precision": (hits, told), "recall": (hits, asked), "f1": (2 * hits, told + asked)}[self.kind]
        return float((twice / np.maximum(wanted, 1))[asked > 0].mean())


@dataclass(frozen=True)
class Aggregate(Measured):
    """What a function of another library makes of the rows' own values."""

    values: Sequence[Any]
    function: Callable[[list[Any]], float]

    resamples = 200  # some of these functions take a second

    @property
    @override
    def count(self) -> int:
        return len(self.values)

    @override
    def over(self, rows: "Rows") -> float:
        return float(self.function([self.values[row] for row in rows]))


@dataclass(frozen=True)
class Difference:
    """How much higher the tuned model scores, with its 95 % interval."""

    value: float
    low: float
    high: float


def difference(tuned: Measured, base: Measured, seed: int) -> Difference:
    """Compare two models on the same rows by the paired bootstrap."""
    found = resampled(lambda rows: tuned.over(rows) - base.over(rows), tuned.strata, seed, tuned.resamples)
    return Difference(tuned.value - base.value, found.low, found.high)
