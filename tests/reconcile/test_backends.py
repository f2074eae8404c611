"""Versions that are backends: from the manifest to the routers, and back to the status."""

import json
from typing import Any

import pytest

from serving_runtime.plan import BackendReport

from .world import World

SECRET = {"secretKeyRef": {"name": "hosted", "key": "token"}}
HOSTED = {"modelName": "spam", "backend": {"url": "https://api.example.com/v1", "apiKey": SECRET, "model": "large-2"}}
INSIDE = {"modelName": "spam", "backend": {"serviceRef": {"name": "vllm", "port": 80, "path": "/v1"}}}
ARTIFACT = {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64}
FINE = BackendReport()
AWAY = BackendReport(problem="Unreachable", message="it is away")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setitem(vars(made.context.settings), "backend_urls", ["https://api.example.com/"])
    made.api.put("ModelVersion", "hosted", spec=HOSTED)
    return made


def _settle(world: World, *names: str) -> None:
    for _ in range(3):
        for name in names:
            world.reconcile("ModelVersion", name)
        world.reconcile("Router", "anneal-router")
        world.later(5)


def _table(world: World) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(world.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"])
    return table


def _ready(world: World, name: str = "hosted") -> tuple[str, str, str]:
    status = world.api.status("ModelVersion", name)
    found = next(condition for condition in status["conditions"] if condition["type"] == "Ready")
    return status["phase"], found["reason"], found["message"]


def test_it_is_registered_asked_by_the_routers_and_routed_once_it_answers(world: World) -> None:
    _settle(world, "hosted")
    assert _ready(world)[:2] == ("Loading", "BackendNotAsked")
    table = _table(world)
    assert table["targets"]["hosted"]["backend"]["host"] == "api.example.com", "routers ask it before anybody is sent"
    assert table["models"] == {"spam": {"default": None, "named": {}, "experiment": None}}
    world.routers.found["hosted"] = FINE
    _settle(world, "hosted")
    assert _ready(world)[:2] == ("Ready", "Answers")
    assert world.registry.aliases == {("spam", "production"): "1"}
    assert world.registry.versions[0].uri == "backend-https://api.example.com/v1/models"
    assert _table(world)["models"]["spam"]["default"] == "hosted"
    made = {name for kind, name in world.api.objects if kind == "Deployment"}
    assert made == {"anneal-router", "anneal-recorder", "anneal-tasks"}
    world.api.writes.clear()
    _settle(world, "hosted")
    world.api.reads.clear()
    world.later(5)
    assert world.reconcile("ModelVersion", "hosted") == 5.0
    assert (world.api.writes, world.api.reads) == ([], []), "routers alone are asked"


def test_routers_mount_who_vouches_for_it_and_are_replaced_when_that_changes(world: World) -> None:
    vouched = {**HOSTED["backend"], "caCertificateRef": {"name": "company", "key": "root.pem"}}  # type: ignore[dict-item]
    world.api.put("ModelVersion", "hosted", spec={**HOSTED, "backend": vouched})

    def made() -> tuple[dict[str, Any], dict[str, str]]:
        _settle(world, "hosted")
        template = world.api.objects["Deployment", "anneal-router"]["spec"]["template"]
        return template["spec"], template["metadata"]["annotations"]

    pod, without = made()
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "backend-authorities"]
    file = _table(world)["targets"]["hosted"]["backend"]["trusted"]
    named = {"name": "company", "optional": True, "items": [{"key": "root.pem", "path": file}]}
    assert volume["projected"]["sources"] == [{"configMap": named}]
    mounting = {c["name"] for c in pod["containers"] if volume["name"] in {m["name"] for m in c["volumeMounts"]}}
    assert mounting == {"nginx", "agent"}
    assert world.reconcile("Router", "anneal-router") == 30.0, "nobody tells of the ConfigMap"
    found = [without]
    for held in ({"data": "one"}, {"data": "one"}, {"data": "two"}, {"binaryData": "b25l"}, {"binaryData": "dHdv"}):
        world.api.put("ConfigMap", "company", **{kind: {"root.pem": text} for kind, text in held.items()})
        found.append(made()[1])
    assert found[0] != found[1] == found[2] != found[3] != found[4] != found[5]
    assert found[4] != found[0], "so kubectl has a file that is no UTF-8, and the kubelet mounts it as any"


