"""The number that decides, of each variant: what users said, or what is measured of their answers.

The latter is a ratio of users' totals to their counts, for times of logarithms. Means of these differ by a part of the
control's, and so the difference is told: -0.1 is a tenth less.
"""

import math
from collections.abc import Sequence

from anneal_operator.api.amounts import LOGARITHMS

from .comparison import Comparison, sequence, welch
from .cuped import adjusted_pair
from .guarded import Ratio, is_ratio, joined, natural
from .power import fixed_users, sequential_factor
from .sums import Arm, arm_of, together
from .terms import Counts, Terms

__all__ = ["compared", "hangs_on_few", "mean_of", "powered", "tested", "values"]

_MOST_LOG = 100.0


def values(terms: Terms, counts: Counts) -> tuple[int, ...]:
    """Return how many users of each variant have a value."""
    if not is_ratio(terms.source):
        return tuple(sums.n for sums in counts.sums)
    return tuple(ratio.n for ratio in _ratios(terms, counts))


def hangs_on_few(terms: Terms, counts: Counts, place: int) -> bool:
    """Whether a few users have most of a variant's answers, by which nothing is told of others."""
    if not is_ratio(terms.source):
        return False
    return _ratios(terms, counts)[place].hangs_on_few(terms.source, terms.least)


def mean_of(terms: Terms, counts: Counts, place: int) -> float | None:
    """Return a variant's mean as people know it, times in seconds; None where there is none."""
    if not is_ratio(terms.source):
        return counts.sums[place].mean(counts.scale) if counts.sums[place].n else None
    ratio = _ratios(terms, counts)[place]
    return natural(terms.source, ratio.m / (ratio.d * _parts(terms, counts))) if ratio.d else None


def compared(terms: Terms, counts: Counts, place: int) -> Comparison | None:
    """Compare a challenger with the control, by what was to be expected of their users where that is known."""
    if place == terms.control:
        return None
    if is_ratio(terms.source):
        ratios = _ratios(terms, counts)
        return _tested(terms, *(_arm(terms, counts, ratios[one]) for one in (terms.control, place)))
    pair = counts.sums[terms.control], counts.sums[place]
    if min(sums.n for sums in pair) < 2:
        return None
    told = [(sums.mean(counts.scale), sums.variance(counts.scale)) for sums in pair]
    if counts.histories:
        told = adjusted_pair(pair, (counts.histories[terms.control], counts.histories[place]), counts.scale)
    return tested(terms, [(mean, variance, sums.n) for (mean, variance), sums in zip(told, pair, strict=True)])


def tested(terms: Terms, pair: Sequence[tuple[float, float, int]]) -> Comparison | None:
    """Compare means, variances and numbers of users' values, of the control first."""
    return _tested(terms, *(arm_of(mean, variance, n, terms.width) for mean, variance, n in pair))


def _tested(terms: Terms, control: Arm | None, challenger: Arm | None) -> Comparison | None:
    if control is None or challenger is None:
        return None
    if terms.method == "FixedHorizon":
        found = welch(control, challenger, terms.share_of_level)
    else:
        found = sequence(control, challenger, terms.share_of_level, terms.rho2)
    if terms.source not in LOGARITHMS:
        return found
    return Comparison(_part(found.lift), _part(found.lower), _part(found.upper), found.p_value)


def _part(logarithm: float) -> float:
    """By what part of the control's a geometric mean is more; the ends of wide intervals are no numbers any more."""
    return math.expm1(min(logarithm, _MOST_LOG))


def powered(terms: Terms, counts: Counts) -> int | None:
    """By the variance of all values together, of one of them a width away at least: whose they are is not looked at."""
    variance = _variance(terms, counts)
    if terms.effect is None or not variance:
        return None
    effect = -math.log1p(-terms.effect) if terms.source in LOGARITHMS else terms.effect
    factor = sequential_factor(terms.share_of_level) if terms.method == "Sequential" else 1.0
    control, smallest = terms.shares[terms.control], min(terms.shares)
    return max(
        math.ceil(factor * smallest / control * fixed_users(variance, effect, terms.share_of_level, own / control))
        for place, own in enumerate(terms.shares)
        if place != terms.control
    )


def _variance(terms: Terms, counts: Counts) -> float | None:
    if not is_ratio(terms.source):
        everybody = together(counts.sums)
        if everybody.n < 2:
            return None
        return max(everybody.variance(counts.scale), (terms.width or 0.0) ** 2 / everybody.n)
    arm = _arm(terms, counts, joined(_ratios(terms, counts)))
    return arm.variance * arm.n if arm else None


def _arm(terms: Terms, counts: Counts, ratio: Ratio) -> Arm | None:
    return ratio.arm(_parts(terms, counts), terms.source) if is_ratio(terms.source) else None


def _ratios(terms: Terms, counts: Counts) -> Sequence[Ratio]:
    """What was measured, of each variant: of nobody, where the recorder does not tell."""
    nobody = (Ratio(),) * len(terms.shares)
    return counts.guards.ratios.get(terms.source, nobody) if counts.guards else nobody


def _parts(terms: Terms, counts: Counts) -> int:
    return counts.guards.parts.get(terms.source, 1) if counts.guards else 1
