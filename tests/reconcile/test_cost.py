"""What a version costs is told by its status and to Prometheus, over restarts, and seldom written."""

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from anneal_operator.api.model_version import Answered, ColdStart
from anneal_operator.api.schema import timestamp
from anneal_operator.cluster.store import Store
from anneal_operator.errors import ApiError
from anneal_operator.handlers.watching import OWNERS
from anneal_operator.reconcile.costs import CostCollector

from .test_shared_base import Shared
from .world import World

GPUS = {"limits": {"nvidia.com/gpu": 2}}
SPEC: dict[str, Any] = {
    "modelName": "spam",
    "artifact": {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64},
    "serving": {"resources": GPUS},
}
PRICE = 3.6
"""A thousandth of it is a GPU second's."""
PRICE_OF_A_SECOND = PRICE / 3600


def _world(spec: dict[str, Any], price: Any = PRICE) -> World:
    made = World()
    made.begin_anew(price_per_gpu_hour=price)
    made.api.put("ModelVersion", "one", spec=spec)
    made.routers.recorded["one"] = Answered()
    _look(made, times=3)
    return made


@pytest.fixture
def world() -> World:
    """A version whose pod was placed just now."""
    made = _world(SPEC)
    _place(made, "one-server-1")
    _look(made)
    return made


def _look(world: World, times: int = 1) -> float | None:
    return world.reconcile("ModelVersion", "one", times)


def _place(world: World, name: str, resources: dict[str, Any] = GPUS, labels: dict[str, str] | None = None) -> None:
    """Set the scene: a pod gets a node."""
    told = {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp(world.time)}
    world.api.put(
        "Pod",
        name,
        metadata={"labels": labels or {"anneal.dev/model-version": "one"}},
        spec={"nodeName": "node", "containers": [{"name": "engine", "resources": resources}]},
        status={"phase": "Running", "conditions": [told]},
    )


def _cost(world: World, name: str = "one") -> dict[str, Any]:
    cost: dict[str, Any] = world.api.status("ModelVersion", name)["cost"]
    return cost


def _metrics(world: World) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(CostCollector(world.context.costs, lambda: world.time))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


LABELS = '{model="spam",namespace="team",version="one"}'


def test_gpu_seconds_and_their_price_are_told_by_status_and_metrics(world: World) -> None:
    assert (_cost(world)["gpus"], _cost(world)["perHour"], _cost(world)["gpuSeconds"]) == (2, 7.2, 0)
    world.later(100)
    _look(world)
    assert (_cost(world)["gpuSeconds"], _cost(world)["amount"]) == (200, 0.2)
    world.later(5)
    _look(world)
    assert _cost(world)["gpuSeconds"] == 200, "not written anew"
    found = _metrics(world)
    assert found.pop(f"anneal_version_gpu_seconds_total{LABELS}") == 210
    assert found.pop(f"anneal_version_cost_total{LABELS}") == pytest.approx(0.21)
    assert not found


def test_it_is_looked_at_again_when_it_is_due(world: World) -> None:
    assert _look(world) == pytest.approx(60, abs=1)


def test_what_a_day_costs_is_written_once_an_hour_at_most(world: World) -> None:
    world.later(86400 * 2)
    _look(world)
    world.writes()
    for _ in range(24 * 12):
        world.later(300)
        _look(world)
    assert len(world.writes()) == 24
    assert _cost(world)["gpuSeconds"] == 3 * 86400 * 2


def test_a_version_without_gpus_has_no_cost_and_is_never_written() -> None:
    world = _world(SPEC | {"serving": {}})
    _place(world, "one-server-1", {"limits": {"memory": "8Gi"}})
    _look(world)
    world.writes()
    for _ in range(20):
        world.later(3600)
        _look(world)
    assert world.writes() == []
    assert "cost" not in world.api.status("ModelVersion", "one")
    assert _metrics(world) == {}


def test_without_a_price_the_seconds_alone_are_told() -> None:
    world = _world(SPEC, None)
    _place(world, "one-server-1")
    _look(world)
    world.later(100)
    _look(world)
    assert {"perHour", "amount"}.isdisjoint(_cost(world))
    assert _metrics(world) == {f"anneal_version_gpu_seconds_total{LABELS}": 200}


def test_nothing_is_lost_while_no_operator_leads(world: World) -> None:
    world.later(1000)
    _place(world, "one-server-2")
    world.later(500)
    world.begin_anew()
    assert _metrics(world) == {}
    _look(world)
    assert _cost(world)["gpus"] == 4
    assert _cost(world)["gpuSeconds"] == 2 * 1500 + 2 * 500
    assert _metrics(world)[f"anneal_version_gpu_seconds_total{LABELS}"] == 4000


def test_a_pod_that_is_replaced_at_once_is_not_charged_beside_its_successor(world: World) -> None:
    """As Kubernetes evicts a pod: the next one is placed before anybody looks."""
    world.later(86400)
    _look(world)
    before = _cost(world)["gpuSeconds"]
    world.later(10)
    world.api.remove("Pod", "one-server-1")
    _place(world, "one-server-2")
    _look(world)
    world.later(3600)
    _look(world)
    assert _cost(world)["gpuSeconds"] == before + 2 * 3610


