"""How often the rule errs, and what it costs, by simulation: a sample of each here, at full size with `-m soak`.

Bounds are the nominal ones and three standard errors of as many runs.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anneal_operator.decide.statistics.judgement import Judgement, judge
from anneal_operator.decide.statistics.power import fixed_users, sequential_factor
from anneal_operator.decide.statistics.spread import LATCH, log_evidence
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import Counts, Method, Terms

RATINGS = {"mixed": (0.05, 0.05, 0.10, 0.30, 0.50), "nearly all the best": (0.01, 0.01, 0.01, 0.02, 0.95)}
PARTS = 1000
RUNS = pytest.mark.parametrize("runs", [150, pytest.param(2000, marks=pytest.mark.soak)])


def _beyond(nominal: float, runs: int) -> float:
    return nominal + 3 * math.sqrt(nominal * (1 - nominal) / runs)


def _sums(values: Any, looks: Sequence[int]) -> list[Sums]:
    """What the first users of an arm come to, at each look."""
    totals, squares = np.cumsum(values), np.cumsum(values * values)
    return [Sums(n, int(totals[n - 1]), int(squares[n - 1])) for n in looks]


def _looks(terms: Terms, arms: Sequence[Any], looks: Sequence[int]) -> Iterator[Judgement]:
    """What is judged at each look of an experiment whose users come to all arms alike."""
    for sums in zip(*(_sums(values, looks) for values in arms), strict=True):
        users = tuple(one.n for one in sums)
        yield judge(terms, Counts(users, users, (0,) * len(users), sums, Scale(PARTS)))


def _outcome(terms: Terms, arms: Sequence[Any], looks: Sequence[int]) -> tuple[str | None, int]:
    """The first decision, and at which look."""
    for place, judged in enumerate(_looks(terms, arms, looks)):
        if judged.outcome is not None:
            return judged.outcome, place
    return None, len(looks)


def _terms(method: Method, challengers: int = 1, **changes: Any) -> Terms:
    shares = (10000 // (challengers + 1),) * (challengers + 1)
    return replace(Terms(method, 0.05, 0, shares, 100, 200, increases=True, width=4.0), **changes)


def _rated(rng: Any, kind: str, users: int) -> Any:
    return rng.choice(np.arange(1, 6) * PARTS, size=users, p=RATINGS[kind])


@RUNS
@pytest.mark.parametrize("kind", RATINGS)
@pytest.mark.parametrize("challengers", [1, 3])
def test_looked_at_twenty_times_nothing_is_promoted_or_rolled_back_wrongly(
    runs: int, kind: str, challengers: int
) -> None:
    """From burn-in to 25 times as many users; two-sided, so winners and losers together."""
    rng, looks = np.random.default_rng(1), np.geomspace(100, 2500, 20).astype(int).tolist()
    wrong = {"Winner": 0, "ControlWins": 0}
    for _ in range(runs):
        arms = [_rated(rng, kind, looks[-1]) for _ in range(challengers + 1)]
        outcome, _ = _outcome(_terms("Sequential", challengers), arms, looks)
        if outcome:
            wrong[outcome] += 1
    assert sum(wrong.values()) <= _beyond(0.05, runs) * runs, wrong


@RUNS
@pytest.mark.parametrize("kind", RATINGS)
def test_a_fixed_horizon_errs_as_often_as_its_confidence_says(runs: int, kind: str) -> None:
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(runs):
        outcome, _ = _outcome(_terms("FixedHorizon"), [_rated(rng, kind, 500) for _ in range(2)], [500])
        wrong += outcome in {"Winner", "ControlWins"}
    low = 0.05 - 3 * math.sqrt(0.05 * 0.95 / runs)
    assert low * runs <= wrong <= _beyond(0.05, runs) * runs


@RUNS
@pytest.mark.parametrize("effect", [0.0, 0.25, 0.5])
def test_the_interval_holds_the_truth_at_all_looks_at_once(runs: int, effect: float) -> None:
    rng, looks, missed = np.random.default_rng(3), list(range(100, 800, 50)), 0
    for _ in range(runs):
        arms = [np.rint(rng.normal(mean, 1.0, looks[-1]) * PARTS).astype(int) for mean in (0.0, effect)]
        found = [judged.compared[1] for judged in _looks(_terms("Sequential"), arms, looks)]
        missed += any(one is None or not one.lower <= effect <= one.upper for one in found)
    assert missed <= _beyond(0.05, runs) * runs


def _users_to_decide(runs: int, times: float, power_at: float) -> tuple[float, float]:
    """The part of experiments with a winner by `power_at` times a fixed sample, and the median users over that sample.

    `times` is the effect over the least that matters.
    """
    effect, rng = 0.25, np.random.default_rng(4)
    fixed = fixed_users(1.0, effect, 0.05)
    looks = [round(n) for n in np.arange(0.2, 4.0, 0.04) * fixed]
    terms = _terms("Sequential", least=looks[0], planned=round(2 * fixed), width=None)
    found = []
    for _ in range(runs):
        arms = [np.rint(rng.normal(mean, 1.0, looks[-1]) * PARTS).astype(int) for mean in (0.0, times * effect)]
        outcome, place = _outcome(terms, arms, looks)
        found.append(looks[place] / fixed if outcome == "Winner" else math.inf)
    return sum(one <= power_at for one in found) / runs, float(np.median(found))


@RUNS
def test_an_effect_that_matters_is_found_four_times_in_five_by_the_users_that_are_told(runs: int) -> None:
    power, _ = _users_to_decide(runs, 1.0, sequential_factor(0.05))
    assert power == pytest.approx(0.8, abs=max(0.03, 3 * math.sqrt(0.16 / runs)))


@RUNS
@pytest.mark.parametrize(("times", "most"), [(1.0, 1.05), (1.25, 0.7)])
def test_a_sequence_decides_with_about_a_fixed_sample_s_users_or_fewer(runs: int, times: float, most: float) -> None:
    _, median = _users_to_decide(runs, times, math.inf)
    assert median <= most * (1.0 if runs >= 2000 else 1.15)


@pytest.mark.parametrize("runs", [500, pytest.param(20_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("shares", [(5000, 5000), (1000, 9000), (5000, 3000, 2000)])
def test_a_split_is_found_skewed_by_chance_once_in_a_thousand_experiments_however_often_it_is_looked_at(
    runs: int, shares: tuple[int, ...]
) -> None:
    rng, alarms = np.random.default_rng(5), 0
    steps = np.diff(np.geomspace(100, 100_000, 101).astype(int), prepend=0)
    for _ in range(runs):
        counts = np.cumsum(rng.multinomial(steps, np.array(shares) / sum(shares)), axis=0)
        alarms += any(log_evidence(look, shares) >= LATCH for look in counts.tolist())
    assert alarms <= math.ceil(_beyond(0.001, runs) * runs)
