"""How many users it takes to see an effect, for the rule in use. An estimate for people, and a fixed sample's size."""

import math
from itertools import pairwise

__all__ = ["POWER", "fixed_users", "sequential_factor"]

POWER = 0.8
_FACTORS = ((0.05 / 7, 1.49), (0.05 / 4, 1.54), (0.05 / 3, 1.56), (0.05 / 2, 1.59), (0.05, 1.67), (0.1, 1.79))
"""By the error of one comparison: how many times the users of a fixed sample the confidence sequence needs for the same
power. Measured.
"""


def fixed_users(variance: float, effect: float, level: float, ratio: float = 1.0, power: float = POWER) -> float:
    """Return the users of the control that a fixed sample needs; the challenger has `ratio` times as many."""
    from scipy import special

    reach = float(special.ndtri(1 - level / 2) + special.ndtri(power))
    return reach**2 * variance * (1 + 1 / ratio) / effect**2


def sequential_factor(level: float) -> float:
    """Return how many times the users of a fixed sample a sequential one needs; beyond the table, as at its end."""
    at = min(max(level, _FACTORS[0][0]), _FACTORS[-1][0])
    for (low, least), (high, most) in pairwise(_FACTORS):
        if at <= high:
            return least + (most - least) * math.log(at / low) / math.log(high / low)
    return _FACTORS[-1][1]
