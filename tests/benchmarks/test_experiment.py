"""The experiments' benchmark measures verdicts on what a recorder really counted, and asks its peers the same."""

import asyncio

import pytest

from anneal_operator.decide.statistics.sums import Scale
from benchmarks.experiment.breach import breaches
from benchmarks.experiment.counted import LIMITS, recorder
from benchmarks.experiment.peers import in_units
from benchmarks.experiment.verdict import judged, verdicts
from tests.support.counted import PARTS, sums_over


def test_a_verdict_rests_on_all_users_that_the_recorder_has() -> None:
    with recorder(1000) as running:
        took, snapshot = asyncio.run(verdicts(running.url, 2))
    counts = snapshot.counts
    assert running.users >= 1000
    assert sum(sums.n for sums in counts.sums) == sum(counts.users) == running.users
    assert (counts.scale.low, counts.scale.low + counts.scale.width) == LIMITS
    assert len(took) == 2
    assert judged(snapshot).lower > 0


def test_peers_are_told_values_as_users_gave_them() -> None:
    values = [1.0, 2.5, 5.0]
    on_scale = sums_over([(value - 1) / 4 for value in values])
    from_one = in_units(on_scale, Scale(PARTS, 1.0, 4.0))
    assert from_one == pytest.approx({"n": 3, "sum": sum(values), "squares": sum(value**2 for value in values)})


def test_a_breach_gives_users_back_by_the_operator_s_own_looks_and_waits() -> None:
    [seconds] = asyncio.run(breaches(1))
    assert 0.3 < seconds < 60
