"""A breach is acted on at once, whatever else is wrong; and nobody is promoted who is not shown to keep within."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus
from anneal_operator.decide.ab_experiment import decide
from anneal_operator.decide.acknowledgement import Arrival, RouteSeen
from anneal_operator.decide.experiment_guardrails import with_dropped
from anneal_operator.decide.experiment_terms import terms_of
from anneal_operator.decide.observed_experiment import (
    ExperimentVerdict,
    KeepDecision,
    KeepLatches,
    KeepRecommendation,
    ObservedExperiment,
    Pin,
    Record,
    Stored,
    VariantSeen,
)
from anneal_operator.decide.statistics.guardrails import breach
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import Counts
from serving_runtime.plan import Stamp
from tests.support.counted import PARTS, failures, sums_of

from .contested import counted, seen_of, spec_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STARTED = "2026-03-01T11:59:50Z"
ERRORS: dict[str, Any] = {"name": "errors", "source": "Errors", "max": 0.05}


def _spec(names: str = "ab", **changes: Any) -> ABExperimentSpec:
    spec = {
        "modelName": "m",
        "control": "a",
        "variants": [{"name": name, "modelVersionRef": {"name": f"m-{name}"}, "weight": 50} for name in names],
        "metrics": {"primary": {"name": "rating"}, "guardrails": [ERRORS]},
        "stopping": {"minUsersPerVariant": 100},
    }
    return ABExperimentSpec.parse(spec | changes)


def _seen(spec: ABExperimentSpec, *arms: tuple[int, int], **changes: Any) -> ObservedExperiment:
    """Of each variant the users and those who had a failure; nobody said anything yet."""
    users = tuple(n for n, _ in arms)
    sums = (Sums(),) * len(arms)
    counts = Counts(users, users, (0,) * len(arms), sums, Scale(PARTS), guards=failures(*arms))
    names = [variant.name for variant in spec.variants]
    variants = {name: VariantSeen("m", ready=True, number=name, digest=f"sha256:{name}") for name in names}
    pins = {name: Pin(name, f"sha256:{name}") for name in names}
    seen = ObservedExperiment(
        1,
        spec,
        ABExperimentStatus(phase="Running", started_at=STARTED, observed_generation=1),
        variants,
        uid="u",
        route=RouteSeen(split_by={"u": 0}, arrival=Arrival(Stamp(lineage="2026", generation=1, digest="d"), 2)),
        observations=counts,
        stored=Stored("r", NOW, NOW),
        record=Record(STARTED, terms=terms_of(spec), pins=pins, uid="u"),
    )
    return replace(seen, **changes)


def _next(seen: ObservedExperiment) -> ExperimentVerdict:
    return decide(seen, NOW)


def _followed(seen: ObservedExperiment, verdict: ExperimentVerdict) -> ObservedExperiment:
    """What is there once a verdict was brought about."""
    record = seen.record
    assert record is not None
    for intent in verdict.apply:
        if isinstance(intent, KeepLatches):
            record = replace(record, latches=intent.latches)
        if isinstance(intent, KeepDecision):
            record = replace(record, decision=intent.decision)
    return replace(seen, previous=verdict.status, record=record)


def _condition(status: ABExperimentStatus, kind: str = "GuardrailsHealthy") -> tuple[str, str]:
    found = status.condition(kind)
    return (found.status, found.reason) if found else ("", "")


FAILS = ((20, 0), (20, 20))
AWAY = {name: VariantSeen("m", ready=name == "a", number=name, digest=f"sha256:{name}") for name in "ab"}


@pytest.mark.parametrize(
    ("spec", "changes"),
    [
        (_spec(), {}),
        (_spec(decision={"mode": "Observe"}), {}),
        (_spec(stopping={"method": "FixedHorizon"}), {}),
        # whatever else is wrong
        (_spec(), {"registry_problem": "MLflow is down", "is_heard": False}),
        (_spec(), {"variants": AWAY}),
        (_spec(), {"route": RouteSeen(split_by={"u": 0})}),
        (_spec(stopping={"minDuration": "1s", "maxDuration": "10s"}), {}),
    ],
)
def test_a_challenger_that_fails_is_out_at_the_first_look(spec: ABExperimentSpec, changes: dict[str, Any]) -> None:
    seen = _seen(spec, *FAILS, **changes)
    found = _next(seen)
    assert found.apply == (KeepLatches(frozenset({breach("errors", 1)})),), "kept before anything follows from it"
    assert (found.status.dropped, found.again) == (["b"], 0.0)
    assert _condition(found.status) == ("False", "GuardrailBreach")
    ended = _next(_followed(seen, found))
    (kept,) = ended.apply
    assert isinstance(kept, KeepDecision)
    assert (kept.decision.outcome, kept.decision.winner, kept.closes) == ("GuardrailBreach", "a", True)
    assert kept.decision.rule == "guardrail-0.95"
    assert kept.decision.reason == (
        "b was shown to be beyond errors: Errors 1, the control's 0, where at most 0.05 is allowed"
    )
    assert (ended.status.phase, ended.status.reason) == ("RolledBack", "GuardrailBreach")
    assert [one.weight for one in ended.status.variants] == [100, 0]
    assert not [effect for effect in ended.effects if type(effect).__name__ == "MoveAlias"]


def test_a_running_experiment_is_looked_at_often_enough_to_return_users_within_a_minute() -> None:
    """A look, and the two steps that follow at once; routers have a new table within seconds of its being written."""
    running = _next(_seen(_spec(), (20, 0), (20, 0)))
    assert running.again is not None
    assert running.again <= 10
    for seen in (_seen(_spec(), (20, 0), (20, 0), variants=AWAY), _seen(_spec(), (0, 0), (0, 0), observations=None)):
        waits = _next(seen).again
        assert waits is not None
        assert waits <= 10


@pytest.mark.parametrize(
    "stored", [None, Stored("r", NOW - timedelta(minutes=6), NOW), Stored("r", None, NOW - timedelta(minutes=6))]
)
def test_numbers_that_are_not_fresh_show_no_breach(stored: Stored | None) -> None:
    found = _next(_seen(_spec(), *FAILS, stored=stored))
    assert found.apply == ()
    assert found.status.dropped is None
    assert _condition(found.status) == ("Unknown", "GuardrailsNotShown"), "nor is one told: its users go on to it"
    assert found.status.variants[1].guardrails[0].state == "NotShown"


def test_of_several_challengers_one_is_dropped_and_the_rest_goes_on() -> None:
    seen = _seen(_spec("abc"), (30, 0), (30, 30), (30, 0))
    found = _next(seen)
    assert (found.status.phase, found.status.dropped) == ("Running", ["b"])
    assert [one.weight for one in found.status.variants] == [100, 0, 50], "the control has its users, too"
    (b,) = found.status.variants[1].guardrails
    assert (b.name, b.state, b.value) == ("errors", "Breached", 1.0)
    assert found.status.variants[0].guardrails == []
    after = _followed(seen, found)
    nobody = replace(after, variants={**after.variants, "b": VariantSeen(None, ready=False)})
    again = _next(nobody)
    assert (again.status.phase, again.apply) == ("Running", ()), "nothing hangs on its version any more"
    assert _condition(again.status, "VariantsReady") == ("True", "AllReady")
    anew = VariantSeen("m", ready=True, number="9", digest="sha256:other")
    assert _next(replace(after, variants={**after.variants, "b": anew})).status.phase == "Running"
    worse = replace(after, observations=_seen(_spec("abc"), (30, 0), (30, 30), (60, 60)).observations)
    last = _next(_followed(worse, _next(worse)))
    assert (last.status.phase, last.status.dropped) == ("RolledBack", ["b", "c"])


def test_who_was_dropped_is_compared_no_more_as_its_users_get_the_control_s_answers() -> None:
    measured = {"primary": {"name": "failing", "source": "Errors"}, "guardrails": [ERRORS]}
    seen = _seen(_spec("abc", metrics=measured), (200, 0), (200, 200), (200, 0))
    found = _next(seen)
    again = _next(_followed(seen, found))
    for status, has_lift in ((found.status, [False, True, True]), (again.status, [False, False, True])):
        told = [one.metrics[0] for one in status.variants]
        assert [one.users for one in told] == [200] * 3
        assert [one.lift is not None and one.p_value is not None for one in told] == has_lift


def _better(spec: ABExperimentSpec, *arms: tuple[int, int], **changes: Any) -> ObservedExperiment:
    seen = _seen(spec, *arms)
    assert seen.observations is not None
    sums = (sums_of(1000, 3.0, 999.0), sums_of(1000, 4.0, 999.0))
    counts = replace(seen.observations, sums=sums, **changes)
    record = Record("2026-02-26T12:00:00Z", terms=terms_of(spec), pins=seen.record.pins if seen.record else {}, uid="u")
    return replace(seen, observations=counts, record=record)


@pytest.mark.parametrize(
    ("arms", "changes", "condition", "phase"),
    [
        (((1000, 5), (1000, 5)), {}, ("True", "GuardrailsKept"), "Promoted"),
        (((1000, 5), (1000, 45)), {}, ("Unknown", "GuardrailsNotShown"), "Running"),
        (((1000, 5), (1000, 5)), {"guards": None}, ("Unknown", "GuardrailsUnknown"), "Running"),
    ],
)
def test_nobody_is_promoted_who_is_not_shown_to_keep_within(
    arms: tuple[tuple[int, int], ...], changes: dict[str, Any], condition: tuple[str, str], phase: str
) -> None:
    status = _next(_better(_spec(), *arms, **changes)).status
    assert (status.phase, _condition(status)) == (phase, condition)
    told = status.condition("GuardrailsHealthy")
    assert told is not None
    if condition[1] == "GuardrailsNotShown":
        assert "b: errors" in told.message
        assert [(one.name, one.state, one.value) for one in status.variants[1].guardrails] == [
            ("errors", "NotShown", 0.045)
        ]
        bound = status.variants[1].guardrails[0].bound
        assert bound is not None
        assert bound > 0.05
    if condition[1] == "GuardrailsUnknown":
        assert "does not tell what Errors are judged by" in told.message


def test_the_end_of_the_maximum_duration_names_the_guardrail_that_was_missing() -> None:
    spec = _spec(stopping={"minUsersPerVariant": 100, "maxDuration": "48h"})
    decision = _next(_better(spec, (1000, 5), (1000, 45))).status.decision
    assert decision is not None
    assert decision.outcome == "Inconclusive"
    assert "not shown yet to be kept" in decision.reason
    assert "b: errors" in decision.reason


def test_a_fixed_horizon_tells_no_numbers_of_guardrails_before_its_look() -> None:
    spec = _spec(stopping={"method": "FixedHorizon", "minUsersPerVariant": 5000})
    (found,) = _next(_better(spec, (1000, 5), (1000, 5))).status.variants[1].guardrails
    assert (found.state, found.value, found.ratio, found.bound) == ("NotShown", None, None, None)


@pytest.mark.parametrize(
    ("failed", "shown"), [(5, ("True", "GuardrailsKept")), (45, ("Unknown", "GuardrailsNotShown"))]
)
def test_nor_whether_they_are_shown_to_be_kept(failed: int, shown: tuple[str, str]) -> None:
    """One may be on the very number that decides."""
    spec = _spec(stopping={"method": "FixedHorizon", "minUsersPerVariant": 100})
    before = _next(_seen(spec, (1000, 5), (1000, failed))).status
    told = before.condition("GuardrailsHealthy")
    assert told is not None
    assert (told.status, told.message) == (
        "Unknown",
        "no breach; how far challengers keep within the guardrails is told with the one look",
    )
    assert _condition(_next(_better(spec, (1000, 5), (1000, failed))).status) == shown


def test_an_experiment_without_guardrails_says_nothing_of_them() -> None:
    plain = _spec(metrics={"primary": {"name": "rating"}})
    status = _next(_seen(plain, *FAILS)).status
    assert (_condition(status), status.dropped, status.variants[1].guardrails) == (("", ""), None, [])


def test_one_that_began_before_there_were_guardrails_is_judged_as_it_began() -> None:
    began = Record(STARTED, terms=terms_of(_spec(metrics={"primary": {"name": "rating"}})), uid="u")
    assert _next(_seen(_spec(), *FAILS, record=began)).apply == ()


def test_who_was_dropped_is_known_from_the_record_where_the_status_was_lost() -> None:
    lost = with_dropped(_spec("abc"), ABExperimentStatus(), frozenset({breach("errors", 2), "response"}))
    assert lost.dropped == ["c"]
    assert with_dropped(_spec("abc"), lost, frozenset({breach("latency", 1)})).dropped == ["c", "b"]


def test_who_was_dropped_stays_so_where_the_record_was_made_anew_without_it() -> None:
    """MLflow had not heard of it, either; and whose users get the control's answers looks well again."""
    seen = _seen(_spec("abc"), *FAILS, (20, 0))
    assert seen.record is not None
    dropped = _next(seen).status
    assert seen.observations is not None
    well = replace(seen.observations, guards=failures((90, 0), (90, 0), (90, 0)))
    verdict = _next(replace(seen, previous=dropped, observations=well))
    assert verdict.apply == (KeepLatches(frozenset({breach("errors", 1)})),)
    assert (verdict.status.dropped, _condition(verdict.status)) == (["b"], ("False", "GuardrailBreach"))


