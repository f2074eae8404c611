"""Several challengers at once: by Holm's method any wrong promotion among them is as rare as one alone would be."""

from collections.abc import Sequence

__all__ = ["adjusted"]


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return each p-value as it counts beside the others."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    result, least = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - rank)))
        result[place] = least
    return result
