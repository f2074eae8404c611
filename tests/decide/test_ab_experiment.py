"""Where an experiment stands, as a table of what was observed."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.conditions import Condition
from anneal_operator.api.model_version import Answered, Cost
from anneal_operator.decide.ab_experiment import decide
from anneal_operator.decide.acknowledgement import Arrival, Awaited, RouteSeen
from anneal_operator.decide.experiment_terms import terms_of
from anneal_operator.decide.observed_experiment import (
    CloseRecord,
    KeepDecision,
    KeepLatches,
    KeepStart,
    MoveAlias,
    ObservedExperiment,
    Pin,
    Record,
    RecordDecision,
    Remember,
    Rival,
    Stored,
    VariantSeen,
)
from anneal_operator.decide.statistics.snapshot import Snapshot
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import RULES, Counts, Terms
from serving_runtime.plan import Stamp
from tests.support.counted import PARTS, sums_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STARTED = "2026-03-01T10:00:00Z"


def _spec(**changes: Any) -> ABExperimentSpec:
    stopping = {"method": "FixedHorizon", "minUsersPerVariant": 100, "minDuration": "1h", "maxDuration": "24h"}
    spec = {
        "modelName": "m",
        "control": "a",
        "variants": [
            {"name": "a", "modelVersionRef": {"name": "m-1"}, "weight": 50},
            {"name": "b", "modelVersionRef": {"name": "m-2"}, "weight": 50},
        ],
        "metrics": {"primary": {"name": "rating"}},
        "stopping": stopping | changes.pop("stopping", {}),
    }
    return ABExperimentSpec.parse(spec | changes)


def _counted(a: tuple[int, float], b: tuple[int, float], spread: float = 1.0, **changes: Any) -> Counts:
    users = (a[0], b[0])
    sums = tuple(sums_of(n, mean, spread * (n - 1)) for n, mean in (a, b))
    return replace(Counts(users, users, (0, 0), sums, Scale(PARTS)), **changes)


NOBODY = Counts((0, 0), (0, 0), (0, 0), (Sums(), Sums()))


def judge(seen: ObservedExperiment, now: datetime) -> ABExperimentStatus:
    """The verdict's status."""
    return decide(seen, now).status


READY = {
    "a": VariantSeen("m", ready=True, number="1", digest="sha256:a"),
    "b": VariantSeen("m", ready=True, number="2", digest="sha256:b"),
}
READ = READY | {"b": replace(READY["b"], holds_production=True)}
PINS = {"a": Pin("1", "sha256:a"), "b": Pin("2", "sha256:b")}


STAMP = Stamp(lineage="2026", generation=1, digest="d")
SPLIT = RouteSeen(split_by={"u": 0}, arrival=Arrival(STAMP, 2))
WON = RouteSeen(default="m-2", arrival=Arrival(STAMP, 2))


def _seen(observations: Counts | None = None, **changes: Any) -> ObservedExperiment:
    previous = ABExperimentStatus(phase="Running", started_at=STARTED)
    terms = terms_of(changes.get("spec") or _spec())
    record = Record(STARTED, terms=terms) if changes.get("previous", previous).started_at else None
    seen = ObservedExperiment(
        1, _spec(), previous, READY, uid="u", route=SPLIT, observations=observations, record=record
    )
    seen = replace(seen, **{"stored": Stored("r", NOW + timedelta(days=99), NOW)} | changes)
    known = seen.record and replace(seen.record, uid=seen.identity)
    return seen if "remembered" in changes else replace(seen, remembered=known)


def _condition(status: ABExperimentStatus, kind: str) -> tuple[str, str]:
    return next((c.status, c.reason) for c in status.conditions if c.type == kind)


def _stored(seconds: float) -> Stored:
    return Stored("router-1", NOW - timedelta(seconds=seconds), NOW)


FRESH = ABExperimentStatus()
ENOUGH = _counted((100, 3.0), (101, 4.0))
BUSY = Rival("x", STARTED, "Running", has_started=True)


