"""What a user's answers say of a variant, as a total over a count: failures per request, seconds per token.

Each is also a value per user, on a grid between 0 and a cap. A cap is the same for all arms and experiments: beyond it
a value counts as the cap.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .sums import LOG_PARTS

__all__ = ["INFINITE", "MEASURES", "Measure", "log_cell", "milliseconds"]

Counts = Mapping[str, int]
_LONGEST_LOG = round(math.log(600_000) * LOG_PARTS)
_MOST_TOKENS = 131_072
_SLOWEST_MICROSECONDS = 10_000_000
_STEP = math.log(1.02)
INFINITE = 1 << 20
"""The cell of failures: a fast error is not fast."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A total over a count, from a user's counts; and the greatest value that a user may have."""

    total: Callable[[Counts], int]
    count: Callable[[Counts], int]
    most: int
    parts: int = 1
    """How many of a total's whole numbers make one: logarithms are of milliseconds, times are of seconds."""


MEASURES = {
    "answers.errors": Measure(lambda c: c["failures"], lambda c: c["requests"], 1),
    "answers.latency": Measure(
        lambda c: c["ln_latency"] + c["failures"] * _LONGEST_LOG,
        lambda c: c["latencies"] + c["failures"],
        _LONGEST_LOG,
        LOG_PARTS,
    ),
    "answers.first": Measure(lambda c: c["ln_first"], lambda c: c["firsts"], _LONGEST_LOG, LOG_PARTS),
    "answers.pace": Measure(lambda c: c["pace"], lambda c: c["paced"], _SLOWEST_MICROSECONDS, 1_000_000),
    "answers.tokens": Measure(lambda c: c["completion_tokens"], lambda c: c["requests"], _MOST_TOKENS),
}
"""By name, which no metric of feedback can have. Of latency a failure counts as one of 600 s."""


def log_cell(seconds: float) -> int:
    """Return the cell of a latency: each is 2 % wider than the one before, from a millisecond on."""
    return max(0, math.ceil(math.log(max(seconds * 1000, 1.0)) / _STEP))


def milliseconds(cell: int) -> float:
    """Return a cell's value, which is within 1 % of all that is in it."""
    return float(2 * 1.02**cell / 2.02)
