"""An ABExperiment: nothing before its variants and route are there, then a verdict, then what follows from it."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from anneal_operator.decide.statistics.recomputed import recomputed
from anneal_operator.decide.statistics.terms import GUARDED_RULE
from anneal_operator.errors import ConflictError, RegistryError
from anneal_operator.outside.registry import Registration
from anneal_operator.reconcile.queue import Key
from tests.support.counted import metric_told

from .experiments import EXPERIMENT
from .world import NAMESPACE, Manifest, World

SPEC = EXPERIMENT | {"stopping": EXPERIMENT["stopping"] | {"method": "FixedHorizon"}}


def _version(world: World, name: str, number: str, phase: str = "Ready") -> None:
    artifact = {"uri": "mlflow-artifacts:/1/r", "format": "Full", "digest": "sha256:" + "0" * 64}
    status = {"phase": phase, "registry": {"version": number, "url": "u"}}
    world.api.put("ModelVersion", name, spec={"modelName": "spam", "artifact": artifact}, status=status)
    asyncio.run(world.registry.register(Registration(NAMESPACE, name, name, "spam", "u", "d", "r")))


@pytest.fixture
def world() -> World:
    """An experiment on two versions that are ready, the first in production."""
    made = World()
    made.api.put("ABExperiment", "x", spec=SPEC, metadata={"uid": "uid-x"})
    _version(made, "one", "1")
    _version(made, "two", "2")
    made.registry.aliases["spam", "production"] = "1"
    return made


def _look(world: World, times: int = 1) -> float | None:
    return world.reconcile("ABExperiment", "x", times)


def _status(world: World) -> dict[str, Any]:
    return world.api.status("ABExperiment", "x")


def _condition(world: World, kind: str) -> tuple[str, str]:
    found: dict[str, Any] = next((c for c in _status(world)["conditions"] if c["type"] == kind), {})
    return found.get("status", ""), found.get("reason", "")


def _message(world: World, kind: str) -> str:
    return str(next(c["message"] for c in _status(world)["conditions"] if c["type"] == kind))


def _set_phase(world: World, name: str, phase: str) -> None:
    status = world.api.status("ModelVersion", name)
    world.api.edit("ModelVersion", name, status={**status, "phase": phase})


def _start(world: World) -> None:
    """Have the routers split by it, and begin."""
    world.programme(split_by="uid-x")
    _look(world)


def _count(world: World, a: tuple[int, float], b: tuple[int, float]) -> None:
    variants = {
        name: {"users": n, "requests": 2 * n, "fallbacks": 0, "metric": metric_told(n, mean, float(n))}
        for name, (n, mean) in {"a": a, "b": b}.items()
    }
    world.routers.counted = {"variants": variants, "moved_users": 0}


def _read_aliases(world: World, **aliases: list[str]) -> None:
    for name, read in aliases.items():
        status = world.api.status("ModelVersion", name)
        registry = {**status["registry"], "aliases": read}
        world.api.edit("ModelVersion", name, status={**status, "registry": registry})


def _decide(world: World, b: float = 4.0) -> None:
    _start(world)
    world.later(60)
    _count(world, (110, 3.0), (105, b))
    _look(world)
    world.programme("two" if b > 3.0 else "one")


def _record(world: World) -> dict[str, Any]:
    return next(made for (kind, name), made in world.api.objects.items() if kind == "ConfigMap" and "record" in name)


def test_it_waits_for_versions_then_for_the_route(world: World) -> None:
    _set_phase(world, "two", "Loading")
    _look(world)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("WarmingUp", "VersionNotReady")
    _set_phase(world, "two", "Ready")
    _look(world)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("WarmingUp", "RouterBehind")
    assert Key("Router", NAMESPACE, "anneal-router") in world.woken
    world.programme(split_by="uid-x", arrived=False)
    _look(world)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("WarmingUp", "RouterBehind")
    assert "router pod r has not applied generation 1 of the routes" in _message(world, "RouteProgrammed")
    _start(world)
    assert (_status(world)["phase"], _status(world)["startedAt"]) == ("Running", "2026-03-01T12:00:00Z")


def test_the_control_must_hold_production(world: World) -> None:
    world.registry.aliases["spam", "production"] = "2"
    _start(world)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("Pending", "ControlNotInProduction")


def test_a_verdict_is_kept_before_anything_follows_then_moves_the_alias(world: World) -> None:
    _decide(world)
    assert (_status(world)["phase"], _status(world)["decision"]["winner"]) == ("Promoted", "b")
    assert json.loads(_record(world)["data"]["decision.json"])["winner"] == "b"
    assert "immutable" not in _record(world), "something follows from it"
    assert "ownerReferences" not in _record(world)["metadata"]
    assert world.registry.aliases["spam", "production"] == "1", "the decision is written before anything follows"
    _look(world)
    kept = ["keep", "keep"]  # the start, and the decision
    assert [call for call in world.registry.calls if call != "register"] == [*kept, "record", "move_alias"]
    assert world.registry.aliases["spam", "production"] == "2"
    assert json.loads(world.registry.records["2"]["anneal.dev/experiment.x"])["winner"] == "b"
    _read_aliases(world, one=[], two=["production"])
    _look(world)
    assert _condition(world, "AliasMoved") == ("True", "Moved")
    assert _condition(world, "Reconciling") == ("", "")
    assert _record(world)["immutable"] is True
    world.writes()
    _look(world)
    assert world.writes() == []


@pytest.mark.parametrize("uid", ["uid-x", "uid-of-another"])
def test_a_rollback_by_hand_is_not_undone_where_the_status_was_lost(world: World, uid: str) -> None:
    """As after a restore without statuses, or where the same manifest is applied again."""
    _decide(world)
    _look(world)
    _read_aliases(world, one=[], two=["production"])
    _look(world)
    world.registry.aliases["spam", "production"] = "1"
    _read_aliases(world, one=["production"], two=[])
    world.api.remove("ABExperiment", "x")
    world.api.put("ABExperiment", "x", spec=SPEC, metadata={"uid": uid})
    _look(world, 3)
    assert world.registry.aliases["spam", "production"] == "1"
    assert (_status(world)["phase"], _condition(world, "AliasMoved")) == ("Promoted", ("False", "HeldByAnother"))


def _restore(world: World) -> None:
    """Manifests alone are applied again: what the operator wrote in the namespace is gone."""
    world.api.remove("ABExperiment", "x")
    world.api.remove("ConfigMap", _record(world)["metadata"]["name"])
    world.api.put("ABExperiment", "x", spec=SPEC, metadata={"uid": "uid-new"})


def test_after_a_restore_one_that_runs_goes_on_with_its_numbers(world: World) -> None:
    _start(world)
    _count(world, (60, 3.0), (40, 3.5))
    _look(world)
    started, data = _status(world)["startedAt"], _record(world)["data"]
    world.later(600)
    _restore(world)
    _look(world, 2)
    assert (_record(world)["data"], "immutable" in _record(world)) == (data, False)
    assert (_status(world)["phase"], _status(world)["startedAt"]) == ("Running", started)
    assert _status(world)["users"] == 100
    assert set(world.routers.asked_of) == {"uid-x"}, "the recorder knows it by its first uid"


@pytest.mark.parametrize(("b", "phase"), [(4.0, "Promoted"), (1.0, "RolledBack"), (3.0, "Inconclusive")])
def test_after_a_restore_a_decision_is_as_it_was_and_nothing_follows_anew(world: World, b: float, phase: str) -> None:
    _decide(world, b)
    _look(world)
    _read_aliases(world, one=[] if b > 3 else ["production"], two=["production"] if b > 3 else [])
    _look(world, 2)
    decision, record = _status(world)["decision"], _record(world)
    assert (_status(world)["phase"], record["immutable"]) == (phase, True)
    world.later(600)
    _count(world, (500, 9.0), (500, 2.0))
    _restore(world)
    calls, aliases = len(world.registry.calls), dict(world.registry.aliases)
    _look(world, 3)
    assert (_status(world)["phase"], _status(world)["decision"]) == (phase, decision)
    assert (_record(world)["data"], _record(world)["immutable"]) == (record["data"], True)
    assert (world.registry.calls[calls:], world.registry.aliases) == ([], aliases)
    world.writes()
    _look(world)
    assert world.writes() == []


def _counts_skewed(world: World, users: tuple[int, int]) -> None:
    _count(world, (users[0], 3.0), (users[1], 3.0))
    _look(world, 2)


@pytest.mark.parametrize("lost", ["nothing", "the status", "the namespace"])
def test_a_split_that_was_found_skewed_once_stays_so_whatever_is_lost(world: World, lost: str) -> None:
    _start(world)
    _counts_skewed(world, (10, 400))
    assert json.loads(_record(world)["data"]["latches.json"]) == ["response", "sampleRatio"]
    _counts_skewed(world, (400, 400))
    if lost == "the status":
        world.api.edit("ABExperiment", "x", status={})
    elif lost == "the namespace":
        world.later(600)
        _restore(world)
    world.later(60)
    _look(world, 3)
    assert (_status(world)["phase"], _condition(world, "AssignmentHealthy")) == (
        "Running",
        ("False", "SampleRatioMismatch"),
    )
    assert json.loads(_record(world)["data"]["latches.json"]) == ["response", "sampleRatio"]
    world.writes()
    _look(world)
    assert world.writes() == []


def test_the_start_freezes_what_the_verdict_is_reached_by(world: World) -> None:
    _start(world)
    terms = json.loads(_record(world)["data"]["start.json"])["terms"]
    frozen = {"method": "FixedHorizon", "shares": [5000, 5000], "level": 0.05, "least": 100, "planned": 200, "rule": 1}
    assert {name: terms[name] for name in frozen} == frozen


def test_an_experiment_that_an_earlier_build_began_goes_on_with_its_one_look(world: World) -> None:
    _start(world)
    record = _record(world)
    begun = {name: told for name, told in json.loads(record["data"]["start.json"]).items() if name != "terms"}
    world.api.edit("ConfigMap", record["metadata"]["name"], data={"start.json": json.dumps(begun)})
    world.later(60)
    _count(world, (110, 3.0), (105, 3.0))
    _look(world)
    decision = _status(world)["decision"]
    assert (decision["outcome"], decision["rule"]) == ("Inconclusive", "welch-0.95")


def test_the_best_of_several_challengers_is_promoted(world: World) -> None:
    spec = world.api.objects["ABExperiment", "x"]["spec"]
    third = {"name": "c", "modelVersionRef": {"name": "three"}, "weight": 50}
    stopping = {**spec["stopping"], "method": "Sequential"}
    world.api.edit("ABExperiment", "x", spec={**spec, "variants": [*spec["variants"], third], "stopping": stopping})
    _version(world, "three", "3")
    _start(world)
    world.later(60)
    told = {name: metric_told(200, mean, 200.0) for name, mean in (("a", 3.0), ("b", 4.0), ("c", 4.2))}
    variants = {
        name: {"users": 200, "requests": 400, "fallbacks": 0, "metric": metric} for name, metric in told.items()
    }
    world.routers.counted = {"variants": variants, "moved_users": 0}
    _look(world)
    assert _status(world)["decision"]["winner"] == "c"
    assert [variant["weight"] for variant in _status(world)["variants"]] == [0, 0, 150]


def _closed(n: int, place: int, spread: int) -> dict[str, Any]:
    """Of users whose window is over: values around a place in the range, as far apart as what they were like before."""
    values = [place + spread * (number % 3 - 1) for number in range(n)]
    products = sum(value * value for value in values)
    sums = {"n": n, "y": sum(values), "yy": products, "h": n, "yh": sum(values), "x": sum(values)}
    cells = Counter(str(round(value / 104)) for value in values)
    return {"users": n, "sums": sums | {"xx": products, "xy": products}, "parts": 1_048_320, "cells": dict(cells)}


def test_with_a_window_values_count_once_it_is_over(world: World) -> None:
    spec = world.api.objects["ABExperiment", "x"]["spec"]
    primary = {**spec["metrics"]["primary"], "range": {"min": 1, "max": 5}, "window": "24h"}
    stopping = {"minUsersPerVariant": 100, "minDuration": "1s", "maxDuration": "48h"}
    world.api.edit("ABExperiment", "x", spec={**spec, "metrics": {"primary": primary}, "stopping": stopping})
    _start(world)
    world.later(60)
    _count(world, (500, 3.0), (500, 4.0))
    assert world.routers.counted is not None
    world.routers.counted["range"] = {"min": 1.0, "max": 5.0}
    _look(world)
    assert (_status(world)["phase"], _condition(world, "SampleSufficient")) == ("Running", ("False", "Collecting"))
    assert "has 0 of 100 users" in _message(world, "SampleSufficient")
    for name, place in (("a", 524_160), ("b", 530_000)):
        world.routers.counted["variants"][name]["closed"] = _closed(300, place, 100_000)
    _look(world)
    told = _status(world)["variants"][1]["metrics"][0]
    assert (told["users"], told["mean"], told["superiority"]["probability"]) == (300, 3.022, 0.6667)
    assert (_status(world)["phase"], told["lift"]) == ("Running", 0.0), "it was to be expected of these users"
    for name, place in (("a", 224_160), ("b", 830_000)):
        world.routers.counted["variants"][name]["closed"] = _closed(300, place, 100_000) | {"users": 400}
        history = world.routers.counted["variants"][name]["closed"]["sums"]
        history.update(dict.fromkeys(("h", "yh", "x", "xx", "xy"), 0))
    _look(world)
    decision = _status(world)["decision"]
    assert decision["winner"] == "b"
    assert recomputed(json.dumps(decision))[1], "from what is kept alone"


def test_users_who_said_nothing_count_as_0_where_the_experiment_began_so(world: World) -> None:
    """All who say anything say 1, in both variants; what differs is how many do."""
    spec = world.api.objects["ABExperiment", "x"]["spec"]
    primary = {**spec["metrics"]["primary"], "range": {"min": 0, "max": 1}, "window": "24h", "missing": "Zero"}
    stopping = {"minUsersPerVariant": 500, "minDuration": "1s", "maxDuration": "48h"}
    world.api.edit("ABExperiment", "x", spec={**spec, "metrics": {"primary": primary}, "stopping": stopping})
    _start(world)
    terms = json.loads(_record(world)["data"]["start.json"])["terms"]
    assert (terms["missing"], terms["rule"]) == ("Zero", GUARDED_RULE)
    world.later(60)
    _count(world, (400, 1.0), (400, 1.0))
    assert world.routers.counted is not None
    world.routers.counted["range"] = {"min": 0.0, "max": 1.0}
    for users, answers in ((400, (160, 240)), (800, (320, 480))):
        for name, n in zip("ab", answers, strict=True):
            world.routers.counted["variants"][name]["closed"] = _closed(n, 1_048_320, 0) | {"users": users}
        _look(world)
        told = [variant["metrics"][0] for variant in _status(world)["variants"]]
        assert [(one["users"], one["mean"]) for one in told] == [(users, 0.4), (users, 0.6)]
    decision = _status(world)["decision"]
    assert (decision["winner"], told[1]["superiority"]["probability"]) == ("b", 0.6)
    assert "has 800 of 500 users whose window is over" in _message(world, "SampleSufficient")
    assert recomputed(json.dumps(decision))[1], "from what is kept alone"


def test_a_recorder_that_knows_no_whole_numbers_yet_is_a_hold(world: World) -> None:
    """As while it is replaced by this build's."""
    _start(world)
    earlier = {"users": 200, "requests": 400, "metric": {"users": 200, "mean": 3.0, "squares": 200.0}}
    world.routers.counted = {"variants": {"a": earlier, "b": earlier}, "moved_users": 0}
    world.later(60)
    _look(world)
    assert (_status(world)["phase"], _condition(world, "DataFresh")) == ("Running", ("Unknown", "RecorderSilent"))


