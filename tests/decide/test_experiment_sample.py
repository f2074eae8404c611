"""What an experiment's counts say, on the edges of each judgement."""

import json
from datetime import UTC, datetime

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.decide.comparison import SRM_ALPHA, Comparison, Sample
from anneal_operator.decide.experiment_sample import (
    comparisons,
    decision_of,
    health,
    sufficiency,
    variants_told,
    verdict_of,
)
from anneal_operator.decide.observed_experiment import Observations

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOTHING = Observations({}, {}, {})
SPEC = {
    "modelName": "m",
    "control": "a",
    "variants": [
        {"name": "a", "modelVersionRef": {"name": "m-1"}, "weight": 50},
        {"name": "b", "modelVersionRef": {"name": "m-2"}, "weight": 50},
    ],
    "metrics": {"primary": {"name": "rating"}},
    "stopping": {"minUsersPerVariant": 100, "minDuration": "1h", "maxDuration": "24h"},
}
EXPERIMENT = ABExperimentSpec.parse(SPEC)
MANY, ONE = Sample(200, 3.0, 199.0), Sample(1, 3.0, 0.0)


@pytest.mark.parametrize(("ratio", "status"), [(SRM_ALPHA, "True"), (SRM_ALPHA * 0.99, "False")])
def test_a_split_is_unhealthy_where_chance_would_give_it_less_than_once_in_a_thousand(
    ratio: float, status: str
) -> None:
    assert health(NOTHING, ratio).status == status


def test_a_variant_that_nobody_rated_has_no_users() -> None:
    found = sufficiency(EXPERIMENT, NOTHING)
    assert (found.status, found.message) == ("False", "the smaller variant has 0 of 100 users with rating")
    told = variants_told(EXPERIMENT, NOTHING, {}, {})
    assert [(one.name, one.users, one.requests, one.metrics) for one in told] == [("a", 0, 0, []), ("b", 0, 0, [])]


@pytest.mark.parametrize(
    ("samples", "compared"),
    [
        ({"a": MANY, "b": MANY}, ["b"]),
        ({"a": MANY}, []),
        ({"b": MANY}, []),
        ({"a": MANY, "b": ONE}, []),
        ({"a": ONE, "b": MANY}, []),
    ],
)
def test_a_variant_is_compared_with_the_control_where_both_were_rated_by_two_users(
    samples: dict[str, Sample], compared: list[str]
) -> None:
    assert list(comparisons(EXPERIMENT, Observations({}, {}, samples))) == compared


@pytest.mark.parametrize(
    ("lower", "upper", "increase", "decrease"),
    [
        (0.1, 0.5, "b", "a"),
        (-0.5, -0.1, "a", "b"),
        (0.0, 0.5, None, None),
        (-0.5, 0.0, None, None),
        (-0.1, 0.5, None, None),
    ],
)
def test_a_winner_s_interval_lies_on_one_side_of_zero(
    lower: float, upper: float, increase: str | None, decrease: str | None
) -> None:
    compared = {"b": Comparison((lower + upper) / 2, lower, upper, 0.05)}
    winners = []
    for direction in ("Increase", "Decrease"):
        spec = ABExperimentSpec.parse(SPEC | {"metrics": {"primary": {"name": "rating", "direction": direction}}})
        found = decision_of(spec, NOTHING, compared, NOW)
        assert found is not None
        winners.append(found.winner)
    assert winners == [increase, decrease]


def test_a_decision_keeps_the_numbers_that_it_was_made_from_whatever_their_order() -> None:
    counted = Observations({"a": 3, "b": 4}, {}, {"a": MANY, "b": ONE})
    turned = Observations({"b": 4, "a": 3}, {}, {"b": ONE, "a": MANY})
    found, again = (verdict_of("Inconclusive", None, "r", "why", one, NOW).snapshot for one in (counted, turned))
    assert json.loads(found) == {"users": {"a": 3, "b": 4}, "samples": {"a": [200, 3.0, 199.0], "b": [1, 3.0, 0.0]}}
    assert found == again
