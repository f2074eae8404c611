"""A namespace's keys: made once by whoever comes first, kept, completed, and shown nowhere."""

import base64
import copy
import json
from typing import Any

import pytest

from anneal_operator.errors import ApiError

from .test_model_version import SPEC
from .world import World

NAMES = {"engineKey", "adminKey", "userKey", "tasksKey"}


@pytest.fixture
def world() -> World:
    """One version, not looked at yet."""
    made = World()
    made.api.put("ModelVersion", "one", spec=SPEC)
    return made


def _look(world: World, times: int = 1) -> None:
    world.reconcile("ModelVersion", "one", times)


def _route(world: World) -> None:
    world.reconcile("Router", "anneal-router")


def _resync(world: World) -> None:
    """What is watched by nobody is read again."""
    world.later(301)
    _look(world)
    _route(world)


def _data(world: World) -> dict[str, str]:
    data: dict[str, str] = world.api.objects["Secret", "anneal-router"]["data"]
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


def _mark(world: World, name: str) -> str:
    """What a Deployment and its pods say of the keys that they were made with."""
    made = world.api.objects["Deployment", name]
    about = (made["metadata"], made["spec"]["template"]["metadata"])
    (mark,) = {str(part["annotations"]["anneal.dev/keys"]) for part in about}
    return mark


def _marks(world: World) -> dict[str, str]:
    return {name: _mark(world, name) for name in ("one-server", "anneal-router")}


def test_whoever_comes_first_makes_them_and_both_mean_the_same(world: World) -> None:
    _look(world)
    first = _data(world)
    assert set(first) == NAMES
    assert len(set(first.values())) == 4
    assert min(map(len, first.values())) >= 43
    secret = world.api.objects["Secret", "anneal-router"]["metadata"]
    assert "ownerReferences" not in secret
    before = _mark(world, "one-server")
    _look(world, 2)
    _route(world)
    assert (_data(world), _mark(world, "one-server")) == (first, before)
    assert world.writes().count("Secret/anneal-router") == 1
    assert world.context.drawn_keys == {}


def test_keys_of_one_s_own_are_left_alone(world: World) -> None:
    own = {name: base64.b64encode(f"my {name}\n".encode()).decode() for name in NAMES}
    world.api.put("Secret", "anneal-router", data=own)
    _look(world, 2)
    _route(world)
    assert world.api.objects["Secret", "anneal-router"]["data"] == own
    assert {"Secret/anneal-router", "Secret/anneal-router/patch"} & set(world.writes()) == set()


def test_a_key_that_is_missing_is_added_and_the_others_stay(world: World) -> None:
    own = {"userKey": base64.b64encode(b"of an earlier cluster").decode(), "engineKey": ""}
    world.api.put("Secret", "anneal-router", data=own)
    _look(world)
    assert set(_data(world)) == NAMES
    assert _data(world)["userKey"] == "of an earlier cluster"
    assert _data(world)["engineKey"] != ""
    assert world.writes().count("Secret/anneal-router/patch") == 1


@pytest.mark.parametrize("key", [None, "engineKey", "userKey"])
def test_what_was_deleted_is_drawn_anew_and_what_uses_it_replaced(world: World, key: str | None) -> None:
    _look(world, 2)
    _route(world)
    before, marks = _data(world), _marks(world)
    secret = world.api.objects["Secret", "anneal-router"]
    if key:
        world.api.edit("Secret", "anneal-router", data={n: v for n, v in secret["data"].items() if n != key})
    else:
        world.api.remove("Secret", "anneal-router")
    _resync(world)
    gone = {key} if key else NAMES
    assert {name for name in NAMES if _data(world)[name] != before[name]} == gone
    changed = {name for name, mark in _marks(world).items() if mark != marks[name]}
    assert changed == ({"anneal-router"} if key == "userKey" else {"one-server", "anneal-router"})


def test_they_are_shown_nowhere(world: World, caplog: Any) -> None:
    _look(world, 3)
    _route(world)
    world.api.remove("Secret", "anneal-router")
    _resync(world)
    keys = list(_data(world).values())
    others = [made for (kind, _), made in world.api.objects.items() if kind != "Secret"]
    said = f"{others} {world.api.events} {caplog.text} {world.context.drawn_keys}"
    assert [key for key in keys if key in said or base64.b64encode(key.encode()).decode() in said] == []


def test_a_draft_is_not_shown_either_and_is_the_same_until_it_is_made(world: World) -> None:
    world.api.refuses["Secret"] = ApiError(403, "secrets is forbidden")
    _look(world)
    (drawn,) = world.context.drawn_keys.values()
    assert drawn.engine not in repr(drawn)
    assert ("Deployment", "one-server") not in world.api.objects
    assert world.api.status("ModelVersion", "one")["reason"] == "RefusedByApiServer"
    del world.api.refuses["Secret"]
    _route(world)
    _look(world)
    assert _data(world)["engineKey"] == drawn.engine