@pytest.mark.parametrize(
    ("seen", "phase", "kind", "expected"),
    [
        (_seen(previous=FRESH, variants={}), "Pending", "VariantsReady", ("False", "VersionNotFound")),
        (
            _seen(previous=FRESH, variants=READY | {"b": VariantSeen("other", ready=True)}),
            "Pending",
            "VariantsReady",
            ("False", "VersionOfAnotherModel"),
        ),
        (_seen(previous=FRESH, rivals=[BUSY]), "Pending", "VariantsReady", ("False", "ModelBusy")),
        (
            _seen(previous=FRESH, variants=READY | {"b": VariantSeen("m", ready=False)}),
            "WarmingUp",
            "VariantsReady",
            ("False", "VersionNotReady"),
        ),
        (
            _seen(previous=FRESH, route=RouteSeen(split_by={"u": 0})),
            "WarmingUp",
            "RouteProgrammed",
            ("False", "RouterBehind"),
        ),
        (_seen(previous=FRESH), "Running", "RouteProgrammed", ("True", "Programmed")),
        # Once counting began, a pod that is restarted does not send the experiment back.
        (
            _seen(variants=READY | {"b": VariantSeen("m", ready=False)}),
            "Running",
            "VariantsReady",
            ("False", "VersionNotReady"),
        ),
        (_seen(route=RouteSeen()), "Running", "RouteProgrammed", ("False", "RouterBehind")),
        (_seen(_counted((100, 3.0), (300, 9.0))), "Running", "AssignmentHealthy", ("False", "SampleRatioMismatch")),
        (_seen(None), "Running", "DataFresh", ("Unknown", "RecorderSilent")),
        (_seen(ENOUGH, stored=None), "Running", "DataFresh", ("Unknown", "RecordsWaiting")),
        (_seen(ENOUGH, stored=_stored(301)), "Running", "DataFresh", ("False", "RecordsWaiting")),
        (_seen(ENOUGH, stored=_stored(300)), "Promoted", "DataFresh", ("True", "RecordsStored")),
        # by chance as often as once in a hundred experiments
        (_seen(_counted((100, 3.0), (144, 4.0))), "Promoted", "AssignmentHealthy", ("True", "AsWeighted")),
        (_seen(_counted((99, 3.0), (101, 9.0))), "Running", "SampleSufficient", ("False", "Collecting")),
        (
            _seen(_counted((100, 3.0), (101, 3.0), moved=6)),
            "Running",
            "AssignmentHealthy",
            ("False", "SampleRatioMismatch"),
        ),
        (_seen(_counted((100, 3.0), (101, 4.0))), "Promoted", "Decided", ("True", "Promoted")),
        (_seen(_counted((100, 3.0), (101, 3.01))), "Inconclusive", "Decided", ("True", "Inconclusive")),
    ],
)
def test_the_first_thing_that_is_not_there_decides(
    seen: ObservedExperiment, phase: str, kind: str, expected: tuple[str, str]
) -> None:
    status = judge(seen, NOW)
    assert status.phase == phase
    assert _condition(status, kind) == expected


@pytest.mark.parametrize(
    ("means", "direction", "winner"),
    [
        ((3.0, 4.0), "Increase", "b"),
        ((4.0, 3.0), "Increase", "a"),
        ((3.0, 4.0), "Decrease", "a"),
        ((4.0, 3.0), "Decrease", "b"),
    ],
)
def test_the_direction_says_who_is_better(means: tuple[float, float], direction: str, winner: str) -> None:
    spec = _spec(metrics={"primary": {"name": "rating", "direction": direction}})
    status = judge(_seen(_counted((200, means[0]), (200, means[1])), spec=spec), NOW)
    assert status.decision is not None
    assert status.decision.winner == winner
    assert {v.name: v.weight for v in status.variants} == {winner: 100, "ab".replace(winner, ""): 0}
    assert status.phase == ("RolledBack" if winner == "a" else "Promoted")


def test_observe_tells_and_promotes_nobody() -> None:
    status = judge(_seen(_counted((200, 3.0), (200, 4.0)), spec=_spec(decision={"mode": "Observe"})), NOW)
    assert (status.phase, _condition(status, "Decided")) == ("Observed", ("True", "Observed"))
    assert status.decision is not None
    assert status.decision.winner == "b"
    assert [variant.weight for variant in status.variants] == [50, 50]


