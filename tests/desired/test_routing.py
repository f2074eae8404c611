"""Where a model name goes, as a table of versions and experiments."""

from dataclasses import replace
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.desired.keys import Keys
from anneal_operator.desired.routing import (
    RouterEnvironment,
    ServedVersion,
    SplitTraffic,
    defaults_of,
    publicly_known,
    route_table,
    routed_versions,
    router_objects,
)

ENVIRONMENT = RouterEnvironment("router:1", "Never", Keys("e", "a", "u"))


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
    config_map = router_objects("team", [], table, ENVIRONMENT)[0]
    assert defaults_of(config_map) == {"m": "one"}
    assert routed_versions(config_map) == {"one", "two", "n"}
    assert defaults_of(None) == {}
    assert routed_versions(None) == frozenset()


def test_the_versions_that_know_their_model_s_name_can_be_read_back_from_the_config_map() -> None:
    table = route_table([replace(ONE, knows_model=True), TWO], {}, {})
    assert {name: target.public for name, target in table.targets.items()} == {"one": "m", "two": ""}
    assert publicly_known(router_objects("team", [], table, ENVIRONMENT)[0]) == {"one"}
    earlier = {"data": {"routes.json": '{"targets": {"one": {"model": "one"}}}'}}
    unknown: list[dict[str, Any] | None] = [None, earlier, {"data": {}}]
    assert [publicly_known(found) for found in unknown] == [frozenset()] * 3


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
    made = router_objects("team", [owner], route_table([ONE], {}, {}), ENVIRONMENT)
    assert {item["kind"] for item in made if "ownerReferences" not in item["metadata"]} == {"PersistentVolumeClaim"}


def test_a_recorder_that_hangs_or_cannot_start_takes_no_model_away() -> None:
    made = router_objects("team", [], route_table([ONE], {}, {}), ENVIRONMENT)
    kinds = {item["kind"]: item["spec"] for item in made if "spec" in item}
    containers = kinds["Deployment"]["template"]["spec"]["containers"]
    assert [made["name"] for made in containers if "readinessProbe" in made] == ["nginx"]
    assert kinds["Service"]["publishNotReadyAddresses"] is True


def test_records_that_nobody_reads_do_not_fill_the_node_s_disk() -> None:
    made = router_objects("team", [], route_table([ONE], {}, {}), ENVIRONMENT)
    volumes = {volume["name"]: volume for volume in made[-1]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["shared"]["emptyDir"] == {"sizeLimit": "1Gi"}


def test_the_digest_changes_with_the_content_only() -> None:
    assert route_table([ONE, TWO], {}, {}).digest() == route_table([ONE, TWO], {}, {}).digest()
    assert route_table([ONE, TWO], {}, {}).digest() != route_table([ONE], {}, {}).digest()
