"""How an interval stands to the least difference that matters."""

import pytest

from anneal_operator.api.minimum_effect import beside_minimum


@pytest.mark.parametrize(
    ("lower", "upper", "increases", "said"),
    [
        (0.2, 0.5, True, "shown to be as much"),
        (0.1, 0.5, True, "not shown to be as much"),
        (-0.1, 0.2, True, "not shown to be as much"),
        (0.1, 0.19, True, "shown to be less"),
        (-0.5, -0.2, False, "shown to be as much"),
        (-0.5, -0.1, False, "not shown to be as much"),
        (-0.19, -0.1, False, "shown to be less"),
        (0.2, 0.5, False, "shown to be less"),
    ],
)
def test_an_interval_is_held_against_what_was_asked_for(lower: float, upper: float, increases: bool, said: str) -> None:
    assert beside_minimum(lower, upper, 0.2, increases=increases) == f"at least 0.2 was asked for: {said}"
