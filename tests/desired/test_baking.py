"""Who stays with the control while a winner bakes: nobody who was not there."""

import json
from pathlib import Path

import pytest

from anneal_operator.desired.baking import held_back
from serving_runtime.plan import BUCKETS, ExperimentRoute, VariantRoute, boundaries, covered

GOLDEN = Path(__file__).parents[1] / "serving_runtime/golden/places.json"


def _arms(*weights: int) -> list[VariantRoute]:
    names = "abc"[: len(weights)]
    return [VariantRoute(name=n, target=f"m-{n}", up_to=end) for n, end in zip(names, boundaries(weights), strict=True)]


def _told(arms: list[VariantRoute]) -> list[tuple[str, int]]:
    return [(arm.name, arm.up_to) for arm in arms]


@pytest.mark.parametrize(
    ("weights", "control", "percent", "expected"),
    [
        ((50, 50), "a", 10, [("a", 1000), ("b", 10_000)]),
        ((50, 50), "b", 10, [("a", 5000), ("b", 6000), ("a", 10_000)]),
        # of all users so many, but of nobody who had not the control
        ((5, 95), "a", 10, [("a", 500), ("b", 10_000)]),
        ((95, 5), "b", 10, [("a", 9500), ("b", 10_000), ("a", 10_000)]),
        ((1, 1, 1), "b", 50, [("a", 3333), ("b", 6666), ("a", 10_000)]),
    ],
)
def test_the_first_of_the_control_s_buckets_stay(
    weights: tuple[int, ...], control: str, percent: int, expected: list[tuple[str, int]]
) -> None:
    winner = next(name for name in "ab" if name != control)
    assert _told(held_back(_arms(*weights), control, winner, percent)) == expected


def _route(arms: list[VariantRoute], control: str, places: int = BUCKETS) -> ExperimentRoute:
    return ExperimentRoute(name="x", uid="u", salt="s", keys=[], control=control, variants=arms, covered=places)


def test_nobody_comes_to_the_control_who_was_not_there_whatever_the_ramp_had_reached() -> None:
    arms = _arms(40, 30, 30)
    before, baking = _route(arms, "a", covered(20, 10)), _route(held_back(arms, "a", "c", 10), "c")
    users = [row["user"] for row in json.loads(GOLDEN.read_text())] + [f"사용자-{number}" for number in range(5000)]
    stay = 0
    for user in users:
        was, now = before.assigned(user), baking.assigned(user)
        assert was is not None
        assert now is not None
        assert now == ("c", True) or (now, was[0]) == (("a", True), "a")
        stay += now[0] == "a"
    assert 0.08 < stay / len(users) < 0.12


@pytest.mark.parametrize(("user", "variant"), [("u1", "b"), ("user-2", "b"), ("a:b", "b"), ("누구", "b"), ("6", "a")])
def test_golden_users_are_where_they_were_told_to_be(user: str, variant: str) -> None:
    """By their places under the salt `s` (places.json): 7905, 4873, 1043; that of 6 is 907."""
    assert _route(held_back(_arms(50, 50), "a", "b", 10), "b").assigned(user) == (variant, True)
