"""A version that KEDA scales: the operator says what the fewest pods are, and nothing else, while it is wanted."""

from typing import Any

import pytest

from anneal_operator.errors import ApiError

from .world import World

TRIGGER = {"type": "prometheus", "metadata": {"serverAddress": "http://p:9090", "query": "q", "threshold": "4"}}
SCALING = {"minReplicas": 0, "maxReplicas": 6, "idleAfter": "1m", "triggers": [TRIGGER]}
SPEC: dict[str, Any] = {
    "modelName": "spam",
    "artifact": {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64},
    "serving": {"autoscaling": SCALING},
}
EXPERIMENT = {
    "modelName": "spam",
    "control": "a",
    "variants": [
        {"name": "a", "modelVersionRef": {"name": "one"}, "weight": 1},
        {"name": "b", "modelVersionRef": {"name": "two"}, "weight": 1},
    ],
    "metrics": {"primary": {"name": "rating"}},
}


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> World:
    """Its installation takes such triggers."""
    made = World()
    monkeypatch.setitem(vars(made.context.settings), "keda_triggers", ["prometheus"])
    return made


@pytest.fixture
def world(empty: World) -> World:
    """It answers, and gets its clients."""
    empty.api.put("ModelVersion", "one", spec=SPEC)
    _look(empty, 2)
    _scale(empty, 1)
    _look(empty, 2)
    for _ in range(2):
        empty.reconcile("Router", "anneal-router")
    _look(empty)
    return empty


def _look(world: World, times: int = 1) -> None:
    world.reconcile("ModelVersion", "one", times)


def _scale(world: World, replicas: int) -> None:
    """KEDA sets how many there are, and these answer."""
    made = world.api.objects["Deployment", "one-server"]
    status = {"observedGeneration": made["metadata"]["generation"], "updatedReplicas": replicas, "replicas": replicas}
    spec = made["spec"] | {"replicas": replicas}
    world.api.edit("Deployment", "one-server", spec=spec, status=status | {"readyReplicas": replicas})


def _fewest(world: World) -> int | None:
    made = world.api.objects.get(("ScaledObject", "one-server"))
    return int(made["spec"]["minReplicaCount"]) if made else None


def _be_quiet(world: World) -> None:
    for _ in range(20):
        world.later(5)
        _look(world)


def _phase(world: World) -> str:
    return str(world.api.status("ModelVersion", "one")["phase"])


def test_a_trigger_whose_type_the_installation_does_not_name_scales_nothing() -> None:
    made = World()
    made.api.put("ModelVersion", "one", spec=SPEC)
    _look(made, 2)
    conditions = made.api.status("ModelVersion", "one")["conditions"]
    [ready] = [condition for condition in conditions if condition["type"] == "Ready"]
    assert (_phase(made), ready["reason"]) == ("Failed", "SourceRefused")
    assert "has one of type prometheus, and this installation takes none" in ready["message"]
    assert _fewest(made) is None


def test_it_has_as_many_pods_as_keda_says(world: World) -> None:
    assert _fewest(world) == 1
    world.writes()
    _scale(world, 4)
    _look(world)
    assert (_phase(world), world.api.status("ModelVersion", "one")["replicas"]) == ("Ready", 4)
    assert not [written for written in world.writes() if written.startswith(("Deployment", "ScaledObject"))]


def test_keda_may_leave_it_none_once_nobody_asks_it_and_a_request_takes_that_back(world: World) -> None:
    _be_quiet(world)
    assert (_fewest(world), _phase(world)) == (0, "Ready")
    _scale(world, 0)
    _look(world)
    assert (_fewest(world), _phase(world)) == (0, "Sleeping")
    world.later(60)
    _look(world)
    assert (_fewest(world), _phase(world)) == (0, "Sleeping")
    world.routers.asked_ago = {"one": 1.0}
    world.later(5)
    _look(world)
    assert (_fewest(world), _phase(world)) == (1, "Loading")


def test_an_arm_of_an_experiment_has_a_pod(world: World) -> None:
    _be_quiet(world)
    assert _fewest(world) == 0
    world.api.put("ABExperiment", "x", spec=EXPERIMENT)
    _look(world)
    assert _fewest(world) == 1


def test_what_nobody_wants_is_taken_from_keda_and_given_back_when_it_is_wanted_again(world: World) -> None:
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": {"replicas": 0, "autoscaling": SCALING}})
    _look(world)
    assert (_phase(world), _fewest(world)) == ("Draining", 1)
    for _ in range(4):
        world.reconcile("Router", "anneal-router")
        world.later(60)
        _look(world)
    assert (_phase(world), _fewest(world)) == ("Idle", None)
    assert world.api.objects["Deployment", "one-server"]["spec"]["replicas"] == 0
    world.api.edit("ModelVersion", "one", spec=SPEC)
    _look(world)
    assert _fewest(world) == 1
    assert "replicas" not in world.api.objects["Deployment", "one-server"]["spec"]


def test_where_keda_is_not_installed_the_version_says_so(empty: World) -> None:
    empty.api.refuses["ScaledObject"] = ApiError(404, "this cluster has no ScaledObject (keda.sh/v1alpha1): install it")
    empty.api.put("ModelVersion", "one", spec=SPEC)
    _look(empty, 2)
    told = {found["type"]: found for found in empty.api.status("ModelVersion", "one")["conditions"]}
    assert "this cluster has no ScaledObject" in told["Reconciling"]["message"]