def test_the_one_look_is_not_taken_before_the_minimum_duration() -> None:
    early = _seen(_counted((200, 3.0), (200, 4.0)), spec=_spec(stopping={"minDuration": "3h"}))
    assert judge(early, NOW).phase == "Running"
    assert judge(early, NOW + timedelta(hours=1)).phase == "Promoted"


def test_the_end_of_the_maximum_duration_is_inconclusive() -> None:
    status = judge(_seen(_counted((10, 3.0), (10, 9.0))), NOW + timedelta(days=1))
    assert status.phase == "Inconclusive"
    assert status.decision is not None
    assert status.decision.rule == "max-duration"


def test_counts_that_cannot_be_read_when_the_time_is_over_are_waited_for() -> None:
    end = NOW + timedelta(hours=22)
    waiting = decide(_seen(None), end)
    assert (waiting.status.phase, waiting.apply) == ("Running", ())
    assert _condition(waiting.status, "DataFresh") == ("Unknown", "RecorderSilent")
    assert judge(_seen(_counted((200, 3.0), (200, 4.0))), end + timedelta(minutes=9)).phase == "Promoted"
    over = judge(_seen(None), end + timedelta(minutes=10))
    assert over.decision is not None
    assert (over.phase, "could not be read" in over.decision.reason) == ("Inconclusive", True)


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (Stored("r-1", NOW - timedelta(minutes=6), NOW), "router pod r-1 has records that the recorder has not stored"),
        (Stored("r-1", NOW - timedelta(minutes=6), NOW - timedelta(minutes=6)), "router pod r-1 tells no more whether"),
        (Stored("r-1", None, NOW), "router pod r-1 does not tell whether its records are stored"),
    ],
)
def test_the_router_whose_records_are_missing_is_named(stored: Stored, told: str) -> None:
    status = judge(_seen(ENOUGH, stored=stored), NOW)
    assert next(c.message for c in status.conditions if c.type == "DataFresh").startswith(told)


def test_records_that_a_router_still_has_when_the_time_is_over_are_waited_for() -> None:
    end = NOW + timedelta(hours=22)
    late = _seen(ENOUGH, stored=Stored("router-1", end - timedelta(minutes=6), end))
    assert judge(late, end).phase == "Running"
    over = judge(replace(late, stored=Stored("router-1", end, end)), end + timedelta(minutes=10))
    assert over.decision is not None
    assert (over.phase, "router pod router-1" in over.decision.reason) == ("Inconclusive", True)


@pytest.mark.parametrize(
    ("phase", "created_at", "name", "waits"),
    [
        ("WarmingUp", "2026-03-01T09:00:00Z", "z", True),
        ("WarmingUp", "2026-03-01T11:00:00Z", "a", False),
        ("WarmingUp", STARTED, "a", True),
        ("WarmingUp", STARTED, "z", False),
        ("Pending", "2026-03-01T09:00:00Z", "z", False),
    ],
)
def test_of_those_that_have_not_started_the_oldest_goes_first(
    phase: str, created_at: str, name: str, waits: bool
) -> None:
    rival = Rival(name, created_at, phase, has_started=False)
    waiting = judge(_seen(previous=FRESH, name="x", created_at=STARTED, rivals=[rival]), NOW)
    assert (waiting.reason == "ModelBusy") is waits


def test_no_data_is_a_hold() -> None:
    assert judge(_seen(None), NOW).phase == "Running"
    assert judge(_seen(NOBODY), NOW).phase == "Running"


def test_a_decision_stands() -> None:
    decided = judge(_seen(_counted((200, 3.0), (200, 4.0))), NOW)
    record = Record(STARTED, decided.decision)
    later = _seen(_counted((900, 9.0), (900, 1.0)), previous=decided, record=record, production="1")
    assert judge(later, NOW + timedelta(days=3)).decision == decided.decision
    assert judge(replace(later, previous=FRESH), NOW + timedelta(days=3)).decision == decided.decision


def _first(at: str) -> Record:
    """As this build begins one."""
    return replace(_begun(at), terms=terms_of(_spec()))


def _begun(at: str) -> Record:
    return Record(at, pins=PINS, uid="u")


