"""An experiment that rests, goes on, or is ended by a person."""

from dataclasses import replace
from datetime import timedelta

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.decide.ab_experiment import decide
from anneal_operator.decide.acknowledgement import Arrival, RouteSeen
from anneal_operator.decide.observed_experiment import KeepDecision, KeepStart

from .contested import ARRIVED, NOW, SPLIT, STARTED, condition, counted, seen_of, spec_of

PAUSED, ABORTED = spec_of(suspend=True), spec_of(abort=True)
BETTER = counted(3.0, 4.0, 3.0)
LEFT = RouteSeen(default="m-1", arrival=ARRIVED)
FRESH = ABExperimentStatus()
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("route", "reason", "progress"),
    [
        (SPLIT, "RouterBehind", "Working"),
        (replace(LEFT, arrival=Arrival(ARRIVED.stamp, 1, ("r",))), "RouterBehind", "Working"),
        (LEFT, "Suspended", "Settled"),
    ],
)
def test_it_rests_once_no_router_splits_by_it(route: RouteSeen, reason: str, progress: str) -> None:
    verdict = decide(seen_of(PAUSED, BETTER, route=route), NOW)
    assert (verdict.status.phase, verdict.status.reason, verdict.progress) == ("Paused", "Suspended", progress)
    assert condition(verdict.status, "RouteProgrammed") == ("False", reason)
    assert (verdict.apply, verdict.effects, verdict.status.decision) == ((), (), None)


def test_another_change_of_routes_on_its_way_does_not_disturb_its_rest() -> None:
    paused = decide(seen_of(PAUSED, route=LEFT), NOW).status
    later = seen_of(PAUSED, previous=paused, route=replace(LEFT, arrival=None))
    assert decide(later, NOW + HOUR).status == paused


def test_nothing_is_decided_while_it_rests_however_long_that_is() -> None:
    assert decide(seen_of(PAUSED, BETTER, route=LEFT), NOW + timedelta(days=30)).status.phase == "Paused"


def test_its_time_does_not_run_while_it_rests() -> None:
    paused = decide(seen_of(PAUSED, BETTER, route=LEFT), NOW).status
    assert (paused.paused_at, paused.paused_seconds) == ("2026-03-01T12:00:00Z", None)
    back = NOW + timedelta(days=3)
    resumed = decide(seen_of(spec_of(), counted(3.0, 3.0, 3.0, users=9), previous=paused), back).status
    assert (resumed.phase, resumed.paused_at, resumed.paused_seconds) == ("Running", None, 3 * 86400)
    few = counted(3.0, 3.0, 3.0, users=9)
    for hours, phase in ((21.9, "Running"), (22.0, "Inconclusive")):
        over = decide(seen_of(spec_of(), few, previous=resumed), back + timedelta(hours=hours)).status
        assert over.phase == phase, "two of its 24 hours were over before"


def test_a_pause_is_none_of_the_time_before_which_no_verdict_comes() -> None:
    spec = spec_of(stopping={"minDuration": "3h"})
    paused = decide(seen_of(spec_of(stopping={"minDuration": "3h"}, suspend=True), BETTER, route=LEFT), NOW).status
    for hours, phase in ((5.9, "Running"), (6.0, "Promoted")):
        resumed = replace(seen_of(spec, BETTER), previous=paused.having(paused_at=None, paused_seconds=3 * 3600))
        assert decide(resumed, NOW + timedelta(hours=hours - 2)).status.phase == phase


def test_once_it_goes_on_nothing_is_decided_before_all_routers_split_by_it_again() -> None:
    paused = decide(seen_of(PAUSED, BETTER, route=LEFT), NOW).status
    waiting = decide(seen_of(spec_of(), BETTER, previous=paused, route=LEFT), NOW + HOUR).status
    assert (waiting.phase, condition(waiting, "RouteProgrammed")) == ("Running", ("False", "RouterBehind"))
    behind = replace(SPLIT, arrival=Arrival(ARRIVED.stamp, 1, ("r",)))
    assert decide(seen_of(spec_of(), BETTER, previous=waiting, route=behind), NOW + HOUR).status.decision is None
    assert decide(seen_of(spec_of(), BETTER, previous=waiting), NOW + HOUR).status.phase == "Promoted"


def test_one_that_is_suspended_does_not_begin_and_rests_where_its_status_was_lost() -> None:
    waiting = decide(seen_of(PAUSED, previous=FRESH, record=None, route=LEFT), NOW)
    assert (waiting.status.phase, waiting.apply, waiting.progress) == ("Paused", (), "Settled")
    assert (waiting.status.paused_at, waiting.status.started_at) == (None, None)
    lost = decide(seen_of(PAUSED, BETTER, previous=FRESH, route=LEFT), NOW)
    assert (lost.status.phase, lost.apply) == ("Paused", ())
    assert lost.status.started_at == STARTED, "so that no other begins on its users"
    assert lost.status.paused_at == "2026-03-01T12:00:00Z", "from now on its time rests"


