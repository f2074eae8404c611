"""Experiments that are played: users' values drawn by chance, and what the rule says of them, look by look."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from anneal_operator.decide.statistics.judgement import Judgement, judge
from anneal_operator.decide.statistics.power import fixed_users
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import Counts, Method, Terms

__all__ = ["PARTS", "looked_at", "outcome_of", "terms_for", "users_to_decide"]

PARTS = 1000


def terms_for(method: Method, challengers: int = 1, **changes: Any) -> Terms:
    """Return the terms of an experiment whose users come to all arms alike."""
    shares = (10000 // (challengers + 1),) * (challengers + 1)
    return replace(Terms(method, 0.05, 0, shares, 100, 200, increases=True, width=4.0), **changes)


def looked_at(terms: Terms, arms: Sequence[Any], looks: Sequence[int]) -> Iterator[Judgement]:
    """What is judged at each look, of which each has so many users of each arm."""
    for sums in zip(*(_sums(values, looks) for values in arms), strict=True):
        users = tuple(one.n for one in sums)
        yield judge(terms, Counts(users, users, (0,) * len(users), sums, Scale(PARTS)))


def outcome_of(terms: Terms, arms: Sequence[Any], looks: Sequence[int]) -> tuple[str | None, int]:
    """The first decision, and at which look."""
    for place, judged in enumerate(looked_at(terms, arms, looks)):
        if judged.outcome is not None:
            return judged.outcome, place
    return None, len(looks)


def users_to_decide(runs: int, times: float) -> list[float]:
    """By how many times a fixed horizon's users each sequence has its winner, infinite where it has none.

    `times` is the effect over the least that matters; the fixed horizon finds that one four times in five.
    """
    effect, rng = 0.25, np.random.default_rng(4)
    fixed = fixed_users(1.0, effect, 0.05)
    looks = [round(n) for n in np.arange(0.2, 4.0, 0.04) * fixed]
    terms = terms_for("Sequential", least=looks[0], planned=round(2 * fixed), width=None)
    found = []
    for _ in range(runs):
        arms = [np.rint(rng.normal(mean, 1.0, looks[-1]) * PARTS).astype(int) for mean in (0.0, times * effect)]
        outcome, place = outcome_of(terms, arms, looks)
        found.append(looks[place] / fixed if outcome == "Winner" else math.inf)
    return found


def _sums(values: Any, looks: Sequence[int]) -> list[Sums]:
    """What the first users of an arm come to, at each look."""
    totals, squares = np.cumsum(values), np.cumsum(values * values)
    return [Sums(n, int(totals[n - 1]), int(squares[n - 1])) for n in looks]
