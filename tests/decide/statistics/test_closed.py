"""What closed windows add: histories, histograms, and what is left where users of one variant answer more often."""

from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from anneal_operator.decide.statistics.comparison import rho2_of, sequence, welch
from anneal_operator.decide.statistics.cuped import History, adjusted_pair
from anneal_operator.decide.statistics.judgement import RESPONSE, judge
from anneal_operator.decide.statistics.lee import with_cuts
from anneal_operator.decide.statistics.ranks import superiority
from anneal_operator.decide.statistics.sums import Scale, Sums, arm_of
from anneal_operator.decide.statistics.terms import Counts, Histogram, Terms

GRID = 1_048_320
STARS = Scale(GRID, 1.0, 4.0)
TERMS = Terms("Sequential", 0.05, 0, (5000, 5000), 100, 200, increases=True, width=4.0, closed=True)


def _sums(values: list[int]) -> Sums:
    return Sums(len(values), sum(values), sum(value * value for value in values))


def _history(values: list[int], before: list[int]) -> History:
    products = sum(y * x for y, x in zip(values, before, strict=True))
    return History(len(values), sum(values), sum(before), sum(x * x for x in before), products)


Y, X = ([3, 4, 5, 2, 4, 5], [5, 4, 5, 3, 5, 4]), ([2, 4, 5, 1, 3, 4], [4, 3, 5, 2, 4, 2])
SUMS, HISTORIES = (_sums(Y[0]), _sums(Y[1])), (_history(Y[0], X[0]), _history(Y[1], X[1]))


def test_what_users_were_like_before_is_taken_out_as_gbstats_and_tea_tasting_do() -> None:
    told = adjusted_pair(SUMS, HISTORIES, Scale(1))
    control, challenger = (arm_of(mean, variance, 6, None) for mean, variance in told)
    assert control is not None
    assert challenger is not None
    found = welch(control, challenger, 0.05)
    assert (found.lift, found.p_value) == pytest.approx((0.383561644, 0.124575620), rel=1e-8)
    sequential = sequence(control, challenger, 0.05, rho2_of(0.05, 400))
    assert (sequential.lower, sequential.upper) == pytest.approx((-0.914999795, 1.68212308), rel=1e-8)


def test_where_nobody_has_a_history_nothing_is_taken_out() -> None:
    told = adjusted_pair(SUMS, (History(), History()), Scale(1))
    plain = [(one.mean(Scale(1)), one.variance(Scale(1))) for one in SUMS]
    assert told == [pytest.approx(one) for one in plain]