def _spoil(world: World, how: str) -> None:
    """Somebody edits the record, or there is a ConfigMap of its name that is not ours."""
    record = _record(world)
    start = json.loads(record["data"]["start.json"])
    start["terms"]["shares"] = [0, 10000]
    changes: dict[str, Any] = {
        "no JSON": {"data": {**record["data"], "start.json": "{"}},
        "a list": {"data": {**record["data"], "start.json": "[]"}},
        "no start": {"data": {}},
        "no terms": {"data": {**record["data"], "start.json": json.dumps(start)}},
        "another's decision": {"data": {**record["data"], "decision.json": '{"winner": "b"}'}},
        "not ours": {"metadata": {**record["metadata"], "annotations": {}}},
    }[how]
    world.api.edit("ConfigMap", record["metadata"]["name"], **changes)


@pytest.mark.parametrize("how", ["no JSON", "a list", "no start", "no terms", "another's decision", "not ours"])
@pytest.mark.parametrize("is_decided", [False, True])
def test_a_record_that_cannot_be_read_is_told_with_the_remedy_and_nothing_follows(
    world: World, how: str, is_decided: bool
) -> None:
    if is_decided:
        _decide(world)
    else:
        _start(world)
        _count(world, (3, 3.0), (3, 3.0))
        _look(world)
    before, name = _status(world), _record(world)["metadata"]["name"]
    _spoil(world, how)
    spoilt, calls = dict(_record(world)), len(world.registry.calls)
    again = _look(world, 2)
    assert again is not None
    assert again > 0.0
    assert _condition(world, "Recorded") == ("False", "RecordUnreadable")
    assert f"delete ConfigMap {name}" in _message(world, "Recorded")
    assert _condition(world, "Stalled") == ("True", "RecordUnreadable")
    told = ("phase", "startedAt", "decision")
    assert [_status(world).get(field) for field in told] == [before.get(field) for field in told]
    assert (_record(world)["data"], world.registry.calls[calls:]) == (spoilt["data"], [])
    world.api.remove("ConfigMap", name)
    _look(world, 3)
    assert (_condition(world, "Recorded"), _condition(world, "Stalled")) == (("", ""), ("", ""))
    assert [_status(world).get(field) for field in (*told, "reason")] == [
        before.get(field) for field in (*told, "reason")
    ]
    assert _record(world)["metadata"]["name"] == name