@pytest.mark.parametrize(("names", "ends_as"), [("ab", "RolledBack"), ("abc", "Running")])
def test_one_that_was_recommended_and_approved_is_not_promoted_once_it_fails(names: str, ends_as: str) -> None:
    advice = DecisionStatus(
        outcome="Winner", winner="b", rule="sequence-primary", reason="better", decided_at=STARTED, snapshot="{}"
    )
    spec = _spec(names, decision={"mode": "Recommend", "approve": "b"})
    seen = _seen(spec, *FAILS, *([(20, 0)] if "c" in names else []))
    assert seen.record is not None
    assert seen.observations is not None
    fine = failures(*((20, 0) for _ in spec.variants))
    record = replace(seen.record, recommendation=advice)
    asked = replace(seen, observations=replace(seen.observations, guards=fine), record=record)
    waiting = _next(replace(asked, spec=_spec(names, decision={"mode": "Recommend"}))).status
    assert (waiting.recommended, _condition(waiting, "AwaitingApproval")) == ("b", ("True", "Recommended"))
    seen = replace(seen, previous=waiting, record=replace(seen.record, recommendation=advice))
    dropped = _next(seen)
    assert (dropped.status.dropped, dropped.status.recommended) == (["b"], None)
    assert _condition(dropped.status, "AwaitingApproval") == ("", "")
    ended = _next(_followed(seen, dropped)).status
    assert ended.phase == ends_as
    assert ended.decision.outcome == "GuardrailBreach" if ended.decision else ended.recommended is None


