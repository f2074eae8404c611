"""The statistics against published numbers: of scipy, statsmodels, gbstats, confseq and ssrm-test, and of formulas.

On random data they are asked in test_oracles.py and test_peers.py.
"""

import math

import pytest

from anneal_operator.decide.statistics.comparison import Comparison, rho2_of, sequence, welch
from anneal_operator.decide.statistics.holm import adjusted
from anneal_operator.decide.statistics.power import fixed_users, sequential_factor
from anneal_operator.decide.statistics.spread import LATCH, log_evidence
from anneal_operator.decide.statistics.sums import Arm, Scale, Sums, arm_of
from tests.support.counted import PARTS, sums_over

W1 = ((3.62, 1.21, 250), (3.91, 1.08, 238))


def _arm(mean: float, stddev: float, n: int) -> Arm:
    return Arm(n, mean, stddev**2 / n)


def _sequence(pair: tuple[tuple[float, float, int], ...], users: float, level: float = 0.05) -> Comparison:
    control, challenger = (_arm(*one) for one in pair)
    return sequence(control, challenger, level, rho2_of(level, users))


@pytest.mark.parametrize(
    ("control", "challenger", "lower", "upper", "p_value"),
    [
        (*W1, 0.0862085848, 0.493791415, 0.00537862154),
        ((0.41, 3.9, 3407), (0.70, 6.2, 3461), 0.04538, 0.53462, 0.02016),
    ],
)
def test_welch(
    control: tuple[float, float, int],
    challenger: tuple[float, float, int],
    lower: float,
    upper: float,
    p_value: float,
) -> None:
    found = welch(_arm(*control), _arm(*challenger), 0.05)
    assert (found.lower, found.upper, found.p_value) == pytest.approx((lower, upper, p_value), rel=5e-4, abs=1e-5)
    if control == W1[0]:
        assert (found.lower, found.upper, found.p_value) == pytest.approx((lower, upper, p_value), rel=1e-8)


def test_welch_of_raw_values() -> None:
    control, challenger = (
        arm_of(one.mean(Scale(PARTS)), one.variance(Scale(PARTS)), one.n, None)
        for one in (sums_over([5, 4, 5, 3, 1, 2, 5, 4]), sums_over([5, 5, 4, 5, 3, 5]))
    )
    assert control is not None
    assert challenger is not None
    found = welch(control, challenger, 0.05)
    expected = (-0.513167067, 2.26316707, 0.193370541)
    assert (found.lower, found.upper, found.p_value) == pytest.approx(expected, rel=1e-8)


def test_a_p_value_is_never_told_as_zero() -> None:
    found = welch(_arm(0.1, 0.3, 10**5), _arm(0.12, 0.325, 10**5), 0.05)
    assert found.p_value == pytest.approx(2.32733463e-46, rel=1e-8)
    sure = (_arm(0.1, 0.001, 10**5), _arm(0.9, 0.001, 10**5))
    for p_value in (welch(*sure, 0.05).p_value, sequence(*sure, 0.05, rho2_of(0.05, 400)).p_value):
        assert p_value == 1e-300


@pytest.mark.parametrize(
    ("pair", "users", "level", "expected"),
    [
        (W1, 400, 0.05, (-0.0249908932, 0.604990893, 0.0945362928)),
        (W1, 400, 0.025, (-0.0503093943, 0.630309394, None)),
        (((3.40, 1.25, 600), (3.75, 1.15, 590)), 400, 0.05, (0.134497364, 0.565502636, 2.68592381e-5)),
        (((0.02, 0.14, 5000), (0.035, 0.18, 1000)), 4000, 0.05, (-0.00334621477, 0.0333462148, None)),
    ],
)
def test_confidence_sequence(
    pair: tuple[tuple[float, float, int], ...], users: float, level: float, expected: tuple[float, float, float | None]
) -> None:
    found = _sequence(pair, users, level)
    assert (found.lower, found.upper) == pytest.approx(expected[:2], rel=1e-7)
    if expected[2] is not None:
        assert found.p_value == pytest.approx(expected[2], rel=1e-8)


@pytest.mark.parametrize(("z", "evidence"), [(3.2, 30.0753927), (-1.0, 0.389663692)])
def test_evidence_of_a_confidence_sequence(z: float, evidence: float) -> None:
    found = sequence(Arm(400, 0.0, 0.5), Arm(400, z, 0.5), 0.05, rho2_of(0.05, 400))
    assert found.p_value == pytest.approx(min(1.0, 1 / evidence), rel=1e-8)


