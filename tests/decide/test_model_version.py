"""Where a version stands, and how many pods it should have."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus
from anneal_operator.api.conditions import Condition
from anneal_operator.api.model_version import ColdStart, ModelVersionSpec, ModelVersionStatus, Registry
from anneal_operator.decide.acknowledgement import Arrival, RouteSeen
from anneal_operator.decide.autoscaling import Sample
from anneal_operator.decide.fetching import Fetching, wait_for_nodes
from anneal_operator.decide.model_version import (
    GiveProduction,
    Register,
    Serve,
    SetAliases,
    decide,
)
from anneal_operator.decide.observed_version import Contest, ObservedVersion
from anneal_operator.decide.serving_engine import Engine, Front
from anneal_operator.decide.verdict import Deletion
from serving_runtime.plan import Downloaded, Stamp

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REGISTRY = Registry(version="3", url="u", aliases=["base"], aliases_set=["base"])


def _spec(aliases: Sequence[str] = (), **serving: Any) -> ModelVersionSpec:
    artifact = {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64}
    spec = {"modelName": "m", "artifact": artifact, "aliases": list(aliases), "serving": {"replicas": 2} | serving}
    return ModelVersionSpec.parse(spec)


def _told(kind: str, status: Any, reason: str, since: str = "2026-03-01T11:00:00Z") -> Condition:
    return Condition(
        type=kind, status=status, reason=reason, message="", last_transition_time=since, observed_generation=1
    )


def _contest(
    winner: str | None, decided_at: str = "2026-03-01T11:00:00Z", phase: Any = "Promoted", alias: str = "Moved"
) -> Contest:
    spec = {
        "modelName": "m",
        "control": "a",
        "variants": [
            {"name": "a", "modelVersionRef": {"name": "m-1"}, "weight": 1},
            {"name": "b", "modelVersionRef": {"name": "m-2"}, "weight": 1},
        ],
        "metrics": {"primary": {"name": "rating"}},
        "decision": {"scaleDownDelay": "60s"},
    }
    decision = winner and DecisionStatus(
        outcome="Winner", winner=winner, rule="r", reason="", decided_at=decided_at, snapshot=""
    )
    moved = _told("AliasMoved", "True" if alias == "Moved" else "False", alias)
    status = ABExperimentStatus(
        phase=phase if winner else "Running",
        observed_generation=1,
        decision=decision or None,
        conditions=[moved] if winner else [],
    )
    return Contest(ABExperimentSpec.parse(spec), status)


def _replaced() -> Contest:
    found = _contest("b", phase="Aborted")
    assert found.status.decision is not None
    decision = found.status.decision.having(outcome="ControlReplaced", winner=None)
    return replace(found, status=found.status.having(decision=decision, conditions=[]))


def _observing(phase: str) -> Contest:
    found = _contest("a", phase=phase)
    decision = found.spec.decision.model_copy(update={"mode": "Observe"})
    return replace(found, spec=found.spec.model_copy(update={"decision": decision}))


def _dropped(phase: str = "Running", name: str = "b") -> Contest:
    found = _contest(None) if phase == "Running" else _contest("a", phase=phase)
    return replace(found, status=found.status.having(dropped=[name]), name="x")


def _baking(since: str | None = "2026-03-01T11:00:00Z") -> Contest:
    found = _contest("b", phase="Baking")
    return replace(found, status=found.status.having(conditions=[], baking_since=since))


def _seen(name: str = "m-1", **changes: Any) -> ObservedVersion:
    known: dict[str, Any] = {"spec": _spec(), "previous": ModelVersionStatus(registry=REGISTRY), "build": "s:2"}
    return ObservedVersion(name=name, generation=4, **(known | changes))


def _replicas(seen: ObservedVersion, now: datetime = NOW) -> int:
    return decide(seen, now).apply[0].replicas


SCALED = _spec(autoscaling={"maxReplicas": 8, "targetRequests": 10})
BUSY = [Sample(NOW, 40)]
LATER = "2026-03-01T11:30:00Z"
UNREAD = replace(_contest(None), status=ABExperimentStatus())
SCALED_DOWN = ModelVersionStatus(phase="Idle", reason="ScaledDown", observed_generation=4, registry=REGISTRY)


@pytest.mark.parametrize(
    ("name", "changes", "replicas"),
    [
        ("m-1", {}, 2),
        ("m-1", {"contests": [_contest(None)]}, 2),
        ("m-1", {"contests": [_contest("b")]}, 0),
        ("m-2", {"contests": [_contest("b")]}, 2),
        # the loser stays until the alias is the winner's, or is not to be
        ("m-1", {"contests": [_contest("b", alias="Moving")]}, 2),
        ("m-1", {"contests": [_contest("b", alias="RouterBehind")]}, 2),
        ("m-1", {"contests": [_contest("b", alias="HeldByAnother")]}, 0),
        ("m-1", {"contests": [_contest("b", phase="Inconclusive")]}, 2),
        # who did not win ends with the experiment, and the control goes on
        ("m-2", {"contests": [_contest("b", phase="Inconclusive")]}, 0),
        ("m-2", {"contests": [_contest("b", phase="Aborted")]}, 0),
        ("m-1", {"contests": [_contest("b", phase="Aborted")]}, 2),
        ("m-2", {"contests": [_contest("b", phase="Observed")]}, 2),
        # nor with it where only the verdict is told, but where a person ends it
        ("m-2", {"contests": [_observing("Inconclusive")]}, 2),
        ("m-2", {"contests": [_observing("Aborted")]}, 0),
        # what replaced the control decides over it, and nobody else
        ("m-1", {"contests": [_replaced(), _contest("b", "2026-03-01T10:00:00Z")]}, 0),
        ("m-1", {"contests": [_replaced()]}, 2),
        ("m-2", {"contests": [_replaced()]}, 0),
        # who was dropped ends at once, and stays so, whatever becomes of the others; not who takes part elsewhere
        ("m-2", {"contests": [_dropped()]}, 0),
        ("m-1", {"contests": [_dropped()]}, 2),
        ("m-2", {"contests": [_dropped("Promoted")]}, 0),
        ("m-2", {"contests": [_dropped("Observed")]}, 0),
        ("m-2", {"contests": [_dropped(), _contest(None)]}, 2),
        ("m-2", {"contests": [_dropped("Observed"), _contest("a", LATER, "Observed")]}, 2),
        ("m-2", {"contests": [_dropped(), _contest("b", LATER)]}, 0),
        ("m-2", {"contests": [_dropped()], "aliases": {"production": "3"}}, 2),
        # while a winner bakes, both are there
        ("m-1", {"contests": [_baking()]}, 2),
        ("m-2", {"contests": [_baking()]}, 2),
        ("m-3", {"contests": [_baking()]}, 0),
        ("m-3", {"contests": [_baking(None)]}, 2),
        ("m-2", {"contests": [_contest("a", phase="RolledBack")]}, 0),
        ("m-1", {"contests": [_contest("b"), _contest(None)]}, 2),
        ("m-1", {"contests": [_contest("b", "2026-03-01T10:00:00Z"), _contest("a")]}, 2),
        ("m-1", {"contests": [_contest("a", "2026-03-01T10:00:00Z"), _contest("b")]}, 0),
        # who is to get the clients is, also where another experiment of the layer found otherwise since
        ("m-2", {"contests": [_contest("b", alias="RouterBehind"), _contest("a", LATER, "RolledBack")]}, 2),
        ("m-2", {"contests": [_contest("b"), _contest("a", LATER, "RolledBack")]}, 0),
        # nothing is begun before it is known whether it has lost, as after a restore
        ("m-1", {"contests": [UNREAD]}, 0),
        ("m-1", {"contests": [UNREAD], "engine": Engine(2, "s:2")}, 2),
        ("m-1", {"contests": [UNREAD], "aliases": {"production": "3"}}, 2),
        # whoever holds production is wanted, whatever it lost
        ("m-1", {"contests": [_contest("b")], "aliases": {"production": "3"}}, 2),
        ("m-1", {"contests": [_contest("b")], "aliases": {"production": "4"}}, 0),
        # and whoever answers the model's name, until another does
        ("m-1", {"contests": [_contest("b")], "route": RouteSeen(default="m-1")}, 2),
        ("m-1", {"contests": [_contest("b")], "route": RouteSeen(default="m-2")}, 0),
        ("m-1", {"contests": [_contest("b")], "route": RouteSeen(default="m-1"), "spec": _spec(replicas=0)}, 0),
        # with autoscaling by its requests, and without pods all the same
        ("m-1", {"spec": SCALED, "samples": BUSY, "engine": Engine(2, "s:2", 2)}, 4),
        ("m-1", {"spec": SCALED, "samples": BUSY, "contests": [_contest("b")], "engine": Engine(2, "s:2", 0)}, 0),
        # what lost stays without pods when its experiment is deleted, until its spec changes or it is wanted
        ("m-1", {"previous": SCALED_DOWN}, 0),
        ("m-1", {"previous": SCALED_DOWN, "contests": [_contest(None)]}, 2),
        ("m-1", {"previous": SCALED_DOWN, "aliases": {"production": "3"}}, 2),
        ("m-1", {"previous": SCALED_DOWN.having(observed_generation=3)}, 2),
    ],
)
def test_how_many_pods_are_wanted(name: str, changes: dict[str, Any], replicas: int) -> None:
    assert _replicas(_seen(name, **changes)) == replicas


def _taken(drifted: str, since: str) -> ModelVersionStatus:
    """It holds `production`, and the clients have or have not been led to it since then."""
    told = _told("AliasDrifted", drifted, "AsRouted", f"2026-03-01T{since}:00Z")
    return ModelVersionStatus(registry=REGISTRY, conditions=[told])


NAMED = RouteSeen(default="m-1", named={"base": "m-1"}, versions=frozenset({"m-1"}))
SLEEPS = _spec(replicas=1, autoscaling={"minReplicas": 0, "maxReplicas": 8, "idleAfter": "30m"})
QUIET: dict[str, Any] = {
    "spec": SLEEPS,
    "engine": Engine(1, "s:2", 1),
    "quiet_since": NOW - timedelta(minutes=30),
    "route": NAMED,
}
NO_PODS = Engine(0, "s:2", 0)
ASLEEP: dict[str, Any] = QUIET | {
    "engine": NO_PODS,
    "quiet_since": None,
    "previous": ModelVersionStatus(phase="Sleeping", registry=REGISTRY, idle_since="2026-03-01T11:00:00Z"),
}
ASKED_BEFORE, ASKED_SINCE = (datetime(2026, 3, 1, 11, 0, second, tzinfo=UTC) for second in (0, 1))
REPLACED = ModelVersionStatus(registry=REGISTRY, replaced_at="2026-03-01T11:30:00Z")


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        (QUIET, "Sleeping"),
        (QUIET | {"quiet_since": NOW - timedelta(minutes=29)}, "Ready"),
        (QUIET | {"quiet_since": None}, "Ready"),
        (QUIET | {"spec": SCALED}, "Ready"),
        # what nobody can wake: no table names it
        (QUIET | {"route": RouteSeen(named={"base": "m-1"})}, "Ready"),
        # its pods were ended, and that could not be told, as where its object changed meanwhile
        (QUIET | {"engine": NO_PODS, "previous": ModelVersionStatus(registry=REGISTRY, phase="Ready")}, "Sleeping"),
        (QUIET | {"engine": NO_PODS}, "Loading"),
        # an arm of an experiment, and what is to get clients who are elsewhere yet, or may get them back
        (QUIET | {"contests": [_contest(None)]}, "Ready"),
        (QUIET | {"contests": [_contest("a", alias="Moving")]}, "Ready"),
        (QUIET | {"contests": [_contest("a", phase="Observed", alias="Unheard")]}, "Sleeping"),
        (QUIET | {"aliases": {"production": "3"}, "previous": _taken("False", "11:30")}, "Sleeping"),
        # all clients were just led to it, as at a rollback: what it was asked before tells nothing
        (QUIET | {"aliases": {"production": "3"}}, "Ready"),
        (QUIET | {"aliases": {"production": "3"}, "previous": _taken("True", "11:00")}, "Ready"),
        (QUIET | {"aliases": {"production": "3"}, "previous": _taken("False", "11:31")}, "Ready"),
        (QUIET | {"aliases": {"production": "3"}, "route": replace(NAMED, default="m-2")}, "Ready"),
        (QUIET | {"route": replace(NAMED, named={"base": "m-2"})}, "Ready"),
        (QUIET | {"previous": REPLACED}, "Ready"),
        (QUIET | {"previous": REPLACED.having(replaced_at="2026-03-01T10:59:59Z")}, "Sleeping"),
        # it stays so until it is asked, whatever another operator knows
        (ASLEEP, "Sleeping"),
        (ASLEEP | {"asked_at": ASKED_BEFORE}, "Sleeping"),
        (ASLEEP | {"route": RouteSeen(named={"base": "m-1"})}, "Sleeping"),
        (ASLEEP | {"asked_at": ASKED_SINCE}, "Loading"),
        (ASLEEP | {"contests": [_contest(None)]}, "Loading"),
        (ASLEEP | {"aliases": {"production": "3"}, "route": replace(NAMED, default="m-2")}, "Loading"),
        (ASLEEP | {"spec": SCALED}, "Loading"),
        (ASLEEP | {"spec": _spec(replicas=0, autoscaling={"minReplicas": 0, "maxReplicas": 8})}, "Idle"),
        (ASLEEP | {"contests": [_contest("b")], "route": RouteSeen()}, "Idle"),
    ],
)
def test_a_version_that_nobody_asks_sleeps_until_a_request_wakes_it(changes: dict[str, Any], phase: str) -> None:
    verdict = decide(_seen(**changes), NOW)
    assert verdict.status.phase == phase
    is_up = phase in {"Ready", "Loading"}
    assert verdict.status.replicas == verdict.apply[0].replicas
    assert (verdict.status.replicas > 0) is is_up
    assert verdict.again == (None if phase == "Idle" else 5.0), "routers are asked, also for one that sleeps"


def test_one_that_sleeps_says_how_it_is_woken_and_is_left_where_it_is() -> None:
    status = decide(_seen(**QUIET), NOW).status
    ready = status.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason, status.reason) == ("True", "Sleeping", "Sleeping")
    assert ready.message == ("nobody asked it for 30m, so it has no pods; a request starts one, which takes about 60 s")
    assert status.idle_since == "2026-03-01T12:00:00Z"
    later = decide(_seen(**{**ASLEEP, "previous": status}), NOW + timedelta(hours=2))
    assert (later.status, later.progress, later.delete) == (status, "Settled", ())


def test_it_stays_awake_for_those_who_were_told_to_come_again_once_it_has_started() -> None:
    """Who came just before it answered was told the time of a whole start."""
    took = ColdStart(pod="p", ready_at="t", scheduling_seconds=10, image_seconds=600, loading_seconds=1185)
    slow = QUIET | {"previous": ModelVersionStatus(registry=REGISTRY, cold_start=took)}
    assert decide(_seen(**slow), NOW + timedelta(seconds=29)).status.phase == "Ready"
    assert decide(_seen(**slow), NOW + timedelta(seconds=30)).status.phase == "Sleeping"


def test_one_that_went_to_sleep_by_a_clock_that_was_ahead_is_woken_all_the_same() -> None:
    """As where another node leads now, or the clock was set."""
    ahead = ModelVersionStatus(phase="Sleeping", registry=REGISTRY, idle_since="2026-03-01T13:00:00Z")
    status = decide(_seen(**ASLEEP | {"previous": ahead}), NOW).status
    assert (status.phase, status.idle_since) == ("Sleeping", "2026-03-01T12:00:00Z")
    asked = ASLEEP | {"previous": status, "asked_at": NOW + timedelta(seconds=3)}
    assert decide(_seen(**asked), NOW + timedelta(seconds=5)).status.phase == "Loading"


@pytest.mark.parametrize(("window", "replicas"), [("31m", 4), ("30m", 1)])
def test_for_a_rollback_it_keeps_the_pods_that_it_has_and_no_longer(window: str, replicas: int) -> None:
    scaled = _spec(replicas=1, autoscaling={"maxReplicas": 8, "scaleDownDelay": "1m"}, rollbackWindow=window)
    idle = [Sample(NOW - timedelta(seconds=5 * number), 0) for number in range(20, -1, -1)]
    lost: dict[str, Any] = {"aliases": {"production": "4"}, "route": RouteSeen(default="m-2"), "previous": REPLACED}
    assert _replicas(_seen(spec=scaled, samples=idle, engine=Engine(4, "s:2", 4), **lost)) == replicas


HELD = Registry(version="3", url="u", aliases=["production"])
WARM = {"registry": REGISTRY, "replaced_at": "2026-03-01T11:30:00Z", "phase": "Ready", "observed_generation": 4}
KEPT = WARM | {"warm_until": "2026-03-01T12:30:00Z"}
LOST = {"contests": [_contest("b")], "aliases": {"production": "4"}}


@pytest.mark.parametrize(
    ("changes", "replicas", "replaced_at", "warm_until"),
    [
        # the moment that it loses `production`, with or without an experiment
        (LOST | {"previous": {"registry": HELD}}, 2, "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"),
        ({"aliases": {"production": "4"}, "previous": {"registry": HELD}}, 2, "2026-03-01T12:00:00Z", None),
        # from then on
        (LOST | {"previous": WARM}, 2, "2026-03-01T11:30:00Z", "2026-03-01T12:30:00Z"),
        (LOST | {"previous": WARM, "spec": _spec(rollbackWindow="30m")}, 0, "2026-03-01T11:30:00Z", None),
        (LOST | {"previous": WARM, "spec": _spec(rollbackWindow="0s")}, 0, "2026-03-01T11:30:00Z", None),
        (LOST | {"previous": WARM, "spec": _spec(replicas=0)}, 0, "2026-03-01T11:30:00Z", None),
        # MLflow is not heard: what was read last holds
        (LOST | {"previous": KEPT, "aliases": None}, 2, "2026-03-01T11:30:00Z", "2026-03-01T12:30:00Z"),
        (LOST | {"previous": {"registry": HELD}, "aliases": None}, 2, None, None),
        # its experiment is deleted: it is no more wanted than before, unless its spec changes
        (LOST | {"previous": KEPT, "contests": []}, 2, "2026-03-01T11:30:00Z", "2026-03-01T12:30:00Z"),
        (LOST | {"previous": KEPT | {"observed_generation": 3}, "contests": []}, 2, "2026-03-01T11:30:00Z", None),
        # it is rolled back to
        ({"previous": KEPT, "aliases": {"production": "3"}}, 2, None, None),
        # one that never held it goes at once
        (LOST | {"previous": {"registry": REGISTRY}}, 0, None, None),
    ],
)
def test_one_that_loses_production_keeps_its_pods_for_a_rollback(
    changes: dict[str, Any], replicas: int, replaced_at: str | None, warm_until: str | None
) -> None:
    seen = _seen(**changes | {"previous": ModelVersionStatus(**changes["previous"]), "engine": Engine(2, "s:2", 0)})
    verdict = decide(seen, NOW)
    assert verdict.apply == (Serve(replicas),)
    assert (verdict.status.replaced_at, verdict.status.warm_until) == (replaced_at, warm_until)
    told = verdict.status.condition("Ready")
    is_told = told is not None and told.message.endswith(
        "`production` left it, and its pods stay until " + f"{warm_until} for a rollback"
    )
    assert is_told is (warm_until is not None)
    until = datetime.fromisoformat(warm_until) if warm_until else None
    assert verdict.again == ((until - NOW).total_seconds() + 0.5 if until else None)


RETIRING, SOON = _spec(replicas=0, retireAfter="1h"), _spec(retireAfter="10m")
AWAY = RouteSeen(arrival=Arrival(Stamp(lineage="2026", generation=1, digest="d"), 2))
PARTS = (Deletion("Service", "m-1-server", "uid"), Deletion("Deployment", "m-1-server", "uid"))
SINCE, LONG_AGO = "2026-03-01T11:30:00Z", "2026-01-01T00:00:00Z"
NEW = {"registry": REGISTRY, "phase": "Idle", "observed_generation": 4}
IDLE, RETIRED = NEW | {"idle_since": SINCE}, NEW | {"idle_since": LONG_AGO, "phase": "Retired"}


@pytest.mark.parametrize(
    ("changes", "phase", "since", "again"),
    [
        ({"spec": _spec(replicas=0), "previous": NEW}, "Idle", "2026-03-01T12:00:00Z", None),
        ({"spec": RETIRING, "previous": NEW}, "Idle", "2026-03-01T12:00:00Z", 3600.5),
        ({"spec": RETIRING, "previous": IDLE}, "Idle", SINCE, 1800.5),
        ({"spec": RETIRING, "previous": RETIRED}, "Retired", LONG_AGO, None),
        ({"spec": SOON, "previous": IDLE}, "Retired", SINCE, None),
        # a router may not have left it yet
        ({"spec": SOON, "previous": IDLE, "route": RouteSeen()}, "Idle", SINCE, None),
        # it is woken
        ({"spec": SOON, "previous": RETIRED, "aliases": {"production": "3"}}, "Loading", None, None),
    ],
)
def test_what_has_long_had_no_pods_retires(
    changes: dict[str, Any], phase: str, since: str | None, again: float | None
) -> None:
    previous = ModelVersionStatus(**changes["previous"])
    verdict = decide(_seen(**{"route": AWAY} | changes | {"previous": previous, "server_to_end": PARTS}), NOW)
    assert (verdict.status.phase, verdict.status.idle_since, verdict.again) == (phase, since, again)
    is_retired = phase == "Retired"
    assert (verdict.delete, bool(verdict.apply)) == (PARTS if is_retired else (), not is_retired)
    assert (verdict.status.reason == "Retired") is is_retired


STAMP = Stamp(lineage="2026", generation=1, digest="d")
LEFT = RouteSeen(arrival=Arrival(STAMP, 2))
NAMED = RouteSeen(versions=frozenset({"m-1"}), arrival=Arrival(STAMP, 2))
BEHIND = replace(LEFT, arrival=Arrival(STAMP, 1, ("router-2",)))


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({"route": RouteSeen()}, "Retired"),  # an operator that has just begun
        ({"route": BEHIND}, "Retired"),
        ({"spec": RETIRING, "previous": RETIRED | {"idle_since": SINCE}}, "Retired"),
        ({"route": NAMED}, "Idle"),
        ({"spec": _spec(replicas=0)}, "Idle"),
    ],
)
def test_what_has_retired_is_not_made_again_until_it_is_named_or_may_not_retire(
    changes: dict[str, Any], phase: str
) -> None:
    known: dict[str, Any] = {"spec": SOON, "previous": RETIRED} | changes
    verdict = decide(_seen(**known | {"previous": ModelVersionStatus(**known["previous"])}), NOW)
    assert (verdict.status.phase, bool(verdict.apply)) == (phase, phase == "Idle")


def _ending(since: str, **changes: Any) -> ObservedVersion:
    """A loser whose delay is 60 s, and of which clients were told at some time that it is not reached any more."""
    routable = _told("Routable", "False", "NotRouted", since)
    previous = ModelVersionStatus(phase="Draining", registry=REGISTRY, conditions=[routable])
    known: dict[str, Any] = {
        "contests": [_contest("b")],
        "engine": Engine(2, "s:2", 2),
        "previous": previous,
        "route": LEFT,
    }
    return _seen(**known | changes)


@pytest.mark.parametrize(
    ("seen", "phase", "pods", "again"),
    [
        (_ending("", previous=ModelVersionStatus(phase="Ready", registry=REGISTRY), route=NAMED), "Draining", 2, None),
        (_ending("2026-03-01T11:00:00Z", route=NAMED), "Draining", 2, None),
        (_ending("2026-03-01T11:00:00Z", route=BEHIND), "Draining", 2, None),
        (_ending("2026-03-01T11:00:00Z", route=RouteSeen()), "Draining", 2, None),
        (_ending("2026-03-01T11:59:30Z"), "Draining", 2, 30.5),
        (_ending("2026-03-01T11:59:00Z"), "Idle", 0, None),
        # nobody takes requests: no router sends it any
        (_ending("2026-03-01T11:59:00Z", route=RouteSeen(arrival=Arrival(STAMP, 0))), "Idle", 0, None),
        (_ending("2026-03-01T11:59:30Z", engine=Engine(0, "s:2", 0)), "Idle", 0, None),
        (_ending("2026-03-01T11:59:30Z", engine=None), "Idle", 0, None),
        (_ending("", previous=SCALED_DOWN, contests=[]), "Idle", 0, None),
        (_ending("2026-03-01T11:00:00Z", contests=[_contest(None)]), "Ready", 2, None),
    ],
)
def test_pods_end_when_every_router_has_left_them_and_answers_under_way_had_their_time(
    seen: ObservedVersion, phase: str, pods: int, again: float | None
) -> None:
    verdict = decide(seen, NOW)
    assert (verdict.status.phase, verdict.apply[0].replicas, verdict.again) == (phase, pods, again)
    assert (verdict.status.replicas, verdict.progress) == (pods, "Working" if phase == "Draining" else "Settled")


@pytest.mark.parametrize(
    ("since", "route", "phase", "kind", "told"),
    [
        ("2026-03-01T11:00:00Z", BEHIND, "Draining", "Ready", "its pods are to end{}: "),
        ("2026-03-01T11:59:30Z", LEFT, "Draining", "Ready", "its pods are to end{}: answers under way have their time"),
        ("2026-03-01T11:59:00Z", LEFT, "Idle", "Routable", "clients cannot reach it: it has no server{}"),
    ],
)
def test_one_that_was_dropped_ends_as_a_loser_does_and_says_why(
    since: str, route: RouteSeen, phase: str, kind: str, told: str
) -> None:
    status = decide(_ending(since, name="m-2", contests=[_dropped()], route=route), NOW).status
    found = status.condition(kind)
    assert found is not None
    assert status.phase == phase
    assert found.message.startswith(told.format(", as ABExperiment x has shown it to be beyond a guardrail"))


REFUSED = _told("Reconciling", "True", "RefusedByApiServer")


@pytest.mark.parametrize(
    ("before", "phase", "route", "expected"),
    [
        ("Unknown", "Draining", LEFT, ("Draining", "False", "NotRouted")),
        ("False", "Draining", LEFT, ("Idle", "False", "NotRouted")),
        ("Unknown", "Draining", NAMED, ("Draining", "Unknown", "RefusedByApiServer")),
        ("Unknown", "Draining", BEHIND, ("Draining", "Unknown", "RefusedByApiServer")),
    ],
)
def test_a_router_that_is_held_up_keeps_no_version_that_no_router_sends_requests(
    before: str, phase: str, route: RouteSeen, expected: tuple[str, str, str]
) -> None:
    told = _told("Routable", before, "NotRouted")
    previous = ModelVersionStatus(phase=phase, registry=REGISTRY, conditions=[told])
    status = decide(_ending("", previous=previous, route=route, router_problem=REFUSED), NOW).status
    routable = status.condition("Routable")
    assert routable is not None
    assert (status.phase, routable.status, routable.reason) == expected


def test_a_router_that_is_held_up_is_told_by_a_version_that_is_to_be_routed() -> None:
    status = decide(_seen(engine=Engine(2, "s:2"), route=LEFT, router_problem=REFUSED), NOW).status
    routable = status.condition("Routable")
    assert routable is not None
    assert (routable.status, routable.reason) == ("Unknown", "RefusedByApiServer")


GONE = (Deletion("Deployment", "m-1-server", "uid"),)
UNSERVED = ModelVersionSpec.parse({name: part for name, part in _spec().dump().items() if name != "serving"})


@pytest.mark.parametrize(
    ("changes", "phase", "deleted"),
    [
        ({"route": NAMED}, "Draining", ()),
        ({"route": BEHIND}, "Draining", ()),
        ({}, "Draining", ()),
        ({"engine": Engine(2, "s:2", 0)}, "Idle", GONE),
        ({"is_routed_here": False, "route": NAMED}, "Draining", ()),
        # what MLflow never knew of, no router did
        ({"previous": ModelVersionStatus()}, "Registering", GONE),
    ],
)
def test_what_is_not_to_be_served_any_more_ends_as_what_is_scaled_down(
    changes: dict[str, Any], phase: str, deleted: tuple[Deletion, ...]
) -> None:
    seen = _ending("2026-03-01T11:59:30Z", spec=UNSERVED, server_to_end=GONE, **changes)
    verdict = decide(seen, NOW)
    assert (verdict.status.phase, verdict.delete, verdict.apply) == (phase, deleted, ())
    after = decide(replace(seen, route=LEFT), NOW + timedelta(seconds=30))
    assert (after.delete, after.status.condition("Routable")) == (GONE, None)


def test_which_router_keeps_a_version_from_its_end_is_told() -> None:
    ready = decide(_ending("", previous=ModelVersionStatus(phase="Ready", registry=REGISTRY), route=BEHIND), NOW)
    told = ready.status.condition("Ready")
    assert told is not None
    assert told.message == (
        "its pods are to end: router pod router-2 has not applied generation 1 of the routes: "
        "one that is silent for 10 s, or behind for 90 s, is replaced"
    )


@pytest.mark.parametrize(
    ("before", "route", "expected"),
    [
        ("", RouteSeen(), ("False", "NotRouted")),
        ("", NAMED, ("True", "Routed")),
        ("", replace(NAMED, arrival=None), ("Unknown", "RouterBehind")),
        ("False", replace(NAMED, arrival=Arrival(STAMP, 1, ("r",))), ("Unknown", "RouterBehind")),
        ("False", replace(NAMED, arrival=Arrival(STAMP, 0)), ("Unknown", "RouterBehind")),
        # a change of other routes, on its way
        ("True", replace(NAMED, arrival=Arrival(STAMP, 1, ("r",))), ("True", "Routed")),
        ("True", BEHIND, ("Unknown", "RouterBehind")),
        ("Unknown", BEHIND, ("Unknown", "RouterBehind")),
        ("False", BEHIND, ("False", "NotRouted")),
        ("True", LEFT, ("False", "NotRouted")),
    ],
)
def test_it_is_routable_as_far_as_all_routers_say(before: str, route: RouteSeen, expected: tuple[str, str]) -> None:
    conditions = [_told("Routable", before, "Routed")] if before else []
    previous = ModelVersionStatus(phase="Ready", registry=REGISTRY, conditions=conditions)
    told = decide(_seen(previous=previous, engine=Engine(2, "s:2", 2), route=route), NOW).status.condition("Routable")
    assert told is not None
    assert (told.status, told.reason) == expected


def test_a_router_that_is_late_is_named() -> None:
    late = replace(NAMED, arrival=Arrival(STAMP, 1, ("router-2",), ("router-2",)))
    previous = ModelVersionStatus(registry=REGISTRY, conditions=[_told("Routable", "True", "Routed")])
    told = decide(_seen(previous=previous, engine=Engine(2, "s:2", 2), route=late), NOW).status.condition("Routable")
    assert told is not None
    assert told.message.startswith("clients reach it as m@3; router pod router-2 has not applied generation 1")


ENDED = {"reason": "Error", "exitCode": 1, "message": "it ended"}


def _pod(**state: Any) -> dict[str, Any]:
    return {"status": {"containerStatuses": [state]}}


CRASHED = _pod(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": ENDED})
RESTARTED = _pod(state={"running": {}}, lastState={"terminated": ENDED})
PULLING = _pod(state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})


@pytest.mark.parametrize(
    ("changes", "phase", "conditions", "progress"),
    [
        (
            {"previous": ModelVersionStatus(), "registry_problem": "MLflow is not reachable"},
            "Registering",
            {"Registered": "RegistryUnreachable", "Ready": "Starting"},
            "Working",
        ),
        ({"previous": ModelVersionStatus()}, "Registering", {"Registered": "Registering"}, "Working"),
        ({"engine": Engine(0, "s:2")}, "Loading", {"Registered": "Registered", "Ready": "Starting"}, "Working"),
        ({"engine": Engine(0, "s:2"), "pods": [PULLING]}, "Loading", {"Ready": "ImagePull"}, "Working"),
        ({"engine": Engine(1, "s:2")}, "Degraded", {"Ready": "SomeAnswer"}, "Working"),
        ({"engine": Engine(1, "s:2"), "pods": [CRASHED]}, "Degraded", {"Ready": "SomeAnswer"}, "Working"),
        ({"engine": Engine(2, "s:2")}, "Ready", {"Ready": "Answers", "Routable": "NotRouted"}, "Settled"),
        ({"engine": Engine(2, "s:2"), "route": NAMED}, "Ready", {"Routable": "Routed"}, "Settled"),
        ({"engine": Engine(0, "s:2"), "pods": [CRASHED]}, "Failed", {"Ready": "EngineFailed"}, "Failed"),
        ({"engine": Engine(0, "s:2"), "pods": [RESTARTED]}, "Loading", {"Ready": "Starting"}, "Working"),
        ({"contests": [_contest("b")]}, "Idle", {"Registered": "Registered", "Routable": "NotRouted"}, "Settled"),
        ({"spec": _spec(replicas=0)}, "Idle", {"Registered": "Registered"}, "Settled"),
        # MLflow down later: what was known stays.
        ({"registry_problem": "down", "engine": Engine(2, "s:2")}, "Ready", {"Registered": "Registered"}, "Settled"),
    ],
)
def test_phase_and_conditions(changes: dict[str, Any], phase: str, conditions: dict[str, str], progress: str) -> None:
    verdict = decide(_seen(**changes), NOW)
    found = {condition.type: condition.reason for condition in verdict.status.conditions}
    assert (verdict.status.phase, verdict.progress) == (phase, progress)
    assert conditions.items() <= found.items()
    assert ("Ready" in found) is (phase != "Idle")
    assert verdict.status.observed_generation == 4


def _bringing(**status: Any) -> dict[str, Any]:
    """A pod whose engine waits for its weights, beside what a mesh put before it."""
    mesh = {"name": "mesh", "state": {"running": {"startedAt": "2026-03-01T11:57:00Z"}}}
    waits = {"state": {"waiting": {"reason": "PodInitializing"}}}
    return {
        "status": {"initContainerStatuses": [mesh, {"name": "weights", **status}], "containerStatuses": [waits]},
    }


NO_ACCESS = {"reason": "Error", "exitCode": 77, "message": "error: the weights need 65.0 GB more"}
DOWNLOADING = _bringing(state={"running": {"startedAt": "2026-03-01T11:58:00Z"}}, lastState={"terminated": NO_ACCESS})
NOT_BROUGHT = _bringing(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": NO_ACCESS})
BROUGHT = _bringing(state={"terminated": {"reason": "Completed", "exitCode": 0}})
MADE_ANEW = _bringing(
    state={"waiting": {"reason": "PodInitializing"}}, lastState=BROUGHT["status"]["initContainerStatuses"][1]["state"]
)
SENTENCE = "question 1 of 3 of its evaluation: token 2 of the prompt is 'a' (1) here and was 'b' (2) in training"
DIFFERS = {"terminated": {"reason": "Error", "exitCode": 79, "message": SENTENCE}}
NO_ONE = "no pod has brought and verified the weights, and answered, yet"
AS_TRAINED = "weights are verified, and what lies beside them of its evaluation is answered as in training"


@pytest.mark.parametrize(
    ("ready", "pods", "status", "reason", "message"),
    [
        (0, [], "False", "NotLoaded", NO_ONE),
        (0, [CRASHED], "False", "NotLoaded", NO_ONE),
        (1, [], "True", "AsTrained", AS_TRAINED),
        (2, [RESTARTED], "True", "AsTrained", AS_TRAINED),
        (0, [_pod(state=DIFFERS)], "False", "AnswersDiffer", SENTENCE),
        (0, [_pod(state={"waiting": {}}, lastState=DIFFERS)], "False", "AnswersDiffer", SENTENCE),
        (0, [_pod(state={"running": {}}, lastState=DIFFERS)], "False", "AnswersDiffer", SENTENCE),
        # the old pods go on where a new one differs
        (2, [_pod(state={"running": {}}, ready=True), _pod(state=DIFFERS)], "False", "AnswersDiffer", SENTENCE),
        (1, [_pod(state={"running": {}}, lastState=DIFFERS, ready=True)], "True", "AsTrained", AS_TRAINED),
        (1, [{**_pod(state=DIFFERS), "metadata": {"deletionTimestamp": "x"}}], "True", "AsTrained", AS_TRAINED),
    ],
)
def test_whether_it_is_loaded_as_it_was_trained(
    ready: int, pods: list[dict[str, Any]], status: str, reason: str, message: str
) -> None:
    found = decide(_seen(engine=Engine(ready, "s:2"), pods=pods), NOW).status.condition("Loaded")
    assert found is not None
    assert (found.status, found.reason, found.message) == (status, reason, message)


def test_a_version_that_answers_otherwise_has_failed_and_one_without_pods_is_not_loaded() -> None:
    status = decide(_seen(engine=Engine(0, "s:2"), pods=[_pod(state=DIFFERS)]), NOW).status
    assert (status.phase, status.reason) == ("Failed", "EngineFailed")
    idle = decide(_seen(previous=status, contests=[_contest("b")]), NOW).status
    assert (idle.phase, idle.condition("Loaded")) == ("Idle", None)


LOADING = _pod(state={"running": {"startedAt": "2026-03-01T11:59:00Z"}})
SECRET = _pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": "secret not found"}})
CREATING = _pod(state={"waiting": {"reason": "ContainerCreating"}})
NO_NODE = {
    "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "2 Insufficient nvidia.com/gpu."}]}
}
EVICTED = {"status": {"phase": "Failed", "message": "low on resource: ephemeral-storage.", **CRASHED["status"]}}


def _fetches(**state: Any) -> dict[str, Any]:
    return {"status": {"containerStatuses": [{"name": "weights", "state": state}]}}


LEAVING = {**CRASHED, "metadata": {"deletionTimestamp": "2026-03-01T11:59:00Z"}}
QUOTA = Engine(0, "s:2", refusal="exceeded quota")
WAITS = "the pod waits for a node: 2 Insufficient nvidia.com/gpu."
BRINGS = "the weights are verified and loaded since 2026-03-01T11:59:00Z; what takes longer than 15m is started again"
LOADS = "the weights are downloaded since 2026-03-01T11:58:00Z"


@pytest.mark.parametrize(
    ("engine", "pods", "reason", "why"),
    [
        (None, [], "Starting", ""),
        (Engine(0, "s:2"), [CREATING], "Starting", ""),
        (Engine(0, "s:2"), [PULLING], "ImagePull", "the container waits: ImagePullBackOff no such image"),
        (Engine(0, "s:2"), [LOADING, NO_NODE], "Unschedulable", WAITS),
        (Engine(0, "s:2"), [SECRET], "Access", "the container waits: CreateContainerConfigError secret not found"),
        (Engine(0, "s:2"), [LOADING, CREATING], "Starting", BRINGS),
        (Engine(0, "s:2"), [DOWNLOADING], "Downloading", LOADS),
        (Engine(0, "s:2"), [BROUGHT], "Starting", ""),
        (Engine(0, "s:2"), [MADE_ANEW], "Starting", ""),
        (Engine(0, "s:2"), [DOWNLOADING, LOADING], "Starting", BRINGS),
        (QUOTA, [LOADING], "RefusedByApiServer", "no pod can be made: exceeded quota"),
        (Engine(0, "s:2"), [EVICTED], "Evicted", "a pod was evicted: low on resource: ephemeral-storage."),
        # where another is made already, that one tells
        (Engine(0, "s:2"), [EVICTED, LOADING], "Starting", BRINGS),
        (Engine(0, "s:2"), [LEAVING, LOADING], "Starting", BRINGS),
    ],
)
def test_what_keeps_an_engine_from_starting_is_told(
    engine: Engine | None, pods: list[dict[str, Any]], reason: str, why: str
) -> None:
    status = decide(_seen(engine=engine, pods=pods), NOW).status
    ready = status.condition("Ready")
    assert ready is not None
    assert (status.phase, status.reason, ready.reason) == ("Loading", reason, reason)
    assert ready.message == "0 of 2 pods answer" + (f": {why}" if why else "")
    some = decide(_seen(engine=replace(engine or Engine(0, "s:2"), ready=1), pods=pods), NOW).status.condition("Ready")
    assert some is not None
    assert (some.reason, some.message) == ("SomeAnswer", "1 of 2 pods answer" + (f": {why}" if why else ""))


@pytest.mark.parametrize(
    ("size", "serving", "remedy"),
    [
        (
            65 * 10**9,
            {},
            "; its weights take 65.0 GB of a node's disk: free some, or keep them on a claim (serving.cache)",
        ),
        (65 * 10**9, {"cache": {"claimName": "models"}}, ""),
        (None, {}, ""),
    ],
)
def test_where_no_node_s_disk_has_room_the_remedy_is_told(
    size: int | None, serving: dict[str, Any], remedy: str
) -> None:
    spec = _spec(**serving)
    spec = spec.model_copy(update={"artifact": spec.weights.model_copy(update={"bytes": size})})
    said = "0/2 nodes are available: 2 Insufficient ephemeral-storage."
    full = {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": said}]}}
    ready = decide(_seen(spec=spec, engine=Engine(0, "s:2"), pods=[full]), NOW).status.condition("Ready")
    assert ready is not None
    assert ready.message == f"0 of 2 pods answer: the pod waits for a node: {said}{remedy}"


JOB = Deletion("Job", "m-1-weights", "u")
FETCHING = Fetching(JOB, "models", pods=[_fetches(running={"startedAt": "2026-03-01T11:58:00Z"})], build="s:2")
KEEPS = _spec(cache={"claimName": "models"})
AWAITED: dict[str, Any] = {"spec": KEEPS, "engine": Engine(0, "s:2"), "pods": [NO_NODE], "may_fetch": True}
TOLD = Downloaded(bytes=10**9, total_bytes=65 * 10**9, bytes_per_second=48_000_000)
FAR = "1.0 of 65.0 GB are here, at 48.0 MB/s, about 23m left"
UNWANTED = _spec(replicas=0, cache={"claimName": "models"})
STUCK = replace(FETCHING, pods=[NO_NODE])


@pytest.mark.parametrize(
    ("changes", "begins", "ends", "told"),
    [
        ({}, True, False, ""),
        ({"may_fetch": False}, False, False, ""),
        ({"fetching": FETCHING}, False, False, "; meanwhile its weights are brought to the claim"),
        (
            {"fetching": FETCHING, "downloads": [TOLD]},
            False,
            False,
            f"; meanwhile its weights are brought to the claim: {FAR}",
        ),
        ({"fetching": replace(FETCHING, is_complete=True)}, False, False, "; its weights are on the claim by now"),
        ({"fetching": STUCK}, False, False, f"; what brings its weights to the claim waits, too: {WAITS}"),
        # one that is being deleted is waited for
        ({"fetching": replace(FETCHING, is_leaving=True)}, False, False, ""),
        # to another claim than is asked for by now
        (
            {"fetching": replace(FETCHING, claim="other")},
            False,
            True,
            "; meanwhile its weights are brought to the claim",
        ),
        # as this build, or people's wishes by now, would not have it made
        ({"fetching": replace(FETCHING, build="s:1")}, False, True, None),
        ({"fetching": FETCHING, "wish": "another proxy"}, False, True, None),
        ({"fetching": replace(FETCHING, build="s:1", is_complete=True)}, False, False, None),
        # nobody asks for pods any more
        ({"fetching": FETCHING, "engine": Engine(0, "s:2", 0), "spec": UNWANTED}, False, True, None),
        # its pods are to end when routers have left it
        ({"fetching": FETCHING, "spec": UNWANTED, "route": NAMED}, False, True, None),
        ({"spec": UNWANTED, "route": NAMED}, False, False, None),
        # a pod has a node: it goes on where the Job was
        ({"fetching": FETCHING, "may_fetch": False, "pods": [DOWNLOADING]}, False, True, None),
        ({"fetching": FETCHING, "may_fetch": False, "engine": Engine(2, "s:2"), "pods": []}, False, True, None),
    ],
)
def test_weights_are_fetched_while_no_pod_has_a_node(
    changes: dict[str, Any], begins: bool, ends: bool, told: str | None
) -> None:
    verdict = decide(_seen(**AWAITED | changes), NOW)
    assert verdict.apply[0].fetches is begins
    assert verdict.delete == ((JOB,) if ends else ())
    ready = verdict.status.condition("Ready")
    if told is not None:
        assert ready is not None
        assert (ready.reason, ready.message) == ("Unschedulable", f"0 of 2 pods answer: {WAITS}{told}")


def test_how_far_weights_are_fetched_is_in_the_status_and_looked_at_again() -> None:
    verdict = decide(_seen(**AWAITED, fetching=FETCHING, downloads=[TOLD]), NOW)
    assert verdict.status.download is not None
    assert (verdict.status.download.bytes, verdict.status.download.remaining) == (10**9, "23m")
    assert verdict.again == 10.0


def test_weights_that_cannot_be_fetched_are_told_before_a_node_is_there() -> None:
    ended = {"reason": "Error", "exitCode": 77, "message": "error: the answer was 403 Forbidden"}
    waits = _fetches(waiting={"reason": "CrashLoopBackOff"})
    waits["status"]["containerStatuses"][0]["lastState"] = {"terminated": ended}
    status = decide(_seen(**AWAITED, fetching=replace(FETCHING, pods=[waits])), NOW).status
    assert (status.phase, status.reason) == ("Failed", "WeightsFailed")
    killed = _fetches(terminated={"reason": "Error", "exitCode": 143})
    taken = {"status": {"phase": "Failed", **killed["status"]}}
    for gone in (taken, {"metadata": {"deletionTimestamp": "2026-03-01T11:59:00Z"}, **killed}):
        status = decide(_seen(**AWAITED, fetching=replace(FETCHING, pods=[gone, *FETCHING.pods])), NOW).status
        assert (status.phase, status.reason) == ("Loading", "Unschedulable"), "another goes on where that one was"
    done = _fetches(terminated={"reason": "Completed", "exitCode": 0})
    status = decide(_seen(**AWAITED, fetching=replace(FETCHING, pods=[done], is_complete=True)), NOW).status
    assert (status.phase, status.reason) == ("Loading", "Unschedulable")


@pytest.mark.parametrize(
    ("pods", "wait"),
    [
        ([], False),
        ([NO_NODE], True),
        ([NO_NODE, NO_NODE], True),
        ([NO_NODE, DOWNLOADING], False),
        ([NO_NODE, CREATING], False),
        ([CREATING], False),
        ([NO_NODE, EVICTED, LEAVING], True),
        ([{**NO_NODE, "metadata": {"deletionTimestamp": "x"}}], False),
    ],
)
def test_pods_wait_for_nodes_where_none_of_them_has_one(pods: list[dict[str, Any]], wait: bool) -> None:
    assert wait_for_nodes(pods) is wait


def test_a_source_that_the_installation_does_not_serve_gets_no_pods_and_what_is_served_goes_on() -> None:
    refused = decide(_seen(engine=None, source_refusal="not from there"), NOW)
    ready = refused.status.condition("Ready")
    assert ready is not None
    assert (refused.status.phase, refused.status.reason, ready.message) == ("Failed", "SourceRefused", "not from there")
    assert (refused.apply, refused.status.replicas, refused.progress) == ((), 0, "Failed")
    served = decide(_seen(engine=Engine(2, "s:2"), source_refusal="not from there"), NOW)
    assert (served.status.phase, served.status.replicas) == ("Ready", 2)
    assert served.apply


def test_a_download_is_looked_at_again_and_again_and_told_with_its_speed() -> None:
    told = Downloaded(bytes=10**9, total_bytes=65 * 10**9, bytes_per_second=48_000_000)
    verdict = decide(_seen(engine=Engine(0, "s:2"), pods=[DOWNLOADING], downloads=[told]), NOW)
    ready = verdict.status.condition("Ready")
    assert (verdict.status.reason, verdict.again) == ("Downloading", 10.0)
    assert ready is not None
    assert ready.message == f"0 of 2 pods answer: {LOADS}: 1.0 of 65.0 GB are here, at 48.0 MB/s, about 23m left"
    assert verdict.status.download is not None
    assert verdict.status.download.dump() == {
        "bytes": 10**9,
        "totalBytes": 65 * 10**9,
        "bytesPerSecond": 48_000_000,
        "remaining": "23m",
    }
    over = decide(_seen(engine=Engine(0, "s:2"), pods=[BROUGHT], previous=verdict.status), NOW)
    assert (over.status.download, over.again) == (None, None)


def test_weights_that_cannot_be_brought_are_told_of_and_the_old_pods_go_on() -> None:
    said = "what brings the weights ended with Error (77): error: the weights need 65.0 GB more"
    failed = decide(_seen(engine=Engine(0, "s:2"), pods=[NOT_BROUGHT]), NOW).status
    assert (failed.phase, failed.reason) == ("Failed", "WeightsFailed")
    assert [condition.message for condition in failed.conditions if condition.type == "Ready"] == [said]
    replaced = decide(_seen(engine=ROLLING, pods=[NOT_BROUGHT]), NOW).status
    assert (replaced.phase, replaced.reason) == ("Ready", "RolloutWaits")
    assert [c.message for c in replaced.conditions if c.type == "Ready"] == [f"{REPLACES}{said}"]


RECREATE = _spec(rollout="Recreate")
ROLLING = Engine(2, "s:2", 2, is_rolling=True)
ANSWER = "weights are verified and the engine answers"
REPLACES = f"{ANSWER}; of the pods that replace its own: "
REMEDY = "; free what one asks for, or set `serving.rollout: Recreate`"


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"engine": ROLLING, "pods": [CREATING]}, "Answers", ANSWER),
        ({"engine": ROLLING, "pods": [NO_NODE]}, "RolloutWaits", f"{REPLACES}{WAITS}{REMEDY}"),
        ({"engine": ROLLING, "pods": [NO_NODE], "spec": RECREATE}, "RolloutWaits", f"{REPLACES}{WAITS}"),
        ({"engine": ROLLING, "pods": [LOADING]}, "RolloutWaits", f"{REPLACES}{BRINGS}"),
        (
            {"engine": ROLLING, "pods": [CRASHED]},
            "RolloutWaits",
            f"{REPLACES}the engine ended with Error (1): it ended",
        ),
        ({"engine": Engine(2, "s:2", 2), "pods": [LEAVING, CRASHED]}, "Answers", ANSWER),
    ],
)
def test_a_version_whose_pods_are_replaced_answers_and_says_what_that_waits_for(
    changes: dict[str, Any], reason: str, message: str
) -> None:
    status = decide(_seen(**changes), NOW).status
    ready = status.condition("Ready")
    assert ready is not None
    assert (status.phase, ready.status, ready.reason, ready.message) == ("Ready", "True", reason, message)


def test_of_an_engine_that_ended_the_last_words_are_told() -> None:
    ended = ENDED | {"message": "one\ntwo\nthree\nfour\nfive\n"}
    ready = decide(_seen(engine=Engine(0, "s:2"), pods=[_pod(state={"terminated": ended})]), NOW).status.condition(
        "Ready"
    )
    assert ready is not None
    assert ready.message == "the engine ended with Error (1): three four five"


@pytest.mark.parametrize(
    ("changes", "effects"),
    [
        ({"previous": ModelVersionStatus()}, (Register(),)),
        ({"previous": ModelVersionStatus(), "registry_problem": "down"}, ()),
        ({"spec": _spec(aliases=["base", "golden"])}, (SetAliases("3"),)),
        ({"engine": Engine(2, "s:2"), "aliases": {}}, (GiveProduction("3"),)),
        ({"engine": Engine(2, "s:2"), "aliases": {"production": "1"}}, ()),
        ({"engine": Engine(2, "s:2"), "aliases": None}, ()),
        ({"engine": Engine(0, "s:2"), "aliases": {}}, ()),
        ({"engine": Engine(2, "s:2"), "aliases": {}, "route": RouteSeen(default="m-2")}, ()),
        ({"engine": Engine(2, "s:2"), "aliases": {}, "route": RouteSeen(default="m-1")}, (GiveProduction("3"),)),
        ({"engine": Engine(2, "s:2"), "aliases": {}, "contests": [_contest(None)], "name": "m-2"}, ()),
        # nor while it bakes, though clients get it already
        (
            {
                "engine": Engine(2, "s:2"),
                "aliases": {},
                "contests": [_baking()],
                "name": "m-2",
                "route": RouteSeen(default="m-2"),
            },
            (),
        ),
        (ASLEEP | {"aliases": {}}, (GiveProduction("3"),)),
    ],
)
def test_what_mlflow_is_told(changes: dict[str, Any], effects: tuple[Any, ...]) -> None:
    assert decide(_seen(**changes), NOW).effects == effects


def _others(**engines: Engine) -> dict[str, Any]:
    return {"other_engines": engines}


OLD = Engine(2, "s:1", demands_key=True, wish="w")
SENDS, BEFORE = Front(sends_key=True, is_rolling=False), Engine(2, "s:1")
EXPERIMENT = {"contests": [_contest(None)]}
EDITED = ModelVersionStatus(registry=REGISTRY, observed_generation=3)


@pytest.mark.parametrize(
    ("changes", "waits_for"),
    [
        ({}, ""),
        ({"engine": OLD}, ""),
        ({"engine": OLD, **EXPERIMENT}, "its experiment is decided"),
        ({"engine": OLD, "contests": [_contest("b")], "aliases": {"production": "3"}}, ""),
        ({"engine": OLD, "contests": [_contest("b", phase="Baking")]}, "the winner of its experiment has baked"),
        # another's turn
        ({"engine": OLD, **_others(z=Engine(1, "s:2", is_rolling=True))}, "z is"),
        ({"engine": replace(OLD, build=""), **_others(z=Engine(1, "s:2", is_rolling=True))}, "z is"),
        ({"engine": replace(OLD, build="")}, ""),
        ({"engine": OLD, **_others(z=Engine(1, "s:2"))}, ""),
        ({"engine": OLD, **_others(a=Engine(1, "s:1"))}, "a is"),
        ({"engine": OLD, **_others(z=Engine(0, "s:2", is_rolling=True, has_answered=False))}, ""),
        ({"engine": OLD, **_others(z=Engine(0, "s:2", is_rolling=True, is_complete=True))}, ""),
        ({"engine": OLD, **_others(z=Engine(1, "s:1", is_rolling=True))}, ""),
        # what this build made is kept as it makes it
        ({"engine": replace(OLD, build="s:2"), **EXPERIMENT}, ""),
        # people's wishes wait for nobody
        ({"engine": OLD, "wish": "another", **EXPERIMENT}, ""),
        ({"engine": replace(OLD, wish=""), "wish": "another", **EXPERIMENT}, "its experiment is decided"),
        ({"engine": replace(OLD, wish=""), "previous": EDITED, **EXPERIMENT}, ""),
        # the router has to send the key to one that begins to demand it
        (
            {"engine": BEFORE, "router": Front(sends_key=False, is_rolling=False)},
            "no router of an earlier build is left",
        ),
        ({"engine": BEFORE, "router": Front(sends_key=True, is_rolling=True)}, "no router of an earlier build is left"),
        ({"engine": BEFORE, "router": SENDS}, ""),
        ({"engine": BEFORE}, ""),
        ({"engine": BEFORE, **EXPERIMENT}, "its experiment is decided"),
        ({"engine": OLD, "router": Front(sends_key=True, is_rolling=True)}, ""),
    ],
)
def test_an_engine_is_brought_up_to_date_by_itself_and_never_in_an_experiment(
    changes: dict[str, Any], waits_for: str
) -> None:
    previous = EDITED.model_copy(update={"observed_generation": 4})
    world: dict[str, Any] = {"wish": "w", "previous": previous, **changes}
    verdict = decide(_seen(**world), NOW)
    assert verdict.apply == (Serve(2, as_they_are=bool(waits_for)),)
    assert verdict.polls is waits_for.startswith("no router")
    told = verdict.status.condition("Ready")
    assert told is not None
    if "engine" in changes:
        assert told.message == ANSWER + (f"; it is brought up to date when {waits_for}" if waits_for else "")