LENIENT = {"primary": {"name": "rating"}, "guardrails": [{"name": "errors", "source": "Errors", "max": 0.5}]}


@pytest.mark.parametrize(
    ("means", "later", "outcome"),
    [
        # c was better at the look, too, and is whatever is said since
        ((3.0, 4.0, 3.8), (3.0, 4.0, 3.0), ("Running", "c")),
        # c was not: that it looks better since is another look
        ((3.0, 4.0, 3.0), (3.0, 4.0, 4.0), ("Inconclusive", None)),
    ],
)
def test_a_fixed_horizon_has_one_look_also_where_its_winner_is_dropped(
    means: tuple[float, ...], later: tuple[float, ...], outcome: tuple[str, str | None]
) -> None:
    spec = spec_of(metrics=LENIENT, decision={"mode": "Recommend"})
    looked = replace(counted(*means), guards=failures((200, 0), (200, 0), (200, 0)))
    seen = seen_of(spec, looked)
    found = decide(seen, NOW)
    (kept,) = found.apply
    assert isinstance(kept, KeepRecommendation)
    assert (kept.recommendation.winner, seen.record is not None) == ("b", True)
    assert seen.record is not None
    record = replace(seen.record, recommendation=kept.recommendation, latches=frozenset({breach("errors", 1)}))
    failing = replace(counted(*later, users=300), guards=failures((300, 0), (300, 300), (300, 0)))
    after = replace(seen, record=record, remembered=record.content, observations=failing, previous=found.status)
    told = decide(after, NOW).status
    assert (told.phase, told.recommended) == outcome
    last = replace(failing, guards=failures((300, 0), (300, 300), (300, 300)), latched=frozenset())
    record = replace(record, latches=record.latches | {breach("errors", 2)})
    ended = decide(replace(after, record=record, remembered=record.content, observations=last), NOW).status
    assert (ended.phase, ended.reason) == ("RolledBack", "GuardrailBreach"), "with nobody left nothing is looked at"
    assert ended.decision is not None
    assert "Errors 1, the control's 0" in ended.decision.reason, "by the numbers that show it"