def test_an_interval_is_narrower_by_what_history_explains() -> None:
    stars = [GRID * place // 4 for place in (0, 1, 2, 3, 4)] * 60
    sums, history = _sums(stars), _history(stars, stars)
    counts = Counts((300, 300), (300, 300), (0, 0), (sums, sums), STARS)
    with_it = judge(TERMS, replace(counts, histories=(history, history))).compared[1]
    without = judge(TERMS, counts).compared[1]
    assert with_it is not None
    assert without is not None
    assert with_it.upper < 0.2 * without.upper


def _stars(*numbers: int) -> tuple[Sums, Histogram]:
    """So many users with each of the five, of 500."""
    values = [GRID * place // 4 for place, number in enumerate(numbers) for _ in range(number)]
    cells = {round(GRID * place / 4 / 104): number for place, number in enumerate(numbers)}
    return _sums(values), Histogram(500, cells)


FEWER, MORE = _stars(20, 30, 50, 100, 100), _stars(10, 20, 40, 110, 160)


def _counts(*arms: tuple[Sums, Histogram], **changes: Any) -> Counts:
    users = (500,) * len(arms)
    sums, histograms = zip(*arms, strict=True)
    return Counts(users, users, (0,) * len(arms), sums, STARS, histograms=histograms, **changes)


@pytest.mark.parametrize(
    ("arms", "increases", "lift"),
    [
        ((FEWER, MORE), True, 0.266666667),
        ((FEWER, MORE), False, 0.666666667),
        ((MORE, FEWER), True, -0.666666667),
        ((MORE, FEWER), False, -0.266666667),
        ((FEWER, FEWER), True, 0.0),
    ],
)
def test_values_that_are_given_more_often_are_held_against_the_challenger(
    arms: tuple[tuple[Sums, Histogram], ...], increases: bool, lift: float
) -> None:
    counts = with_cuts(replace(TERMS, increases=increases), _counts(*arms))
    cut = counts.cut[1]
    assert cut is not None
    means = [(cut.sums if cut.place == place else counts.sums[place]).mean(STARS) for place in (0, 1)]
    assert means[1] - means[0] == pytest.approx(lift, abs=1e-5)


@pytest.mark.parametrize(("lift_left", "outcome"), [(True, "Winner"), (False, None)])
def test_a_challenger_whose_users_answer_more_often_has_to_be_better_without_the_surplus(
    lift_left: bool, outcome: str | None
) -> None:
    control = _stars(60, 60, 60, 60, 60)
    better = _stars(0, 0, 0, 40, 440) if lift_left else _stars(100, 60, 40, 80, 200)
    counts = with_cuts(TERMS, _counts(control, better))
    judged = judge(TERMS, counts)
    assert (RESPONSE in judged.latched, judged.outcome) == (True, outcome)
    assert judge(TERMS, replace(counts, cut=())).outcome is None, "without histograms nobody can tell"
    kept = Counts.read(counts.told())
    assert judge(TERMS, kept) == judged, "what is kept decides alike"


def test_nobody_with_a_value_is_no_difference_in_answering() -> None:
    nobody = (Sums(), Histogram(500, {}))
    assert with_cuts(TERMS, _counts(nobody, MORE)).cut == (None, None)
    assert with_cuts(TERMS, replace(_counts(FEWER, MORE), histograms=())).cut == ()


def _ranked(*numbers: int) -> Histogram:
    return Histogram(0, dict(enumerate(numbers)))


def test_how_often_a_value_is_the_greater_one_is_statsmodels_rank_compare_2indep() -> None:
    found = superiority(_ranked(5, 5, 10, 30, 50), _ranked(3, 4, 8, 25, 70), 0.05)
    assert found is not None
    assert (found.probability, found.lower, found.upper) == pytest.approx(
        (0.571136364, 0.501301287, 0.640971441), rel=1e-8
    )


@pytest.mark.parametrize(
    ("control", "challenger", "expected"),
    [
        ((0, 5), (0, 7), (0.5, 0.5, 0.5)),
        ((5, 0), (0, 7), (1.0, 1.0, 1.0)),
        ((1, 0), (0, 7), None),
        ((3, 0, 1), (0, 0, 7), (0.875, 0.4773, 1.0)),
    ],
)
def test_it_is_from_never_to_always(
    control: tuple[int, ...], challenger: tuple[int, ...], expected: tuple[float, ...] | None
) -> None:
    found = superiority(_ranked(*control), _ranked(*challenger), 0.05)
    assert (found and (found.probability, found.lower, found.upper)) == (
        None if expected is None else pytest.approx(expected, abs=1e-3)
    )


def test_it_is_scipy_s_brunner_munzel() -> None:
    control, challenger = [1] * 5 + [2] * 9 + [3] * 4, [1] * 3 + [2] * 5 + [3] * 12
    found = superiority(_ranked(0, 5, 9, 4), _ranked(0, 3, 5, 12), 0.05)
    assert found is not None
    p_value = float(stats.brunnermunzel(control, challenger).pvalue)
    at_its_end = superiority(_ranked(0, 5, 9, 4), _ranked(0, 3, 5, 12), p_value)
    assert at_its_end is not None
    assert at_its_end.lower == pytest.approx(0.5)