def test_mlflow_is_told_of_what_was_kept_before_anything_follows_from_it() -> None:
    decision = judge(_seen(_counted((200, 3.0), (200, 4.0))), NOW).decision
    begun, won = _begun(STARTED), replace(_begun(STARTED), decision=decision)
    running = _seen(record=replace(begun, uid="", revision="7"), remembered=None)
    assert decide(running, NOW).effects == (Remember(begun),), "an earlier build's, too"
    assert decide(replace(running, remembered=begun), NOW).effects == ()
    assert decide(replace(running, registry_problem="down"), NOW).effects == ()
    promoted = _seen(record=won, remembered=begun, production="1", route=WON)
    assert [type(effect) for effect in decide(promoted, NOW).effects] == [Remember, RecordDecision, MoveAlias]
    closed = replace(won, is_closed=True)
    assert decide(replace(promoted, record=closed, remembered=won), NOW).effects[0] == Remember(closed)


def test_mlflow_could_not_be_told_until_it_could() -> None:
    untold = Condition(
        type="Tracked", status="False", reason="r", message="m", last_transition_time=STARTED, observed_generation=1
    )
    previous = ABExperimentStatus(phase="Running", started_at=STARTED, conditions=[untold])
    seen = _seen(previous=previous)
    assert judge(seen, NOW).condition("Tracked") is None
    for waits in (replace(seen, remembered=None), replace(seen, registry_problem="down")):
        assert judge(waits, NOW).condition("Tracked") == untold


def test_what_mlflow_remembers_is_made_anew_and_stands() -> None:
    """As after a restore of manifests alone: neither status nor record is there."""
    decision = judge(_seen(_counted((200, 3.0), (200, 4.0))), NOW).decision
    gone = _seen(_counted((900, 9.0), (900, 1.0)), previous=FRESH, uid="new", record=None, production="1")
    begun, won = _begun(STARTED), replace(_begun(STARTED), decision=decision)
    verdict = decide(replace(gone, remembered=begun), NOW)
    assert (verdict.apply, verdict.effects, verdict.again) == ((KeepStart(begun),), (), 0.0)
    assert (verdict.status.phase, verdict.status.started_at) == ("Running", STARTED)
    verdict = decide(replace(gone, remembered=won), NOW)
    assert (verdict.apply, verdict.effects, verdict.again) == ((KeepStart(won),), (), 0.0)
    assert (verdict.status.phase, verdict.status.decision) == ("Promoted", decision)
    closed = decide(replace(gone, remembered=replace(won, is_closed=True), production="2"), NOW)
    assert _condition(closed.status, "AliasMoved") == ("True", "Moved"), "whatever the versions have read since"
    behind = decide(_seen(_counted((900, 9.0), (900, 1.0)), record=begun, remembered=won), NOW)
    assert decision is not None
    assert (behind.apply, behind.effects) == ((KeepDecision(decision, closes=False),), ())


@pytest.mark.parametrize(("means", "phase"), [((3.0, 4.0), "Promoted"), ((4.0, 3.0), "RolledBack")])
def test_a_decision_that_mlflow_was_not_told_of_stands_where_the_record_is_lost(
    means: tuple[float, float], phase: str
) -> None:
    decided = judge(_seen(_counted((200, means[0]), (200, means[1]))), NOW)
    lost = _seen(previous=decided, record=None, remembered=_begun(STARTED), production="1", route=WON)
    verdict = decide(lost, NOW)
    assert (verdict.apply, verdict.status.phase) == ((KeepStart(_begun(STARTED)),), phase)
    assert verdict.status.decision == decided.decision
    again = decide(replace(lost, previous=verdict.status, record=_begun(STARTED)), NOW)
    assert decided.decision is not None
    assert again.apply == (KeepDecision(decided.decision, closes=phase == "RolledBack"),)
    assert again.status.phase == phase


def test_one_that_has_begun_waits_for_nobody_whose_manifest_was_applied_before_its_own() -> None:
    waiting = Rival("w", "2020-01-01T00:00:00Z", "WarmingUp", has_started=False)
    seen = _seen(previous=FRESH, record=_begun(STARTED), rivals=[waiting], created_at=STARTED)
    assert judge(seen, NOW).phase == "Running"
    assert _condition(judge(replace(seen, record=None, remembered=None), NOW), "VariantsReady") == (
        "False",
        "ModelBusy",
    )