def test_a_challenger_that_was_dropped_without_a_value_holds_up_nothing() -> None:
    spec = spec_of(metrics=LENIENT, stopping={"method": "Sequential"})
    counts = replace(counted(3.0, 3.0, 3.0), guards=failures((200, 0), (200, 200), (200, 0)), fallbacks=(0, 100, 0))
    counts = replace(counts, sums=(counts.sums[0], Sums(), counts.sums[2]))
    seen = seen_of(spec, counts)
    assert seen.record is not None
    record = replace(seen.record, latches=frozenset({breach("errors", 1)}))
    status = decide(replace(seen, record=record, remembered=record.content), NOW).status
    assert (status.phase, status.dropped) == ("Running", ["b"])
    assert _condition(status, "SampleSufficient") == ("True", "Sufficient")


def test_when_it_is_decided_does_not_wait_for_a_challenger_that_was_dropped() -> None:
    primary = {"name": "rating", "minimumDetectableEffect": 0.1}
    seen = seen_of(spec_of(metrics={**LENIENT, "primary": primary}))
    guards = failures((200, 0), (200, 200), (200, 0))
    counts = replace(counted(3.0, 3.0, 3.0), guards=guards)
    counts = replace(counts, sums=(counts.sums[0], Sums(), counts.sums[2]))
    assert seen.record is not None
    dropped = replace(seen.record, latches=frozenset({breach("errors", 1)}))
    kept = replace(seen, observations=replace(counts, guards=failures((200, 0), (200, 0), (200, 0))))
    for one, is_told in ((kept, False), (replace(seen, observations=counts, record=dropped), True)):
        power = decide(one, NOW).status.power
        assert power is not None
        assert (power.estimated_decision_time is not None) is is_told


def test_what_was_found_of_a_challenger_is_not_told_with_numbers_that_show_it_no_more() -> None:
    """Its users go on being counted, and get the control's answers."""
    seen = _seen(_spec("abc"), (1000, 0), (1000, 30), (1000, 0))
    assert seen.record is not None
    known = replace(seen, record=replace(seen.record, latches=frozenset({breach("errors", 1)})))
    status = _next(known).status
    told = status.condition("GuardrailsHealthy")
    assert told is not None
    assert told.message == "b was shown to be beyond errors: from then on its users get a's answers"
    worse = replace(known, observations=_seen(_spec("abc"), (1000, 0), (1000, 30), (1000, 900)).observations)
    ended = _next(_followed(worse, _next(worse))).status.decision
    assert ended is not None
    assert ended.reason.startswith("c was shown to be beyond errors: Errors 0.9, ")
