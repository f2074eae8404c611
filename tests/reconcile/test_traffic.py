"""A version that is scaled by its requests: routers are asked every five seconds, and nothing else is written."""

from typing import Any

import pytest

from .world import World

SPEC: dict[str, Any] = {
    "modelName": "spam",
    "artifact": {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64},
    "serving": {"autoscaling": {"maxReplicas": 8, "targetRequests": 10, "scaleDownDelay": "30s"}},
}


def _look(world: World, name: str = "one", times: int = 1) -> float | None:
    return world.reconcile("ModelVersion", name, times)


def _replicas(world: World, name: str = "one") -> int:
    return int(world.api.objects["Deployment", f"{name}-server"]["spec"]["replicas"])


def _answer(world: World) -> None:
    made = world.api.objects["Deployment", "one-server"]
    ready = made["spec"]["replicas"]
    status = {"observedGeneration": made["metadata"]["generation"], "readyReplicas": ready, "updatedReplicas": ready}
    world.api.edit("Deployment", "one-server", status={**status, "replicas": ready})


def _wait(world: World, seconds: int) -> None:
    """Have it look again as often as it wants to, which no watch makes it do."""
    for _ in range(0, seconds, 5):
        world.later(5)
        assert _look(world) == 5.0
        _answer(world)


@pytest.fixture
def world() -> World:
    made = World()
    made.api.put("ModelVersion", "one", spec=SPEC)
    _look(made, times=2)
    _answer(made)
    _look(made, times=2)
    for _ in range(2):
        made.reconcile("Router", "anneal-router")
    _look(made)
    return made


def test_pods_follow_the_requests_that_all_routers_have_under_way(world: World) -> None:
    assert _replicas(world) == 1
    world.routers.requests = {"one": 17, "two": 400}
    _wait(world, 5)
    assert _replicas(world) == 4, "two routers with 17 each"
    assert world.api.status("ModelVersion", "one")["replicas"] == 4
    world.routers.requests = {"one": 6}
    _wait(world, 25)
    assert _replicas(world) == 4
    _wait(world, 15)
    assert _replicas(world) == 2
    world.routers.requests = {}
    _wait(world, 40)
    assert _replicas(world) == 1


def test_while_a_router_is_silent_or_another_operator_just_leads_nothing_is_scaled_down(world: World) -> None:
    world.routers.requests = {"one": 40}
    _wait(world, 5)
    world.routers.requests, world.routers.silent = {}, {"10.1.0.2"}
    _wait(world, 60)
    assert _replicas(world) == 8
    world.routers.silent = set()
    _wait(world, 20)
    world.context.traffic.clear()
    _wait(world, 25)
    assert _replicas(world) == 8
    _wait(world, 20)
    assert _replicas(world) == 1


def test_nothing_is_written_while_the_number_of_pods_holds(world: World) -> None:
    world.routers.requests = {"one": 7}
    _wait(world, 20)
    world.writes()
    world.routers.requests = {"one": 9}
    _wait(world, 60)
    assert world.writes() == []


def test_routers_are_asked_once_for_all_versions_of_their_namespace(world: World) -> None:
    other = SPEC | {"artifact": SPEC["artifact"] | {"uri": "mlflow-artifacts:/two"}}
    world.api.put("ModelVersion", "two", spec=other)
    _look(world, "two", 2)
    world.later(5)
    world.routers.counts = 0
    _look(world)
    _look(world, "two")
    assert world.routers.counts == 2, "each of two routers"


def test_nobody_asks_where_no_version_is_scaled_so(world: World) -> None:
    serving = {name: value for name, value in SPEC["serving"].items() if name != "autoscaling"}
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": serving})
    world.routers.counts = 0
    world.later(5)
    assert _look(world) != 5.0
    assert world.routers.counts == 0