def test_it_does_not_begin_before_mlflow_says_that_it_has_not_begun() -> None:
    unheard = _seen(previous=FRESH, is_heard=False, registry_problem="MLflow was not heard yet")
    verdict = decide(unheard, NOW)
    assert (verdict.status.phase, verdict.apply) == ("Pending", ())
    assert _condition(verdict.status, "VariantsReady") == ("False", "RegistryUnreachable")
    assert judge(_seen(is_heard=False, registry_problem="down"), NOW).phase == "Running"


def test_start_and_decision_are_kept_before_they_are_told() -> None:
    assert decide(_seen(previous=FRESH), NOW).apply == (KeepStart(_first("2026-03-01T12:00:00Z")),)
    verdict = decide(_seen(_counted((200, 3.0), (200, 4.0))), NOW)
    assert verdict.status.decision is not None
    assert verdict.apply == (KeepDecision(verdict.status.decision, closes=False),)
    assert verdict.effects == ()
    verdict = decide(_seen(_counted((200, 4.0), (200, 3.0))), NOW)
    assert verdict.status.decision is not None
    assert verdict.apply == (KeepDecision(verdict.status.decision, closes=True),), "nothing follows"
    lost = decide(_seen(_counted((200, 3.0), (200, 4.0)), record=None), NOW + timedelta(days=2))
    assert (lost.status.decision, lost.apply) == (None, (KeepStart(_first(STARTED)),)), "first there is a record"


@pytest.mark.parametrize(
    ("changes", "reason", "effects"),
    [
        ({"production": "1"}, "Moving", 2),
        # first every router has to send everybody to the winner
        ({"production": "1", "route": SPLIT}, "RouterBehind", 0),
        ({"production": "1", "route": replace(WON, default="m-1")}, "RouterBehind", 0),
        ({"production": "1", "route": replace(WON, split_by={"u": 0})}, "RouterBehind", 0),
        ({"production": "1", "route": replace(WON, arrival=None)}, "RouterBehind", 0),
        ({"production": "1", "route": replace(WON, arrival=Arrival(STAMP, 1, ("r",)))}, "RouterBehind", 0),
        ({"production": "1", "route": replace(WON, arrival=Arrival(STAMP, 0))}, "RouterBehind", 0),
        ({"production": "7", "route": SPLIT}, "HeldByAnother", 0),
        ({"production": None}, "Moving", 2),
        ({"production": "2"}, "Moving", 0),
        ({"production": "7"}, "HeldByAnother", 0),
        ({"production": "1", "registry_problem": "down"}, "RegistryUnreachable", 0),
        ({"production": "1", "variants": {"a": READY["a"]}}, "VersionNotFound", 0),
        ({"production": "1", "variants": {"b": READY["b"]}}, "Moving", 2),
        ({"production": "1", "variants": READY | {"b": replace(READY["b"], digest="sha256:c")}}, "VersionReplaced", 0),
        ({"production": "2", "variants": READ}, "Moved", 0),
        ({"production": "2", "variants": READ | {"a": replace(READY["a"], holds_production=True)}}, "Moving", 0),
    ],
)
def test_the_alias_follows_a_promotion_unless_somebody_moved_it(
    changes: dict[str, Any], reason: str, effects: int
) -> None:
    decided = judge(_seen(_counted((200, 3.0), (200, 4.0))), NOW)
    assert decided.decision is not None
    record = Record(STARTED, decided.decision, PINS)
    verdict = decide(_seen(previous=decided, record=record, **{"route": WON} | changes), NOW)
    assert _condition(verdict.status, "AliasMoved")[1] == reason
    assert verdict.effects == (RecordDecision("2", decided.decision), MoveAlias("1", "2"))[:effects]
    assert verdict.apply == ((CloseRecord(),) if reason in {"HeldByAnother", "Moved", "VersionReplaced"} else ())
    record = replace(record, is_closed=True)
    closed = decide(_seen(previous=decided, record=record, **{"route": WON} | changes), NOW)
    assert (closed.effects, closed.apply) == ((), ()), "what was done once is never done again"


