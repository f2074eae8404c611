"""How often a verdict on what is measured of answers errs, by simulation: a sample here, at full size with `-m soak`.

Users go on asking after they were first looked at, so their numbers change from look to look. How often they ask, fail
and wait is their own.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from anneal_operator.decide.statistics.guarded import Guards, Ratio, Source
from anneal_operator.decide.statistics.judgement import Judgement, judge
from anneal_operator.decide.statistics.sums import Sums
from anneal_operator.decide.statistics.terms import MEASURED_RULE, Counts, Method, Terms

PARTS = 1000
LOOKS = np.geomspace(100, 2500, 20).astype(int)
SPAN = 500
"""How many users come after one until that one has asked ten times."""
SOURCES: tuple[Source, ...] = ("Errors", "Latency", "OutputTokens")
EFFECTS: dict[Source, float] = {"Errors": 0.01, "Latency": 0.06, "OutputTokens": 6.0}
"""The least that matters, all of it less."""
RUNS = pytest.mark.parametrize("runs", [60, pytest.param(2000, marks=pytest.mark.soak)])


def _beyond(nominal: float, runs: int) -> float:
    return nominal + 3 * math.sqrt(nominal * (1 - nominal) / runs)


def _terms(source: Source, method: Method = "Sequential", **changes: Any) -> Terms:
    least = {"least": 100, "planned": 200} | changes
    return Terms(method, 0.05, 0, (5000, 5000), increases=False, source=source, rule=MEASURED_RULE, **least)


def _asked(rng: Any, looks: Any, *, at_once: bool) -> Any:
    """How often each user asked between one look and the next: once as they come, and some nine times more."""
    ages = looks[None, :] - np.arange(looks[-1])[:, None]
    has_come = ages > 0
    more = 9.0 * (has_come if at_once else np.clip(ages, 0, SPAN) / SPAN)
    return rng.poisson(np.diff(more, axis=1, prepend=0)) + np.diff(has_come.astype(int), axis=1, prepend=0)


def _totals(rng: Any, source: Source, asked: Any, better: float) -> Any:
    """What that came to, of users who are `better` by so much."""
    users = len(asked)
    if source == "Errors":
        rate = 0.03 - better
        return rng.binomial(asked, rng.beta(2, 2 / rate - 2, users)[:, None])
    if source == "Latency":
        own = math.log(800) + math.log1p(-better) + rng.normal(0, 0.4, users)
        return np.rint(PARTS * (asked * own[:, None] + 0.6 * np.sqrt(asked) * rng.normal(size=asked.shape))).astype(int)
    own = rng.lognormal(-0.08, 0.4, users) * (100 - better)
    return rng.poisson(asked * own[:, None])


def _ratios(rng: Any, source: Source, looks: Any, better: float, *, at_once: bool = False) -> list[Ratio]:
    asked = _asked(rng, looks, at_once=at_once)
    d, m = np.cumsum(asked, axis=1), np.cumsum(_totals(rng, source, asked, better), axis=1)
    sums = ((d > 0).sum(0), m.sum(0), d.sum(0), (m * m).sum(0), (d * d).sum(0), (m * d).sum(0))
    return [Ratio(*map(int, one)) for one in zip(*sums, strict=True)]


def _looked_at(terms: Terms, *arms: list[Ratio]) -> Iterator[Judgement]:
    parts: dict[str, int] = {terms.source: PARTS if terms.source == "Latency" else 1}
    for ratios in zip(*arms, strict=True):
        users = tuple(one.n for one in ratios)
        told: dict[str, tuple[Ratio, ...]] = {terms.source: ratios}
        guards = Guards((0,) * len(users), told, parts)
        yield judge(terms, Counts(users, users, (0,) * len(users), (Sums(),) * len(users), guards=guards))


def _outcome(terms: Terms, *arms: list[Ratio]) -> str | None:
    return next((judged.outcome for judged in _looked_at(terms, *arms) if judged.outcome), None)


@RUNS
@pytest.mark.parametrize("source", SOURCES)
def test_looked_at_twenty_times_while_users_go_on_asking_nothing_is_decided_wrongly(runs: int, source: Source) -> None:
    rng, wrong = np.random.default_rng(21), 0
    for _ in range(runs):
        arms = [_ratios(rng, source, LOOKS, 0.0) for _ in range(2)]
        wrong += _outcome(_terms(source), *arms) is not None
    assert wrong <= _beyond(0.05, runs) * runs


@RUNS
@pytest.mark.parametrize("source", SOURCES)
def test_a_fixed_horizon_errs_as_often_as_its_confidence_says(runs: int, source: Source) -> None:
    rng, wrong, look = np.random.default_rng(22), 0, np.array([500])
    for _ in range(runs):
        arms = [_ratios(rng, source, look, 0.0) for _ in range(2)]
        wrong += _outcome(_terms(source, "FixedHorizon"), *arms) in {"Winner", "ControlWins"}
    low = 0.05 - 3 * math.sqrt(0.05 * 0.95 / runs)
    assert low * runs <= wrong <= _beyond(0.05, runs) * runs


@RUNS
@pytest.mark.parametrize("source", SOURCES)
def test_the_interval_holds_the_truth_at_all_looks_at_once(runs: int, source: Source) -> None:
    rng, better, missed = np.random.default_rng(23), EFFECTS[source], 0
    for _ in range(runs):
        arms = [_ratios(rng, source, LOOKS, effect) for effect in (0.0, better)]
        found = [judged.compared[1] for judged in _looked_at(_terms(source), *arms)]
        missed += any(one is None or not one.lower <= -better <= one.upper for one in found)
    assert missed <= _beyond(0.05, runs) * runs


@RUNS
@pytest.mark.parametrize("source", SOURCES)
def test_an_effect_that_matters_is_found_four_times_in_five_by_the_users_that_are_told(
    runs: int, source: Source
) -> None:
    rng, better = np.random.default_rng(24), EFFECTS[source]
    planned = [_ratios(rng, source, np.array([20_000]), effect, at_once=True) for effect in (0.0, better)]
    (judged,) = _looked_at(_terms(source, "FixedHorizon", effect=better), *planned)
    assert judged.powered is not None
    users, won = np.array([judged.powered]), 0
    for _ in range(runs):
        arms = [_ratios(rng, source, users, effect, at_once=True) for effect in (0.0, better)]
        won += _outcome(_terms(source, "FixedHorizon"), *arms) == "Winner"
    assert won / runs == pytest.approx(0.8, abs=max(0.03, 3 * math.sqrt(0.16 / runs)))
