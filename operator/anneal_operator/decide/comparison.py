"""The statistics of an experiment, from sufficient statistics per variant.

The unit is the user: a user's value is the mean of what they said, so many answers to one person count once. Welch's
test does not assume equal variances; the sample-ratio check is a chi-square goodness-of-fit test. Both are scipy's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SRM_ALPHA", "Comparison", "Sample", "compare", "sample_ratio"]

SRM_ALPHA = 0.001


@dataclass(frozen=True)
class Sample:
    """Users' values of one variant: how many, their mean, and the sum of squared deviations from it."""

    users: int
    mean: float
    squares: float

    @property
    def stddev(self) -> float:
        """The sample standard deviation; 0 for fewer than two users."""
        return math.sqrt(self.squares / (self.users - 1)) if self.users > 1 else 0.0


@dataclass(frozen=True)
class Comparison:
    """A challenger against the control: difference of means, its interval and two-sided p-value."""

    lift: float
    lower: float
    upper: float
    p_value: float


def compare(control: Sample, challenger: Sample, confidence: float) -> Comparison | None:
    """Welch's unequal-variances t-test; None where a sample has fewer than two users.

    Two samples without any spread have an interval of one point: equal means are no difference, others are certain.
    """
    from scipy import stats

    if min(control.users, challenger.users) < 2:
        return None
    lift = challenger.mean - control.mean
    if control.squares == challenger.squares == 0:
        return Comparison(lift, lift, lift, 1.0 if lift == 0 else 0.0)
    test = stats.ttest_ind_from_stats(
        challenger.mean,
        challenger.stddev,
        challenger.users,
        control.mean,
        control.stddev,
        control.users,
        equal_var=False,
    )
    variances = [sample.stddev**2 / sample.users for sample in (control, challenger)]
    error = math.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / sum(
        variance**2 / (sample.users - 1) for variance, sample in zip(variances, (control, challenger), strict=True)
    )
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    return Comparison(lift, lift - half, lift + half, float(test.pvalue))


def sample_ratio(users: Sequence[int], weights: Sequence[int]) -> float:
    """Return the p-value of users being spread as the weights say; 1 where there are none yet."""
    from scipy import stats

    total = sum(users)
    if total == 0:
        return 1.0
    expected = [total * weight / sum(weights) for weight in weights]
    return float(stats.chisquare(users, expected).pvalue)