def test_a_promotion_says_that_it_waits_for_pods_for_all_clients() -> None:
    decided = judge(_seen(_counted((200, 3.0), (200, 4.0))), NOW)
    record = Record(STARTED, decided.decision, PINS)
    route = replace(SPLIT, default="m-1", awaited=Awaited("m-2", 1, 4, NOW + timedelta(minutes=15)))
    verdict = decide(_seen(previous=decided, record=record, route=route, production="1"), NOW)
    moved = verdict.status.condition("AliasMoved")
    assert moved is not None
    assert moved.message == (
        "it moves when all clients get version 2: ModelVersion m-2 is to have pods for all of them: 1 of 4 pods "
        "answer, as many as the clients' requests need"
    )
    assert verdict.effects == ()


LOST = {"a": VariantSeen("m", ready=True, number="1"), "b": VariantSeen("m", ready=False, number="2")}


def test_the_end_of_the_maximum_duration_comes_before_all_that_may_be_wrong() -> None:
    end = NOW + timedelta(days=1)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"variants": LOST}, "Inconclusive"),
        ({"variants": {}}, "Inconclusive"),
        ({"route": RouteSeen()}, "Inconclusive"),
        ({"rivals": [BUSY]}, "Inconclusive"),
        ({"observations": _counted((200, 3.0), (200, 4.0)), "route": RouteSeen()}, "Promoted"),
        ({"observations": _counted((200, 3.0), (200, 3.0)), "variants": LOST}, "Inconclusive"),
    ]
    for changes, phase in cases:
        assert judge(_seen(**{"observations": None} | changes), end).phase == phase, changes


def test_a_variant_of_another_artifact_ends_it_without_a_winner() -> None:
    """Its numbers are of two models; one that was made anew as it was, or is not there now, changes nothing."""
    observations, record = _counted((200, 3.0), (200, 4.0)), Record(STARTED, pins=PINS)
    for variants, phase in (
        (READY, "Promoted"),
        (READY | {"b": VariantSeen(None, ready=False)}, "Running"),
        (READY | {"b": VariantSeen("m", ready=True, number="3", digest="sha256:c")}, "Inconclusive"),
    ):
        verdict = decide(_seen(observations, variants=variants, record=record), NOW)
        assert verdict.status.phase == phase
        if phase == "Inconclusive":
            assert verdict.status.decision is not None
            assert verdict.status.decision.rule == "variant-replaced"
            assert "ModelVersion m-2 was recreated" in verdict.status.decision.reason
            assert verdict.apply == (KeepDecision(verdict.status.decision, closes=True),)
    assert judge(_seen(observations, variants=variants, record=record), NOW + timedelta(days=2)).phase == "Inconclusive"
    kept_before = _seen(observations, variants=variants, record=Record(STARTED))
    assert judge(kept_before, NOW).phase == "Promoted", "a record of before digests were kept pins none"


def test_the_snapshot_recomputes_the_verdict() -> None:
    status = judge(_seen(_counted((200, 3.0), (190, 4.0))), NOW)
    assert status.decision is not None
    found = Snapshot.read(json.loads(status.decision.snapshot)).conclusion()
    assert found is not None
    decided = status.decision
    told = found.outcome, found.winner, found.rule, found.sentence
    assert told == (decided.outcome, decided.winner, decided.rule, decided.reason)


def _sequential(observations: Counts | None = None, **changes: Any) -> ObservedExperiment:
    spec = _spec(stopping={"method": "Sequential"} | changes.pop("stopping", {}), **changes.pop("said", {}))
    return _seen(observations, spec=spec, **changes)


def test_a_sequence_is_looked_at_until_it_shows_something() -> None:
    nothing_yet = judge(_sequential(_counted((200, 3.0), (200, 3.1))), NOW)
    assert (nothing_yet.phase, nothing_yet.decision, nothing_yet.reason) == ("Running", None, "Sufficient")
    decided = judge(_sequential(_counted((400, 3.0), (400, 3.5))), NOW)
    assert decided.decision is not None
    assert (decided.phase, decided.decision.rule) == ("Promoted", "sequence-0.95")
    over = judge(_sequential(_counted((200, 3.0), (200, 3.1))), NOW + timedelta(days=1))
    assert over.decision is not None
    assert (over.phase, over.decision.rule) == ("Inconclusive", "max-duration")
    assert "no variant was shown to be better" in over.decision.reason


