"""Where a model name goes, as a table of versions and experiments."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.route import Route, Split
from anneal_operator.desired.keys import Keys
from anneal_operator.desired.routing import (
    RouterEnvironment,
    ServedVersion,
    known_routes,
    pod_admin_url,
    publicly_known,
    route_table,
    routed_versions,
    router_objects,
    stamp_of,
)
from anneal_operator.desired.weights import Authorities
from serving_runtime.plan import AUTHORITIES_VARIABLE, FORMAT, PLAIN_FORMAT, RouteTable, ShadowRoute
from serving_runtime.router.shipper import _MOST_WAITING

ROUTER_CONFIGURATION = Path(__file__).parents[2] / "serving_runtime/router/router.conf"

ENVIRONMENT = RouterEnvironment("router:1", "Never", Keys("e", "a", "u", "t"))


ONE, TWO = ServedVersion("one", "10.0.0.1"), ServedVersion("two", "10.0.0.2")
NAMED = {"2": "two", "1": "one", "production": "one"}


def _split(weights: tuple[int, int] = (50, 50), **changes: Any) -> Split:
    spec = {
        "modelName": "m",
        "control": "a",
        "variants": [
            {"name": "a", "modelVersionRef": {"name": "one"}, "weight": weights[0]},
            {"name": "b", "modelVersionRef": {"name": "two"}, "weight": weights[1]},
        ],
        "metrics": {"primary": {"name": "rating"}},
    }
    return Split("x", "uid", ABExperimentSpec.parse(spec | changes), "team/x")


DROPPED = replace(_split(), dropped=frozenset({"b"}))


def _table(*, split: Split | None = None, named: dict[str, str] | None = None) -> RouteTable:
    return route_table([TWO, ONE], {"m": Route("one", NAMED if named is None else named, [split] if split else [])})


def _objects(table: RouteTable) -> list[dict[str, Any]]:
    owner = {"apiVersion": "v1", "kind": "ModelVersion", "metadata": {"name": "one", "uid": "u"}}
    return router_objects("team", [owner], table, table.stamped("2026-03-01T12:00:00Z", 7), ENVIRONMENT)


def test_what_is_routed_can_be_read_back_from_the_config_map() -> None:
    table = _table(split=_split(), named={"1": "one"})
    config_map = _objects(table)[0]
    known = known_routes(config_map)["m"]
    assert (known.default, known.named, known.experiments) == ("one", {"1": "one"}, {"uid": 0})
    assert routed_versions(config_map) == {"one", "two"}, "also one that only an experiment sends clients to"
    assert stamp_of(config_map) == table.stamped("2026-03-01T12:00:00Z", 7)
    assert (known_routes(None), routed_versions(None), stamp_of(None)) == ({}, frozenset(), None)


def test_the_versions_that_know_their_model_s_name_can_be_read_back_from_the_config_map() -> None:
    table = route_table([replace(ONE, public="m"), TWO], {"m": Route("one", NAMED)})
    assert {name: target.public for name, target in table.targets.items()} == {"one": "m", "two": ""}
    assert publicly_known(_objects(table)[0]) == {"one"}
    earlier = {"data": {"routes.json": '{"targets": {"one": {"model": "one"}}}'}}
    unknown: list[dict[str, Any] | None] = [None, earlier, {"data": {}}]
    assert [publicly_known(found) for found in unknown] == [frozenset()] * 3


def test_of_a_table_of_another_build_is_known_what_can_be_read() -> None:
    route = {"default": "one", "named": {}, "experiment": {"uid": "u", "coverage": 5}, "more": 1}
    newer = {"data": {"routes.json": json.dumps({"format": 9, "models": {"m": route}})}}
    assert known_routes(newer)["m"].default == "one"
    assert stamp_of(newer) is None


def test_a_router_reads_which_table_it_is() -> None:
    document = json.loads(_objects(_table())[0]["data"]["routes.json"])
    assert document["format"] == PLAIN_FORMAT, "so routers of an earlier build read it"
    assert (document["generation"], document["lineage"]) == (7, "2026-03-01T12:00:00Z")
    assert document["digest"] == _table().digest()
    assert set(_table(named={"1": "one"}).targets) == {"one"}, "nobody is sent to the other"


@pytest.mark.parametrize(
    ("address", "url"), [("10.1.0.1", "http://10.1.0.1:8082"), ("fd00::1", "http://[fd00::1]:8082")]
)
def test_each_router_is_asked_at_its_own_address(address: str, url: str) -> None:
    assert pod_admin_url(address) == url


@pytest.mark.parametrize(
    ("weights", "bounds"), [((50, 50), [5000, 10000]), ((80, 20), [8000, 10000]), ((1, 2), [3333, 10000])]
)
def test_weights_become_buckets(weights: tuple[int, int], bounds: list[int]) -> None:
    (experiment,) = _table(split=_split(weights)).models["m"].experiments
    assert [variant.up_to for variant in experiment.variants] == bounds


def _made() -> dict[str, Any]:
    made = _objects(_table())
    return {item["kind"]: item["spec"] for item in made if "spec" in item}


def test_clients_reach_only_the_pods_that_are_ready_and_of_this_router() -> None:
    made = _made()
    chosen = {"anneal.dev/router": "anneal-router"}
    assert made["Service"] == {"selector": chosen, "ports": made["Service"]["ports"]}
    assert made["Deployment"]["selector"] == {"matchLabels": chosen}
    assert chosen.items() <= made["Deployment"]["template"]["metadata"]["labels"].items()
    assert made["PodDisruptionBudget"]["selector"] == {"matchLabels": chosen}


def test_a_node_that_is_drained_waits_for_no_router_that_answers_nobody_anyway() -> None:
    budget = _made()["PodDisruptionBudget"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_a_pod_that_is_to_end_takes_requests_and_newest_routes_until_nobody_sends_it_any() -> None:
    pod = _made()["Deployment"]["template"]["spec"]
    leaving = {container["name"]: container["lifecycle"]["preStop"] for container in pod["containers"]}
    assert leaving["nginx"] == leaving["agent"] == {"exec": {"command": ["sleep", "5"]}}
    drained = re.search(r"worker_shutdown_timeout (\d+)s;", ROUTER_CONFIGURATION.read_text())
    assert drained is not None
    assert 5 + int(drained[1]) + 25 < pod["terminationGracePeriodSeconds"]


def test_only_the_agent_may_ask_the_api_server() -> None:
    pod = _made()["Deployment"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    mounts = {
        container["name"]: [mount["name"] for mount in container["volumeMounts"]] for container in pod["containers"]
    }
    assert [name for name, mounted in mounts.items() if "token" in mounted] == ["agent"]


def test_what_asks_backends_knows_the_installation_s_own_authorities() -> None:
    env = replace(ENVIRONMENT, authorities=Authorities("company-ca", "ca.crt"))
    made = router_objects("team", [], _table(), _table().stamped("2026-03-01T12:00:00Z", 1), env)
    pod = made[-1]["spec"]["template"]["spec"]
    [volume] = [found for found in pod["volumes"] if found.get("configMap", {}).get("name") == "company-ca"]
    told = {
        one["name"]: [variable["value"] for variable in one["env"] if variable["name"] == AUTHORITIES_VARIABLE]
        for one in pod["containers"]
        if volume["name"] in {mount["name"] for mount in one["volumeMounts"]}
    }
    assert told == {name: ["/etc/anneal-authorities/ca.crt"] for name in ("nginx", "agent")}


def test_whether_a_router_is_ready_is_nginx_s_to_say() -> None:
    containers = _made()["Deployment"]["template"]["spec"]["containers"]
    assert [made["name"] for made in containers if "readinessProbe" in made] == ["nginx"]


def test_records_that_nobody_reads_do_not_fill_the_node_s_disk() -> None:
    made = _objects(_table())
    volumes = {volume["name"]: volume for volume in made[-1]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["shared"]["emptyDir"] == {"sizeLimit": "1Gi"}
    assert _MOST_WAITING < 1 << 30, "the kubelet ends the pod before the shipper makes room"


def test_the_digest_changes_with_the_content_only() -> None:
    reversed_ = route_table([ONE, TWO], {"m": Route("one", dict(reversed(NAMED.items())))})
    assert _table().digest() == reversed_.digest()
    assert _table().digest() != _table(named={"1": "one"}).digest()


def test_users_of_a_variant_that_was_dropped_get_the_control_s_answers_from_routers_of_any_build() -> None:
    told, plain = (_table(split=split).models["m"].experiments[0] for split in (DROPPED, _split()))
    assert [(one.name, one.target, one.up_to) for one in told.variants] == [("a", "one", 5000), ("b", "one", 10000)]
    assert told.model_copy(update={"variants": plain.variants}) == plain, "nobody is counted for another variant"
    assert set(_table(split=DROPPED, named={"1": "one"}).targets) == {"one"}, "its server may go"
    assert json.loads(_objects(_table(split=DROPPED))[0]["data"]["routes.json"])["format"] == PLAIN_FORMAT


def test_of_a_winner_that_bakes_routers_of_any_build_are_told_and_ours_that_the_control_answers_in_its_place() -> None:
    baking = replace(_split(), uid="uid-bake", baking="b")
    table, plain = _table(split=baking), _table(split=_split())
    (told,) = table.models["m"].experiments
    assert (told.control, told.fallback, [(one.name, one.up_to) for one in told.variants]) == (
        "b",
        "a",
        [("a", 1000), ("b", 10_000)],
    )
    config_map = _objects(table)[0]
    written = json.loads(config_map["data"]["routes.json"])
    assert written["format"] == PLAIN_FORMAT
    assert written["models"]["m"]["experiment"] == {
        "name": "x",
        "uid": "uid-bake",
        "salt": "team/x",
        "headers": ["x-user-id"],
        "control": "b",
        "fallback": "a",
        "variants": [{"name": "a", "target": "one", "up_to": 1000}, {"name": "b", "target": "two", "up_to": 10_000}],
    }
    assert stamp_of(config_map) == table.stamped("2026-03-01T12:00:00Z", 7), "it is the table that was written"
    assert "fallback" not in plain.model_dump_json(), "so no other table's digest changes"


def test_of_a_shadow_everybody_gets_the_control_and_routers_are_told_what_to_copy() -> None:
    told: dict[str, Any] = {"type": "Shadow", "decision": {"mode": "Observe"}}
    spec = {**_split().spec.dump(), **told, "stopping": {}, "assignment": {}}
    spec = {name: value for name, value in spec.items() if name != "metrics"}
    shadow = replace(_split(), spec=ABExperimentSpec.parse(spec))
    table = _table(split=shadow, named={"1": "one"})
    (experiment,) = table.models["m"].experiments
    assert {experiment.assigned(f"user-{number}") for number in range(100)} == {("a", False)}
    assert experiment.shadow == ShadowRoute(percent=10, per_second=1, in_flight=4, seconds=60)
    assert set(table.targets) == {"one", "two"}
    assert (table.format, experiment.is_plain) == (FORMAT, False), "a router that knows no copies gives all the control"
    (waits,) = (route_table([TWO, ONE], {"m": Route("one", NAMED, [shadow])}, only_plain=True).models["m"],)
    assert waits.experiments == []
    bounded = replace(shadow, spec=ABExperimentSpec.parse(spec | {"shadow": {"timeout": "5m", "maxInFlight": 9}}))
    (experiment,) = _table(split=bounded).models["m"].experiments
    assert experiment.shadow == ShadowRoute(percent=10, per_second=1, in_flight=9, seconds=300)
