"""Users who said nothing as users who said 0: the numbers of everybody, by whatever way they are had."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from anneal_operator.decide.statistics.comparison import sequence
from anneal_operator.decide.statistics.cuped import History
from anneal_operator.decide.statistics.judgement import RESPONSE, judge
from anneal_operator.decide.statistics.lee import CELL, with_cuts
from anneal_operator.decide.statistics.sums import Scale, Sums, arm_of
from anneal_operator.decide.statistics.terms import GUARDED_RULE, Counts, Histogram, Terms
from anneal_operator.decide.statistics.zeros import with_zeros
from serving_runtime.recorder.sums import on_grid, scaled

GRID = 1_048_320
TERMS = Terms("Sequential", 0.05, 0, (5000, 5000), 100, 200, increases=True, width=1.0, closed=True, missing="Zero")
IGNORED = replace(TERMS, missing="Ignore")


def _on(values: list[float], low: float, high: float) -> list[int]:
    return [on_grid(scaled(value), 1, scaled(low), scaled(high)) for value in values]


def _counts(arms: list[tuple[list[float], int]], low: float, high: float, **changes: Any) -> Counts:
    """What the recorder has of these values, and of so many users in all."""
    places = [_on(values, low, high) for values, _ in arms]
    users = tuple(n for _, n in arms)
    sums = tuple(Sums(len(own), sum(own), sum(place**2 for place in own)) for own in places)
    cells = [Counter(round(place / CELL) for place in own) for own in places]
    histograms = tuple(Histogram(n, dict(own)) for n, own in zip(users, cells, strict=True))
    scale = Scale(GRID, low, high - low)
    return replace(Counts(users, users, (0,) * len(users), sums, scale, histograms=histograms), **changes)


def test_terms_that_an_earlier_build_began_by_the_first_rule_are_read_as_they_are() -> None:
    assert Terms.read(TERMS.told()) == TERMS
    assert Terms.read(replace(TERMS, rule=GUARDED_RULE).told()).rule == GUARDED_RULE


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 0.0), (-1.0, 1.0), (0.0, 7.0), (-0.3, 1.1), (-3.0, 1e6)])
def test_the_numbers_are_those_of_users_who_said_0_in_so_many_words(low: float, high: float) -> None:
    rng = random.Random(1)
    said = [[round(rng.uniform(low, high), 3) for _ in range(n)] for n in (40, 70)]
    found = with_zeros(TERMS, _counts([(said[0], 100), (said[1], 90)], low, high))
    in_words = [(said[0] + [0.0] * 60, 100), (said[1] + [0.0] * 20, 90)]
    assert found == _counts(in_words, low, high)


def test_who_gives_a_value_more_often_wins_where_saying_nothing_is_worth_nothing() -> None:
    """All who say anything say 1; by default nothing is compared but these, and their numbers differ."""
    counts = _counts([([1.0] * 400, 1000), ([1.0] * 600, 1000)], 0.0, 1.0)
    judged, ignored = (judge(terms, with_cuts(terms, with_zeros(terms, counts))) for terms in (TERMS, IGNORED))
    assert (judged.outcome, judged.winner, judged.latched) == ("Winner", 1, frozenset())
    assert (ignored.outcome, ignored.latched) == (None, frozenset({RESPONSE}))
    arms = [arm_of(mean, mean * (1 - mean) * 1000 / 999, 1000, 1.0) for mean in (0.4, 0.6)]
    assert arms[0] is not None
    assert arms[1] is not None
    expected, found = sequence(arms[0], arms[1], 0.05, TERMS.rho2), judged.compared[1]
    assert found is not None
    assert (found.lift, found.lower, found.upper) == pytest.approx((expected.lift, expected.lower, expected.upper))


def test_how_many_windows_are_over_is_no_matter_of_who_gives_a_value() -> None:
    """Of one variant more users came late; it is the split of all of them that must be as the buckets say."""
    counts = _counts([([1.0] * 400, 1000), ([1.0] * 520, 1300)], 0.0, 1.0, users=(2000, 2000))
    judged = judge(TERMS, with_zeros(TERMS, counts))
    assert (judged.outcome, judged.latched, judged.is_sound) == (None, frozenset(), True)


def test_where_everybody_counts_nothing_is_cut_off_and_nothing_expected_of_a_user() -> None:
    """Of those without a value no history is kept: with that of the others a variant would be judged by who speaks."""
    value = GRID // 2
    history = History(300, 300 * value, 300 * value, 300 * value**2, 300 * value**2)
    told = _counts([([0.5] * 400, 1000), ([0.5] * 600, 1000)], 0.0, 1.0, histories=(history, History()))
    counts = with_cuts(TERMS, with_zeros(TERMS, told))
    assert (counts.histories, counts.cut) == ((), ())
    assert judge(TERMS, Counts.read(counts.told())) == judge(TERMS, counts), "what is kept decides alike"


def test_by_other_terms_or_without_a_window_s_numbers_nothing_is_added() -> None:
    counts = _counts([([1.0], 9), ([1.0], 9)], 0.0, 1.0)
    assert with_zeros(IGNORED, counts) is counts
    unknown = replace(counts, histograms=())
    assert with_zeros(TERMS, unknown) is unknown


def test_terms_of_an_earlier_build_leave_them_out() -> None:
    told = IGNORED.told()
    assert "missing" not in told
    assert Terms.read(told) == IGNORED
    assert Terms.read(TERMS.told()) == TERMS