def test_mlflow_that_takes_no_record_is_told_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> None:
        raise RegistryError("MLflow refused: read-only")

    with monkeypatch.context() as patched:
        patched.setattr(world.registry, "keep", refuse)
        _start(world)
        again = _look(world)
        assert (_status(world)["phase"], _condition(world, "Tracked")) == ("Running", ("False", "RegistryUnreachable"))
        assert again is not None
        assert again > 0.0
    _look(world, 2)
    assert _condition(world, "Tracked") == ("", "")


def test_a_record_that_is_not_as_it_was_seen_takes_no_other_decision(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _start(world)
    name = _record(world)["metadata"]["name"]
    patch = world.api.patch

    async def patched(kind: str, namespace: str, target: str, changes: Manifest) -> None:
        world.api.edit("ConfigMap", name, data={**_record(world)["data"], "decision.json": "another leader's"})
        await patch(kind, namespace, target, changes)

    monkeypatch.setattr(world.api, "patch", patched)
    world.later(60)
    _count(world, (110, 3.0), (105, 4.0))
    with pytest.raises(ConflictError):
        _look(world)
    assert (_status(world)["phase"], _status(world).get("decision")) == ("Running", None)


def test_a_record_is_found_by_a_release_with_more_defaults(world: World) -> None:
    _decide(world)
    decision = _status(world)["decision"]
    world.api.edit("ABExperiment", "x", spec={**SPEC, "decision": {"mode": "Automatic", "dream": "1h"}}, status={})
    _look(world)
    assert _status(world)["decision"] == decision


@pytest.mark.parametrize("lost", [{}, {"phase": "Running", "startedAt": "2026-03-01T12:00:00Z"}])
def test_a_decision_outlives_the_status_that_tells_of_it(world: World, lost: dict[str, Any]) -> None:
    _decide(world)
    decision = _status(world)["decision"]
    world.api.edit("ABExperiment", "x", status=lost)
    _count(world, (500, 9.0), (500, 1.0))
    _look(world)
    assert (_status(world)["phase"], _status(world)["decision"]) == ("Promoted", decision)


def test_a_decision_of_a_phase_that_is_not_known_here_stands(world: World) -> None:
    _decide(world)
    decision = _status(world)["decision"]
    world.api.edit("ABExperiment", "x", status={**_status(world), "phase": "Dreaming"})
    _look(world)
    assert (_status(world)["phase"], _status(world)["decision"]) == ("Dreaming", decision)
    assert world.registry.aliases["spam", "production"] == "1"


def test_the_alias_has_moved_when_every_version_has_read_it(world: World) -> None:
    """Before, the route would follow what one of them read last week, or nothing."""
    _read_aliases(world, one=["production"], two=[])
    _decide(world)
    seen = []
    for one, two in ((["production"], []), ([], []), (["production"], ["production"]), ([], ["production"])):
        _look(world)
        seen.append(_condition(world, "AliasMoved"))
        _read_aliases(world, one=one, two=two)
    _look(world)
    assert seen == [("False", "Moving")] * 4
    assert _condition(world, "AliasMoved") == ("True", "Moved")


def test_an_alias_that_somebody_moved_meanwhile_is_left_there(world: World) -> None:
    _decide(world)
    world.registry.aliases["spam", "production"] = "7"
    _look(world)
    assert _condition(world, "AliasMoved") == ("False", "HeldByAnother")
    assert world.registry.aliases["spam", "production"] == "7"


def test_the_alias_waits_until_every_router_sends_everybody_to_the_winner(world: World) -> None:
    _decide(world)
    told = []
    for default, split_by, arrived in (("two", "uid-x", True), ("one", None, True), ("two", None, False)):
        world.programme(default, split_by, arrived=arrived)
        _look(world)
        told.append((_condition(world, "AliasMoved"), world.registry.aliases["spam", "production"]))
    assert told == [(("False", "RouterBehind"), "1")] * 3
    assert "router pod r has not applied" in _message(world, "AliasMoved")
    world.programme("two")
    _look(world)
    assert world.registry.aliases["spam", "production"] == "2"


def test_clients_stay_with_the_control_while_the_winner_does_not_answer(world: World) -> None:
    _decide(world)
    _set_phase(world, "two", "Loading")
    world.programme("one")
    _look(world)
    assert _condition(world, "AliasMoved") == ("False", "RouterBehind")
    assert "ModelVersion two does not answer" in _message(world, "AliasMoved")


def test_another_change_on_its_way_does_not_stop_an_experiment(world: World) -> None:
    _start(world)
    _count(world, (3, 3.0), (3, 3.0))
    world.programme(split_by="uid-x", arrived=False)
    _look(world)
    assert _condition(world, "RouteProgrammed") == ("True", "Programmed")
    world.programme()
    _look(world)
    assert _condition(world, "RouteProgrammed") == ("False", "RouterBehind")


def test_mlflow_down_after_the_verdict_is_told_and_tried_again(world: World) -> None:
    _decide(world)
    world.registry.down = True
    _look(world)
    assert _condition(world, "AliasMoved") == ("False", "RegistryUnreachable")
    world.registry.down = False
    _look(world)
    assert world.registry.aliases["spam", "production"] == "2"


def test_a_control_that_wins_stays_and_the_alias_with_it(world: World) -> None:
    _decide(world, b=1.0)
    assert (_status(world)["phase"], _status(world)["decision"]["outcome"]) == ("RolledBack", "ControlWins")
    _look(world)
    assert world.registry.aliases["spam", "production"] == "1"
    assert _condition(world, "AliasMoved") == ("", "")


def test_an_inconclusive_end_changes_nothing(world: World) -> None:
    _decide(world, b=3.0)
    assert _status(world)["phase"] == "Inconclusive"
    _look(world)
    assert world.registry.aliases == {("spam", "production"): "1"}


def test_the_recorder_is_told_what_is_measured_and_a_new_one_again(world: World) -> None:
    spec = world.api.objects["ABExperiment", "x"]["spec"]
    primary = {**spec["metrics"]["primary"], "range": {"min": 1, "max": 5}}
    world.api.edit("ABExperiment", "x", spec={**spec, "metrics": {"primary": primary}})
    told = {"uid-x": {"control": "a", "ranges": {primary["name"]: {"min": 1, "max": 5}}}}
    _start(world)
    _count(world, (10, 3.0), (10, 3.0))
    _look(world)
    assert world.routers.defined == told
    world.routers.defined.clear()
    _look(world)
    assert world.routers.defined == {}
    _count(world, (0, 3.0), (0, 3.0))
    _look(world)
    assert world.routers.defined == told


def test_a_recorder_that_cannot_be_told_what_is_measured_holds_up_nothing(world: World) -> None:
    world.routers.is_deaf = True
    _decide(world)
    assert _status(world)["decision"]["winner"] == "b"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"variants": []},
        {"variants": {"a": None}, "moved_users": 0},
        {"variants": {}, "moved_users": "many"},
        {"variants": {}, "moved_users": -1},
        {"variants": {}, "moved_users": float("inf")},
        {"variants": {"a": {"users": 10**101}}, "moved_users": 0},
        {"variants": {"a": {"metric": {"sums": {"n": -1}}}}, "moved_users": 0},
        {"variants": {"a": {"metric": {"sums": {"n": 2, "y": -(10**101)}}}}, "moved_users": 0},
    ],
)
def test_a_recorder_that_gives_no_answer_is_a_hold(world: World, answer: dict[str, Any] | None) -> None:
    _start(world)
    world.writes()
    world.routers.counted = answer
    world.later(60)
    _look(world)
    assert world.writes() == []
    assert _status(world)["phase"] == "Running"


