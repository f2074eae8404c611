"""Users' values in whole numbers, as a recorder tells of them."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from anneal_operator.decide.statistics.guarded import Guards, Ratio
from anneal_operator.decide.statistics.sums import Sums

__all__ = ["PARTS", "answers_told", "failures", "metric_told", "ratio_over", "sums_of", "sums_over"]

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


def ratio_over(totals: Sequence[int], counts: Sequence[int]) -> Ratio:
    """Return the sums of users' totals and counts."""
    pairs = list(zip(totals, counts, strict=True))
    squares = (sum(m * m for m in totals), sum(d * d for d in counts), sum(m * d for m, d in pairs))
    return Ratio(len(pairs), sum(totals), sum(counts), *squares)


def failures(*arms: tuple[int, int]) -> Guards:
    """Return what is counted of users who asked once each, and of those of them who had a failure."""
    ratios = tuple(Ratio(users, failed, users, failed, users, failed) for users, failed in arms)
    return Guards(tuple(failed for _, failed in arms), {"Errors": ratios}, {"Errors": 1})


def answers_told(**arms: tuple[int, int]) -> dict[str, Any]:
    """Return what a recorder tells of them, by variant."""
    guards = failures(*arms.values())
    variants = {
        name: {
            "exposed": users,
            "failed": failed,
            "ratios": {"answers.errors": dataclasses.asdict(guards.ratios["Errors"][place])},
        }
        for place, (name, (users, failed)) in enumerate(arms.items())
    }
    return {"variants": variants, "parts": {"answers.errors": 1}}
