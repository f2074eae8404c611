"""Where a model name goes, as a table of versions and experiments."""

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
from serving_runtime.router.shipper import _MOST_WAITING


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


def test_whether_a_router_is_ready_is_nginx_s_to_say() -> None:
    made = router_objects("team", [], route_table([ONE], {}, {}), RouterEnvironment("router:1", "Never"))
    kinds = {item["kind"]: item["spec"] for item in made if "spec" in item}
    containers = kinds["Deployment"]["template"]["spec"]["containers"]
    assert [made["name"] for made in containers if "readinessProbe" in made] == ["nginx"]
    assert kinds["Service"]["publishNotReadyAddresses"] is True


def test_records_that_nobody_reads_do_not_fill_the_node_s_disk() -> None:
    made = router_objects("team", [], route_table([ONE], {}, {}), RouterEnvironment("router:1", "Never"))
    volumes = {volume["name"]: volume for volume in made[-1]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["shared"]["emptyDir"] == {"sizeLimit": "1Gi"}
    assert _MOST_WAITING < 1 << 30, "the kubelet ends the pod before the shipper makes room"


def test_the_digest_changes_with_the_content_only() -> None:
    assert route_table([ONE, TWO], {}, {}).digest() == route_table([ONE, TWO], {}, {}).digest()
    assert route_table([ONE, TWO], {}, {}).digest() != route_table([ONE], {}, {}).digest()
