"""Where a model name goes, as a table of versions and experiments."""

import re
from pathlib import Path
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.desired.routing import (
    RouterEnvironment,
    ServedVersion,
    SplitTraffic,
    defaults_of,
    route_table,
    routed_versions,
    router_objects,
)

ROUTER_CONFIGURATION = Path(__file__).parents[2] / "serving_runtime/router/router.conf"


def _version(name: str, number: str, *aliases: str, model: str = "m") -> ServedVersion:
    return ServedVersion(name, model, number, aliases, f"10.0.0.{number}")


def _split(weights: tuple[int, int] = (50, 50), **changes: Any) -> dict[str, SplitTraffic]:
    spec = {
        "modelName": "m",
        "control": "a",
        "variants": [
            {"name": "a", "modelVersionRef": {"name": "one"}, "weight": weights[0]},
            {"name": "b", "modelVersionRef": {"name": "two"}, "weight": weights[1]},
        ],
        "metrics": {"primary": {"name": "rating"}},
    }
    return {"m": SplitTraffic("x", "uid", "team/x", ABExperimentSpec.parse(spec | changes))}


ONE, TWO = _version("one", "1", "production"), _version("two", "2", "candidate")


def test_the_defaults_can_be_read_back_from_the_config_map() -> None:
    table = route_table([ONE, TWO, _version("n", "3", model="other")], {"m": "one", "other": None}, {})
    config_map = router_objects("team", [], table, RouterEnvironment("router:1", "Never"))[0]
    assert defaults_of(config_map) == {"m": "one"}
    assert routed_versions(config_map) == {"one", "two", "n"}
    assert defaults_of(None) == {}
    assert routed_versions(None) == frozenset()


def test_versions_are_named_by_number_and_alias() -> None:
    named = route_table([ONE, TWO], {}, {}).models["m"].named
    assert named == {"1": "one", "production": "one", "2": "two", "candidate": "two"}


@pytest.mark.parametrize(
    ("weights", "bounds"), [((50, 50), [5000, 10000]), ((80, 20), [8000, 10000]), ((1, 2), [3333, 10000])]
)
def test_weights_become_buckets(weights: tuple[int, int], bounds: list[int]) -> None:
    experiment = route_table([ONE, TWO], {}, _split(weights)).models["m"].experiment
    assert experiment is not None
    assert [variant.up_to for variant in experiment.variants] == bounds


def test_what_a_version_s_users_said_is_owned_by_no_version() -> None:
    owner = {"apiVersion": "v1", "kind": "ModelVersion", "metadata": {"name": "one", "uid": "u"}}
    made = router_objects("team", [owner], route_table([ONE], {}, {}), RouterEnvironment("router:1", "Never"))
    assert {item["kind"] for item in made if "ownerReferences" not in item["metadata"]} == {"PersistentVolumeClaim"}


def _made() -> dict[str, Any]:
    made = router_objects("team", [], route_table([ONE], {}, {}), RouterEnvironment("router:1", "Never"))
    return {item["kind"]: item["spec"] for item in made if "spec" in item}


def test_clients_reach_only_the_pods_that_are_ready_and_of_this_router() -> None:
    made = _made()
    chosen = {"anneal.dev/router": "anneal-router"}
    assert made["Service"] == {"selector": chosen, "ports": made["Service"]["ports"]}
    assert made["Deployment"]["selector"] == {"matchLabels": chosen}
    assert chosen.items() <= made["Deployment"]["template"]["metadata"]["labels"].items()
    assert made["PodDisruptionBudget"] == {"maxUnavailable": 1, "selector": {"matchLabels": chosen}}


def test_a_pod_that_is_to_end_takes_requests_and_newest_routes_until_nobody_sends_it_any() -> None:
    pod = _made()["Deployment"]["template"]["spec"]
    leaving = {container["name"]: container["lifecycle"]["preStop"] for container in pod["containers"]}
    assert leaving["nginx"] == leaving["agent"] == {"exec": {"command": ["sleep", "5"]}}
    drained = re.search(r"worker_shutdown_timeout (\d+)s;", ROUTER_CONFIGURATION.read_text())
    assert drained is not None
    assert 5 + int(drained[1]) < pod["terminationGracePeriodSeconds"]


def test_only_the_agent_may_ask_the_api_server() -> None:
    pod = _made()["Deployment"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    mounts = {
        container["name"]: [mount["name"] for mount in container["volumeMounts"]] for container in pod["containers"]
    }
    assert [name for name, mounted in mounts.items() if "token" in mounted] == ["agent"]


def test_records_that_nobody_reads_do_not_fill_the_node_s_disk() -> None:
    made = router_objects("team", [], route_table([ONE], {}, {}), RouterEnvironment("router:1", "Never"))
    volumes = {volume["name"]: volume for volume in made[-1]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["shared"]["emptyDir"] == {"sizeLimit": "1Gi"}


def test_the_digest_changes_with_the_content_only() -> None:
    assert route_table([ONE, TWO], {}, {}).digest() == route_table([ONE, TWO], {}, {}).digest()
    assert route_table([ONE, TWO], {}, {}).digest() != route_table([ONE], {}, {}).digest()