def test_routers_mount_its_key_and_nothing_else_has_it(world: World) -> None:
    _settle(world, "hosted")
    pod = world.api.objects["Deployment", "anneal-router"]["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "backend-keys"]
    file = _table(world)["targets"]["hosted"]["backend"]["key"]
    secret = {"name": "hosted", "optional": True, "items": [{"key": "token", "path": file}]}
    assert volume["projected"]["sources"] == [{"secret": secret}]
    mounting = {c["name"] for c in pod["containers"] if "backend-keys" in {m["name"] for m in c["volumeMounts"]}}
    assert mounting == {"nginx", "agent"}
    assert {read for read in world.api.reads if read.startswith("Secret/")} == {"Secret/anneal-router"}


def test_one_that_is_away_says_so_and_keeps_its_clients(world: World) -> None:
    world.routers.found["hosted"] = FINE
    _settle(world, "hosted", "hosted")
    world.routers.finds["10.1.0.1"] = {"hosted": AWAY}
    _settle(world, "hosted")
    assert _ready(world)[:2] == ("Degraded", "SomeAnswer")
    world.routers.found["hosted"] = AWAY
    _settle(world, "hosted")
    assert _ready(world) == ("Failed", "BackendAway", "it is away")
    assert _table(world)["models"]["spam"]["default"] == "hosted", "nobody chose another for them"
    world.routers.found["hosted"], world.routers.finds = FINE, {}
    _settle(world, "hosted")
    assert _ready(world)[:2] == ("Ready", "Answers")


def test_one_that_no_router_tells_of_stays_as_it_was(world: World) -> None:
    world.routers.found["hosted"] = FINE
    _settle(world, "hosted", "hosted")
    world.routers.silent |= {"10.1.0.1", "10.1.0.2"}
    for _ in range(20):
        world.later(5)
        world.reconcile("ModelVersion", "hosted")
    assert _ready(world)[:2] == ("Ready", "Answers")


def test_an_address_that_the_installation_does_not_take_is_never_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.routers.found["hosted"] = FINE
    _settle(world, "hosted", "hosted")
    monkeypatch.setitem(vars(world.context.settings), "backend_urls", [])
    _settle(world, "hosted")
    assert _ready(world)[:2] == ("Failed", "SourceRefused")
    assert "`server.backends`" in _ready(world)[2]
    assert _table(world)["targets"] == {}
    assert _table(world)["models"] == {}


def test_a_service_that_is_not_there_is_told_and_waited_for(world: World) -> None:
    world.api.put("ModelVersion", "inside", spec=INSIDE)
    _settle(world, "inside")
    assert _ready(world, "inside")[:2] == ("Failed", "BackendAway")
    assert "there is no Service vllm" in _ready(world, "inside")[2]
    world.api.put("Service", "vllm", spec={"clusterIP": "10.0.0.9", "ports": [{"name": "http", "port": 80}]})
    world.routers.found["inside"] = FINE
    _settle(world, "inside", "inside")
    assert _ready(world, "inside")[:2] == ("Ready", "Answers")
    target = _table(world)["targets"]["inside"]
    assert (target["backend"]["service"], target["backend"]["port_name"]) == ("vllm", "http")
    assert (target["service"], target["host"]) == (None, ""), "where an earlier build's router would send engines' key"


def test_a_table_that_somebody_changed_leads_nobody_elsewhere(world: World) -> None:
    world.routers.found["hosted"] = FINE
    _settle(world, "hosted", "hosted")
    spoilt = _table(world)
    spoilt["targets"]["hosted"]["backend"]["host"] = "evil.example.com"
    world.api.edit("ConfigMap", "anneal-router", data={"routes.json": json.dumps(spoilt)})
    world.reconcile("Router", "anneal-router")
    assert _table(world)["targets"]["hosted"]["backend"]["host"] == "api.example.com"


def test_the_last_one_takes_its_router_along_and_an_engine_beside_it_is_left_alone(world: World) -> None:
    world.api.put("ModelVersion", "own", spec={"modelName": "spam", "artifact": ARTIFACT, "serving": {}})
    world.routers.found["hosted"] = FINE
    _settle(world, "hosted", "own", "hosted")
    owners = world.api.objects["Deployment", "anneal-router"]["metadata"]["ownerReferences"]
    assert {owner["name"] for owner in owners} == {"hosted", "own"}
    assert _table(world)["targets"].keys() == {"hosted"}, "its engine does not answer yet"


def test_a_gateway_leads_to_the_router_as_long_as_the_installation_names_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = vars(world.context.settings)
    monkeypatch.setitem(settings, "gateways", [{"name": "public", "namespace": "gateways"}])
    monkeypatch.setitem(settings, "gateway_hostnames", ["{namespace}.models.example.com"])
    _settle(world, "hosted")
    assert world.api.objects["HTTPRoute", "anneal-router"]["spec"]["hostnames"] == ["team.models.example.com"]
    world.api.edit("HTTPRoute", "anneal-router", spec={"hostnames": ["elsewhere.example.com"]})
    world.later(301)
    world.reconcile("Router", "anneal-router")
    assert world.api.objects["HTTPRoute", "anneal-router"]["spec"]["hostnames"] == ["team.models.example.com"]
    monkeypatch.setitem(settings, "gateways", [])
    world.later(301)
    world.reconcile("Router", "anneal-router")
    assert ("HTTPRoute", "anneal-router") not in world.api.objects


def test_an_http_route_of_somebody_elses_is_left_alone(world: World) -> None:
    world.api.put("HTTPRoute", "anneal-router", spec={"hostnames": ["theirs.example.com"]})
    _settle(world, "hosted")
    world.later(301)
    world.reconcile("Router", "anneal-router")
    assert world.api.objects["HTTPRoute", "anneal-router"]["spec"] == {"hostnames": ["theirs.example.com"]}


def test_backends_are_the_arms_of_an_experiment_and_known_by_what_they_are(world: World) -> None:
    world.api.put("ModelVersion", "inside", spec=INSIDE)
    world.api.put("Service", "vllm", spec={"clusterIP": "10.0.0.9", "ports": [{"name": "http", "port": 80}]})
    world.routers.found |= {"hosted": FINE, "inside": FINE}
    _settle(world, "hosted", "inside", "hosted", "inside")
    arms = [{"name": name, "modelVersionRef": {"name": name}, "weight": 1} for name in ("hosted", "inside")]
    measured = {"metrics": {"primary": {"name": "rating"}}}
    world.api.put("ABExperiment", "x", spec={"modelName": "spam", "control": "hosted", "variants": arms, **measured})
    for _ in range(4):
        world.reconcile("ABExperiment", "x")
        _settle(world, "hosted", "inside")
    assert world.api.status("ABExperiment", "x")["phase"] == "Running"
    split = _table(world)["models"]["spam"]["experiment"]
    assert [variant["target"] for variant in split["variants"]] == ["hosted", "inside"]
    records = [made["data"] for (kind, _), made in world.api.objects.items() if kind == "ConfigMap" and "data" in made]
    pinned = next(json.loads(data["start.json"]) for data in records if "start.json" in data)["variants"]
    assert pinned["hosted"]["digest"] == "https://api.example.com/v1#large-2"
    assert pinned["inside"]["digest"] == "http://vllm:80/v1#spam"


def test_what_was_heard_of_another_of_its_name_is_not_heard_of_it(world: World) -> None:
    """Routers tell of the one before until they have the new table, and have asked."""
    world.routers.found["hosted"] = FINE
    _settle(world, "hosted", "hosted")
    world.api.remove("ModelVersion", "hosted")
    world.registry.aliases.clear()
    elsewhere = {**HOSTED, "backend": {"url": "https://api.example.com/v2"}}
    world.api.put("ModelVersion", "hosted", spec=elsewhere)
    for _ in range(3):
        world.later(5)
        world.reconcile("ModelVersion", "hosted")
    assert _ready(world)[:2] == ("Loading", "BackendNotAsked")
    assert world.registry.aliases == {}
    _settle(world, "hosted")
    assert _ready(world)[:2] == ("Ready", "Answers")
