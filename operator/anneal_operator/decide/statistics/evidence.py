"""One-sided evidence that may be looked at at any time: that something is above 0, and that failures are too many.

All of it is told as logarithms: what is certain overflows nothing.
"""

import math

__all__ = ["log_evidence_above", "log_failure_evidence", "odds_against"]


def log_evidence_above(value: float, variance: float, users: int, rho2: float) -> float:
    """Return the logarithm of the evidence that a normal mean is above 0, whatever it is that is not.

    It is the confidence sequence's, with the prior cut to its upper half (Howard 1810.08240).
    """
    from scipy import special

    z, v = value / math.sqrt(variance), users * rho2
    two_sided = z * z * v / (2 * (1 + v)) - math.log1p(v) / 2
    return math.log(2) + two_sided + float(special.log_ndtr(z * math.sqrt(v / (1 + v))))


def odds_against(regression: float, control: int, challenger: int) -> float:
    """Return how likely, at most, a user's first failure is the challenger's, of whom it has so many buckets."""
    worse = (1 + regression) * challenger
    return worse / (worse + control)


def log_failure_evidence(challenger: int, control: int, share: float) -> float:
    """Return the logarithm of the evidence that first failures are the challenger's more often than `share` says.

    Each is a coin of its own, so this is exact: a beta prior on what is above `share`, over `share` itself.
    """
    from scipy import special

    prior = 2 / min(share, 1 - share)
    a, b = prior * share, prior * (1 - share)
    after, before = special.betaincc(a + challenger, b + control, share), special.betaincc(a, b, share)
    if after == 0.0:
        return -math.inf
    gained = special.betaln(a + challenger, b + control) - special.betaln(a, b) + math.log(after / before)
    return float(gained - challenger * math.log(share) - control * math.log1p(-share))