@pytest.mark.parametrize("spec", [PAUSED, ABORTED])
def test_one_whose_record_is_made_anew_leads_nobody_elsewhere_on_the_way(spec: ABExperimentSpec) -> None:
    seen = seen_of(spec, route=LEFT, previous=FRESH)
    anew = decide(replace(seen, record=None), NOW)
    assert ([type(intent) for intent in anew.apply], anew.status.phase) == ([KeepStart], "Paused")


@pytest.mark.parametrize("spec", [PAUSED, ABORTED])
def test_one_whose_record_cannot_be_read_rests_where_a_person_wants_that(spec: ABExperimentSpec) -> None:
    spoilt = seen_of(spec, BETTER, record=None, spoilt_record="x-record-1")
    held = decide(spoilt, NOW)
    assert (held.status.phase, held.status.reason, held.apply) == ("Paused", "RecordUnreadable", ())
    assert held.status.paused_at == "2026-03-01T12:00:00Z"
    assert decide(replace(spoilt, spec=spec_of()), NOW).status.phase == "Running"
    promoted = decide(seen_of(spec_of(), BETTER), NOW).status
    assert decide(replace(spoilt, previous=promoted), NOW).status.phase == "Promoted", "it has an end"


@pytest.mark.parametrize(("route", "reason"), [(LEFT, "VariantLost"), (SPLIT, "VersionNotReady")])
def test_one_that_goes_on_leads_nobody_to_a_variant_that_does_not_answer(route: RouteSeen, reason: str) -> None:
    answered = decide(seen_of(spec_of(), BETTER), NOW).status.having(decision=None)
    paused = decide(seen_of(PAUSED, previous=answered.having(phase="Running"), route=LEFT), NOW).status
    assert condition(paused, "VariantsReady") == ("True", "AllReady"), "as it was before"
    seen = seen_of(spec_of(), previous=paused, route=route)
    silent = {**seen.variants, "b": replace(seen.variants["b"], ready=False)}
    status = decide(replace(seen, variants=silent), NOW + HOUR).status
    assert (status.phase, condition(status, "VariantsReady")) == ("Running", ("False", reason))


@pytest.mark.parametrize("previous", ["Running", "Paused"])
def test_one_that_is_aborted_ends_for_good_and_keeps_its_numbers(previous: str) -> None:
    before = ABExperimentStatus(phase=previous, started_at=STARTED, observed_generation=1)
    verdict = decide(seen_of(spec_of(abort=True, suspend=True), BETTER, previous=before), NOW)
    assert (verdict.status.phase, verdict.status.reason) == ("Aborted", "Aborted")
    decision = verdict.status.decision
    assert decision is not None
    assert (decision.outcome, decision.winner, decision.rule) == ("Aborted", None, "abort")
    assert decision.snapshot != "{}"
    assert (verdict.apply, verdict.effects) == ((KeepDecision(decision, closes=True),), ())
    record = seen_of(ABORTED).record
    assert record is not None
    kept = replace(record, decision=decision, is_closed=True)
    for spec in (ABORTED, spec_of()):  # as if it had been taken out of the manifest and applied anew
        for status in (verdict.status, FRESH):
            again = decide(seen_of(spec, BETTER, previous=status, record=kept, route=LEFT), NOW + HOUR)
            assert (again.status.phase, again.status.decision, again.apply) == ("Aborted", decision, ())
            assert (again.effects, again.progress) == ((), "Settled")


def test_one_that_is_aborted_before_it_began_leaves_a_record_and_splits_nobody() -> None:
    first = decide(seen_of(ABORTED, previous=FRESH, record=None, route=LEFT), NOW)
    (kept,) = first.apply
    assert isinstance(kept, KeepStart)
    assert first.status.phase == "Paused", "by which no router splits"
    then = decide(seen_of(ABORTED, previous=first.status, record=kept.record, route=LEFT), NOW)
    assert then.status.phase == "Aborted"
    assert [type(intent) for intent in then.apply] == [KeepDecision]


def test_one_whose_record_was_lost_rests_until_mlflow_has_told_of_it_and_then_is_aborted() -> None:
    lost = seen_of(ABORTED, BETTER, record=None, is_heard=False, registry_problem="MLflow is down")
    verdict = decide(lost, NOW)
    assert (verdict.status.phase, verdict.apply, verdict.progress) == ("Paused", (), "Working")
    assert condition(verdict.status, "Tracked") == ("False", "RegistryUnreachable")
    assert decide(replace(lost, is_heard=True), NOW).apply != ()


def test_abort_after_the_verdict_changes_nothing() -> None:
    promoted = decide(seen_of(spec_of(), BETTER), NOW).status
    record = seen_of(spec_of()).record
    assert record is not None
    kept = replace(record, decision=promoted.decision)
    later = seen_of(ABORTED, previous=promoted, record=kept, route=replace(LEFT, default="m-2"))
    assert [type(effect).__name__ for effect in decide(later, NOW).effects][-1] == "MoveAlias"
