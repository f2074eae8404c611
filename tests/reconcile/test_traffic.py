"""A version that is scaled by its requests: routers are asked every five seconds, and nothing else is written."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from anneal_operator.api.schema import timestamp
from anneal_operator.errors import ApiError

from .world import NAMESPACE, World

SPEC: dict[str, Any] = {
    "modelName": "spam",
    "artifact": {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64},
    "serving": {"autoscaling": {"maxReplicas": 8, "targetRequests": 10, "scaleDownDelay": "1m"}},
}


def _look(world: World, name: str = "one", times: int = 1) -> float | None:
    return world.reconcile("ModelVersion", name, times)


def _replicas(world: World, name: str = "one") -> int:
    return int(world.api.objects["Deployment", f"{name}-server"]["spec"]["replicas"])


def _answer(world: World, name: str = "one", missing: int = 0) -> None:
    made = world.api.objects["Deployment", f"{name}-server"]
    wanted = made["spec"]["replicas"]
    status = {"observedGeneration": made["metadata"]["generation"], "updatedReplicas": wanted, "replicas": wanted}
    world.api.edit("Deployment", f"{name}-server", status={**status, "readyReplicas": wanted - missing})


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
    _wait(world, 55)
    assert _replicas(world) == 4
    _wait(world, 15)
    assert _replicas(world) == 2
    world.routers.requests = {}
    _wait(world, 70)
    assert _replicas(world) == 1


def test_while_a_router_is_silent_or_another_operator_just_leads_nothing_is_scaled_down(world: World) -> None:
    world.routers.requests = {"one": 40}
    _wait(world, 10)
    assert _replicas(world) == 8
    world.routers.requests, world.routers.silent = {}, {"10.1.0.2"}
    _wait(world, 100)
    assert _replicas(world) == 8
    world.routers.silent = set()
    _wait(world, 40)
    world.context.traffic.clear()
    _wait(world, 55)
    assert _replicas(world) == 8
    _wait(world, 20)
    assert _replicas(world) == 1


def test_while_a_router_ends_its_streams_nothing_is_scaled_down(world: World) -> None:
    """It takes no more questions, nor the operator's, and answers what it has begun."""
    world.routers.requests = {"one": 20}
    _wait(world, 5)
    assert _replicas(world) == 4
    world.router_pod("leaving", "10.1.0.3", deletionTimestamp="2026-03-01T12:10:40Z", deletionGracePeriodSeconds=640)
    world.routers.requests, world.routers.silent = {}, {"10.1.0.3"}
    _wait(world, 100)
    assert _replicas(world) == 4
    world.api.remove("Pod", "leaving")
    _wait(world, 80)
    assert _replicas(world) == 1


def test_a_router_that_its_node_ended_is_not_asked_however_long_its_pod_is_kept(world: World) -> None:
    """As after an eviction or a node's end: it stays, as Failed, and another may have its address by now."""
    world.router_pod("evicted", "10.1.0.3", ready=False)
    world.api.objects["Pod", "evicted"]["status"]["phase"] = "Failed"
    world.api.changed("Pod", "evicted")
    world.routers.requests = {"one": 20}
    _wait(world, 5)
    assert _replicas(world) == 4, "two routers with 20 each"
    world.routers.requests, world.routers.silent = {}, {"10.1.0.3"}
    _wait(world, 80)
    assert _replicas(world) == 1
    assert _stored(world) == ("router-1", 0)


def test_pods_that_do_not_answer_are_not_taken_for_pods_that_nobody_needs(world: World) -> None:
    world.routers.requests = {"one": 20}
    _wait(world, 5)
    world.routers.requests = {}
    _answer(world, missing=2)
    for _ in range(30):
        world.later(5)
        _look(world)
    assert _replicas(world) == 4
    _answer(world)
    _wait(world, 80)
    assert _replicas(world) == 1


def test_a_clock_that_goes_back_stops_nobody(world: World) -> None:
    world.routers.requests = {"one": 20}
    _wait(world, 5)
    world.later(-3600)
    world.routers.requests = {"one": 30}
    _wait(world, 10)
    assert _replicas(world) == 6


def test_what_lost_production_keeps_its_pods_for_a_rollback_whoever_asks_it(world: World) -> None:
    world.routers.requests = {"one": 20}
    _wait(world, 5)
    other = SPEC | {"artifact": SPEC["artifact"] | {"uri": "mlflow-artifacts:/two"}}
    world.api.put("ModelVersion", "two", spec=other)
    _look(world, "two", 2)
    world.registry.aliases["spam", "production"] = "2"
    world.routers.requests = {}
    _look(world, "two", 2)
    assert _replicas(world, "two") == 4, "before clients come, it has as many as they have now"
    _answer(world, "two")
    _look(world, "two")
    _look(world)
    for _ in range(2):
        world.reconcile("Router", "anneal-router")
    _wait(world, 100)
    assert _replicas(world) == 4