def test_sums_that_cannot_be_are_no_error(world: World) -> None:
    """Squares of less than the sum's have no variance; whoever tells that is no recorder of ours."""
    _start(world)
    world.later(60)
    metric = {"sums": {"n": 200, "y": -(10**99), "yy": 1}, "parts": 0}
    arm = {"users": 200, "requests": 200, "metric": metric}
    world.routers.counted = {"variants": {"a": arm, "b": arm}, "moved_users": 0}
    _look(world)
    assert _status(world)["phase"] == "Running"


@pytest.mark.parametrize(
    ("limits", "sums", "cells"),
    [
        ({"max": 1e308}, {}, {}),
        ({"max": float("nan")}, {}, {}),
        ({"max": 4.0}, {}, {}),  # on another scale
        ({}, {"n": 10**11}, {}),
        ({}, {"xx": 10**99}, {}),
        ({}, {"y": -1}, {}),
        ({}, {"y": 400 * 1_048_320}, {}),
        ({}, {}, {"10081": 1}),
        ({}, {}, {"1": 10**99}),
    ],
)
def test_an_experiment_ends_whatever_a_recorder_tells_that_cannot_be(
    world: World, limits: dict[str, float], sums: dict[str, int], cells: dict[str, int]
) -> None:
    """It is in a user's namespace; what follows of such numbers has no bounds."""
    spec = world.api.objects["ABExperiment", "x"]["spec"]
    primary = {**spec["metrics"]["primary"], "range": {"min": 1, "max": 5}, "window": "24h"}
    primary["minimumDetectableEffect"] = 0.1
    stopping = {"minUsersPerVariant": 100, "minDuration": "1s", "maxDuration": "48h"}
    world.api.edit("ABExperiment", "x", spec={**spec, "metrics": {"primary": primary}, "stopping": stopping})
    _start(world)
    told = _closed(300, 224_160, 100_000)
    told = {**told, "sums": told["sums"] | sums, "cells": told["cells"] | cells}
    arm = {"users": 300, "requests": 300, "fallbacks": 0, "closed": told}
    found = {"variants": {"a": arm, "b": arm}, "moved_users": 0, "control": "a"}
    world.routers.counted = {**found, "range": {"min": 1.0, "max": 5.0} | limits}
    world.later(60)
    _look(world)
    assert (_status(world)["phase"], _condition(world, "DataFresh")) == ("Running", ("Unknown", "RecorderSilent"))
    world.later(49 * 3600)
    _look(world)
    assert _status(world)["phase"] == "Inconclusive"


