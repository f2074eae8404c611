"""A challenger against the control: the difference of means, an interval around it, and a p-value.

Welch's test is for one look at a sample whose size is set before. The confidence sequence may be looked at as often as
one likes: it holds at all times at once (Waudby-Smith 2103.06476, equation 9). Both need no equal variances.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .sums import Arm

__all__ = ["LEAST_P", "Comparison", "rho2_of", "sequence", "welch", "welch_above"]

LEAST_P = 1e-300
"""A p-value is never told as 0."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Difference of means, its interval and two-sided p-value."""

    lift: float
    lower: float
    upper: float
    p_value: float


def welch(control: Arm, challenger: Arm, level: float) -> Comparison:
    """Welch's unequal-variances t-test with its exact degrees of freedom; `level` is the error of the interval."""
    from scipy import special

    lift, freedom = challenger.mean - control.mean, _freedom((control, challenger))
    error = math.sqrt(control.variance + challenger.variance)
    half = -float(special.stdtrit(freedom, level / 2)) * error
    p_value = 2 * float(special.stdtr(freedom, -abs(lift) / error))
    return Comparison(lift, lift - half, lift + half, max(p_value, LEAST_P))


def welch_above(value: float, arms: Sequence[Arm]) -> float:
    """Return the one-sided p-value of a number that is made of these arms, against its being 0 or less."""
    from scipy import special

    error = math.sqrt(sum(arm.variance for arm in arms))
    return max(float(special.stdtr(_freedom(arms), -value / error)), LEAST_P)


def _freedom(arms: Sequence[Arm]) -> float:
    return sum(arm.variance for arm in arms) ** 2 / sum(arm.variance**2 / (arm.n - 1) for arm in arms)


def rho2_of(level: float, users: float) -> float:
    """Return the parameter that makes the confidence sequence narrowest at so many users of a pair of arms."""
    return (-2 * math.log(level) + math.log(1 - 2 * math.log(level))) / users


def sequence(control: Arm, challenger: Arm, level: float, rho2: float) -> Comparison:
    """The asymptotic confidence sequence; its p-value is one over the evidence against no difference."""
    lift, variance = challenger.mean - control.mean, control.variance + challenger.variance
    v = (control.n + challenger.n) * rho2
    half = math.sqrt(variance * (1 + v) / v * (math.log1p(v) - 2 * math.log(level)))
    evidence = lift**2 / variance * v / (2 * (1 + v)) - math.log1p(v) / 2
    return Comparison(lift, lift - half, lift + half, max(math.exp(-max(evidence, 0.0)), LEAST_P))
