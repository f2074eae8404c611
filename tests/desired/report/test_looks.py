"""The looks that are kept of an experiment: few however long it runs, evenly spread, and of that run alone."""

import json
import random
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.desired.experiments import record_name
from anneal_operator.desired.report.looks import MOST_LOOKS, Interval, Look, Looks, look_at, looks_kept, looks_name

from .examples import BEGAN, EXAMPLES, SPEC, experiment

STARTED = "2026-03-02T09:00:00Z"


def _look(after: int) -> Look:
    return Look(after, (after, after + 1), 0.5, (None, Interval(0.1, -0.2, 0.4)))


def _kept(until: int, step: int, max_duration: str) -> Looks:
    """Look every `step` seconds."""
    spec = ABExperimentSpec.parse(SPEC | {"stopping": {"minDuration": "1s", "maxDuration": max_duration}})
    looks = Looks.begun(STARTED, spec)
    for after in range(0, until + 1, step):
        if looks.is_due(_look(after)):
            looks = looks.having(_look(after))
            assert len(looks.kept) <= MOST_LOOKS
    return looks


@pytest.mark.parametrize(
    ("days", "step", "max_duration"), [(0.01, 10, "10m"), (0.5, 60, "12h"), (14, 60, "336h"), (365, 600, "8760h")]
)
def test_they_are_few_and_evenly_spread_over_the_whole_run(days: float, step: int, max_duration: str) -> None:
    until = int(days * 86400)
    looks = _kept(until, step, max_duration)
    gaps = [later.after - earlier.after for earlier, later in zip(looks.kept, looks.kept[1:], strict=False)]
    assert looks.kept[0].after == 0
    assert until - looks.kept[-1].after < looks.spacing + step
    assert max(gaps) <= 2 * min(gaps) + step
    assert len(looks.kept) > MOST_LOOKS / 4


@pytest.mark.parametrize(("max_duration", "spacing"), [("10s", 10), ("1h", 18), ("12h", 60), ("8760h", 60)])
def test_short_experiments_are_looked_at_more_often(max_duration: str, spacing: int) -> None:
    assert _kept(0, 1, max_duration).spacing == spacing


def test_however_looks_come_the_first_and_the_newest_are_kept_and_their_order() -> None:
    drawn = random.Random(7)
    looks, after = Looks(STARTED, 10), 0
    for _ in range(5000):
        after += drawn.choice((1, 9, 40, 600))
        if looks.is_due(_look(after)):
            looks = looks.having(_look(after))
            assert looks.kept[-1].after == after
        assert len(looks.kept) <= MOST_LOOKS
    times = [look.after for look in looks.kept]
    assert times == sorted(set(times))
    assert times[0] <= 600


def test_they_are_read_as_they_were_kept_and_fit_a_config_map() -> None:
    widest = Interval(-1.2345e-300, -1.2345e-300, -1.2345e-300)
    looks = Looks(
        STARTED, 60, tuple(Look(10**7 + n, (10**9,) * 8, 1.234e-300, (None, *(widest,) * 7)) for n in range(200))
    )
    made = looks_kept(experiment(SPEC), looks)
    assert Looks.read(made, "uid-1", STARTED, 8) == looks
    assert len(json.dumps(made)) < 200_000


def test_they_go_with_the_experiment_and_are_named_beside_its_record() -> None:
    made = looks_kept(experiment(SPEC), Looks(STARTED, 60))
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert made["metadata"]["name"] == looks_name(experiment(SPEC))
    assert looks_name(experiment(SPEC)) == record_name(experiment(SPEC)).replace("-record-", "-looks-")


@pytest.mark.parametrize(
    "spoilt",
    [
        None,
        {"metadata": {"ownerReferences": [{"uid": "another's"}]}},
        {"data": {}},
        {"data": {"looks.json": "[]"}},
        {"data": {"looks.json": '{"startedAt": "2026-03-02T09:00:00Z", "spacing": 0, "looks": []}'}},
        {"data": {"looks.json": '{"startedAt": "2026-03-02T09:00:00Z", "spacing": 60, "looks": [[1, [2]]]}'}},
        {"data": {"looks.json": '{"startedAt": "2026-01-01T00:00:00Z", "spacing": 60, "looks": []}'}},
    ],
    ids=["missing", "another's", "empty", "a list", "no spacing", "no look", "of another run"],
)
def test_of_what_is_not_this_runs_looks_nothing_is_taken(spoilt: dict[str, Any] | None) -> None:
    made = looks_kept(experiment(SPEC), Looks(STARTED, 60, (_look(0),)))
    assert Looks.read(spoilt and made | spoilt, "uid-1", STARTED, 2) is None


@pytest.mark.parametrize(
    "looks",
    [
        "[[60, [1], null, [null]]]",
        "[[60, [1, 2, 3], null, [null, null, null]]]",
        "[[60, [1, 2], null, [null]]]",
        "[[60, [1, -2], null, [null, null]]]",
        "[[60, [1, 2], null, [null, null]], [60, [1, 2], null, [null, null]]]",
        "[[-60, [1, 2], null, [null, null]]]",
        "[[1e999, [1, 2], null, [null, null]]]",
        "[[60, [1, 2], NaN, [null, null]]]",
        "[[60, [1, 2], 0.5, [null, [0, -Infinity, 1]]]]",
        "[[60, [1, 2], 0.5, [null, [0, 1]]]]",
        "[" * 100_000,
        f"[{','.join(f'[{at}, [1, 2], null, [null, null]]' for at in range(300))}]",
    ],
)
def test_looks_that_somebody_spoilt_are_as_if_they_were_not_there(looks: str) -> None:
    made = looks_kept(experiment(SPEC), Looks(STARTED, 60))
    text = f'{{"startedAt": "{STARTED}", "spacing": 60, "looks": %s}}'
    for spoilt, are_there in ((looks, False), ("[[60, [1, 2], 0.5, [null, [0, -1, 1]]]]", True)):
        read = Looks.read(made | {"data": {"looks.json": text % spoilt}}, "uid-1", STARTED, 2)
        assert (read is not None) is are_there


def test_nothing_is_looked_at_before_counting_began() -> None:
    assert look_at(EXAMPLES["running"].spec, ABExperimentStatus(), BEGAN) is None


def test_a_look_is_of_the_metric_that_decides() -> None:
    made = EXAMPLES["running"]
    status = made.status.model_copy(deep=True)
    for variant in status.variants:
        variant.metrics.insert(0, variant.metrics[0].having(name="latency", users=7, lift=9.0, lower=9.0, upper=9.0))
    assert look_at(made.spec, status, made.now) == look_at(made.spec, made.status, made.now)