def test_the_end_of_its_time_is_kept_whatever_else_is_wrong(world: World) -> None:
    _start(world)
    world.routers.counted = None
    world.programme(arrived=False)
    _set_phase(world, "two", "Failed")
    world.later(3600)
    _look(world)
    assert (_status(world)["phase"], _condition(world, "DataFresh")) == (
        "Running",
        ("Unknown", "RecorderSilent"),
    )
    world.later(600)
    _look(world)
    assert (_status(world)["phase"], _status(world)["decision"]["rule"]) == ("Inconclusive", "max-duration")


def test_a_variant_that_is_lost_is_told_of_after_a_grace(world: World) -> None:
    _start(world)
    _set_phase(world, "two", "Failed")
    reasons = []
    for _ in range(3):
        _look(world)
        reasons.append(_condition(world, "VariantsReady")[1])
        world.later(20)
    assert reasons == ["VersionNotReady", "VersionNotReady", "VariantLost"]
    assert world.api.warnings == ["VariantLost"]
    _set_phase(world, "two", "Ready")
    _look(world)
    assert _condition(world, "VariantsReady")[0] == "True"


def test_numbers_alone_are_written_every_ten_seconds_at_most(world: World) -> None:
    _start(world)
    _count(world, (3, 3.0), (3, 3.0))
    _look(world)
    world.writes()
    world.woken.clear()
    for second in range(30):
        world.later(1)
        _count(world, (4 + second, 3.0), (4 + second, 3.0))
        _look(world)
    assert len(world.writes()) == 3
    assert "Router" not in {key.kind for key in world.woken}, "its table does not hang on numbers"


