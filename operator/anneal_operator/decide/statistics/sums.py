"""Users' values as sums of whole numbers, and what follows from them: mean and variance, as fractions at the end alone.

The unit is the user: many answers to one person count once.
"""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Arm", "Scale", "Sums", "arm_of", "together"]


@dataclass(frozen=True, slots=True)
class Scale:
    """What a whole number stands for: `low`, and so many `parts` of `width` more."""

    parts: int
    low: float = 0.0
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Sums:
    """How many users have a value, the sum of these, and of their squares."""

    n: int = 0
    y: int = 0
    yy: int = 0

    def mean(self, scale: Scale) -> float:
        """Return the mean; there is one user at least."""
        return scale.low + scale.width * (self.y / (self.n * scale.parts))

    def variance(self, scale: Scale) -> float:
        """Return the sample variance; 0 for fewer than two users."""
        if self.n < 2:
            return 0.0
        spread = max(0, self.n * self.yy - self.y**2) / (self.n * (self.n - 1) * scale.parts**2)
        return scale.width**2 * spread


@dataclass(frozen=True, slots=True)
class Arm:
    """Users of one variant: how many, the mean of their values, and the variance of that mean."""

    n: int
    mean: float
    variance: float


def together(sums: Iterable[Sums]) -> Sums:
    """Return the sums of all, whichever variant they are of."""
    total = Sums()
    for one in sums:
        total = Sums(total.n + one.n, total.y + one.y, total.yy + one.yy)
    return total


def arm_of(mean: float, variance: float, n: int, width: float | None) -> Arm | None:
    """Return an arm, its variance not below what one more user would bring whose value is `width` away.

    Values that are all equal say only that others are rare. Without a width there is no telling how far away these are:
    then nothing is, as where there are fewer than two users.
    """
    if n < 2 or (width is None and variance == 0.0):
        return None
    return Arm(n, mean, max(variance / n, ((width or 0.0) / n) ** 2))
