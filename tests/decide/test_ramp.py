"""How many users take part, step by step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.schema import timestamp
from anneal_operator.decide.ab_experiment import decide
from anneal_operator.decide.acknowledgement import Arrival, RouteSeen
from anneal_operator.decide.observed_experiment import ObservedExperiment, Record, VariantSeen
from serving_runtime.plan import Stamp, covered

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STARTED = timestamp(NOW - timedelta(hours=2))
RAMP: list[dict[str, Any]] = [{"coverage": 5, "for": "1h"}, {"coverage": 20, "for": "30m"}, {"coverage": 100}]
SPEC: dict[str, Any] = {
    "modelName": "m",
    "control": "a",
    "variants": [
        {"name": "a", "modelVersionRef": {"name": "m-1"}, "weight": 50},
        {"name": "b", "modelVersionRef": {"name": "m-2"}, "weight": 50},
    ],
    "metrics": {"primary": {"name": "rating"}},
    "stopping": {"minDuration": "1h", "maxDuration": "24h"},
}
READY = {name: VariantSeen("m", ready=True, number="1", digest=f"sha256:{name}") for name in ("a", "b")}
STAMP = Stamp(lineage="2026", generation=1, digest="d")
ARRIVED, BEHIND = Arrival(STAMP, 2), Arrival(STAMP, 1, ("router-1",))


def _seen(
    coverage: int | None,
    since: timedelta | None = None,
    *,
    step: int | None = 1,
    arrival: Arrival = ARRIVED,
    ramp: list[dict[str, Any]] = RAMP,
    **changes: Any,
) -> ObservedExperiment:
    told = timestamp(NOW - since) if since is not None else None
    status = ABExperimentStatus(phase="Running", started_at=STARTED, coverage=coverage, coverage_since=told)
    spec = ABExperimentSpec.parse(SPEC | {"assignment": {"ramp": ramp}})
    record = Record(STARTED, uid="u")
    steps = {} if step is None else {"u": step, "another": 3}
    places = {uid: covered(ramp[min(at, len(ramp)) - 1]["coverage"] if ramp else 100) for uid, at in steps.items()}
    route = RouteSeen(split_by=steps, covered=places, arrival=arrival)
    seen = ObservedExperiment(1, spec, status, READY, uid="u", route=route, record=record, remembered=record)
    return replace(seen, **changes)


def _told(seen: ObservedExperiment, now: datetime = NOW) -> tuple[int | None, str | None]:
    status = decide(seen, now).status
    return status.coverage, status.coverage_since


MINUTE = timedelta(minutes=1)
SILENT = {"b": VariantSeen("m", ready=False, number="1", digest="sha256:b"), "a": READY["a"]}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        # a step counts from when all routers have it
        (_seen(5), (5, timestamp(NOW))),
        (_seen(5, arrival=BEHIND), (5, None)),
        (_seen(20, step=1), (20, None)),
        (_seen(20, step=None), (20, None)),
        (_seen(20, step=2), (20, timestamp(NOW))),
        # and the next follows when its time is over
        (_seen(5, 59 * MINUTE), (5, timestamp(NOW - 59 * MINUTE))),
        (_seen(5, 60 * MINUTE), (20, None)),
        (_seen(20, 29 * MINUTE, step=2), (20, timestamp(NOW - 29 * MINUTE))),
        (_seen(20, 30 * MINUTE, step=2), (100, None)),
        # one at a time, however late
        (_seen(5, 99 * 60 * MINUTE), (20, None)),
        (_seen(100, 99 * MINUTE, step=3), (100, timestamp(NOW - 99 * MINUTE))),
        # not while a variant does not answer, nor while routers do not split by it
        (_seen(5, 60 * MINUTE, variants=SILENT), (5, timestamp(NOW - 60 * MINUTE))),
        (_seen(5, 60 * MINUTE, step=None), (5, timestamp(NOW - 60 * MINUTE))),
        # without a ramp all take part
        (_seen(None, step=0, ramp=[]), (100, None)),
    ],
)
def test_a_step_follows_when_all_routers_have_had_the_one_before_for_its_time(
    seen: ObservedExperiment, expected: tuple[int | None, str | None]
) -> None:
    assert _told(seen) == expected


def test_it_begins_with_the_first_step() -> None:
    fresh = _seen(None, previous=ABExperimentStatus(), record=None, remembered=None, route=RouteSeen())
    status = decide(fresh, NOW).status
    assert (status.phase, status.coverage, status.coverage_since) == ("WarmingUp", 5, None)
    split = replace(fresh, previous=status, route=RouteSeen(split_by={"u": 1}, arrival=ARRIVED))
    begun = decide(split, NOW).status
    assert (begun.phase, begun.coverage, begun.coverage_since) == ("Running", 5, timestamp(NOW))


@pytest.mark.parametrize(("minutes", "coverage"), [(0, 5), (59, 5), (60, 20), (89, 20), (90, 100), (600, 100)])
@pytest.mark.parametrize("is_restored", [False, True], ids=["status lost", "restored from MLflow"])
def test_no_step_is_taken_back_where_the_status_was_lost(minutes: int, coverage: int, is_restored: bool) -> None:
    """Steps wait for routers: none is taken earlier than the times allow, so what they allow now is no less."""
    kept = Record(timestamp(NOW - minutes * MINUTE), uid="u")
    record = None if is_restored else kept
    lost = _seen(None, step=None, previous=ABExperimentStatus(), record=record, remembered=kept)
    assert _told(lost)[0] == coverage


@pytest.mark.parametrize(
    ("places", "coverage"), [(500, 5), (2000, 20), (10_000, 100), (3000, 30), (99_999, 100), (-1, 100)]
)
def test_none_is_passed_over_where_the_routers_were_told_one(places: int, coverage: int) -> None:
    """What no step has is of a ramp that was changed, or somebody wrote it there by hand."""
    route = RouteSeen(split_by={"u": 1}, covered={"u": places}, arrival=ARRIVED)
    lost = _seen(None, previous=ABExperimentStatus(), route=route)
    assert _told(lost)[0] == coverage


@pytest.mark.parametrize(
    ("coverage", "minutes", "ramp", "expected"),
    [
        # longer, shorter, straight to everybody
        (5, 60, [{"coverage": 5, "for": "2h"}, {"coverage": 100}], 5),
        (5, 60, [{"coverage": 5, "for": "30m"}, {"coverage": 50, "for": "1h"}, {"coverage": 100}], 50),
        (20, 1, [{"coverage": 100}], 100),
        (20, 1, [], 100),
        # fewer than take part already: nobody leaves, and the next step with more follows in its time
        (20, 59, [{"coverage": 5, "for": "1h"}, {"coverage": 50, "for": "1h"}, {"coverage": 100}], 20),
        (20, 60, [{"coverage": 5, "for": "1h"}, {"coverage": 50, "for": "1h"}, {"coverage": 100}], 50),
        (20, 999, [{"coverage": 10}], 20),
        (20, 1, [{"coverage": 30, "for": "1h"}, {"coverage": 100}], 30),
    ],
)
def test_a_ramp_that_was_changed_takes_nobody_out(
    coverage: int, minutes: int, ramp: list[dict[str, Any]], expected: int
) -> None:
    assignment = ABExperimentSpec.parse(SPEC | {"assignment": {"ramp": ramp}}).assignment
    seen = _seen(coverage, minutes * MINUTE, step=assignment.step_of(coverage), ramp=ramp)
    assert _told(seen)[0] == expected


def test_a_pause_leaves_the_coverage_and_the_time_of_a_step_begins_anew() -> None:
    spec = ABExperimentSpec.parse(SPEC | {"assignment": {"ramp": RAMP}, "suspend": True})
    paused = decide(_seen(20, 29 * MINUTE, step=None, spec=spec), NOW).status
    assert (paused.phase, paused.coverage, paused.coverage_since) == ("Paused", 20, None)
    later = NOW + 90 * MINUTE
    assert _told(_seen(20, step=2, previous=paused), later) == (20, timestamp(later))


def test_a_pause_passes_over_no_step_where_the_coverage_was_lost() -> None:
    """While it rests no route tells it, and its times do not run."""
    kept = Record(timestamp(NOW - 59 * MINUTE), uid="u")
    spec = ABExperimentSpec.parse(SPEC | {"assignment": {"ramp": RAMP}, "suspend": True})
    lost: dict[str, Any] = {"previous": ABExperimentStatus(), "record": kept, "remembered": kept}
    paused = decide(_seen(None, step=None, spec=spec, **lost), NOW).status
    assert (paused.phase, paused.coverage) == ("Paused", None)
    later = NOW + 600 * MINUTE
    assert _told(_seen(None, step=None, **lost | {"previous": paused}), later)[0] == 5


def test_a_decision_leaves_the_coverage_as_it_was() -> None:
    over = _seen(20, 10 * MINUTE, step=2)
    decided = decide(over, NOW + timedelta(hours=23)).status
    assert (decided.phase, decided.coverage) == ("Inconclusive", 20)


@pytest.mark.parametrize(
    ("step", "minutes", "coverage"), [(None, 59, 5), (None, 89, 20), (None, 90, 100), (2, 90, 20), (3, 90, 100)]
)
def test_no_step_is_taken_back_where_the_status_was_lost_after_a_decision(
    step: int | None, minutes: int, coverage: int
) -> None:
    """While the winner waits for pods, who took part stays where they are."""
    over = decide(_seen(100, 10 * MINUTE, step=3), NOW + timedelta(hours=23)).status
    decided_at = timestamp(datetime.fromisoformat(STARTED) + minutes * MINUTE)
    record = Record(STARTED, uid="u", decision=over.decision and over.decision.having(decided_at=decided_at))
    lost = _seen(None, step=step, previous=ABExperimentStatus(), record=record, remembered=record)
    status = decide(lost, NOW + timedelta(hours=24)).status
    assert (status.phase, status.coverage) == ("Inconclusive", coverage)


def test_without_a_ramp_nothing_is_told_of_coverage_where_the_status_was_lost_after_a_decision() -> None:
    over = decide(_seen(None, step=0, ramp=[]), NOW + timedelta(hours=23)).status
    record = Record(STARTED, uid="u", decision=over.decision)
    lost = _seen(None, step=0, ramp=[], previous=ABExperimentStatus(), record=record, remembered=record)
    assert decide(lost, NOW).status.coverage is None
