"""A verdict on what answers are worth: users' means from 0 to 1, by rules of their own, and again from its record."""

import json
from dataclasses import replace

import pytest

from anneal_operator.api.amounts import MetricSource
from anneal_operator.decide.statistics.judgement import RESPONSE, judge
from anneal_operator.decide.statistics.snapshot import Snapshot
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import SCORED_EQUALS_RULE, SCORED_RULE, Counts, Terms, rule_of

PARTS = 1000
VALID = Terms(
    "Sequential",
    0.05,
    0,
    (5000, 5000),
    100,
    200,
    increases=True,
    width=1.0,
    source="SchemaValidity",
    scored_by="0123456789abcdef",
    rule=SCORED_RULE,
)


def _users(n: int, share: float) -> Sums:
    """As many users, of whom this share has 1, and the others 0."""
    ones = round(n * share)
    return Sums(n, ones * PARTS, ones * PARTS**2)


def _counts(control: Sums, challenger: Sums, users: tuple[int, int] = (2000, 2000)) -> Counts:
    return Counts(users, users, (0, 0), (control, challenger), Scale(PARTS))


WORSE, BETTER = _users(2000, 0.8), _users(2000, 0.95)


@pytest.mark.parametrize(("source", "increases", "winner"), [("SchemaValidity", True, 1), ("Refusals", False, 0)])
def test_the_better_score_wins(source: MetricSource, increases: bool, winner: int) -> None:
    judged = judge(replace(VALID, source=source, increases=increases), _counts(WORSE, BETTER))
    assert judged.winner == winner


def test_scores_that_are_all_alike_have_a_spread_all_the_same() -> None:
    found = judge(VALID, _counts(_users(2000, 1), _users(2000, 1))).compared[1]
    assert found is not None
    assert found.lower < 0 < found.upper


def test_nobody_is_promoted_where_users_of_one_variant_have_scores_more_often() -> None:
    judged = judge(VALID, _counts(_users(1000, 0.8), BETTER))
    assert (judged.winner, RESPONSE in judged.latched) == (None, True)


def test_a_decision_follows_again_from_what_is_kept_of_it() -> None:
    kept = Snapshot("valid", ("stable", "tuned"), VALID, _counts(WORSE, BETTER))
    found = kept.conclusion()
    assert found is not None
    assert "points" in found.reason
    read = Snapshot.read(json.loads(kept.text()))
    assert read.conclusion() == found
    assert read.terms == VALID


def test_scores_have_rules_of_their_own() -> None:
    assert rule_of("Refusals", (), missing="Ignore", of_equals=False) == SCORED_RULE
    assert rule_of("Refusals", (), missing="Ignore", of_equals=True) == SCORED_EQUALS_RULE
    equals = replace(VALID, rule=SCORED_EQUALS_RULE)
    assert equals.is_of_equals
    assert Terms.read(equals.told()) == equals
    assert judge(equals, _counts(WORSE, BETTER)).outcome == "Unsound"