def _make_anew(world: World) -> None:
    """Set the scene: a version is deleted, and another of its name is there before anybody looks."""
    for kind, name in (("ModelVersion", "one"), ("Deployment", "one-server"), ("Service", "one-server")):
        world.api.remove(kind, name)
    world.api.put("ModelVersion", "one", spec=SPEC, metadata={"creationTimestamp": timestamp(world.time)})


def test_what_another_object_of_its_name_held_is_not_its_own(world: World) -> None:
    """Deleted and created anew: the pods of the first end while the second is looked at already."""
    world.later(86400 * 30)
    _make_anew(world)
    world.later(5)
    _look(world, times=3)
    assert _cost(world)["gpuSeconds"] == 2 * 5
    assert _metrics(world)[f"anneal_version_gpu_seconds_total{LABELS}"] == 2 * 5


def test_counters_never_go_down_as_prometheus_would_count_all_of_it_once_more(world: World) -> None:
    """The clock is the API servers', of which one may be a little behind another, and statuses are rounded."""
    world.later(100)
    _look(world)
    world.later(10)
    before = _metrics(world)
    world.later(-4)
    assert _metrics(world) == before
    _place(world, "one-server-2")
    _look(world)
    assert _metrics(world) == before
    world.later(10)
    now = _metrics(world)
    assert all(now[name] > value for name, value in before.items())


def test_a_version_that_is_made_anew_has_counters_of_its_own(world: World) -> None:
    world.later(100)
    _look(world)
    assert _metrics(world)[f"anneal_version_gpu_seconds_total{LABELS}"] == 200
    world.api.remove("Pod", "one-server-1")
    _make_anew(world)
    _look(world, times=3)
    _place(world, "one-server-2")
    _look(world)
    assert _metrics(world)[f"anneal_version_gpu_seconds_total{LABELS}"] == 0


def test_the_pods_of_a_version_whose_deployment_is_gone_already_are_charged_until_they_are(world: World) -> None:
    world.api.edit("ModelVersion", "one", spec={name: value for name, value in SPEC.items() if name != "serving"})
    world.api.remove("Deployment", "one-server")
    _look(world)
    world.later(100)
    _look(world)
    assert (_cost(world)["gpus"], _cost(world)["gpuSeconds"]) == (2, 200)
    world.api.remove("Pod", "one-server-1")
    _look(world)
    assert _cost(world)["gpus"] == 0


def test_a_pod_that_ends_holds_its_gpus_until_it_is_gone_and_then_nothing_is_written(world: World) -> None:
    world.later(100)
    world.programme(default="two")
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": {"resources": GPUS, "replicas": 0}})
    _look(world, times=2)
    world.later(40)
    _look(world, times=2)
    assert world.api.status("ModelVersion", "one")["replicas"] == 0
    world.later(30)
    world.api.remove("Pod", "one-server-1")
    _look(world)
    assert (_cost(world)["gpus"], _cost(world)["gpuSeconds"], _cost(world)["amount"]) == (0, 340, 0.34)
    world.writes()
    for _ in range(20):
        world.later(3600)
        _look(world)
    assert world.writes() == []
    assert _metrics(world)[f"anneal_version_cost_total{LABELS}"] == pytest.approx(0.34)


def test_a_pod_is_charged_to_its_end_where_the_version_is_not_to_be_served_any_more(world: World) -> None:
    world.later(100)
    world.api.edit("ModelVersion", "one", spec={name: value for name, value in SPEC.items() if name != "serving"})
    _look(world)
    assert _cost(world)["gpus"] == 2


def test_a_new_price_counts_from_when_it_is_known(world: World) -> None:
    world.later(100)
    world.begin_anew(price_per_gpu_hour={"nvidia.com/gpu": 2 * PRICE})
    _look(world)
    assert (_cost(world)["amount"], _cost(world)["perHour"]) == (0.2, 14.4)
    world.later(100)
    _look(world)
    assert _cost(world)["amount"] == 0.6


def test_requests_and_tokens_are_those_that_the_recorder_has(world: World) -> None:
    world.routers.recorded["one"] = Answered(requests=40, tokens=5000)
    world.later(100)
    _look(world)
    assert _cost(world)["answered"] == {"requests": 40, "tokens": 5000}
    assert (_cost(world)["perThousandRequests"], _cost(world)["perMillionTokens"]) == (5, 40)
    world.routers.recorded.clear()
    world.later(100)
    _look(world)
    assert (_cost(world)["amount"], _cost(world)["perThousandRequests"]) == (0.4, 5), "the recorder is away"


