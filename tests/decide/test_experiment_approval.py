"""A winner that waits for a person's approval."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.decide.ab_experiment import decide
from anneal_operator.decide.observed_experiment import (
    KeepDecision,
    KeepLatches,
    KeepRecommendation,
    ObservedExperiment,
    Record,
    Remember,
)
from anneal_operator.decide.statistics.terms import Counts

from .contested import NOW, STARTED, condition, counted, seen_of, spec_of

BETTER = counted(3.0, 4.0, 3.0)
CHANGED = counted(3.0, 3.0, 5.0)
HOUR = timedelta(hours=1)


def _advised(
    observations: Counts | None = CHANGED, approve: str | None = None, **changes: Any
) -> tuple[ObservedExperiment, Record]:
    """Return one to which `b` was recommended, and its record."""
    found = decide(seen_of(spec_of(decision={"mode": "Recommend"}), BETTER), NOW)
    (kept,) = found.apply
    assert isinstance(kept, KeepRecommendation)
    record = seen_of(spec_of()).record
    assert record is not None
    record = replace(record, recommendation=kept.recommendation)
    spec = spec_of(decision={"mode": "Recommend"} | ({"approve": approve} if approve else {}))
    return seen_of(spec, observations, **{"previous": found.status, "record": record} | changes), record


def test_a_recommendation_is_kept_before_it_is_told_and_all_goes_on() -> None:
    verdict = decide(seen_of(spec_of(decision={"mode": "Recommend"}), BETTER), NOW)
    (kept,) = verdict.apply
    assert isinstance(kept, KeepRecommendation)
    assert (kept.recommendation.outcome, kept.recommendation.winner) == ("Winner", "b")
    status = verdict.status
    assert (status.phase, status.reason, status.recommended) == ("Running", "Recommended", "b")
    assert (status.decision, condition(status, "AwaitingApproval")) == (None, ("True", "Recommended"))
    assert verdict.again == 0.0


@pytest.mark.parametrize("lost", [False, True], ids=["known", "status lost"])
def test_it_stands_whatever_is_counted_until_a_person_approves_it(lost: bool) -> None:
    changes: dict[str, Any] = {"previous": ABExperimentStatus(started_at=STARTED)} if lost else {}
    seen, record = _advised(**changes)
    waiting = decide(seen, NOW + HOUR)
    assert (waiting.status.phase, waiting.status.recommended, waiting.apply) == ("Running", "b", ())
    assert waiting.status.decision is None
    approved = decide(_advised(approve="b")[0], NOW + HOUR)
    decision = approved.status.decision
    assert decision is not None
    assert record.recommendation is not None
    assert decision == record.recommendation.having(decided_at="2026-03-01T13:00:00Z"), "with its own numbers"
    assert (approved.status.phase, approved.apply) == ("Promoted", (KeepDecision(decision, closes=False),))
    assert condition(approved.status, "AwaitingApproval") == ("", "")


def test_what_the_one_look_shows_is_told_to_who_is_to_approve_it_and_stays() -> None:
    seen = _advised()[0]
    assert seen.terms.method == "FixedHorizon"
    for status in (decide(seen, NOW + HOUR).status, decide(_advised(approve="b")[0], NOW + HOUR).status):
        (metric,) = status.variants[1].metrics
        assert None not in {metric.mean, metric.lift, metric.lower, metric.upper}


def test_who_approves_another_is_told_and_nothing_follows() -> None:
    verdict = decide(_advised(approve="c")[0], NOW)
    assert (verdict.status.phase, verdict.status.reason, verdict.apply) == ("Running", "OtherApproved", ())
    waiting = verdict.status.condition("AwaitingApproval")
    assert waiting is not None
    assert waiting.message.startswith("`decision.approve` names c, but b is recommended, so nothing follows")


def test_approval_in_advance_is_followed_as_soon_as_the_numbers_show_it() -> None:
    seen = seen_of(spec_of(decision={"mode": "Recommend", "approve": "b"}), BETTER)
    assert decide(seen, NOW).status.phase == "Promoted"


@pytest.mark.parametrize(
    ("observations", "phase"), [(counted(4.0, 3.0, 3.0), "RolledBack"), (counted(3.0, 3.0, 3.0), "Inconclusive")]
)
def test_nobody_is_asked_where_the_control_keeps_the_traffic(observations: Counts, phase: str) -> None:
    seen = seen_of(spec_of(decision={"mode": "Recommend"}), observations)
    assert decide(seen, NOW).status.phase == phase


def test_what_is_found_against_the_data_later_holds_what_was_approved() -> None:
    skewed = replace(BETTER, users=(200, 600, 200))
    held = decide(_advised(skewed, approve="b")[0], NOW)
    assert [type(intent) for intent in held.apply] == [KeepLatches]
    seen, record = _advised(skewed, approve="b")
    latched = replace(seen, record=replace(record, latches=frozenset({"sampleRatio", "response"})))
    status = decide(latched, NOW).status
    assert (status.phase, status.decision, condition(status, "AwaitingApproval")[1]) == ("Running", None, "Approved")
    over = decide(latched, NOW + timedelta(days=1)).status
    assert over.decision is not None
    assert over.phase == "Inconclusive"
    assert over.decision.reason.startswith("maxDuration passed: b was approved; the split does not match the weights")


@pytest.mark.parametrize(("approve", "phase"), [(None, "Inconclusive"), ("c", "Inconclusive"), ("b", "Promoted")])
def test_the_end_of_its_time_ends_it(approve: str | None, phase: str) -> None:
    over = decide(_advised(approve=approve)[0], NOW + timedelta(days=1)).status
    assert over.decision is not None
    assert over.phase == phase
    if phase == "Inconclusive":
        assert over.decision.reason.startswith("maxDuration passed: nobody approved b in time")


def test_what_the_last_look_shows_nobody_could_approve() -> None:
    late = seen_of(spec_of(decision={"mode": "Recommend"}), BETTER)
    over = decide(late, NOW + timedelta(days=1)).status
    assert over.decision is not None
    assert (over.phase, "nobody approved b in time" in over.decision.reason) == ("Inconclusive", True)


def test_mlflow_is_told_of_a_recommendation_and_gives_it_back() -> None:
    seen, record = _advised()
    behind = replace(seen, remembered=replace(record.content, recommendation=None))
    assert decide(behind, NOW).effects == (Remember(record.content),)
    anew = replace(seen, record=replace(record, recommendation=None))
    (kept,) = decide(anew, NOW).apply
    assert kept == KeepRecommendation(record.recommendation) if record.recommendation else False


@pytest.mark.parametrize("method", ["FixedHorizon", "Sequential"])
def test_a_fixed_horizon_looks_once_however_long_its_approval_is_waited_for(method: str) -> None:
    """Numbers of a later look would be one more look, at no price."""
    spec = spec_of(decision={"mode": "Recommend"}, stopping={"method": method})
    found = decide(seen_of(spec, BETTER), NOW)
    (kept,) = found.apply
    assert isinstance(kept, KeepRecommendation)
    record = seen_of(spec).record
    assert record is not None
    record = replace(record, recommendation=kept.recommendation)
    later = decide(seen_of(spec, CHANGED, previous=found.status, record=record), NOW + HOUR)
    told = [[one.metrics for one in status.variants] for status in (found.status, later.status)]
    assert (told[0] == told[1]) is (method == "FixedHorizon")