def _released(world: World) -> None:
    """Clients keep four pods of `one` busy; `production` was just moved to `two`, of whose pods one answers."""
    world.routers.requests = {"one": 20}
    _wait(world, 5)
    world.api.put("ModelVersion", "two", spec=SPEC | {"artifact": SPEC["artifact"] | {"uri": "mlflow-artifacts:/two"}})
    _look(world, "two", 2)
    _answer(world, "two")
    _look(world, "two")
    world.registry.aliases["spam", "production"] = "2"
    _look(world, "two", 2)
    _answer(world, "two", missing=3)
    _settle(world)


def _settle(world: World) -> None:
    for _ in range(3):
        _look(world, "two")
        world.reconcile("Router", "anneal-router")
        _look(world)


def _default(world: World) -> str:
    table = json.loads(world.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"])
    return str(table["models"]["spam"]["default"])


def _told(world: World, kind: str) -> dict[str, Any]:
    found = world.api.status("ModelVersion", "two")["conditions"]
    return next((condition for condition in found if condition["type"] == kind), {})


def test_clients_are_sent_to_a_new_version_once_it_has_pods_for_all_of_them(world: World) -> None:
    _released(world)
    assert (_default(world), _phase(world, "two"), _replicas(world, "two")) == ("one", "Ready", 4)
    waits = _told(world, "CapacityReady")
    assert (waits["status"], waits["reason"]) == ("False", "PodsMissing")
    assert "clients of spam stay with one" in waits["message"]
    assert "1 of 4 pods answer" in waits["message"]
    assert "1 of 4 pods answer" in _told(world, "AliasDrifted")["message"]
    _answer(world, "two")
    _settle(world)
    assert _default(world) == "two"
    assert _told(world, "CapacityReady") == {}
    assert _told(world, "AliasDrifted")["status"] == "False"


def test_where_there_is_no_room_for_them_clients_come_once_they_have_waited(world: World) -> None:
    _released(world)
    world.later(899)
    _settle(world)
    assert _default(world) == "one"
    world.later(2)
    _settle(world)
    assert _default(world) == "two"
    assert _told(world, "CapacityReady") == {}


@pytest.mark.parametrize("first", ["the version", "the router"])
def test_an_operator_that_begins_anew_lets_clients_wait_no_longer(world: World, first: str) -> None:
    _released(world)
    for _ in range(3):
        world.later(290)
        world.context.acknowledgements.clear()
        if first == "the version":
            _look(world, "two")
        world.reconcile("Router", "anneal-router")
        _settle(world)
        assert _told(world, "CapacityReady")["status"] == "False"
    assert _default(world) == "one"
    world.later(32)
    _settle(world)
    assert _default(world) == "two"
    assert _told(world, "CapacityReady") == {}


def test_nobody_waits_for_pods_for_ever_where_another_step_of_the_router_is_refused(world: World) -> None:
    world.api.remove("NetworkPolicy", "anneal-groups")
    world.api.refuses["NetworkPolicy"] = ApiError(403, "no")
    _released(world)
    world.later(901)
    _settle(world)
    world.later(901)
    _settle(world)
    assert _default(world) == "two"


def test_a_new_version_needs_pods_for_requests_and_not_as_many_as_the_one_before_it_has(world: World) -> None:
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": {"replicas": 6}})
    _look(world)
    _answer(world)
    world.api.put("ModelVersion", "two", spec=SPEC | {"artifact": SPEC["artifact"] | {"uri": "mlflow-artifacts:/two"}})
    _look(world, "two", 2)
    _answer(world, "two")
    world.routers.requests = {"one": 8, "two": 2}
    for _ in range(14):
        world.later(5)
        _look(world, "two")
    world.registry.aliases["spam", "production"] = "2"
    _look(world, "two", 2)
    assert _replicas(world, "two") == 2


@pytest.mark.parametrize("scaling", [{}, {"minReplicas": 0, "idleAfter": "1m"}])
def test_what_clients_are_led_back_to_has_pods_for_them_though_nobody_asked_it_of_late(
    world: World, scaling: dict[str, Any]
) -> None:
    _released(world)
    for name in ("one", "two"):
        spec = world.api.objects["ModelVersion", name]["spec"]
        wanted = {"autoscaling": spec["serving"]["autoscaling"] | scaling}
        world.api.edit("ModelVersion", name, spec=spec | {"serving": wanted})
    _answer(world, "two")
    _settle(world)
    world.routers.requests = {"two": 20}
    _wait(world, 100)
    assert (_default(world), _replicas(world)) == ("two", 4), "kept for a rollback"
    world.registry.aliases["spam", "production"] = "1"
    _look(world)
    for _ in range(2):
        world.reconcile("Router", "anneal-router")
    _look(world)
    assert (_default(world), _phase(world), _replicas(world)) == ("one", "Ready", 4)
    world.routers.requests = {"one": 11}
    _wait(world, 55)
    assert _replicas(world) == 4
    _wait(world, 20)
    assert _replicas(world) == 3


def _sleepy(world: World) -> None:
    """It may have no pods, and has had no request for as long as that takes."""
    scaling = SPEC["serving"]["autoscaling"] | {"minReplicas": 0, "idleAfter": "2m"}
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": {"autoscaling": scaling}})
    _look(world)
    _wait(world, 130)


def _phase(world: World, name: str = "one") -> str:
    return str(world.api.status("ModelVersion", name)["phase"])


def test_one_that_nobody_asks_sleeps_and_a_request_wakes_it(world: World) -> None:
    _sleepy(world)
    assert (_phase(world), _replicas(world)) == ("Sleeping", 0)
    world.reconcile("Router", "anneal-router")
    table = json.loads(world.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"])
    assert table["models"]["spam"]["default"] == "one", "it keeps its clients"
    assert table["targets"]["one"]["wakes_after"] == 60
    world.writes()
    _wait(world, 60)
    assert world.writes() == []
    world.routers.asked_ago = {"one": 2.0}
    world.later(5)
    _look(world)
    assert (_phase(world), _replicas(world)) == ("Loading", 1)
    world.routers.asked_ago = {"one": 100.0}
    for _ in range(60):  # what takes longer to start than it may be idle is not ended before it answers
        world.later(5)
        _look(world)
    assert (_phase(world), _replicas(world)) == ("Loading", 1)
    _answer(world)
    world.routers.asked_ago = {"one": 500.0}
    _wait(world, 100)
    assert (_phase(world), _replicas(world)) == ("Ready", 1)
    _wait(world, 30)
    assert (_phase(world), _replicas(world)) == ("Sleeping", 0)


def _by_requests(world: World) -> None:
    world.routers.requests = {"one": 1}


def _by_one_that_ended(world: World) -> None:
    world.routers.asked_ago = {"one": 30.0}


def _by_one_that_no_router_has_a_place_for(world: World) -> None:
    world.routers.asked_ago = {"other": 30.0}


def _by_a_silent_router(world: World) -> None:
    world.routers.silent = {"10.1.0.2"}


def _by_a_router_that_does_not_know(world: World) -> None:
    world.routers.asked_ago = None


def _by_another_operator(world: World) -> None:
    world.context.traffic.clear()


@pytest.mark.parametrize(
    "disturbed",
    [
        _by_requests,
        _by_one_that_ended,
        _by_one_that_no_router_has_a_place_for,
        _by_a_silent_router,
        _by_a_router_that_does_not_know,
        _by_another_operator,
    ],
)
def test_it_does_not_sleep_before_all_routers_have_told_of_no_request_for_so_long(
    world: World, disturbed: Callable[[World], None]
) -> None:
    scaling = SPEC["serving"]["autoscaling"] | {"minReplicas": 0, "idleAfter": "2m"}
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": {"autoscaling": scaling}})
    _look(world)
    _wait(world, 60)
    disturbed(world)
    _wait(world, 65)
    assert _phase(world) == "Ready"


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


def test_of_other_versions_nothing_is_read_where_an_engine_is_up_to_date(world: World) -> None:
    """It is looked at every five seconds: with each look at all others, two hundred of them would take all the time."""
    world.api.put("ModelVersion", "two", spec=SPEC | {"artifact": SPEC["artifact"] | {"uri": "mlflow-artifacts:/two"}})
    _look(world, "two", 2)
    world.later(301)
    world.reads()
    _look(world)
    read = world.reads()
    assert [found for found in read if "one-server" in found]
    assert not [found for found in read if "two-server" in found]


def test_nobody_asks_where_no_version_is_scaled_so(world: World) -> None:
    serving = {name: value for name, value in SPEC["serving"].items() if name != "autoscaling"}
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": serving})
    world.routers.counts = 0
    world.later(5)
    assert _look(world) != 5.0
    assert world.routers.counts == 0


def _stored(world: World) -> tuple[str, float | None] | None:
    """The router whose records are stored least far, and how long ago that was."""
    context, now = world.context, world.time
    reader = context.readers.reader("ModelVersion", NAMESPACE, "one")
    asyncio.run(context.traffic.ask(world.routers, "k", reader, NAMESPACE, now))
    found = context.traffic.stored(NAMESPACE)
    return (found.router, (now - found.until).total_seconds() if found.until else None) if found else None


def test_records_are_stored_as_far_as_those_of_the_router_that_is_behind(world: World) -> None:
    assert _stored(world) == ("router-1", 0)
    world.routers.lag = 400.0
    world.later(60)
    assert _stored(world) == ("router-1", 400)


def test_a_router_that_never_told_or_is_not_ready_counts_and_one_that_is_gone_does_for_a_while(world: World) -> None:
    world.router_pod("crashing", "10.1.0.3", ready=False, creationTimestamp=timestamp(world.time))
    world.routers.silent = {"10.1.0.3"}
    world.later(30)
    assert _stored(world) == ("router-1", 0), "it may be about to start"
    world.later(60)
    assert _stored(world) == ("crashing", None)
    world.api.remove("Pod", "crashing")
    world.later(200)
    assert _stored(world) == ("crashing", None)
    world.later(200)
    assert _stored(world) == ("router-1", 0)