def test_what_a_fixed_horizon_shows_is_not_told_before_its_look() -> None:
    """Of the means neither: the difference follows from them."""
    for seen, has_means, is_told in (
        (_seen(_counted((99, 3.0), (99, 4.0))), False, False),
        (_seen(_counted((200, 3.0), (200, 4.0)), spec=_spec(stopping={"minDuration": "3h"})), False, False),
        (_seen(_counted((200, 3.0), (200, 4.0)), stored=_stored(301)), False, False),
        (_seen(_counted((200, 3.0), (200, 4.0))), True, True),
        (_sequential(_counted((99, 3.0), (99, 4.0))), True, False),
        (_sequential(_counted((200, 3.0), (200, 3.1))), True, True),
    ):
        for variant, compares in zip(judge(seen, NOW).variants, (False, is_told), strict=True):
            (metric,) = variant.metrics
            told = [metric.mean, metric.stddev, metric.lift, metric.p_value]
            assert [one is not None for one in told] == [has_means, has_means, compares, compares]
            assert metric.users in {99, 200}


def test_a_split_that_was_found_skewed_is_kept_and_stands_when_it_looks_well_again() -> None:
    """Also where the status was lost, and after a restart."""
    skewed = decide(_seen(_counted((200, 3.0), (400, 4.0))), NOW)
    assert (skewed.apply, skewed.again) == ((KeepLatches(frozenset({"sampleRatio", "response"})),), 0.0)
    stale = decide(_seen(_counted((200, 3.0), (400, 4.0)), stored=_stored(301)), NOW)
    assert (stale.apply, stale.status.phase) == ((), "Running"), "what is missing may be of one variant"
    latched = Record(STARTED, terms=terms_of(_spec()), latches=frozenset({"sampleRatio"}))
    well = _seen(_counted((400, 3.0), (400, 4.0)), record=latched)
    verdict = decide(well, NOW)
    assert (verdict.status.phase, verdict.apply) == ("Running", ())
    assert _condition(verdict.status, "AssignmentHealthy") == ("False", "SampleRatioMismatch")
    over = judge(well, NOW + timedelta(days=1))
    assert over.decision is not None
    assert (over.phase, "the split does not match the weights" in over.decision.reason) == ("Inconclusive", True)


def test_what_mlflow_remembers_of_a_skewed_split_stands_where_the_record_was_made_anew_without_it() -> None:
    begun = Record(STARTED, uid="u", terms=terms_of(_spec()))
    latched = replace(begun, latches=frozenset({"sampleRatio"}))
    verdict = decide(_seen(_counted((400, 3.0), (400, 4.0)), record=begun, remembered=latched), NOW)
    assert (verdict.status.phase, verdict.status.reason) == ("Running", "SampleRatioMismatch")
    assert (verdict.apply, verdict.effects) == ((KeepLatches(latched.latches),), ()), "MLflow's is not written over"


def test_a_record_that_was_lost_is_not_made_anew_nor_anything_decided_before_mlflow_was_heard() -> None:
    """It may know other terms, and what was found against the data."""
    lost = _seen(_counted((200, 3.0), (200, 4.0)), record=None, remembered=None, registry_problem="down")
    for now in (NOW, NOW + timedelta(days=2)):
        verdict = decide(replace(lost, is_heard=False), now)
        assert (verdict.status.phase, verdict.status.decision, verdict.apply) == ("Running", None, ())
        assert _condition(verdict.status, "Tracked") == ("False", "RegistryUnreachable")
    assert [type(intent) for intent in decide(lost, NOW).apply] == [KeepStart], "it was heard, and has none"


