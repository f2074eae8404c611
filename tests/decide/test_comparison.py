"""The statistics, against published numbers and against scipy on the raw values."""

import math
import random

import pytest
from scipy import stats

from anneal_operator.decide.comparison import Sample, compare, sample_ratio


def _sample(mean: float, stddev: float, users: int) -> Sample:
    return Sample(users, mean, stddev**2 * (users - 1))


def _of(values: list[float]) -> Sample:
    mean = math.fsum(values) / len(values)
    return Sample(len(values), mean, math.fsum((value - mean) ** 2 for value in values))


def test_welch_agrees_with_gbstats_published_example() -> None:
    result = compare(_sample(0.41, 3.9, 3407), _sample(0.70, 6.2, 3461), 0.95)
    assert result is not None
    assert result.lift == pytest.approx(0.29)
    assert result.lower == pytest.approx(0.04538, abs=1e-5)
    assert result.upper == pytest.approx(0.53462, abs=1e-5)
    assert result.p_value == pytest.approx(0.02016, abs=1e-5)


def test_welch_from_sums_agrees_with_scipy_on_raw_values() -> None:
    rng = random.Random(5)
    control = [rng.gauss(3.0, 1.0) for _ in range(40)]
    challenger = [rng.gauss(3.3, 2.0) for _ in range(60)]
    result = compare(_of(control), _of(challenger), 0.9)
    oracle = stats.ttest_ind(challenger, control, equal_var=False)
    interval = oracle.confidence_interval(0.9)
    assert result is not None
    assert (result.p_value, result.lower, result.upper) == pytest.approx(
        (oracle.pvalue, interval.low, interval.high), rel=1e-9
    )


@pytest.mark.parametrize("users", [(0, 50), (1, 50), (50, 1)])
def test_no_comparison_without_two_users_each(users: tuple[int, int]) -> None:
    assert compare(Sample(users[0], 1.0, 0.0), Sample(users[1], 2.0, 1.0), 0.95) is None


@pytest.mark.parametrize(("users", "squares", "stddev"), [(0, 0.0, 0.0), (1, 0.0, 0.0), (2, 2.0, 2.0**0.5)])
def test_one_user_alone_has_no_spread(users: int, squares: float, stddev: float) -> None:
    assert Sample(users, 1.0, squares).stddev == stddev


@pytest.mark.filterwarnings("ignore:Precision loss")  # scipy's, of values without spread
@pytest.mark.parametrize(
    ("control", "challenger"), [([1.0, 2.0], [3.0, 5.0]), ([1.0, 2.0], [4.0, 4.0]), ([2.0, 2.0], [3.0, 5.0])]
)
def test_two_users_each_are_compared_also_where_those_of_one_variant_agree(
    control: list[float], challenger: list[float]
) -> None:
    result, oracle = compare(_of(control), _of(challenger), 0.95), stats.ttest_ind(challenger, control, equal_var=False)
    interval = oracle.confidence_interval(0.95)
    assert result is not None
    assert (result.p_value, result.lower, result.upper) == pytest.approx((oracle.pvalue, interval.low, interval.high))


@pytest.mark.parametrize(("mean", "p_value"), [(3.0, 1.0), (4.0, 0.0)])
def test_samples_without_spread_are_certain(mean: float, p_value: float) -> None:
    result = compare(Sample(10, 3.0, 0.0), Sample(10, mean, 0.0), 0.95)
    assert result is not None
    assert (result.lower, result.upper, result.p_value) == (mean - 3.0, mean - 3.0, p_value)


@pytest.mark.parametrize(
    ("users", "weights", "p_value"),
    [
        ((600, 400), (50, 50), 2.54e-10),
        ((44000, 45000), (1, 1), 8.02e-4),
        ((800, 200), (80, 20), 1.0),
        ((0, 0), (1, 1), 1),
        ((1, 0), (1, 1), 0.3173),
    ],
)
def test_sample_ratio_agrees_with_published_numbers(
    users: tuple[int, int], weights: tuple[int, int], p_value: float
) -> None:
    assert sample_ratio(users, weights) == pytest.approx(p_value, rel=5e-3)


def test_false_positives_are_as_rare_as_the_confidence_says() -> None:
    rng = random.Random(11)
    rounds, wrong = 1000, 0
    for _ in range(rounds):
        arms = [_of([rng.betavariate(2, 2) for _ in range(30)]) for _ in range(2)]
        result = compare(arms[0], arms[1], 0.95)
        assert result is not None
        wrong += not result.lower <= 0 <= result.upper
    assert 0.03 < wrong / rounds < 0.07
