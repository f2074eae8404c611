"""A winner that has the traffic, and not yet `production`."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.decide.ab_experiment import decide
from anneal_operator.decide.acknowledgement import Arrival, Awaited, RouteSeen
from anneal_operator.decide.bake_guardrails import terms_while_baking
from anneal_operator.decide.experiment_end import is_followed
from anneal_operator.decide.experiment_terms import terms_of
from anneal_operator.decide.observed_experiment import (
    KeepDecision,
    KeepReturn,
    KeepStart,
    MoveAlias,
    ObservedExperiment,
    Record,
    RecordDecision,
    Returned,
    Stored,
    VariantSeen,
)
from anneal_operator.decide.statistics.guarded import Guards
from tests.support.counted import failures

from .contested import ARRIVED, NOW, SPLIT, WON, condition, counted, seen_of, spec_of

BAKE: dict[str, Any] = {"decision": {"bake": "1h"}}
HOUR = timedelta(hours=1)
SINCE = "2026-03-01T12:00:00Z"
FRESH = ABExperimentStatus()


def _decided(**changes: Any) -> tuple[ObservedExperiment, Record]:
    """Return one in which `b` has won, and its record."""
    status = decide(seen_of(spec_of(**BAKE), counted(3.0, 4.0, 3.0)), NOW).status
    record = seen_of(spec_of()).record
    assert record is not None
    record = replace(record, decision=status.decision)
    known: dict[str, Any] = {"previous": status, "record": record, "route": WON}
    return seen_of(changes.pop("spec", spec_of(**BAKE)), **known | changes), record


def _baking(**changes: Any) -> ObservedExperiment:
    """Return one whose winner got the traffic just now."""
    status = decide(_decided()[0], NOW).status
    assert status.baking_since == SINCE
    return _decided(**{"previous": status} | changes)[0]


def test_a_decision_is_kept_open_and_the_winner_bakes() -> None:
    verdict = decide(seen_of(spec_of(**BAKE), counted(3.0, 4.0, 3.0)), NOW)
    assert verdict.status.decision is not None
    assert (verdict.status.phase, condition(verdict.status, "Decided")) == ("Baking", ("True", "Baking"))
    assert verdict.apply == (KeepDecision(verdict.status.decision, closes=False),)
    for spec in (spec_of(), spec_of(decision={"bake": "0s"})):
        assert decide(seen_of(spec, counted(3.0, 4.0, 3.0)), NOW).status.phase == "Promoted", "as it was before"
    lost = decide(seen_of(spec_of(**BAKE), counted(4.0, 3.0, 3.0)), NOW).status
    told = decide(seen_of(spec_of(decision={"bake": "1h", "mode": "Observe"}), counted(3.0, 4.0, 3.0)), NOW).status
    assert (lost.phase, told.phase) == ("RolledBack", "Observed")


@pytest.mark.parametrize(
    ("route", "told"),
    [
        (SPLIT, "the time begins when clients get ModelVersion m-2"),
        (replace(WON, split_by={"u": 0}), "the time begins when clients get ModelVersion m-2"),
        (replace(WON, arrival=Arrival(ARRIVED.stamp, 1, ("r",))), "has not applied generation 1"),
        (replace(SPLIT, awaited=Awaited("m-2", 1, 4, NOW)), "1 of 4 pods answer"),
    ],
)
def test_the_time_begins_once_all_routers_lead_everybody_to_the_winner(route: RouteSeen, told: str) -> None:
    status = decide(_decided(route=route)[0], NOW).status
    assert (status.phase, status.baking_since, condition(status, "Baked")) == (
        "Baking",
        None,
        ("False", "RouterBehind"),
    )
    baked = status.condition("Baked")
    assert baked is not None
    assert told in baked.message


def test_production_follows_when_the_time_is_over_and_no_earlier() -> None:
    seen = _baking()
    early = decide(seen, NOW + HOUR - timedelta(seconds=2))
    assert (early.status.phase, early.effects, early.again) == ("Baking", (), 2.0)
    over = decide(seen, NOW + HOUR)
    assert (over.status.phase, over.effects, over.apply) == ("Promoted", (), ())
    assert condition(over.status, "Baked") == ("True", "Baked")
    led = RouteSeen(default="m-2", arrival=ARRIVED)
    moved = decide(replace(seen, previous=over.status, route=led), NOW + HOUR)
    assert [type(effect) for effect in moved.effects] == [RecordDecision, MoveAlias]
    for uid in ("u", "u-bake"):
        waits = decide(replace(seen, previous=over.status, route=replace(led, split_by={uid: 0})), NOW + HOUR)
        assert waits.effects == (), "first all routers have to send everybody there"


def test_whoever_aborts_meanwhile_returns_everybody_for_good_without_mlflow() -> None:
    aborted = spec_of(**BAKE, abort=True)
    seen = _baking(spec=aborted, registry_problem="MLflow is down", generation=2)
    verdict = decide(seen, NOW + HOUR * 2)
    (kept,) = verdict.apply
    assert isinstance(kept, KeepReturn)
    assert (kept.returned.outcome, verdict.effects) == ("Aborted", ())
    assert (verdict.status.phase, verdict.status.reason) == ("Aborted", "Aborted")
    assert {variant.name: variant.weight for variant in verdict.status.variants} == {"a": 3, "b": 0, "c": 0}
    assert seen.record is not None
    record = replace(seen.record, returned=kept.returned, is_closed=True)
    unwritten = seen.previous.having(observed_generation=2)
    for previous in (verdict.status, seen.previous, unwritten, FRESH):  # not written, or lost
        for spec in (aborted, spec_of(**BAKE)):
            after = replace(seen, spec=spec, previous=previous, record=record, remembered=record.content)
            again = decide(replace(after, registry_problem=""), NOW + HOUR * 3)
            assert (again.status.phase, again.apply, again.effects) == ("Aborted", (), ())
            assert again.progress == "Settled"


@pytest.mark.parametrize(
    ("production", "alias", "effects"),
    [("2", ("False", "Moving"), 0), ("3", ("False", "HeldByAnother"), 0), ("9", ("False", "HeldByAnother"), 0)],
)
def test_a_person_who_moves_production_meanwhile_ends_the_bake_and_is_respected(
    production: str, alias: tuple[str, str], effects: int
) -> None:
    over = decide(_baking(production=production), NOW).status
    assert (over.phase, condition(over, "Baked")) == ("Promoted", ("True", "Baked"))
    followed = decide(_baking(production=production, previous=over), NOW)
    assert (condition(followed.status, "AliasMoved"), len(followed.effects)) == (alias, effects)


def test_what_has_the_winner_s_name_and_was_not_compared_ends_the_bake_and_gets_nothing() -> None:
    seen = _baking()
    other = replace(seen.variants["b"], digest="sha256:other", ready=False)
    anew = replace(seen, variants={**seen.variants, "b": other})
    over = decide(anew, NOW).status
    assert (over.phase, condition(over, "Baked")) == ("Promoted", ("False", "VersionReplaced"))
    followed = decide(replace(anew, previous=over), NOW)
    assert (condition(followed.status, "AliasMoved"), followed.effects) == (("False", "VersionReplaced"), ())
    assert is_followed(followed.status), "so nobody is led to it"


def test_where_the_status_was_lost_the_bake_begins_anew_and_nothing_is_decided_anew() -> None:
    seen, record = _decided(previous=FRESH)
    verdict = decide(seen, NOW + HOUR * 5)
    assert (verdict.status.phase, verdict.status.decision) == ("Baking", record.decision)
    assert verdict.status.baking_since == "2026-03-01T17:00:00Z"
    closed = replace(seen, record=replace(record, is_closed=True), production="2")
    assert decide(closed, NOW + HOUR * 5).status.phase == "Promoted", "it was over"


def test_a_spec_that_changes_once_it_was_promoted_does_not_begin_it_again() -> None:
    over = decide(_baking(), NOW + HOUR).status
    for spec in (spec_of(**BAKE), spec_of(**BAKE, abort=True)):
        later = decide(_baking(previous=over, generation=2, spec=spec), NOW + HOUR)
        assert (later.status.phase, later.apply) == ("Promoted", ()), "it is too late to return"


def test_an_abort_returns_nobody_to_a_control_that_somebody_has_taken_production_from() -> None:
    verdict = decide(_baking(spec=spec_of(**BAKE, abort=True), production="3", generation=2), NOW)
    baked = verdict.status.condition("Baked")
    assert verdict.status.phase == "Promoted"
    assert baked is not None
    assert "was moved to version 3 meanwhile" in baked.message
    assert not any(isinstance(kept, KeepReturn) for kept in verdict.apply)


def test_a_return_of_which_another_build_knows_the_cause_stands() -> None:
    seen, record = _decided(previous=FRESH)
    returned = replace(record, returned=Returned("Unheard", "errors rose"), is_closed=True)
    verdict = decide(replace(seen, record=returned, remembered=returned.content), NOW)
    assert (verdict.status.phase, verdict.apply, verdict.effects) == ("RolledBack", (), ())


def _silent(seen: ObservedExperiment, *variants: str, is_there: bool = True) -> ObservedExperiment:
    """Return one whose variants do not answer."""
    found = {name: replace(seen.variants[name], ready=False) for name in variants}
    gone = {name: VariantSeen(None, ready=False) for name in variants}
    return replace(seen, variants={**seen.variants, **(found if is_there else gone)})


@pytest.mark.parametrize(
    ("is_there", "reason", "message"),
    [
        (True, "VersionNotReady", "ModelVersion m-2 does not answer; the control answers in its place"),
        (False, "VersionNotFound", "there is no ModelVersion m-2; the control answers in its place"),
    ],
)
def test_a_winner_that_does_not_answer_for_30_s_while_it_bakes_returns_everybody_without_mlflow(
    is_there: bool, reason: str, message: str
) -> None:
    seen = _silent(_baking(registry_problem="MLflow is down"), "b", is_there=is_there)
    waits = decide(seen, NOW).status
    found = waits.condition("VariantsReady")
    assert found is not None
    assert (waits.phase, found.status, found.reason, found.message) == ("Baking", "False", reason, message)
    seen = replace(seen, previous=waits)
    young = decide(seen, NOW + timedelta(seconds=29))
    assert (young.status.phase, young.apply) == ("Baking", ())
    verdict = decide(replace(seen, previous=young.status), NOW + timedelta(seconds=30))
    (kept,) = verdict.apply
    told = "b did not answer for 30 s while it baked, so everybody returned to the control"
    assert kept == KeepReturn(Returned("WinnerLost", told)), "kept before it is told"
    assert (verdict.status.phase, verdict.status.reason, verdict.effects) == ("RolledBack", "WinnerLost", ())
    assert {variant.name: variant.weight for variant in verdict.status.variants} == {"a": 3, "b": 0, "c": 0}
    for kind, stands in (("Baked", "False"), ("VariantsReady", "False"), ("Decided", "True")):
        assert condition(verdict.status, kind) == (stands, "WinnerLost")
    assert seen.record is not None
    record = replace(seen.record, returned=kept.returned, is_closed=True)
    for previous in (verdict.status, young.status, FRESH):  # not written, or lost
        after = replace(seen, previous=previous, record=record, remembered=record.content, registry_problem="")
        again = decide(replace(after, variants=_baking().variants), NOW + HOUR * 3)
        assert (again.status.phase, again.apply, again.effects) == ("RolledBack", (), ())
        assert condition(again.status, "Decided") == ("True", "WinnerLost")
    lost = replace(seen, previous=verdict.status, generation=2)
    again = decide(lost, NOW + HOUR)
    assert again.apply == (kept,), "the status alone tells of it, and goes on telling why"
    assert condition(again.status, "Decided") == ("True", "WinnerLost")


def test_a_winner_that_answers_again_in_time_goes_on_baking() -> None:
    status = decide(_silent(_baking(), "b"), NOW).status
    back = decide(_baking(previous=status), NOW + timedelta(seconds=29)).status
    assert (back.phase, condition(back, "VariantsReady")) == ("Baking", ("True", "AllReady"))
    status = decide(_silent(_baking(previous=back), "b"), NOW + timedelta(seconds=31)).status
    assert decide(_silent(_baking(previous=status), "b"), NOW + timedelta(seconds=60)).status.phase == "Baking"
    assert decide(_silent(_baking(previous=status), "b"), NOW + timedelta(seconds=61)).status.phase == "RolledBack"


def test_nobody_returns_to_a_control_that_does_not_answer_either() -> None:
    status = decide(_silent(_baking(), "a", "b"), NOW).status
    assert condition(status, "VariantsReady") == ("Unknown", "VersionNotReady")
    later = decide(_silent(_baking(previous=status), "a", "b"), NOW + HOUR / 2).status
    assert later.phase == "Baking"
    alone = decide(_silent(_baking(previous=later), "b"), NOW + HOUR / 2).status
    assert (alone.phase, condition(alone, "VariantsReady")) == ("Baking", ("False", "VersionNotReady"))
    over = decide(_silent(_baking(previous=alone), "b"), NOW + HOUR / 2 + timedelta(seconds=30)).status
    assert over.phase == "RolledBack"


@pytest.mark.parametrize("variant", ["a", "c"])
def test_only_a_winner_that_does_not_answer_returns_anybody(variant: str) -> None:
    status = decide(_silent(_baking(), variant), NOW).status
    assert decide(_silent(_baking(previous=status), variant), NOW + HOUR / 2).status.phase == "Baking"


def test_production_goes_to_no_winner_that_does_not_answer_as_the_time_ends() -> None:
    waits = decide(_silent(_baking(), "b"), NOW + HOUR).status
    assert (waits.phase, condition(waits, "Baked")) == ("Baking", ("False", "VersionNotReady"))
    assert decide(_baking(previous=waits), NOW + HOUR + timedelta(seconds=5)).status.phase == "Promoted"
    later = decide(_silent(_baking(previous=waits), "b"), NOW + HOUR + timedelta(seconds=30)).status
    assert later.phase == "RolledBack"


@pytest.mark.parametrize(("route", "phase"), [(SPLIT, "Baking"), (WON, "RolledBack")])
def test_a_winner_that_has_no_traffic_yet_is_waited_for(route: RouteSeen, phase: str) -> None:
    behind = replace(route, arrival=Arrival(ARRIVED.stamp, 1, ("r",)))
    status = decide(_silent(_decided(route=behind)[0], "b"), NOW).status
    assert status.baking_since is None
    later = decide(_silent(_decided(route=behind, previous=status)[0], "b"), NOW + HOUR).status
    assert later.phase == phase, "also while some routers are yet to lead to it"


@pytest.mark.parametrize(
    ("changes", "phase"), [({"production": "3"}, "Promoted"), ({"spec": spec_of(**BAKE, abort=True)}, "Aborted")]
)
def test_what_people_want_comes_before_a_winner_that_does_not_answer(changes: dict[str, Any], phase: str) -> None:
    status = decide(_silent(_baking(), "b"), NOW).status
    assert decide(_silent(_baking(previous=status, **changes), "b"), NOW + HOUR / 2).status.phase == phase


GUARDED: dict[str, Any] = {
    **BAKE,
    "metrics": {
        "primary": {"name": "rating"},
        "guardrails": [{"name": "errors", "source": "Errors", "maxRegressionPercent": 10}],
    },
}
KEEPS, FAILS = failures((100, 2), (900, 18)), failures((100, 0), (900, 200))


def _guarded(**changes: Any) -> ObservedExperiment:
    """Return one that bakes and has a guardrail."""
    spec = changes.pop("spec", spec_of(**GUARDED))
    seen = _baking(spec=spec, **changes)
    assert seen.record is not None
    record = replace(seen.record, terms=terms_of(spec_of(**GUARDED)))
    return replace(seen, record=record, remembered=record.content)


def test_a_winner_that_fails_while_it_bakes_returns_everybody_at_once_without_mlflow() -> None:
    seen = _guarded(baked=FAILS, registry_problem="MLflow is down")
    verdict = decide(seen, NOW)
    (kept,) = verdict.apply
    assert isinstance(kept, KeepReturn), "kept before it is told"
    assert (kept.returned.outcome, verdict.effects, verdict.again) == ("GuardrailBreach", (), 0.0)
    assert kept.returned.reason == (
        "b was shown to be beyond errors while it baked (Errors 0.222, the control's 0, where at most 1.1 times the "
        "control's is allowed), so everybody returned to the control"
    )
    assert (verdict.status.phase, verdict.status.reason) == ("RolledBack", "GuardrailBreach")
    assert {variant.name: variant.weight for variant in verdict.status.variants} == {"a": 3, "b": 0, "c": 0}
    for kind, stands in (("Baked", "False"), ("GuardrailsHealthy", "False"), ("Decided", "True")):
        assert condition(verdict.status, kind) == (stands, "GuardrailBreach")
    assert seen.record is not None
    record = replace(seen.record, returned=kept.returned, is_closed=True)
    for previous in (verdict.status, seen.previous, FRESH):  # not written, or lost
        after = replace(seen, previous=previous, record=record, remembered=record.content, baked=KEEPS)
        again = decide(replace(after, registry_problem=""), NOW + HOUR * 3)
        assert (again.status.phase, again.apply, again.effects) == ("RolledBack", (), ())
        assert condition(again.status, "Decided") == ("True", "GuardrailBreach")


@pytest.mark.parametrize(
    ("changes", "phase"),
    [({"baked": FAILS}, "RolledBack"), ({"spec": spec_of(**GUARDED, abort=True)}, "Aborted")],
)
def test_nobody_is_led_again_to_a_winner_that_was_returned_from_where_the_status_alone_tells_of_it(
    changes: dict[str, Any], phase: str
) -> None:
    """The record was lost before MLflow had heard of the return; a change of the spec has all of it told anew."""
    seen = _guarded(**changes)
    returned = decide(seen, NOW).status
    later = decide(replace(seen, previous=returned, generation=2, baked=KEEPS), NOW)
    assert (returned.phase, later.status.phase, later.effects) == (phase, phase, ())
    decided = returned.condition("Decided")
    assert decided is not None
    outcome = "Aborted" if phase == "Aborted" else "GuardrailBreach"
    assert later.apply == (KeepReturn(Returned(outcome, decided.message)),), "so that no status has to tell of it"
    assert later.status.variants == returned.variants
    before, after = returned.condition("Decided"), later.status.condition("Decided")
    assert before is not None
    assert after == before.model_copy(update={"observed_generation": 2})


@pytest.mark.parametrize(
    "changes",
    [
        {"baked": KEEPS},
        {"baked": None},
        {"baked": failures((0, 0), (0, 0))},
        {"baked": FAILS, "stored": Stored("r", NOW - timedelta(minutes=6), NOW)},
        {"baked": FAILS, "stored": None},
    ],
)
def test_a_winner_that_is_not_shown_to_fail_goes_on_baking(changes: dict[str, Any]) -> None:
    verdict = decide(_guarded(**changes), NOW)
    assert (verdict.status.phase, verdict.apply, verdict.effects) == ("Baking", (), ())
    assert verdict.again is not None
    assert verdict.again <= 5
    is_fresh = changes == {"baked": KEEPS} or changes["baked"] == failures((0, 0), (0, 0))
    assert (condition(verdict.status, "DataFresh")[0] == "True") is is_fresh


def test_a_breach_counts_before_all_routers_lead_to_the_winner_and_at_the_last_look() -> None:
    begun = _guarded(baked=FAILS, route=replace(WON, arrival=Arrival(ARRIVED.stamp, 1, ("r",))))
    young = replace(begun, previous=begun.previous.having(baking_since=None))
    assert decide(young, NOW).status.phase == "RolledBack"
    assert decide(_guarded(baked=FAILS), NOW + HOUR).status.phase == "RolledBack"


def test_a_person_who_moved_production_has_the_last_word_whatever_the_guardrails_say() -> None:
    verdict = decide(_guarded(baked=FAILS, production="2"), NOW)
    assert (verdict.status.phase, verdict.apply) == ("Promoted", ())


def test_at_its_end_the_numbers_are_waited_for_and_not_for_ever() -> None:
    seen = _guarded(baked=None)
    waits = decide(seen, NOW + HOUR)
    assert (waits.status.phase, condition(waits.status, "Baked")) == ("Baking", ("False", "RecorderSilent"))
    assert decide(seen, NOW + HOUR + timedelta(minutes=10)).status.phase == "Promoted"
    assert decide(replace(seen, baked=KEEPS), NOW + HOUR).status.phase == "Promoted"
    plain = _baking(baked=None)
    assert decide(plain, NOW + HOUR).status.phase == "Promoted", "without guardrails nobody asks"


@pytest.mark.parametrize(("percent", "shares"), [(10, (1000, 9000)), (50, (3333, 6667))])
def test_the_winner_is_held_against_the_buckets_that_stay_with_the_control(
    percent: int, shares: tuple[int, int]
) -> None:
    spec = spec_of(**{**GUARDED, "decision": {"bake": "1h", "bakeHoldbackPercent": percent}})
    terms = terms_while_baking(terms_of(spec), spec)
    assert (terms.shares, terms.control, len(terms.guardrails)) == (shares, 0, 1)
    # as many failures of each bucket are no breach: of 1000 and 9000 buckets 9 times as many
    for baked, phase in (
        (failures((1000, 100), (9000, 900)), "Baking"),
        (failures((100, 1), (900, 300)), "RolledBack"),
    ):
        assert decide(_guarded(baked=baked), NOW).status.phase == phase


@pytest.mark.parametrize("bake", [{"bake": "1h"}, {}])
@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({}, "RolledBack"),
        ({"registry_problem": "MLflow is down"}, "RolledBack"),
        ({"stored": Stored("r", NOW - timedelta(minutes=6), NOW)}, "goes on"),
        ({"observations": None}, "goes on"),
        ({"production": "3"}, "Promoted"),
        ({"route": WON}, "goes on"),
    ],
)
def test_a_winner_is_watched_while_it_waits_for_pods_for_all_users(
    bake: dict[str, str], changes: dict[str, Any], phase: str
) -> None:
    """Users are split as before the verdict, and counted; no more once routers lead them to it."""
    wanted, (_, record) = spec_of(**{**GUARDED, "decision": bake}), _decided()
    record = replace(record, terms=terms_of(wanted))
    route = replace(SPLIT, awaited=Awaited("m-2", 1, 4, NOW))
    known: dict[str, Any] = {"previous": FRESH, "record": record, "remembered": record.content, "route": route}
    counts = replace(counted(3.0, 4.0, 3.0), guards=failures((200, 0), (200, 0), (200, 0)))
    seen = seen_of(wanted, counts, **known)
    calm, goes_on = decide(seen, NOW), "Baking" if bake else "Promoted"
    assert (calm.status.phase, calm.apply) == (goes_on, ())
    fails = replace(counts, guards=failures((200, 0), (200, 150), (200, 0)))
    failing = replace(seen, previous=calm.status, **{"observations": fails} | changes)
    later = decide(failing, NOW)
    assert later.status.phase == (goes_on if phase == "goes on" else phase)
    if phase != "RolledBack":
        assert not any(isinstance(kept, KeepReturn) for kept in later.apply)
        return
    (kept,) = later.apply
    assert isinstance(kept, KeepReturn)
    assert kept.returned.reason.startswith("b was shown to be beyond errors before it had the traffic (")
    assert later.effects == ()
    assert later.status.condition("AliasMoved") is None
    assert (later.status.condition("Baked") is not None) is bool(bake)
    returned = replace(record, returned=kept.returned, is_closed=True)
    for previous in (later.status, calm.status, FRESH):  # not written, or lost
        after = replace(failing, previous=previous, record=returned, remembered=returned.content, registry_problem="")
        again = decide(after, NOW)
        assert (again.status.phase, again.apply, again.effects) == ("RolledBack", (), ())


def test_nothing_is_judged_by_a_later_rule_after_the_verdict_and_that_is_said() -> None:
    seen = _guarded(baked=FAILS)
    assert seen.record is not None
    assert seen.record.terms is not None
    record = replace(seen.record, terms=replace(seen.record.terms, rule=99))
    later = replace(seen, record=record, remembered=record.content)
    verdict = decide(later, NOW + HOUR)
    healthy, baked = verdict.status.condition("GuardrailsHealthy"), verdict.status.condition("Baked")
    assert (verdict.status.phase, verdict.apply, verdict.effects) == ("Baking", (), ())
    assert healthy is not None
    assert healthy.message.startswith("it began by rule 99 of another build")
    assert baked is not None
    assert "the time is over, and what was counted is waited for: it began by rule 99" in baked.message
    assert decide(later, NOW + HOUR + timedelta(minutes=10)).status.phase == "Promoted", "not for ever"


UNHEARD: dict[str, Any] = {
    "record": None,
    "remembered": None,
    "is_heard": False,
    "registry_problem": "MLflow was not heard yet",
}


@pytest.mark.parametrize(
    ("changes", "phase", "outcome"),
    [
        ({"baked": FAILS}, "RolledBack", "GuardrailBreach"),
        ({"spec": spec_of(**GUARDED, abort=True)}, "Aborted", "Aborted"),
    ],
)
def test_everybody_returns_at_once_where_the_record_is_lost_and_mlflow_away_and_the_record_follows(
    changes: dict[str, Any], phase: str, outcome: str
) -> None:
    seen = _guarded(**changes)
    lost = replace(seen, **UNHEARD)
    returned = decide(lost, NOW)
    assert (returned.status.phase, returned.apply, returned.effects) == (phase, (), ())
    assert condition(returned.status, "Tracked") == ("False", "RegistryUnreachable")
    assert {variant.name: variant.weight for variant in returned.status.variants} == {"a": 3, "b": 0, "c": 0}
    still = decide(replace(lost, previous=returned.status), NOW + HOUR)
    assert (still.status.phase, still.apply) == (phase, ())
    remembered = decide(replace(seen, previous=returned.status, record=None), NOW + HOUR)
    assert [type(one) for one in remembered.apply] == [KeepStart]
    (kept,) = decide(replace(seen, previous=remembered.status, baked=KEEPS), NOW + HOUR).apply
    assert isinstance(kept, KeepReturn)
    assert kept.returned.outcome == outcome


def test_a_winner_that_does_not_answer_returns_everybody_where_the_record_is_lost_and_mlflow_away() -> None:
    lost = replace(_silent(_baking(), "b"), **UNHEARD)
    waits = decide(lost, NOW).status
    assert (waits.phase, condition(waits, "VariantsReady")) == ("Baking", ("False", "VersionNotReady"))
    returned = decide(replace(lost, previous=waits), NOW + timedelta(seconds=30))
    assert (returned.status.phase, returned.apply, returned.effects) == ("RolledBack", (), ())
    assert condition(returned.status, "Decided") == ("True", "WinnerLost")
    back = decide(_baking(previous=returned.status), NOW + HOUR)
    (kept,) = back.apply
    assert isinstance(kept, KeepReturn)
    assert (kept.returned.outcome, back.status.phase) == ("WinnerLost", "RolledBack")


@pytest.mark.parametrize("baked", [KEEPS, None])
def test_a_record_that_is_lost_while_a_winner_bakes_is_not_made_anew_before_mlflow_was_heard(
    baked: Guards | None,
) -> None:
    seen = _guarded(baked=baked)
    waits = decide(replace(seen, **UNHEARD), NOW + HOUR * 2)
    assert (waits.status.phase, waits.apply, waits.effects) == ("Baking", (), ())
    tracked = waits.status.condition("Tracked")
    assert tracked is not None
    assert tracked.message.startswith("its record was lost, and MLflow was not heard yet")
    heard = decide(replace(seen, previous=waits.status, record=None, remembered=None), NOW)
    assert [type(one) for one in heard.apply] == [KeepStart], "it was heard, and has none"