def test_the_end_of_one_wakes_the_others_of_its_model(world: World) -> None:
    for name, model in (("next", "spam"), ("another", "ham")):
        world.api.put("ABExperiment", name, spec=SPEC | {"modelName": model})
    _start(world)
    world.woken.clear()
    _decide(world)
    assert [key.name for key in world.woken if key.kind == "ABExperiment"] == ["next"]


STARTED = {"phase": "Running", "startedAt": "2026-01-01T00:00:00Z"}


def _promoted(reason: str) -> dict[str, Any]:
    at = "2026-02-01T00:00:00Z"
    told = {"outcome": "Winner", "winner": "b", "rule": "r", "reason": "", "decidedAt": at, "snapshot": "{}"}
    alias = {"type": "AliasMoved", "status": "True" if reason == "Moved" else "False", "reason": reason, "message": ""}
    conditions = [alias | {"lastTransitionTime": at, "observedGeneration": 1}] if reason else []
    return STARTED | {"phase": "Promoted", "decision": told, "conditions": conditions}


@pytest.mark.parametrize(
    ("other", "metadata", "waits"),
    [
        (STARTED, {}, True),
        (STARTED, {"deletionTimestamp": "2026-02-01T00:00:00Z"}, False),
        ({"phase": "WarmingUp"}, {}, True),
        ({"phase": "Pending"}, {}, False),
        (STARTED | {"phase": "Baking", "decision": {"winner": "b"}}, {}, True),
        (STARTED | {"phase": "Aborted", "decision": {"winner": "b"}}, {}, False),
        (_promoted(""), {}, True),
        (_promoted("RouterBehind"), {}, True),
        (_promoted("Moved"), {}, False),
        (_promoted("HeldByAnother"), {}, False),
        (_promoted("VersionNotFound"), {}, False),
    ],
)
def test_an_older_experiment_has_the_model_unless_it_has_ended_or_cannot_start(
    world: World, other: dict[str, Any], metadata: dict[str, str], waits: bool
) -> None:
    spec = {**SPEC, "decision": {"mode": "a mode of another release"}}
    metadata = {"creationTimestamp": "2025-01-01T00:00:00Z"} | metadata
    world.api.put("ABExperiment", "older", spec=spec, metadata=metadata, status=other)
    _look(world)
    assert (_status(world)["reason"] == "ModelBusy") is waits


def test_two_that_have_both_started_do_not_wait_for_each_other(world: World) -> None:
    _start(world)
    world.api.put("ABExperiment", "older", spec=SPEC, status=STARTED)
    _look(world)
    assert _condition(world, "VariantsReady") == ("True", "AllReady")
