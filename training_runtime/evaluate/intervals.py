"""How far a metric may be off, because some rows were asked and not all there could be: its 95 % interval.

It tells of chance in the sample alone. Rows that are unlike those that users will ask are not told by any interval.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

    Rows = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.int64]]

__all__ = ["RESAMPLES", "Interval", "Rows", "resampled", "wilson"]

RESAMPLES = 2000
_Z = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """Where the metric over all possible rows lies, with a confidence of 95 %."""

    low: float
    high: float


def wilson(mean: float, count: int) -> Interval:
    """Return the score interval of a share (Wilson 1927), which neither ends at 0 or 1 by luck nor leaves them.

    Of other values between 0 and 1 it is wider than need be, never narrower: none of them vary more than a share does.
    """
    square = _Z * _Z
    middle = (mean + square / (2 * count)) / (1 + square / count)
    half = _Z * math.sqrt(mean * (1 - mean) / count + square / (4 * count * count)) / (1 + square / count)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def resampled(over: Callable[["Rows"], float], strata: Sequence["Rows"], seed: int, times: int = RESAMPLES) -> Interval:
    """Return the percentile interval of the bootstrap over rows (Efron and Tibshirani 1993, ch. 13).

    `over` computes the metric over some rows, each as often as it is named. As many rows of each stratum are drawn as
    it has.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    drawn = [
        over(np.concatenate([rows[rng.integers(len(rows), size=len(rows))] for rows in strata])) for _ in range(times)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(low), float(high))
