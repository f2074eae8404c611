"""A ModelVersion: registered once, served, given `production` where nobody holds it."""

import asyncio
from typing import Any

import pytest

from anneal_operator.reconcile.model_version import ModelVersionReconciler
from anneal_operator.reconcile.queue import Key
from anneal_operator.reconcile.routing import RoutingReconciler

from .world import NAMESPACE, World

SPEC: dict[str, Any] = {
    "modelName": "spam",
    "artifact": {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64},
    "aliases": ["base"],
    "serving": {},
}


@pytest.fixture
def world() -> World:
    """One version, not looked at yet."""
    made = World()
    made.api.put("ModelVersion", "one", spec=SPEC)
    return made


def _look(world: World, name: str = "one") -> float | None:
    return asyncio.run(ModelVersionReconciler(world.context).reconcile(Key("ModelVersion", NAMESPACE, name)))


def _answer(world: World, name: str = "one") -> None:
    world.api.objects["Deployment", f"{name}-server"]["status"] = {"observedGeneration": 1, "readyReplicas": 1}


def _status(world: World, name: str = "one") -> dict[str, Any]:
    return world.api.status("ModelVersion", name)


def test_it_is_registered_once_served_and_given_production(world: World) -> None:
    _look(world)
    assert world.writes() == ["Service/one-server", "Deployment/one-server", "ModelVersion/one/status"]
    assert (_status(world)["phase"], _status(world)["readyReplicas"]) == ("Loading", 0)
    _answer(world)
    _look(world)
    assert world.writes() == ["ModelVersion/one/status"]
    assert (_status(world)["phase"], _status(world)["registry"]["aliases"]) == ("Ready", ["base", "production"])
    _look(world)
    assert world.writes() == []
    assert len(world.registry.versions) == 1


def test_a_second_version_is_not_given_production(world: World) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    for name in ("one", "two"):
        _look(world, name)
        _answer(world, name)
        _look(world, name)
    assert _status(world, "two")["registry"]["aliases"] == []
    assert world.registry.aliases["spam", "production"] == "1"


def test_an_alias_that_somebody_moved_is_not_set_again(world: World) -> None:
    _look(world)
    world.registry.aliases["spam", "base"] = "7"
    _look(world)
    assert world.registry.aliases["spam", "base"] == "7"
    assert _status(world)["registry"]["aliases"] == []


def test_a_new_alias_in_the_spec_is_set(world: World) -> None:
    _look(world)
    world.api.objects["ModelVersion", "one"]["spec"] = SPEC | {"aliases": ["base", "staging"]}
    _look(world)
    assert world.registry.aliases["spam", "staging"] == "1"


def test_mlflow_down_is_told_and_what_was_known_stays(world: World) -> None:
    world.registry.down = True
    assert _look(world) == 5.0
    assert _status(world)["phase"] == "Registering"
    world.registry.down = False
    _look(world)
    _answer(world)
    _look(world)
    world.registry.down = True
    _look(world)
    assert (_status(world)["phase"], _status(world)["registry"]["version"]) == ("Ready", "1")


def test_an_engine_that_ends_says_what_it_said(world: World) -> None:
    _look(world)
    ended = {"reason": "Error", "exitCode": 77, "message": "line\nerror: the manifest differs"}
    world.api.put(
        "Pod",
        "p",
        metadata={"labels": {"anneal.dev/model-version": "one"}},
        status={"containerStatuses": [{"lastState": {"terminated": ended}}]},
    )
    _look(world)
    condition = next(c for c in _status(world)["conditions"] if c["type"] == "Ready")
    assert (_status(world)["phase"], condition["reason"]) == ("Failed", "EngineFailed")
    assert "error: the manifest differs" in condition["message"]


def test_without_serving_it_is_only_registered(world: World) -> None:
    world.api.put("ModelVersion", "one", spec={k: v for k, v in SPEC.items() if k != "serving"})
    _look(world)
    assert world.writes() == ["ModelVersion/one/status"]
    assert _status(world)["phase"] == "Idle"


def test_the_router_is_made_for_served_versions_and_written_only_when_it_changes(world: World) -> None:
    def route() -> float | None:
        return asyncio.run(RoutingReconciler(world.context).reconcile(Key("Router", NAMESPACE, "anneal-router")))

    _look(world)
    _answer(world)
    _look(world)
    world.writes()
    route()
    assert len(world.writes()) == 7
    route()
    assert world.writes() == []
    world.api.objects["ModelVersion", "one"]["status"]["registry"]["aliases"] = ["production"]
    route()
    assert world.writes() == ["ConfigMap/anneal-router"]
    del world.api.objects["ModelVersion", "one"]
    assert route() is None
