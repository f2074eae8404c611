"""A namespace's routers: each change is a new generation, done when all have it; a silent one is replaced."""

import itertools
import json
from typing import Any

import pytest

from anneal_operator.desired.routing import stamp_of
from anneal_operator.errors import ApiError
from anneal_operator.reconcile.acknowledgements import Heard
from serving_runtime.plan import Stamp
from tests.support.counted import metric_told

from .experiments import EXPERIMENT, VERSION, answer, version_of
from .world import NAMESPACE, World


def _look(world: World, *names: str) -> None:
    for name in names:
        world.reconcile("ModelVersion", name)


def _route(world: World) -> float | None:
    return world.reconcile("Router", "anneal-router")


def _judge(world: World) -> dict[str, Any]:
    world.reconcile("ABExperiment", "x")
    return world.api.status("ABExperiment", "x")


def _conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {found["type"]: (found["status"], found["reason"]) for found in status["conditions"]}


def _table(world: World) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(world.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"])
    return table


def _stamp(world: World) -> Stamp:
    stamp = stamp_of(world.api.objects["ConfigMap", "anneal-router"])
    assert stamp is not None
    return stamp


def _serve(world: World, name: str) -> None:
    world.api.put("ModelVersion", name, spec=version_of(name))
    _look(world, name, name)
    answer(world, name)
    _look(world, name, name)
    _route(world)
    _route(world)
    _look(world, name)


@pytest.fixture
def world() -> World:
    """Two versions that every router knows, the first in production."""
    made = World()
    for name in ("one", "two"):
        _serve(made, name)
    return made


def test_each_change_of_content_is_one_generation_more(world: World) -> None:
    before = _table(world)
    _route(world)
    assert _table(world) == before
    world.registry.aliases["spam", "golden"] = "1"
    world.later(60)
    _look(world, "one")
    _route(world)
    assert (_table(world)["generation"], _table(world)["lineage"]) == (before["generation"] + 1, before["lineage"])
    assert _table(world)["digest"] != before["digest"]


def test_a_table_of_before_there_were_generations_is_followed_by_the_first(world: World) -> None:
    old = {name: part for name, part in _table(world).items() if name in {"targets", "models"}}
    for pod in ("router-1", "router-2"):
        world.api.remove("Pod", pod)
    world.context.acknowledgements.clear()
    world.api.edit("ConfigMap", "anneal-router", data={"routes.json": json.dumps(old)})
    world.later(301)
    _route(world)
    assert (_table(world)["generation"], _table(world)["lineage"]) == (1, "2026-03-01T12:05:01Z")
    assert _table(world)["models"] == old["models"]


def test_a_config_map_that_was_lost_begins_after_what_the_routers_have(world: World) -> None:
    has = _stamp(world)
    world.routers.has = {"10.1.0.1": has, "10.1.0.2": has}
    world.api.remove("ConfigMap", "anneal-router")
    world.later(301)
    _route(world)
    assert _stamp(world).order > has.order


def test_a_table_that_is_set_back_is_written_anew_as_a_router_may_have_the_one_after_it(world: World) -> None:
    """Even where it says what is wanted again: which routers had the later one was never heard."""
    before = _table(world)
    world.routers.has = dict.fromkeys(("10.1.0.1", "10.1.0.2"), _stamp(world))
    world.registry.aliases["spam", "golden"] = "1"
    world.later(60)
    _look(world, "one")
    for _ in range(2):  # it is asked for at once
        _route(world)
    later = _stamp(world)
    del world.registry.aliases["spam", "golden"]
    world.api.edit("ConfigMap", "anneal-router", data={"routes.json": json.dumps(before)})
    world.later(60)
    _look(world, "one")
    _route(world)
    assert (_table(world)["models"], _table(world)["digest"]) == (before["models"], before["digest"])
    assert _stamp(world).order > later.order


def test_routes_that_were_edited_by_hand_are_put_right_by_a_new_generation(world: World) -> None:
    """Routers may have applied the edited ones: what they tell of that generation says nothing of its content."""
    before, found = _stamp(world), world.api.objects["ConfigMap", "anneal-router"]
    edited = {"routes.json": found["data"]["routes.json"].replace('"default": "one"', '"default": "two"')}
    assert edited != found["data"]
    world.api.edit("ConfigMap", "anneal-router", data=edited)
    _route(world)
    assert _table(world)["models"]["spam"]["default"] == "one"
    assert (_stamp(world).lineage, _stamp(world).generation) == (before.lineage, before.generation + 1)


def test_a_config_map_that_is_lost_in_the_middle_of_a_release_moves_nobody(world: World) -> None:
    world.api.put("ModelVersion", "three", spec=version_of("three"))
    _look(world, "three", "three")
    world.registry.aliases["spam", "production"] = "3"
    world.registry.aliases["spam", "golden"] = "1"
    for _ in range(2):
        _look(world, "one", "two", "three")
        _route(world)
    world.registry.aliases["spam", "golden"] = "3"
    _look(world, "one", "three")
    _route(world)
    before = _table(world)["models"]
    assert (before["spam"]["default"], before["spam"]["named"]["golden"]) == ("one", "one")
    world.api.remove("ConfigMap", "anneal-router")
    world.later(301)
    _look(world, "one", "two")
    assert world.api.status("ModelVersion", "one")["phase"] == "Ready"
    _route(world)
    assert _table(world)["models"] == before


def test_every_router_that_takes_requests_is_asked_until_it_has_told(world: World) -> None:
    world.router_pod("starting", "10.1.0.3", ready=False)
    world.router_pod("leaving", "10.1.0.4", deletionTimestamp="2026-03-01T12:10:40Z", deletionGracePeriodSeconds=640)
    world.router_pod("left", "10.1.0.5", deletionTimestamp="2026-03-01T12:10:30Z", deletionGracePeriodSeconds=640)
    world.routers.asked.clear()
    _route(world)
    assert world.routers.asked == ["10.1.0.4"], "the others have told"
    world.registry.aliases["spam", "golden"] = "1"
    _look(world, "one")
    assert _route(world) == 0.1
    world.routers.asked.clear()
    assert _route(world) == 300
    assert sorted(world.routers.asked) == ["10.1.0.1", "10.1.0.2", "10.1.0.4"]
    world.routers.asked.clear()
    _route(world)
    assert world.routers.asked == []


def _change(world: World) -> None:
    """A new table, and a second router that says nothing."""
    world.routers.silent = {"10.1.0.2"}
    world.registry.aliases["spam", "golden"] = "1"
    _look(world, "one")
    _route(world)


def test_a_router_that_is_silent_for_ten_seconds_is_replaced_and_named_meanwhile(world: World) -> None:
    _change(world)
    assert _route(world) == 0.25
    world.writes()
    world.later(4)
    assert _route(world) == 1.0
    _look(world, "one")
    told = {found["type"]: found["message"] for found in world.api.status("ModelVersion", "one")["conditions"]}
    assert "router pod router-2 has not applied generation" in told["Routable"]
    assert ("Pod", "router-2") in world.api.objects
    world.later(6)
    _route(world)
    assert "Pod/router-2/delete" in world.writes()
    assert ("Pod", "router-1") in world.api.objects


def test_routers_on_a_node_that_the_operator_cannot_reach_are_replaced_ever_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    _change(world)
    replaced = []
    for second in range(200):
        if ("Pod", "router-2") not in world.api.objects:
            world.router_pod("router-2", "10.1.0.2")
        _route(world)
        if "Pod/router-2/delete" in world.writes():
            replaced.append(second)
        world.later(1)
    assert [after - before for before, after in itertools.pairwise(replaced)] == [11, 20, 40, 80]
    assert caplog.messages[-1] == (
        "router pod team/router-2 is replaced (5 lately): it has not answered the operator for 10 s"
    )


def test_a_router_that_answers_by_older_routes_has_time_to_watch_anew(world: World) -> None:
    _change(world)
    world.routers.silent, world.routers.has["10.1.0.2"] = set(), Stamp(lineage="2026", generation=1, digest="older")
    _route(world)
    world.later(89)
    _route(world)
    assert ("Pod", "router-2") in world.api.objects
    world.later(1)
    _route(world)
    assert ("Pod", "router-2") not in world.api.objects


def test_a_router_that_goes_on_is_not_silent(world: World) -> None:
    _change(world)
    _route(world)
    world.later(9)
    world.routers.silent.clear()
    world.routers.has["10.1.0.2"] = Stamp(lineage=_stamp(world).lineage, generation=1, digest="on its way")
    _route(world)
    world.later(9)
    _route(world)
    assert ("Pod", "router-2") in world.api.objects


def test_an_operator_that_reaches_no_router_ends_none(world: World) -> None:
    world.routers.silent = {"10.1.0.1", "10.1.0.2"}
    world.registry.aliases["spam", "golden"] = "1"
    _look(world, "one")
    for _ in range(20):
        _route(world)
        world.later(10)
    assert {name for kind, name in world.api.objects if kind == "Pod"} == {"router-1", "router-2"}
    _look(world, "one")
    told = {found["type"]: found["message"] for found in world.api.status("ModelVersion", "one")["conditions"]}
    assert "none is replaced" in told["Routable"]


def test_a_table_that_is_refused_is_tried_ever_later(world: World) -> None:
    world.registry.aliases["spam", "golden"] = "1"
    _look(world, "one")
    world.api.refuses["ConfigMap"] = ApiError(403, "no")
    first, second = (_route(world) or 0.0 for _ in range(2))
    assert 1 < first < second


def _begin(world: World) -> None:
    """An experiment that every router splits by."""
    world.api.put("ABExperiment", "x", spec=EXPERIMENT, metadata={"uid": "uid-x"})
    assert _judge(world)["reason"] == "RouterBehind"
    _route(world)
    assert _judge(world)["phase"] == "WarmingUp"
    _route(world)
    assert _judge(world)["phase"] == "Running"


def _decide(world: World) -> None:
    world.routers.counted = {
        "variants": {
            name: {"users": 110, "requests": 220, "metric": metric_told(110, mean, 110.0)}
            for name, mean in (("a", 3.0), ("b", 4.0))
        },
        "moved_users": 0,
    }
    world.later(60)
    assert _judge(world)["phase"] == "Promoted"


def test_an_experiment_begins_when_every_router_splits_by_it(world: World) -> None:
    world.api.put("ABExperiment", "x", spec=EXPERIMENT, metadata={"uid": "uid-x"})
    _judge(world)
    world.routers.has["10.1.0.2"] = _stamp(world)
    _route(world)
    _route(world)
    status = _judge(world)
    assert (status["phase"], _conditions(status)["RouteProgrammed"]) == ("WarmingUp", ("False", "RouterBehind"))
    world.routers.has.clear()
    _route(world)
    assert _judge(world)["phase"] == "Running"


@pytest.mark.parametrize("data", [{}, {"start.json": "{"}])
def test_a_record_that_somebody_spoilt_changes_no_route_and_stops_none(world: World, data: dict[str, str]) -> None:
    _begin(world)
    _judge(world)
    (record,) = (name for kind, name in world.api.objects if kind == "ConfigMap" and "-record-" in name)
    before = _table(world)
    metadata = world.api.objects["ABExperiment", "x"]["metadata"]
    world.api.edit("ABExperiment", "x", metadata={**metadata, "uid": "uid-new"})  # as after a restore
    world.api.edit("ConfigMap", record, data=data)
    _judge(world)
    _route(world)
    assert _table(world) == before
    world.registry.aliases["spam", "golden"] = "1"
    world.later(60)
    _look(world, "one")
    _route(world)
    assert _table(world)["generation"] == before["generation"] + 1
    assert _table(world)["models"]["spam"]["experiment"] == before["models"]["spam"]["experiment"]


def test_a_promotion_goes_step_by_step_each_when_every_router_has_the_one_before(world: World) -> None:
    """Route, alias, drain, scale: a router that is behind holds up the next, and nothing before it."""
    _begin(world)
    world.routers.has["10.1.0.2"] = _stamp(world)
    _decide(world)
    for _ in range(2):
        _route(world)
        _judge(world)
        _look(world, "one", "two")
    route = _table(world)["models"]["spam"]
    assert (route["default"], route["experiment"]) == ("two", None)
    assert world.registry.aliases["spam", "production"] == "1"
    assert _conditions(_judge(world))["AliasMoved"] == ("False", "RouterBehind")
    assert world.api.status("ModelVersion", "one")["phase"] == "Ready"

    world.routers.has.clear()
    _route(world)
    _judge(world)
    assert world.registry.aliases["spam", "production"] == "2"
    _look(world, "one", "two")
    assert _conditions(_judge(world))["AliasMoved"] == ("True", "Moved")

    _look(world, "one")
    assert world.api.status("ModelVersion", "one")["warmUntil"] == "2026-03-01T13:01:00Z"
    world.later(3601)
    world.routers.has["10.1.0.2"] = _stamp(world)
    _look(world, "one")
    assert world.api.status("ModelVersion", "one")["phase"] == "Draining"
    _route(world)
    _route(world)
    assert "1" not in _table(world)["models"]["spam"]["named"]
    world.later(5)
    _look(world, "one")
    assert world.api.status("ModelVersion", "one")["replicas"] == 1

    world.routers.has.clear()
    _route(world)
    _look(world, "one")
    world.later(29)
    _look(world, "one")
    assert world.api.status("ModelVersion", "one")["replicas"] == 1
    world.later(2)
    _look(world, "one")
    assert world.api.status("ModelVersion", "one")["phase"] == "Idle"
    assert world.api.objects["Deployment", "one-server"]["spec"]["replicas"] == 0


def test_a_rollback_by_hand_wakes_the_old_version_and_leaves_clients_where_they_are_until_it_answers(
    world: World,
) -> None:
    test_a_promotion_goes_step_by_step_each_when_every_router_has_the_one_before(world)
    world.api.edit("Deployment", "one-server", status={"observedGeneration": 9})  # its pods have ended
    world.registry.aliases["spam", "production"] = "1"
    _look(world, "one", "two")
    assert world.api.objects["Deployment", "one-server"]["spec"]["replicas"] == 1
    _route(world)
    assert _table(world)["models"]["spam"]["default"] == "two"
    assert _table(world)["models"]["spam"]["named"]["production"] == "two"
    answer(world, "one")
    _look(world, "one")
    _route(world)
    assert _table(world)["models"]["spam"]["default"] == "one"
    _look(world, "one")
    assert _conditions(world.api.status("ModelVersion", "one"))["AliasDrifted"] == ("True", "HeldByAnother")
    _route(world)
    _look(world, "one")
    assert _conditions(world.api.status("ModelVersion", "one"))["AliasDrifted"] == ("False", "AsRouted")


def test_a_rollback_by_hand_to_what_is_warm_waits_for_nothing(world: World) -> None:
    _begin(world)
    _decide(world)
    for _ in range(3):
        _route(world)
        _judge(world)
        _look(world, "one", "two")
    assert world.registry.aliases["spam", "production"] == "2"
    world.later(1800)
    world.registry.aliases["spam", "production"] = "1"
    _look(world, "one", "two")
    _route(world)
    assert _table(world)["models"]["spam"]["default"] == "one"
    assert world.api.status("ModelVersion", "one")["phase"] == "Ready"


def test_who_answers_the_name_stays_until_another_does_wherever_production_went(world: World) -> None:
    """Rolled back by hand to one, which answers; a release before that has loaded moves production on."""
    test_a_rollback_by_hand_wakes_the_old_version_and_leaves_clients_where_they_are_until_it_answers(world)
    world.api.put("ModelVersion", "three", spec=version_of("three"))
    _look(world, "three", "three")
    world.registry.aliases["spam", "production"] = "3"
    for _ in range(2):
        _look(world, "one", "two", "three")
        _route(world)
    assert _table(world)["models"]["spam"]["default"] == "one"
    assert world.api.status("ModelVersion", "one")["phase"] == "Ready"
    answer(world, "three")
    for _ in range(2):
        _look(world, "three", "one")
        _route(world)
    assert _table(world)["models"]["spam"]["default"] == "three"
    world.later(3601)
    _look(world, "one")
    assert world.api.status("ModelVersion", "one")["phase"] == "Draining"


def test_an_alias_that_goes_to_a_version_without_a_server_takes_clients_nowhere_else(world: World) -> None:
    world.registry.aliases["spam", "golden"] = "1"
    _look(world, "one")
    _route(world)
    before = _table(world)
    artifact = VERSION["artifact"] | {"uri": "mlflow-artifacts:/3"}
    world.api.put("ModelVersion", "three", spec={"modelName": "spam", "artifact": artifact})
    _look(world, "three", "three")
    world.registry.aliases |= {("spam", "golden"): "3", ("spam", "production"): "3"}
    _look(world, "one", "two", "three")
    _route(world)
    assert _table(world) == before
    world.api.edit("ModelVersion", "one", spec=VERSION | {"serving": {"replicas": 0}})
    _look(world, "one")
    _route(world)
    assert _table(world)["models"]["spam"] == {"default": None, "named": {"2": "two"}, "experiment": None}
    owners = world.api.objects["ConfigMap", "anneal-router"]["metadata"]["ownerReferences"]
    assert [owner["name"] for owner in owners] == ["one", "two"]


def test_after_a_restore_nobody_gets_another_version_meanwhile(world: World) -> None:
    """New uids, no statuses, no table; MLflow as it was. The version in production is the last to answer."""
    for name in ("one", "two"):
        for kind in ("Deployment", "Service"):
            world.api.remove(kind, f"{name}-server")
        artifact = world.api.objects["ModelVersion", name]["spec"]
        world.api.remove("ModelVersion", name)
        world.reconcile("ModelVersion", name)
        world.api.put("ModelVersion", name, spec=artifact)
    world.api.remove("ConfigMap", "anneal-router")
    world.routers.has = {}
    defaults = []
    for name in ("two", "one"):
        _look(world, name, name)
        answer(world, name)
        _look(world, name, name)
        _route(world)
        defaults.append(_table(world)["models"]["spam"]["default"])
    assert defaults == [None, "one"]
    assert world.registry.aliases["spam", "production"] == "1"


def test_after_a_restore_users_are_split_as_before(world: World) -> None:
    """By the salt of the experiment's name, in the same bounds, and known to the recorder by its first uid."""
    _begin(world)
    _judge(world)
    before = _table(world)["models"]
    (record,) = (name for kind, name in world.api.objects if kind == "ConfigMap" and "-record-" in name)
    specs = {name: world.api.objects["ModelVersion", name]["spec"] for name in ("one", "two")}
    for kind, name in (("ConfigMap", record), ("ConfigMap", "anneal-router"), ("ABExperiment", "x")):
        world.api.remove(kind, name)
    for name in specs:
        for kind, child in (("Deployment", f"{name}-server"), ("Service", f"{name}-server"), ("ModelVersion", name)):
            world.api.remove(kind, child)
        world.reconcile("ModelVersion", name)
    world.api.put("ABExperiment", "x", spec=EXPERIMENT, metadata={"uid": "uid-new"})
    for name, spec in specs.items():
        world.api.put("ModelVersion", name, spec=spec)
        _look(world, name, name)
    _judge(world)
    _judge(world)
    _route(world)
    assert _table(world)["models"]["spam"]["experiment"] == before["spam"]["experiment"], "before any of them answers"
    for name in specs:
        answer(world, name)
        _look(world, name, name)
    _judge(world)
    _route(world)
    assert _table(world)["models"] == before
    assert before["spam"]["experiment"]["uid"] == "uid-x"


def test_nothing_is_kept_of_a_namespace_that_serves_nothing(world: World) -> None:
    for name in ("one", "two"):
        world.api.remove("ModelVersion", name)
    _route(world)
    assert world.context.acknowledgements.of(NAMESPACE) == Heard()


RAMP = [{"coverage": 10, "for": "1h"}, {"coverage": 20, "for": "30m"}, {"coverage": 100}]


def _splits(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _table(world)["models"]["spam"]["experiments"]
    return found


def test_a_ramp_goes_step_by_step_each_when_every_router_has_the_one_before(world: World) -> None:
    stopping = EXPERIMENT["stopping"] | {"maxDuration": "24h"}
    world.api.put("ABExperiment", "x", spec=EXPERIMENT | {"assignment": {"ramp": RAMP}, "stopping": stopping})
    assert _judge(world)["coverage"] == 10
    steps = ((10, 1000, 60), (20, 2000, 30), (100, 10_000, 0))
    for step, (coverage, covered, minutes) in enumerate(steps, start=1):
        _route(world)
        _route(world)
        (split,) = _splits(world)
        assert (split["covered"], split["epoch"]) == (covered, step)
        told = _judge(world)
        assert (told["coverage"], told["phase"]) == (coverage, "Running")
        since = told["coverageSince"]
        if minutes:
            world.later(minutes * 60 - 1)
            assert _judge(world)["coverageSince"] == since
            world.later(1)
            assert "coverageSince" not in _judge(world)


def test_an_experiment_that_routers_of_an_earlier_build_cannot_obey_waits_for_them(world: World) -> None:
    world.routers.formats["10.1.0.1"] = 1
    before = _table(world)
    stopping = EXPERIMENT["stopping"] | {"maxDuration": "24h"}
    world.api.put("ABExperiment", "x", spec=EXPERIMENT | {"assignment": {"ramp": RAMP}, "stopping": stopping})
    _judge(world)
    _route(world)
    assert _table(world) == before
    told = _judge(world)
    assert told["phase"] == "WarmingUp"
    (waits,) = [found for found in told["conditions"] if found["type"] == "RouteProgrammed"]
    assert "router pod router-1 is of an earlier build" in waits["message"]
    world.api.remove("Pod", "router-1")
    world.router_pod("router-3", "10.1.0.3")
    _route(world)
    assert (_table(world)["format"], [split["name"] for split in _splits(world)]) == (2, ["x"])
    world.later(11)
    (waits,) = [found for found in _judge(world)["conditions"] if found["type"] == "RouteProgrammed"]
    assert "earlier build" not in waits["message"]
    world.router_pod("router-4", "10.1.0.4")
    world.routers.silent.add("10.1.0.4")
    _judge(world)
    _route(world)
    assert [split["name"] for split in _splits(world)] == ["x"], "a router that is silent takes nobody's variant away"


def test_two_experiments_on_one_model_run_at_once_in_disjoint_ranges_of_a_layer(world: World) -> None:
    """Of three, the one that shares users with the first waits, and names it."""
    ranges = {"x": (0, 5000), "y": (5000, 9000), "z": (4000, 5001)}
    for name, (begin, end) in ranges.items():
        spec = EXPERIMENT | {"assignment": {"layer": {"name": "l", "from": begin, "to": end}}}
        world.api.put("ABExperiment", name, spec=spec)
    for _ in range(2):
        for name in ranges:
            world.reconcile("ABExperiment", name)
        _route(world)
        _route(world)
    for name in ranges:
        world.reconcile("ABExperiment", name)
    told = {name: world.api.status("ABExperiment", name) for name in ranges}
    assert {name: status["phase"] for name, status in told.items()} == {"x": "Running", "y": "Running", "z": "Pending"}
    assert [split["name"] for split in _splits(world)] == ["x", "y"]
    (waits,) = [found for found in told["z"]["conditions"] if found["type"] == "VariantsReady"]
    assert waits["reason"] == "ModelBusy"
    assert "experiment x" in waits["message"]
    assert "the buckets from 0 to 5000" in waits["message"]


@pytest.mark.parametrize("uid", ["uid-x", "uid-new"], ids=["as it began", "after a restore"])
def test_a_promotion_that_waits_for_pods_leaves_every_user_where_they_are(world: World, uid: str) -> None:
    """The routers know the experiment by its first uid until everybody gets the winner."""
    spec = world.api.objects["ModelVersion", "two"]["spec"]
    world.api.edit("ModelVersion", "two", spec=spec | {"serving": {"replicas": 2}})
    _look(world, "two")
    answer(world, "two")
    _look(world, "two")
    _begin(world)
    _judge(world)
    metadata = world.api.objects["ABExperiment", "x"]["metadata"]
    world.api.edit("ABExperiment", "x", metadata={**metadata, "uid": uid})
    _route(world)
    before = _table(world)["models"]["spam"]
    assert before["experiment"]["uid"] == "uid-x"
    _decide(world)
    _route(world)
    _route(world)
    assert _table(world)["models"]["spam"] == before
    world.api.edit("ABExperiment", "x", status={})
    for _ in range(3):
        _route(world)
        assert _table(world)["models"]["spam"] == before
        _judge(world)


@pytest.mark.parametrize("ramp", [[], RAMP], ids=["plain", "ramp"])
def test_a_status_that_is_lost_moves_nobody_whoever_looks_first(world: World, ramp: list[dict[str, Any]]) -> None:
    stopping = EXPERIMENT["stopping"] | {"maxDuration": "24h"}
    spec = EXPERIMENT | {"assignment": {"ramp": ramp}, "stopping": stopping}
    world.api.put("ABExperiment", "x", spec=spec, metadata={"uid": "uid-x"})
    for seconds in (0, 0, 3600, 0):
        _judge(world)
        _route(world)
        _judge(world)
        world.later(seconds)
    _route(world)
    assert _judge(world)["coverage"] == (20 if ramp else 100)
    before = _table(world)
    world.api.edit("ABExperiment", "x", status={})
    for _ in range(2):
        _route(world)
        assert _table(world) == before
        _judge(world)
    assert _judge(world)["coverage"] == (20 if ramp else 100)


def test_the_order_in_which_experiments_were_made_changes_no_table(world: World) -> None:
    """The API server tells them by name, and what watches told is known in the order of time."""
    for name, begin, end in (("y", 5000, 9000), ("x", 0, 5000)):
        spec = EXPERIMENT | {"assignment": {"layer": {"name": "l", "from": begin, "to": end}}}
        world.api.put("ABExperiment", name, spec=spec)
        world.reconcile("ABExperiment", name)
        _route(world)
        _route(world)
        world.reconcile("ABExperiment", name)
    _route(world)
    assert [split["name"] for split in _splits(world)] == ["x", "y"]
    generation = _table(world)["generation"]
    _route(world)
    assert _table(world)["generation"] == generation


def test_a_status_that_is_lost_after_the_decision_takes_nobody_from_the_winner(world: World) -> None:
    _begin(world)
    _decide(world)
    _route(world)
    _route(world)
    before = _table(world)
    assert before["models"]["spam"]["default"] == "two"
    world.api.edit("ABExperiment", "x", status={})
    _route(world)
    assert _table(world) == before
    for _ in range(4):
        _judge(world)
        _look(world, "one", "two")
        _route(world)
    assert _conditions(_judge(world))["AliasMoved"] == ("True", "Moved")
    world.registry.aliases["spam", "production"] = "1"  # a rollback by hand
    _look(world, "one", "two")
    _route(world)
    assert _table(world)["models"]["spam"]["default"] == "one"
    world.api.edit("ABExperiment", "x", status={})
    _route(world)
    assert _table(world)["models"]["spam"]["default"] == "one", "what is over is not done again"