def _told(world: World, **status: int) -> None:
    """Have the engine's Deployment say so of its newest generation."""
    made = world.api.objects["Deployment", "one-server"]
    counts = {"readyReplicas": 1, "updatedReplicas": 1, "replicas": 1} | status
    generation = made["metadata"]["generation"]
    world.api.edit("Deployment", "one-server", status={"observedGeneration": generation, **counts})


def _public(world: World) -> str:
    table = json.loads(world.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"])
    return str(table["targets"]["one"]["public"])


def test_the_router_is_told_of_the_model_s_name_once_all_pods_know_it(world: World) -> None:
    _look(world, 2)
    _told(world, replicas=2)  # one of them is an earlier build's
    _look(world, 2)
    _route(world)
    assert _public(world) == ""
    _told(world)
    _resync(world)
    assert _public(world) == "spam"
    _told(world, updatedReplicas=0)  # replaced by others that know it, too
    _resync(world)
    assert _public(world) == "spam"


@pytest.mark.parametrize(
    ("counts", "demands"),
    [
        ({"readyReplicas": 2, "updatedReplicas": 2, "replicas": 2}, True),
        ({"readyReplicas": 2, "updatedReplicas": 2, "replicas": 3}, False),
        ({"readyReplicas": 2, "replicas": 2}, False),
        # one that has no room on any node keeps nobody who sends no key
        ({"readyReplicas": 1, "updatedReplicas": 2, "replicas": 2}, True),
    ],
)
def test_an_engine_of_an_earlier_build_stays_as_it_is_until_every_router_sends_the_key(
    world: World, counts: dict[str, int], demands: bool
) -> None:
    _look(world, 2)
    _told(world)
    _look(world, 2)
    _route(world)
    _make_earlier(world, "one-server")
    _make_earlier(world, "anneal-router")
    plan = _plan(world)
    world.later(301)
    _look(world)
    assert (_plan(world), _demands(world)) == (plan, False)
    assert _public(world) == "spam"
    _route(world)
    assert _public(world) == ""
    _look(world)
    assert not _demands(world)
    router = world.api.objects["Deployment", "anneal-router"]
    status = {"observedGeneration": router["metadata"]["generation"], **counts}
    world.api.edit("Deployment", "anneal-router", status=status)
    _look(world)
    assert _demands(world) is demands
    assert ('"public_name":"spam"' in _plan(world)) is demands


def _make_earlier(world: World, name: str) -> None:
    """Leave of a Deployment what a build before there were keys would have made."""
    made = copy.deepcopy(world.api.objects["Deployment", name])
    for about in (made["metadata"], made["spec"]["template"]["metadata"]):
        for mark in ("keys", "build", "wish"):
            about["annotations"].pop(f"anneal.dev/{mark}", None)
    for container in made["spec"]["template"]["spec"]["containers"]:
        container["env"] = [entry for entry in container["env"] if "secretKeyRef" not in entry.get("valueFrom", {})]
        container["args"] = [text.replace('"public_name":"spam",', "") for text in container["args"]]
    world.api.edit("Deployment", name, metadata=made["metadata"], spec=made["spec"])


def _engine(world: World) -> dict[str, Any]:
    template = world.api.objects["Deployment", "one-server"]["spec"]["template"]["spec"]
    container: dict[str, Any] = template["containers"][0]
    return container


def _plan(world: World) -> str:
    return str(_engine(world)["args"][-1])


def _demands(world: World) -> bool:
    return "ANNEAL_ENGINE_KEY" in {entry["name"] for entry in _engine(world)["env"]}


def test_the_operator_asks_each_router_with_its_key(world: World) -> None:
    _look(world)
    _route(world)
    _route(world)
    assert set(world.routers.asked) == {"10.1.0.1", "10.1.0.2"}
    assert set(world.routers.keys) == {_data(world)["adminKey"]}
    world.api.remove("Secret", "anneal-router")
    world.routers.silent = set(world.routers.asked)
    world.routers.keys.clear()
    world.context.acknowledgements.clear()
    world.later(301)
    _route(world)
    assert set(world.routers.keys) == {""}, "another key was drawn, and no router has it yet"


def test_the_operator_asks_the_recorder_with_its_key(world: World) -> None:
    _look(world, 2)
    variants = [
        {"name": name, "modelVersionRef": {"name": version}, "weight": 1}
        for name, version in (("a", "one"), ("b", "2"))
    ]
    spec = {"modelName": "spam", "control": "a", "variants": variants, "metrics": {"primary": {"name": "stars"}}}
    uid = world.api.put("ABExperiment", "x", spec=spec)["metadata"]["uid"]
    world.programme(split_by=uid)
    world.reconcile("ABExperiment", "x")
    assert set(world.routers.keys) == {_data(world)["adminKey"]}
    world.api.remove("Secret", "anneal-router")
    world.routers.keys.clear()
    world.later(301)
    world.reconcile("ABExperiment", "x")
    assert set(world.routers.keys) == {""}
