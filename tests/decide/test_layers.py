"""Which experiments on one model run at once."""

from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.decide.layers import clash


def _spec(**assignment: Any) -> ABExperimentSpec:
    return ABExperimentSpec.parse(
        {
            "modelName": "m",
            "control": "a",
            "variants": [
                {"name": "a", "modelVersionRef": {"name": "m-1"}, "weight": 50},
                {"name": "b", "modelVersionRef": {"name": "m-2"}, "weight": 50},
            ],
            "metrics": {"primary": {"name": "rating"}},
            "assignment": assignment,
        }
    )


def _layered(begin: int, end: int, name: str = "l", **changes: Any) -> ABExperimentSpec:
    return _spec(layer={"name": name, "from": begin, "to": end}, **changes)


WAITS = "experiment x has the traffic of m; this one waits for its end"


@pytest.mark.parametrize(
    ("own", "other", "told"),
    [
        (_spec(), _spec(), f"{WAITS}, unless both have disjoint ranges of one `assignment.layer`"),
        (_spec(), None, f"{WAITS}, unless"),
        (_layered(0, 5000), None, f"{WAITS}, unless"),
        (_layered(0, 5000), _spec(), f"{WAITS}, unless"),
        (_spec(), _layered(0, 5000), f"{WAITS}, unless"),
        (_layered(0, 5000), _layered(5000, 10000), ""),
        (_layered(5000, 10000), _layered(0, 5000), ""),
        (
            _layered(0, 5000),
            _layered(4999, 10000),
            "the buckets from 4999 to 10000, and this one the buckets from 0 to",
        ),
        (_layered(0, 10000), _layered(10, 20), "take a range beside it"),
        (_layered(10, 20), _layered(0, 10000), "take a range beside it"),
        (_layered(0, 5000), _layered(5000, 10000, "k"), "it is in layer k, and this one in l"),
        (_layered(0, 5000), _layered(5000, 10000, keyFrom=[{"cookie": "sid"}]), "its `assignment.keyFrom` names users"),
    ],
)
def test_two_experiments_run_at_once_on_disjoint_ranges_of_one_layer(
    own: ABExperimentSpec, other: ABExperimentSpec | None, told: str
) -> None:
    found = clash(own, "x", other)
    assert told in found if told else not found
