"""A version whose engines several nodes share: a LeaderWorkerSet, of which the leaders' pods tell how it stands."""

from typing import Any

import pytest

from anneal_operator.errors import ApiError

from .world import World

SPEC: dict[str, Any] = {
    "modelName": "spam",
    "artifact": {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64},
    "serving": {"nodes": 2, "replicas": 2, "resources": {"limits": {"nvidia.com/gpu": 8}}},
}
READY = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]}
WAITS = {
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes have a GPU"}
    ]
}


@pytest.fixture
def world() -> World:
    """With all that the operator makes for it."""
    made = World()
    made.api.put("ModelVersion", "one", spec=SPEC)
    _look(made, 2)
    return made


def _look(world: World, times: int = 1) -> None:
    world.reconcile("ModelVersion", "one", times)


def _made(world: World) -> dict[str, Any]:
    made: dict[str, Any] = world.api.objects["LeaderWorkerSet", "one-group"]
    return made


def _pod(world: World, name: str, role: str, status: dict[str, Any]) -> None:
    template = _made(world)["spec"]["leaderWorkerTemplate"][f"{role}Template"]
    world.api.put("Pod", name, metadata=dict(template["metadata"]), status=status)


def _status(world: World) -> dict[str, Any]:
    _look(world)
    return world.api.status("ModelVersion", "one")


def test_it_is_a_group_of_pods_for_each_engine_and_a_service_of_the_leaders(world: World) -> None:
    assert _made(world)["spec"]["replicas"] == 2
    assert _made(world)["spec"]["leaderWorkerTemplate"]["size"] == 2
    assert ("Service", "one-server") in world.api.objects
    assert ("Deployment", "one-server") not in world.api.objects
    world.writes()
    _look(world, 3)
    assert world.writes() == []


def test_it_answers_as_far_as_its_leaders_do(world: World) -> None:
    assert _status(world)["phase"] == "Loading"
    for number in range(2):
        _pod(world, f"one-group-{number}", "leader", READY if number == 0 else {})
        _pod(world, f"one-group-{number}-1", "worker", READY)
    assert (_status(world)["phase"], _status(world)["readyReplicas"]) == ("Degraded", 1)
    world.api.edit("Pod", "one-group-1", status=READY)
    assert (_status(world)["phase"], _status(world)["readyReplicas"]) == ("Ready", 2)
    world.reconcile("Router", "anneal-router")
    table = world.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"]
    assert '"public": "spam"' in table, "all its pods know the model's name"


def test_what_a_worker_waits_for_is_told(world: World) -> None:
    _pod(world, "one-group-0", "leader", {})
    _pod(world, "one-group-0-1", "worker", WAITS)
    ready = next(told for told in _status(world)["conditions"] if told["type"] == "Ready")
    assert (ready["reason"], "0/3 nodes have a GPU" in ready["message"]) == ("Unschedulable", True)


def test_pods_of_another_make_are_being_replaced(world: World) -> None:
    for number in range(2):
        _pod(world, f"one-group-{number}", "leader", READY)
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": SPEC["serving"] | {"maxModelLength": 4096}})
    _look(world)
    _pod(world, "one-group-2", "leader", WAITS)
    ready = next(told for told in _status(world)["conditions"] if told["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "RolloutWaits")


def test_its_gpus_are_those_of_all_pods(world: World) -> None:
    gpus = {"nodeName": "n", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "8"}}}]}
    placed = {**READY, "conditions": [*READY["conditions"], {"type": "PodScheduled", "status": "True"}]}
    placed["conditions"][1] |= {"lastTransitionTime": "2026-01-01T00:00:30Z"}
    for name, role in (("one-group-0", "leader"), ("one-group-0-1", "worker")):
        _pod(world, name, role, placed)
        world.api.edit("Pod", name, spec=gpus)
    assert _status(world)["cost"]["gpus"] == 16


def test_where_it_is_not_installed_the_version_says_so() -> None:
    world = World()
    refusal = ApiError(404, "this cluster has no LeaderWorkerSet (leaderworkerset.x-k8s.io/v1): install it")
    world.api.refuses["LeaderWorkerSet"] = refusal
    world.api.put("ModelVersion", "one", spec=SPEC)
    _look(world, 2)
    told = next(
        found for found in world.api.status("ModelVersion", "one")["conditions"] if found["type"] == "Reconciling"
    )
    assert (told["reason"], "this cluster has no LeaderWorkerSet" in told["message"]) == ("RefusedByApiServer", True)


def _told_by_no_watch(world: World) -> None:
    """Of LeaderWorkerSets, as it is: what others do to one is not heard."""

    def tell(manifest: dict[str, Any], *, deleted: bool = False) -> None:
        if manifest["kind"] != "LeaderWorkerSet":
            world.store.observe(manifest, deleted=deleted)

    world.api.tell = tell


def test_what_keda_makes_of_it_is_seen_by_its_pods_of_which_watches_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setitem(vars(world.context.settings), "keda_triggers", ["cron"])
    _told_by_no_watch(world)
    trigger = {"type": "cron", "metadata": {}}
    scaling = {"minReplicas": 0, "maxReplicas": 4, "idleAfter": "1m", "triggers": [trigger]}
    world.api.put("ModelVersion", "one", spec=SPEC | {"serving": SPEC["serving"] | {"autoscaling": scaling}})
    _look(world, 2)
    _pod(world, "one-group-0", "leader", READY)
    _look(world, 2)
    world.reconcile("Router", "anneal-router", 2)
    for _ in range(30):
        world.later(5)
        _look(world)
    fewest = world.api.objects["ScaledObject", "one-server"]["spec"]
    assert (fewest["minReplicaCount"], _status(world)["phase"]) == (0, "Ready")
    made = _made(world)
    made["spec"]["replicas"] = 0
    world.api.remove("Pod", "one-group-0")
    _look(world)
    assert (world.api.objects["ScaledObject", "one-server"]["spec"]["minReplicaCount"], _status(world)["phase"]) == (
        0,
        "Sleeping",
    )