def test_what_the_recorder_had_of_another_object_is_not_counted_where_it_was_away_at_first(world: World) -> None:
    _make_anew(world)
    world.routers.recorded.clear()
    _look(world, times=3)
    world.routers.recorded["one"] = Answered(requests=9000, tokens=100)
    world.later(100)
    _look(world)
    world.routers.recorded["one"] = Answered(requests=9040, tokens=5100)
    world.later(100)
    _look(world)
    assert _cost(world)["answered"] == {"requests": 40, "tokens": 5000}


def test_a_version_that_an_earlier_release_served_is_counted_from_now_on() -> None:
    """What it answered until then no recorder has counted."""
    world = _world(SPEC)
    _place(world, "one-server-1")
    started = ColdStart(
        pod="one-server-1", ready_at=timestamp(world.time), scheduling_seconds=1, image_seconds=1, loading_seconds=1
    )
    status = world.api.status("ModelVersion", "one")
    world.api.edit("ModelVersion", "one", status=status | {"coldStart": started.dump()})
    world.later(86400 * 30)
    world.begin_anew()
    _look(world)
    assert (_cost(world)["gpus"], _cost(world)["gpuSeconds"]) == (2, 0)


def test_it_is_counted_where_what_is_to_be_done_is_refused(world: World) -> None:
    world.later(100)
    world.api.remove("Deployment", "one-server")
    world.api.remove("Pod", "one-server-1")
    world.api.refuses["Deployment"] = ApiError(403, "a quota")
    _look(world)
    assert world.api.status("ModelVersion", "one")["reason"] == "RefusedByApiServer"
    assert (_cost(world)["gpus"], _cost(world)["gpuSeconds"]) == (0, 200)
    world.writes()
    world.later(3600)
    _look(world)
    assert world.writes() == []


def test_of_a_version_that_is_gone_nothing_is_told(world: World) -> None:
    world.api.remove("ModelVersion", "one")
    _look(world)
    assert _metrics(world) == {}


def test_what_the_store_keeps_of_a_pod_has_its_gpus_and_no_more() -> None:
    store, limits = Store(OWNERS), {"nvidia.com/gpu": "2", "memory": "8Gi"}
    metadata = {"name": "p", "namespace": "team", "uid": "u", "resourceVersion": "1"}
    engine = {"name": "engine", "image": "server:1", "resources": {"limits": limits}}
    store.observe({"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n", "containers": [engine, {}]}})
    kept = store.get("Pod", "team", "p")
    assert kept is not None
    assert kept["spec"] == {"nodeName": "n", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]}


@pytest.fixture
def shared() -> Shared:
    """Two adapters that both answer, on one pod with two GPUs, placed an hour before the second came."""
    made = Shared()
    made.world.begin_anew(price_per_gpu_hour=PRICE)
    for name in ("one", "two"):
        made.api.edit("ModelVersion", name, spec=_on_gpus(made, name))
    made.settle()
    [engine] = made.engines
    labels = {"anneal.dev/shared-base": engine, "anneal.dev/shared-bases": "anneal-shared-bases"}
    _place(made.world, "pod", labels=labels)
    made.settle()
    return made


def _on_gpus(made: Shared, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(made.api.objects["ModelVersion", name]["spec"]))
    found["serving"]["resources"] = GPUS
    return found


def test_versions_on_one_base_have_equal_parts_of_its_pods(shared: Shared) -> None:
    world = shared.world
    assert [_cost(world, name)["gpus"] for name in ("one", "two")] == [1, 1]
    world.later(100)
    shared.settle()
    assert [_cost(world, name)["gpuSeconds"] for name in ("one", "two")] == [100, 100]
    assert _cost(world)["amount"] == pytest.approx(100 * PRICE_OF_A_SECOND)


def test_one_that_joins_pays_from_then_on_and_one_that_leaves_until_then(shared: Shared) -> None:
    world = shared.world
    world.later(3600)
    spec = json.loads(json.dumps(shared.api.objects["ModelVersion", "one"]["spec"]))
    spec["artifact"] |= {"uri": "mlflow-artifacts:/1/3/artifacts/adapter", "digest": "sha256:" + "3" * 64}
    shared.api.put("ModelVersion", "three", spec=spec)
    for _ in range(3):
        shared.look("one", "two", "three", times=2)
    names = ("one", "two", "three")
    assert [_cost(world, name)["gpus"] for name in names] == pytest.approx([2 / 3] * 3, abs=1e-6)
    assert [_cost(world, name)["gpuSeconds"] for name in names] == [3600, 3600, 0]
    world.later(300)
    world.programme(default="one")
    spec["serving"]["replicas"] = 0
    shared.api.edit("ModelVersion", "three", spec=spec)
    for _ in range(3):
        shared.look("three", "one", "two", times=2)
    assert [_cost(world, name)["gpus"] for name in names] == [1, 1, 0]
    assert [_cost(world, name)["gpuSeconds"] for name in names] == pytest.approx([3800, 3800, 200], abs=0.01)
    assert sum(_cost(world, name)["gpuSeconds"] for name in names) == pytest.approx(2 * 3900, abs=0.01)
