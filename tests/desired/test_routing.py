"""Where a model name goes, as a table of versions and experiments."""

from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.desired.routing import (
    RouterEnvironment,
    RunningExperiment,
    ServedVersion,
    defaults_of,
    route_table,
    router_objects,
)


def _version(name: str, number: str, *aliases: str, model: str = "m") -> ServedVersion:
    return ServedVersion(name, model, number, aliases, f"10.0.0.{number}")


def _experiment(winner: str | None = None, weights: tuple[int, int] = (50, 50), **changes: Any) -> RunningExperiment:
    spec = {
        "modelName": "m",
        "control": "a",
        "variants": [
            {"name": "a", "modelVersionRef": {"name": "one"}, "weight": weights[0]},
            {"name": "b", "modelVersionRef": {"name": "two"}, "weight": weights[1]},
        ],
        "metrics": {"primary": {"name": "rating"}},
    }
    return RunningExperiment("x", "uid", ABExperimentSpec.parse(spec | changes), winner)


ONE, TWO = _version("one", "1", "production"), _version("two", "2", "candidate")


@pytest.mark.parametrize(
    ("versions", "experiments", "default", "split"),
    [
        ([TWO], [], None, False),
        ([ONE, TWO], [], "one", False),
        ([ONE, TWO], [_experiment()], "one", True),
        ([ONE], [_experiment()], "one", False),
        ([ONE, TWO], [_experiment("two")], "two", False),
        ([ONE], [_experiment("two")], "one", False),
        ([ONE, TWO], [_experiment(modelName="other")], "one", False),
    ],
)
def test_who_answers(
    versions: list[ServedVersion], experiments: list[RunningExperiment], default: str | None, split: bool
) -> None:
    route = route_table(versions, experiments, {}).models["m"]
    assert (route.default, route.experiment is not None) == (default, split)


def test_the_last_default_stays_while_no_version_that_is_served_has_the_alias() -> None:
    """An alias that moves is read by one version after the other; nobody's users should see that."""
    cases = [([TWO], "two", "two"), ([TWO], "one", None), ([ONE, TWO], "two", "one"), ([TWO], None, None)]
    for versions, last, default in cases:
        table = route_table(versions, [], {"m": last} if last else {})
        assert table.models["m"].default == default


def test_the_defaults_can_be_read_back_from_the_config_map() -> None:
    table = route_table([ONE, TWO, _version("n", "3", model="other")], [], {})
    config_map = router_objects("team", [], table, RouterEnvironment("router:1", "Never"))[0]
    assert defaults_of(config_map) == {"m": "one"}
    assert defaults_of(None) == {}


def test_versions_are_named_by_number_and_alias() -> None:
    named = route_table([ONE, TWO], [], {}).models["m"].named
    assert named == {"1": "one", "production": "one", "2": "two", "candidate": "two"}


@pytest.mark.parametrize(
    ("weights", "bounds"), [((50, 50), [5000, 10000]), ((80, 20), [8000, 10000]), ((1, 2), [3333, 10000])]
)
def test_weights_become_buckets(weights: tuple[int, int], bounds: list[int]) -> None:
    experiment = route_table([ONE, TWO], [_experiment(weights=weights)], {}).models["m"].experiment
    assert experiment is not None
    assert [variant.up_to for variant in experiment.variants] == bounds


def test_the_salt_is_the_experiment_s_own_unless_given() -> None:
    cases: list[tuple[str, dict[str, Any]]] = [("uid", {}), ("s", {"assignment": {"salt": "s"}})]
    for salt, changes in cases:
        experiment = route_table([ONE, TWO], [_experiment(**changes)], {}).models["m"].experiment
        assert experiment is not None
        assert (experiment.salt, experiment.headers) == (salt, ["x-user-id"])


def test_the_digest_changes_with_the_content_only() -> None:
    assert route_table([ONE, TWO], [], {}).digest() == route_table([ONE, TWO], [], {}).digest()
    assert route_table([ONE, TWO], [], {}).digest() != route_table([ONE], [], {}).digest()