def test_one_that_began_by_another_build_s_rule_is_left_to_that_build_until_its_time_is_over() -> None:
    later = Terms.read({**terms_of(_spec()).told(), "rule": RULES[-1] + 1, "margin": 0.1})
    seen = _seen(_counted((200, 3.0), (200, 4.0)), record=Record(STARTED, terms=later))
    assert (judge(seen, NOW).phase, judge(seen, NOW).reason) == ("Running", "RuleUnknown")
    skewed = decide(replace(seen, observations=_counted((200, 3.0), (400, 4.0))), NOW)
    assert skewed.apply == (), "nor is anything found for good by this one's"
    over = judge(seen, NOW + timedelta(days=1))
    assert over.decision is not None
    assert (over.phase, f"began by rule {RULES[-1] + 1} of another build" in over.decision.reason) == (
        "Inconclusive",
        True,
    )


@pytest.mark.parametrize("now", [NOW, NOW + timedelta(days=2)], ids=["in time", "once its time is over"])
@pytest.mark.parametrize("production", ["2", "7"], ids=["the challenger", "another"])
@pytest.mark.parametrize("said", [{}, {"suspend": True}], ids=["running", "paused"])
def test_it_is_aborted_once_another_than_the_control_holds_production(
    said: dict[str, Any], production: str, now: datetime
) -> None:
    """By another experiment's promotion, or by a person: what is compared is not what clients would get."""
    counted = _counted((200, 3.0), (200, 4.0))
    verdict = decide(_seen(counted, spec=_spec(**said), production=production), now)
    assert (verdict.status.phase, _condition(verdict.status, "Decided")) == ("Aborted", ("True", "ControlReplaced"))
    assert verdict.status.decision is not None
    assert verdict.status.decision.outcome == "ControlReplaced"
    assert f"was given to version {production}" in verdict.status.decision.reason
    assert verdict.apply == (KeepDecision(verdict.status.decision, closes=True),)
    assert verdict.effects == ()


def test_it_goes_on_while_nobody_holds_production_or_the_control_is_not_known_in_mlflow() -> None:
    counted = _counted((200, 3.0), (200, 4.0))
    unknown = {name: replace(variant, number="") for name, variant in READY.items()}
    assert judge(_seen(counted, production="1"), NOW).phase == "Promoted"
    assert judge(_seen(counted, production=None), NOW).phase == "Promoted"
    assert judge(_seen(counted, production="7", variants=unknown), NOW).phase == "Promoted"


def test_how_many_users_it_takes_is_told_from_the_least_effect_that_matters() -> None:
    primary = {"name": "rating", "minimumDetectableEffect": 0.2}
    counted = _counted((200, 3.0), (200, 3.0))
    told = judge(_sequential(counted, said={"metrics": {"primary": primary}}), NOW).power
    assert told is not None
    assert told.required_users_per_variant == 654
    assert told.estimated_decision_time == "2026-03-01T16:33:00Z", "two hours for the first 200"
    assert judge(_sequential(counted), NOW).power is None
    fixed = judge(_seen(counted, spec=_spec(metrics={"primary": primary})), NOW)
    assert (fixed.phase, _condition(fixed, "SampleSufficient")) == ("Running", ("False", "Collecting"))


def test_what_each_variant_cost_is_told_while_it_runs_and_kept_by_the_decision() -> None:
    def priced(amount: float, requests: int) -> dict[str, VariantSeen]:
        cost = Cost(
            gpus=1, gpu_seconds=1, amount=amount, counted_at=STARTED, answered=Answered(requests=requests, tokens=0)
        )
        return READY | {"a": replace(READY["a"], cost=cost)}

    few = _counted((5, 3.0), (5, 4.0))
    first = judge(_seen(few, variants=priced(2.0, 100)), NOW)
    assert [variant.cost and variant.cost.amount for variant in first.variants] == [0, None]
    later = judge(_seen(few, variants=priced(2.5, 600), previous=first), NOW)
    assert later.variants[0].cost is not None
    assert (later.variants[0].cost.amount, later.variants[0].cost.per_thousand_requests) == (0.5, 1.0)
    enough = _seen(_counted((100, 3.0), (100, 4.0)), variants=priced(2.5, 600), previous=later)
    decided = judge(enough, NOW)
    assert decided.variants[0].cost == later.variants[0].cost
