"""Users' values in whole numbers, as a recorder tells of them."""

from collections.abc import Iterable
from typing import Any

from anneal_operator.decide.statistics.sums import Sums

__all__ = ["PARTS", "metric_told", "sums_of", "sums_over"]

PARTS = 10_000


def sums_of(n: int, mean: float, squares: float) -> Sums:
    """Return the sums of users with this mean, and this sum of squared deviations from it."""
    y = round(n * mean * PARTS)
    return Sums(n, y, y * y // n + round(squares * PARTS**2)) if n else Sums()


def sums_over(values: Iterable[float]) -> Sums:
    """Return the sums of these values."""
    whole = [round(value * PARTS) for value in values]
    return Sums(len(whole), sum(whole), sum(value * value for value in whole))


def metric_told(n: int, mean: float, squares: float) -> dict[str, Any]:
    """Return what a recorder tells of the metric."""
    sums = sums_of(n, mean, squares)
    whole = {"sums": {"n": sums.n, "y": sums.y, "yy": sums.yy}, "parts": PARTS}
    return {"users": n, "mean": mean, "squares": squares, **whole}