@pytest.mark.parametrize(("n", "lower", "upper"), [(200, 0.914151326, 1.08584867), (2, -24.6945052, 26.6945052)])
def test_users_who_all_say_the_same_are_as_uncertain_as_one_more_could_make_them(
    n: int, lower: float, upper: float
) -> None:
    """Two users each would else be a certain verdict."""
    control, challenger = arm_of(3.0, 0.0, n, 4.0), arm_of(4.0, 0.0, n, 4.0)
    assert control is not None
    assert challenger is not None
    assert control.variance == pytest.approx(16 / n**2)
    found = sequence(control, challenger, 0.05, rho2_of(0.05, 400))
    assert (found.lower, found.upper) == pytest.approx((lower, upper), rel=1e-8)


@pytest.mark.parametrize(
    ("p_values", "expected"), [([0.04, 0.001, 0.3, 0.011], [0.08, 0.004, 0.3, 0.033]), ([0.5], [0.5])]
)
def test_holm(p_values: list[float], expected: list[float]) -> None:
    assert adjusted(p_values) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("steps", "shares", "evidence"),
    [
        ([(120, 80)], (1, 1), 1 / 0.562061555),
        ([(120, 80), (130, 70)], (1, 1), 1 / 0.0330834229),
        ([(120, 80), (130, 70), (640, 560)], (1, 1), 1 / 0.00315032613),
        ([(821, 190, 199)], (70, 15, 15), 0.959087703),
        ([(821, 190, 199), (700, 150, 210)], (70, 15, 15), 78.2494405),
        ([(31, 60)], (33, 67), 0.958578079),
        ([(400, 600)], (3333, 6667), 95.4868849),
        ([(300, 340)], (1, 1), 1.2721459815),
    ],
)
def test_evidence_against_a_split(steps: list[tuple[int, ...]], shares: tuple[int, ...], evidence: float) -> None:
    counts = [sum(step) for step in zip(*steps, strict=True)]
    assert math.exp(log_evidence(counts, shares)) == pytest.approx(evidence, rel=1e-8)


def test_nobody_is_no_evidence() -> None:
    assert log_evidence([0, 0], [1, 9]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("lost", "users"), [(0.05, 26_000), (0.2, 1_900), (0.5, 440)])
def test_an_arm_that_loses_users_is_found(lost: float, users: int) -> None:
    kept = round(users * (1 - lost) / (2 - lost))
    assert log_evidence([users - kept, kept], [1, 1]) == pytest.approx(LATCH, rel=0.12)


@pytest.mark.parametrize(
    ("stddev", "effect", "power", "ratio", "users"),
    [(1.2, 0.1, 0.8, 1.0, 2260.47183), (1.1, 0.2, 0.9, 0.25, 1589.24719)],
)
def test_users_of_a_fixed_sample(stddev: float, effect: float, power: float, ratio: float, users: float) -> None:
    """statsmodels counts the other tail, too, which moves the sixth digit."""
    assert fixed_users(stddev**2, effect, 0.05, ratio, power) == pytest.approx(users, rel=1e-5)


@pytest.mark.parametrize(
    ("level", "factor"),
    [(0.1, 1.79), (0.05, 1.67), (0.025, 1.59), (0.05 / 3, 1.56), (0.0125, 1.54), (0.05 / 7, 1.49), (0.5, 1.79)],
)
def test_how_many_times_the_users_a_sequence_takes(level: float, factor: float) -> None:
    assert sequential_factor(level) == pytest.approx(factor)


def test_between_measured_levels_it_takes_something_in_between() -> None:
    assert 1.49 < sequential_factor(0.05 / 6) < sequential_factor(0.05 / 5) < 1.54
    assert sequential_factor(0.0001) == 1.49


@pytest.mark.parametrize(("n", "variance"), [(0, 0.0), (1, 0.0)])
def test_one_user_alone_has_no_spread_and_is_not_compared(n: int, variance: float) -> None:
    assert Sums(n, 3 * n, 9 * n).variance(Scale(1)) == variance
    assert arm_of(3.0, variance, n, 4.0) is None


def test_where_nothing_bounds_values_those_without_spread_say_nothing() -> None:
    assert arm_of(3.0, 0.0, 500, None) is None
    assert arm_of(3.0, 0.01, 500, None) == Arm(500, 3.0, 0.01 / 500)


def test_sums_are_of_a_scale() -> None:
    on_grid = Sums(2, 1_048_320, 1_048_320**2)
    assert on_grid.mean(Scale(1_048_320, 1.0, 4.0)) == 3.0
    assert on_grid.variance(Scale(1_048_320, 1.0, 4.0)) == pytest.approx(8.0)
