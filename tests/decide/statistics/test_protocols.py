"""How often the rule errs, and what it costs, by simulation: a sample of each here, at full size with `-m soak`.

Bounds are the nominal ones and three standard errors of as many runs.
"""

import math
from typing import Any

import numpy as np
import pytest

from anneal_operator.decide.statistics.power import sequential_factor
from anneal_operator.decide.statistics.spread import LATCH, log_evidence
from tests.support.simulated import PARTS, looked_at, outcome_of, terms_for, users_to_decide

RATINGS = {"mixed": (0.05, 0.05, 0.10, 0.30, 0.50), "nearly all the best": (0.01, 0.01, 0.01, 0.02, 0.95)}
RUNS = pytest.mark.parametrize("runs", [150, pytest.param(2000, marks=pytest.mark.soak)])


def _beyond(nominal: float, runs: int) -> float:
    return nominal + 3 * math.sqrt(nominal * (1 - nominal) / runs)


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
        outcome, _ = outcome_of(terms_for("Sequential", challengers), arms, looks)
        if outcome:
            wrong[outcome] += 1
    assert sum(wrong.values()) <= _beyond(0.05, runs) * runs, wrong


@RUNS
@pytest.mark.parametrize("kind", RATINGS)
def test_a_fixed_horizon_errs_as_often_as_its_confidence_says(runs: int, kind: str) -> None:
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(runs):
        outcome, _ = outcome_of(terms_for("FixedHorizon"), [_rated(rng, kind, 500) for _ in range(2)], [500])
        wrong += outcome in {"Winner", "ControlWins"}
    low = 0.05 - 3 * math.sqrt(0.05 * 0.95 / runs)
    assert low * runs <= wrong <= _beyond(0.05, runs) * runs


@RUNS
@pytest.mark.parametrize("effect", [0.0, 0.25, 0.5])
def test_the_interval_holds_the_truth_at_all_looks_at_once(runs: int, effect: float) -> None:
    rng, looks, missed = np.random.default_rng(3), list(range(100, 800, 50)), 0
    for _ in range(runs):
        arms = [np.rint(rng.normal(mean, 1.0, looks[-1]) * PARTS).astype(int) for mean in (0.0, effect)]
        found = [judged.compared[1] for judged in looked_at(terms_for("Sequential"), arms, looks)]
        missed += any(one is None or not one.lower <= effect <= one.upper for one in found)
    assert missed <= _beyond(0.05, runs) * runs


@RUNS
def test_an_effect_that_matters_is_found_four_times_in_five_by_the_users_that_are_told(runs: int) -> None:
    found = users_to_decide(runs, 1.0)
    power = sum(one <= sequential_factor(0.05) for one in found) / runs
    assert power == pytest.approx(0.8, abs=max(0.03, 3 * math.sqrt(0.16 / runs)))


@RUNS
@pytest.mark.parametrize(("times", "most"), [(1.0, 1.05), (1.25, 0.7)])
def test_a_sequence_decides_with_about_a_fixed_sample_s_users_or_fewer(runs: int, times: float, most: float) -> None:
    median = float(np.median(users_to_decide(runs, times)))
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
