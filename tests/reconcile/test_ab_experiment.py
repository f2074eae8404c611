"""An ABExperiment: nothing before its variants and route are there, then a verdict, then what follows from it."""

import asyncio
import json
from typing import Any

import pytest

from anneal_operator.errors import RegistryError
from anneal_operator.reconcile.ab_experiment import ABExperimentReconciler
from anneal_operator.reconcile.queue import Key

from .world import NAMESPACE, World

KEY = Key("ABExperiment", NAMESPACE, "x")
SPEC: dict[str, Any] = {
    "modelName": "spam",
    "control": "a",
    "variants": [
        {"name": "a", "modelVersionRef": {"name": "one"}, "weight": 50},
        {"name": "b", "modelVersionRef": {"name": "two"}, "weight": 50},
    ],
    "metrics": {"primary": {"name": "rating"}},
    "stopping": {"minUsersPerVariant": 100, "minDuration": "1s", "maxDuration": "1h"},
}


def _version(world: World, name: str, number: str, phase: str = "Ready") -> None:
    artifact = {"uri": "mlflow-artifacts:/1/r", "format": "Full", "digest": "sha256:" + "0" * 64}
    status = {"phase": phase, "registry": {"version": number, "url": "u"}}
    world.api.put("ModelVersion", name, spec={"modelName": "spam", "artifact": artifact}, status=status)
    asyncio.run(world.registry.register("spam", name, name, "u", "d", "r"))


@pytest.fixture
def world() -> World:
    """An experiment on two versions that are ready."""
    made = World()
    made.api.put("ABExperiment", "x", spec=SPEC, metadata={"uid": "uid-x"})
    _version(made, "one", "1")
    _version(made, "two", "2")
    return made


def _look(world: World) -> float | None:
    return asyncio.run(ABExperimentReconciler(world.context).reconcile(KEY))


def _status(world: World) -> dict[str, Any]:
    return world.api.status("ABExperiment", "x")


def _route(world: World) -> None:
    world.routers.table = {"models": {"spam": {"experiment": {"uid": "uid-x"}}}}


def _count(world: World, a: tuple[int, float], b: tuple[int, float]) -> None:
    variants = {
        name: {"users": n, "requests": 2 * n, "metric": {"users": n, "mean": mean, "squares": float(n)}}
        for name, (n, mean) in {"a": a, "b": b}.items()
    }
    world.routers.counted = {"variants": variants, "moved_users": 0}


def _read_aliases(world: World, **aliases: list[str]) -> None:
    for name, read in aliases.items():
        world.api.objects["ModelVersion", name]["status"]["registry"]["aliases"] = read


def _alias_moved(world: World) -> tuple[str, str]:
    condition = next(c for c in _status(world)["conditions"] if c["type"] == "AliasMoved")
    return condition["status"], condition["reason"]


def test_it_waits_for_versions_then_for_the_route(world: World) -> None:
    world.api.objects["ModelVersion", "two"]["status"]["phase"] = "Loading"
    _look(world)
    assert _status(world)["phase"] == "WarmingUp"
    world.api.objects["ModelVersion", "two"]["status"]["phase"] = "Ready"
    _look(world)
    assert _status(world)["phase"] == "WarmingUp"
    assert Key("Router", NAMESPACE, "anneal-router") in world.woken
    _route(world)
    _look(world)
    assert (_status(world)["phase"], _status(world)["startedAt"]) == ("Running", "2026-03-01T12:00:00Z")


def test_a_verdict_moves_the_alias_and_leaves_its_record(world: World) -> None:
    _route(world)
    _look(world)
    world.later(60)
    _count(world, (110, 3.0), (105, 4.0))
    assert _look(world) == 0.0
    assert (_status(world)["phase"], _status(world)["decision"]["winner"]) == ("Promoted", "b")
    assert ("spam", "production") not in world.registry.aliases, "the decision is written before anything follows"
    _look(world)
    assert world.registry.aliases["spam", "production"] == "2"
    assert json.loads(world.registry.records["2"]["anneal.dev/experiment.x"])["winner"] == "b"
    _read_aliases(world, one=[], two=["production"])
    assert _look(world) == 0.0
    world.writes()
    assert _look(world) is None
    assert world.writes() == []


def test_the_alias_has_moved_when_every_version_has_read_it(world: World) -> None:
    """Before, the route would follow what one of them read last week, or nothing."""
    _route(world)
    _look(world)
    world.later(60)
    _count(world, (110, 3.0), (105, 4.0))
    _read_aliases(world, one=["production"], two=[])
    _look(world)
    seen = []
    for one, two in ((["production"], []), ([], []), (["production"], ["production"]), ([], ["production"])):
        _look(world)
        seen.append(_alias_moved(world))
        _read_aliases(world, one=one, two=two)
    _look(world)
    assert seen == [("False", "Moving")] * 4
    assert _alias_moved(world) == ("True", "Moved")


def test_an_alias_that_somebody_moved_on_is_not_waited_for(world: World) -> None:
    _route(world)
    _look(world)
    world.later(60)
    _count(world, (110, 3.0), (105, 4.0))
    for _ in range(2):
        _look(world)
    world.registry.aliases["spam", "production"] = "1"
    _look(world)
    assert _alias_moved(world) == ("True", "Moved")
    assert world.registry.aliases["spam", "production"] == "1"


def test_mlflow_down_after_the_verdict_is_told_and_tried_again(world: World) -> None:
    _route(world)
    _look(world)
    world.later(60)
    _count(world, (110, 3.0), (105, 4.0))
    _look(world)
    world.registry.down = True
    with pytest.raises(RegistryError):
        _look(world)
    assert _alias_moved(world) == ("False", "RegistryUnreachable")
    world.registry.down = False
    _look(world)
    assert world.registry.aliases["spam", "production"] == "2"


def test_an_inconclusive_end_changes_nothing(world: World) -> None:
    _route(world)
    _look(world)
    world.later(60)
    _count(world, (110, 3.0), (105, 3.0))
    _look(world)
    assert _status(world)["phase"] == "Inconclusive"
    assert _look(world) is None
    assert world.registry.aliases == {}


def test_a_recorder_that_does_not_answer_is_a_hold(world: World) -> None:
    _route(world)
    _look(world)
    world.writes()
    world.later(60)
    assert _look(world) == 2.0
    assert world.writes() == []


def test_the_older_experiment_has_the_model_s_traffic(world: World) -> None:
    world.api.put("ABExperiment", "older", spec=SPEC, metadata={"creationTimestamp": "2025-01-01T00:00:00Z"})
    _look(world)
    condition = _status(world)["conditions"][0]
    assert (_status(world)["phase"], condition["reason"]) == ("Pending", "ModelBusy")
    assert "older" in condition["message"]
