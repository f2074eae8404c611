"""Against scipy on the raw values of random data; what others say is in test_peers.py."""

import random
from collections import Counter

import pytest
from scipy import stats

from anneal_operator.decide.statistics.comparison import welch
from anneal_operator.decide.statistics.ranks import superiority
from anneal_operator.decide.statistics.sums import Scale, arm_of
from anneal_operator.decide.statistics.terms import Histogram
from tests.support.counted import PARTS, sums_over


def _drawn(rng: random.Random) -> list[float]:
    n, (low, high) = int(20 * 250 ** rng.random()), sorted((rng.uniform(-5, 5), rng.uniform(-5, 5)))
    return [round(rng.triangular(low, high + 0.01), 4) for _ in range(n)]


@pytest.mark.parametrize("seed", range(5))
def test_welch_is_scipy_s_on_random_values(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        drawn = _drawn(rng), _drawn(rng)
        arms = [
            arm_of(one.mean(Scale(PARTS)), one.variance(Scale(PARTS)), one.n, None) for one in map(sums_over, drawn)
        ]
        assert arms[0] is not None
        assert arms[1] is not None
        found, level = welch(arms[0], arms[1], 0.05), 0.95
        oracle = stats.ttest_ind(drawn[1], drawn[0], equal_var=False)
        interval = oracle.confidence_interval(level)
        expected = (interval.low, interval.high)
        assert (found.lower, found.upper) == pytest.approx(expected, rel=1e-6)
        assert found.p_value == pytest.approx(max(oracle.pvalue, 1e-300), rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_how_often_a_value_is_the_greater_one_is_scipy_s_on_random_stars(seed: int) -> None:
    """Its interval ends in the middle exactly where the error is scipy's p-value."""
    rng = random.Random(seed)
    for _ in range(100):
        control, challenger = ([rng.randint(1, 5) for _ in range(rng.randint(20, 300))] for _ in range(2))
        p_value = float(stats.brunnermunzel(control, challenger).pvalue)
        found = superiority(Histogram(0, Counter(control)), Histogram(0, Counter(challenger)), p_value)
        assert found is not None
        nearer = min((found.lower, found.upper), key=lambda end: abs(end - 0.5))
        assert nearer == pytest.approx(0.5, rel=1e-6)
