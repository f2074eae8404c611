"""Where a version stands, and how many pods it should have."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus, DecisionStatus
from anneal_operator.api.conditions import Condition
from anneal_operator.api.model_version import ModelVersionSpec, ModelVersionStatus, Registry
from anneal_operator.decide.acknowledgement import Arrival, RouteSeen
from anneal_operator.decide.model_version import (
    Contest,
    Engine,
    Front,
    GiveProduction,
    ObservedVersion,
    Register,
    Serve,
    SetAliases,
    decide,
)
from anneal_operator.decide.verdict import Deletion
from serving_runtime.plan import Stamp

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


def _seen(name: str = "m-1", **changes: Any) -> ObservedVersion:
    known: dict[str, Any] = {"spec": _spec(), "previous": ModelVersionStatus(registry=REGISTRY), "server_image": "s:2"}
    return ObservedVersion(name=name, generation=4, **(known | changes))


def _replicas(seen: ObservedVersion, now: datetime = NOW) -> int:
    return decide(seen, now).apply[0].replicas


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
        ("m-2", {"contests": [_contest("a", phase="RolledBack")]}, 0),
        ("m-1", {"contests": [_contest("b"), _contest(None)]}, 2),
        ("m-1", {"contests": [_contest("b", "2026-03-01T10:00:00Z"), _contest("a")]}, 2),
        ("m-1", {"contests": [_contest("a", "2026-03-01T10:00:00Z"), _contest("b")]}, 0),
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
        # what lost stays without pods when its experiment is deleted, until its spec changes or it is wanted
        ("m-1", {"previous": SCALED_DOWN}, 0),
        ("m-1", {"previous": SCALED_DOWN, "contests": [_contest(None)]}, 2),
        ("m-1", {"previous": SCALED_DOWN, "aliases": {"production": "3"}}, 2),
        ("m-1", {"previous": SCALED_DOWN.having(observed_generation=3)}, 2),
    ],
)
def test_how_many_pods_are_wanted(name: str, changes: dict[str, Any], replicas: int) -> None:
    assert _replicas(_seen(name, **changes)) == replicas


STAMP = Stamp(lineage="2026", generation=1, digest="d")
LEFT = RouteSeen(arrival=Arrival(STAMP, 2))
NAMED = RouteSeen(versions=frozenset({"m-1"}), arrival=Arrival(STAMP, 2))
BEHIND = replace(LEFT, arrival=Arrival(STAMP, 1, ("router-2",)))


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
        ({"engine": Engine(0, "s:2"), "pods": [PULLING]}, "Loading", {"Ready": "Starting"}, "Working"),
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


def test_what_keeps_an_engine_from_starting_is_told() -> None:
    status = decide(_seen(engine=Engine(0, "s:2"), pods=[PULLING]), NOW).status
    ready = status.condition("Ready")
    assert ready is not None
    assert ready.message == "0 of 2 pods answer; the container waits: ImagePullBackOff no such image"


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
    ],
)
def test_what_mlflow_is_told(changes: dict[str, Any], effects: tuple[Any, ...]) -> None:
    assert decide(_seen(**changes), NOW).effects == effects


@pytest.mark.parametrize(
    ("changes", "image"),
    [
        ({}, "s:2"),
        ({"engine": Engine(2, "s:1")}, "s:2"),
        ({"engine": Engine(2, "s:1"), "contests": [_contest(None)]}, "s:1"),
        ({"engine": Engine(2, "s:1"), "contests": [_contest("b")]}, "s:2"),
        ({"engine": Engine(2, "s:1"), "other_engines": {"z": Engine(1, "s:2", is_rolling=True)}}, "s:1"),
        ({"engine": Engine(2, ""), "other_engines": {"z": Engine(1, "s:2", is_rolling=True)}}, "s:2"),
        ({"engine": Engine(2, "s:1"), "other_engines": {"z": Engine(1, "s:2")}}, "s:2"),
        ({"engine": Engine(2, "s:1"), "other_engines": {"0": Engine(1, "s:1")}}, "s:1"),
        ({"engine": Engine(2, "s:1"), "other_engines": {"z": Engine(1, "s:1", is_rolling=True)}}, "s:2"),
    ],
)
def test_an_engine_is_brought_up_to_date_by_itself_and_never_in_an_experiment(
    changes: dict[str, Any], image: str
) -> None:
    assert decide(_seen(**changes), NOW).apply[0].image == image


BEFORE, WITH_KEY = Engine(2, "s:1"), Engine(2, "s:1", demands_key=True)


@pytest.mark.parametrize(
    ("changes", "image", "demands_key", "polls"),
    [
        ({}, "s:2", True, False),
        ({"router": Front(sends_key=False, is_rolling=False)}, "s:2", True, False),
        ({"engine": BEFORE}, "s:2", True, False),
        # one of an earlier build stays as it is until the router sends the key
        ({"engine": BEFORE, "router": Front(sends_key=False, is_rolling=False)}, "s:1", False, True),
        ({"engine": BEFORE, "router": Front(sends_key=True, is_rolling=True)}, "s:1", False, True),
        ({"engine": BEFORE, "router": Front(sends_key=True, is_rolling=False)}, "s:2", True, False),
        # and in an experiment
        ({"engine": BEFORE, "contests": [_contest(None)]}, "s:1", False, False),
        ({"engine": WITH_KEY, "contests": [_contest(None)]}, "s:1", True, False),
        ({"engine": BEFORE, "other_engines": {"0": Engine(1, "s:1")}}, "s:1", False, False),
        # one that demands it goes on, whatever the router is doing
        ({"engine": WITH_KEY, "router": Front(sends_key=True, is_rolling=True)}, "s:2", True, False),
    ],
)
def test_an_engine_demands_its_key_once_the_router_sends_it(
    changes: dict[str, Any], image: str, demands_key: bool, polls: bool
) -> None:
    verdict = decide(_seen(**changes), NOW)
    assert (verdict.apply, verdict.polls) == ((Serve(2, image, demands_key),), polls)


@pytest.mark.parametrize(
    ("router", "waits"), [(Front(True, True), True), (Front(False, False), True), (Front(True, False), False)]
)
def test_an_engine_that_waits_for_the_routers_says_so(router: Front, waits: bool) -> None:
    told = decide(_seen(engine=BEFORE, router=router), NOW).status.condition("Ready")
    assert told is not None
    assert told.message.endswith("when no router of an earlier build is left") is waits
