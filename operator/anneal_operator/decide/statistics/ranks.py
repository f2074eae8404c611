"""How often a user of one variant gives a greater value than one of another: told, and nothing is decided by it.

Half of what is equal counts. The interval is Brunner and Munzel's, from 0 to 1 at most.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .terms import Histogram

__all__ = ["Superiority", "superiority"]


@dataclass(frozen=True, slots=True)
class Superiority:
    """The probability that the challenger's is greater, and its interval."""

    probability: float
    lower: float
    upper: float


def superiority(control: Histogram, challenger: Histogram, level: float) -> Superiority | None:
    """Return it; None where one of them has fewer than two values."""
    from scipy import special

    theirs, ours = control.cells, challenger.cells
    n, m = sum(theirs.values()), sum(ours.values())
    if min(n, m) < 2:
        return None
    p, own = _places(ours, theirs, m, n)
    _, others = _places(theirs, ours, n, m)
    parts = own / m, others / n
    variance = sum(parts)
    if variance == 0.0:
        return Superiority(p, p, p)
    freedom = variance**2 / (parts[0] ** 2 / (m - 1) + parts[1] ** 2 / (n - 1))
    half = -float(special.stdtrit(freedom, level / 2)) * math.sqrt(variance)
    return Superiority(p, max(0.0, p - half), min(1.0, p + half))


def _places(ours: Mapping[int, int], theirs: Mapping[int, int], n: int, m: int) -> tuple[float, float]:
    """How far above theirs ours lie, from 0 to 1: the mean, and the variance among ours."""
    below, total, squares = 0, 0.0, 0.0
    for cell in sorted({*ours, *theirs}):
        place = (below + theirs.get(cell, 0) / 2) / m
        count = ours.get(cell, 0)
        total, squares = total + count * place, squares + count * place**2
        below += theirs.get(cell, 0)
    mean = total / n
    return mean, max(0.0, squares - n * mean**2) / (n - 1)
