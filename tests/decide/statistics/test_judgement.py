"""The rule, row by row: what is found against the data first, then the sample, then the numbers."""

from dataclasses import replace
from typing import Any

import pytest

from anneal_operator.decide.statistics.judgement import RESPONSE, SPREAD, Judgement, judge
from anneal_operator.decide.statistics.sums import Scale
from anneal_operator.decide.statistics.terms import Counts, Terms
from tests.support.counted import PARTS, sums_of

SEQUENTIAL = Terms("Sequential", 0.05, 0, (5000, 5000), 100, 200, increases=True, width=4.0)
FIXED = replace(SEQUENTIAL, method="FixedHorizon")


def _counts(*arms: tuple[int, float], squares: float = 1.0, **changes: Any) -> Counts:
    """Of each variant how many users have a value, and its mean; `squares` is the variance."""
    users = tuple(n for n, _ in arms)
    sums = tuple(sums_of(n, mean, squares * (n - 1)) for n, mean in arms)
    counted = Counts(users, users, (0,) * len(arms), sums, Scale(PARTS))
    return replace(counted, **changes)


def _said(judged: Judgement) -> tuple[str | None, int | None]:
    return judged.outcome, judged.winner


BETTER, WORSE, EQUAL = ((200, 3.0), (200, 4.0)), ((200, 4.0), (200, 3.0)), ((200, 3.0), (200, 3.01))


@pytest.mark.parametrize(
    ("terms", "counts", "expected"),
    [
        (SEQUENTIAL, _counts(*BETTER), ("Winner", 1)),
        (SEQUENTIAL, _counts(*WORSE), ("ControlWins", 0)),
        (SEQUENTIAL, _counts(*EQUAL), (None, None)),
        (FIXED, _counts(*BETTER), ("Winner", 1)),
        (FIXED, _counts(*WORSE), ("ControlWins", 0)),
        (FIXED, _counts(*EQUAL), ("Inconclusive", None)),
        (replace(SEQUENTIAL, increases=False), _counts(*BETTER), ("ControlWins", 0)),
        (replace(SEQUENTIAL, increases=False), _counts(*WORSE), ("Winner", 1)),
        (replace(SEQUENTIAL, control=1), _counts(*BETTER), ("ControlWins", 1)),
        (replace(SEQUENTIAL, control=1), _counts(*WORSE), ("Winner", 0)),
        # The sample: in every variant.
        (SEQUENTIAL, _counts((99, 3.0), (110, 4.0)), (None, None)),
        (FIXED, _counts((110, 3.0), (99, 4.0)), (None, None)),
        # What a fixed horizon shows, a sequence need not yet: it could have looked earlier.
        (FIXED, _counts((200, 3.0), (200, 3.22)), ("Winner", 1)),
        (SEQUENTIAL, _counts((200, 3.0), (200, 3.22)), (None, None)),
        # Two users each, who all say the same, promoted once; with any range they show nothing.
        (replace(SEQUENTIAL, least=2, planned=4), _counts((2, 3.0), (2, 4.0), squares=0.0), (None, None)),
        (replace(FIXED, least=2), _counts((2, 3.0), (2, 4.0), squares=0.0), ("Inconclusive", None)),
        (replace(FIXED, least=2, width=None), _counts((2, 3.0), (2, 4.0), squares=0.0), (None, None)),
        (replace(FIXED, width=None), _counts(*BETTER, squares=0.0), (None, None)),
        (FIXED, _counts(*BETTER, squares=0.0), ("Winner", 1)),
    ],
)
def test_the_numbers_decide(terms: Terms, counts: Counts, expected: tuple[str | None, int | None]) -> None:
    assert _said(judge(terms, counts)) == expected


SKEWED: dict[str, Any] = {"users": (700, 300)}


@pytest.mark.parametrize("terms", [SEQUENTIAL, FIXED])
@pytest.mark.parametrize(
    ("changes", "is_decided"),
    [
        ({}, True),
        (SKEWED, False),
        ({"latched": frozenset({SPREAD})}, False),
        ({"moved": 5}, True),
        ({"moved": 6}, False),
        ({"moved": 6, "users": (3000, 3000)}, True),
        ({"moved": 7, "users": (3000, 3001)}, False),
        ({"latched": frozenset({RESPONSE})}, False),
        ({"requests": (100, 100), "fallbacks": (0, 5)}, True),
        ({"requests": (100, 100), "fallbacks": (0, 6)}, False),
        ({"requests": (100, 100), "fallbacks": (100, 0)}, True),
    ],
)
def test_what_is_found_against_the_data_withholds_a_promotion(
    terms: Terms, changes: dict[str, Any], is_decided: bool
) -> None:
    judged = judge(terms, _counts(*BETTER, **changes))
    assert (judged.outcome == "Winner") is is_decided


def test_a_split_is_judged_by_buckets_not_by_weights() -> None:
    """Of weights 1 to 10,000 the smaller arm has one bucket, and not none."""
    terms = replace(SEQUENTIAL, shares=(1, 9999))
    assert judge(terms, _counts((1, 3.0), (9999, 3.0))).latched == frozenset()
    assert judge(terms, _counts((100, 3.0), (9900, 3.0))).latched == {SPREAD, RESPONSE}


def test_a_split_that_looks_well_again_stays_found() -> None:
    skewed = judge(SEQUENTIAL, _counts(*BETTER, **SKEWED))
    later = judge(SEQUENTIAL, _counts(*BETTER, latched=skewed.latched))
    assert (SPREAD in later.latched, later.spread < 0, later.outcome) == (True, True, None)


def test_however_skewed_a_split_is_its_p_value_is_not_told_as_zero() -> None:
    assert judge(SEQUENTIAL, _counts(*BETTER, users=(10**6, 1))).spread_p == 1e-300


def test_users_of_whom_one_variant_s_answer_more_often_promote_nobody() -> None:
    """The users are spread as they should be; those with a value are not."""
    counts = _counts((400, 3.0), (200, 4.0), users=(500, 500))
    judged = judge(SEQUENTIAL, counts)
    assert (judged.latched, judged.outcome) == (frozenset({RESPONSE}), None)
    assert judge(SEQUENTIAL, _counts((400, 4.0), (200, 3.0), users=(500, 500))).outcome == "ControlWins"


THREE = replace(SEQUENTIAL, shares=(3334, 3333, 3333))


@pytest.mark.parametrize("method", ["Sequential", "FixedHorizon"])
@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ((3.0, 3.0, 4.0), ("Winner", 2)),
        ((3.0, 2.0, 4.0), ("Winner", 2)),
        ((3.0, 4.0, 3.9), ("Winner", 1)),
        ((3.0, 2.0, 2.1), ("ControlWins", 0)),
    ],
)
def test_of_several_challengers_all_are_looked_at_before_one_is_chosen(
    method: Any, means: tuple[float, ...], expected: tuple[str, int]
) -> None:
    judged = judge(replace(THREE, method=method), _counts(*((200, mean) for mean in means)))
    assert _said(judged) == expected


def test_the_control_wins_only_where_it_is_better_than_every_challenger() -> None:
    counts = _counts((200, 3.0), (200, 2.0), (200, 3.0))
    assert _said(judge(THREE, counts)) == (None, None)
    assert _said(judge(replace(THREE, method="FixedHorizon"), counts)) == ("Inconclusive", None)


def test_a_challenger_has_to_be_better_by_more_where_there_are_several() -> None:
    alone, among = _counts((200, 3.0), (200, 3.21)), _counts((200, 3.0), (200, 3.21), (200, 3.0))
    assert judge(FIXED, alone).outcome == "Winner"
    assert judge(replace(THREE, method="FixedHorizon"), among).outcome == "Inconclusive"


@pytest.mark.parametrize(
    ("effect", "means", "expected"),
    [
        (0.5, (3.0, 3.01), "Inconclusive"),
        (0.3, (3.0, 3.01), None),
        (0.5, (3.0, 4.0), "Winner"),
        (0.5, (4.0, 3.0), "ControlWins"),
    ],
)
def test_a_sequence_ends_once_no_challenger_can_be_better_by_what_matters(
    effect: float, means: tuple[float, float], expected: str | None
) -> None:
    terms = replace(SEQUENTIAL, effect=effect)
    assert judge(terms, _counts(*((200, mean) for mean in means))).outcome == expected


@pytest.mark.parametrize(
    ("terms", "powered", "needed"),
    [
        (SEQUENTIAL, None, 100),
        (FIXED, None, 100),
        (replace(FIXED, effect=0.2), 391, 391),
        (replace(SEQUENTIAL, effect=0.2), 652, 100),
        (replace(FIXED, effect=2.0), 4, 100),
        (replace(FIXED, effect=0.2, shares=(8000, 2000)), 245, 245),
    ],
)
def test_users_that_it_takes(terms: Terms, powered: int | None, needed: int) -> None:
    judged = judge(terms, _counts((100, 3.0), (100, 3.0)))
    assert judged.needed == needed
    assert (judged.powered is None) is (powered is None)
    if powered is not None:
        assert judged.powered == pytest.approx(powered, rel=0.02)


@pytest.mark.parametrize(("shares", "powered"), [((4950, 4950, 100), 242), ((3334, 3333, 3333), 475)])
def test_the_smallest_of_several_variants_needs_what_its_own_comparison_does(
    shares: tuple[int, ...], powered: int
) -> None:
    """When it has that, the greater ones have more, as their shares say."""
    judged = judge(replace(FIXED, effect=0.2, shares=shares), _counts(*[(200, 3.0)] * 3))
    assert judged.powered == pytest.approx(powered, rel=0.02)


def test_which_variant_values_are_of_does_not_change_the_users_that_it_takes() -> None:
    one, other = _counts((100, 3.0), (100, 4.0)), _counts((100, 4.0), (100, 3.0))
    terms = replace(FIXED, effect=0.2)
    assert judge(terms, one).powered == judge(terms, other).powered


@pytest.mark.parametrize(("users", "needed", "outcome"), [(200, 252, None), (300, 168, "Inconclusive")])
def test_users_who_all_say_the_same_do_not_end_a_fixed_horizon_at_once(
    users: int, needed: int, outcome: str | None
) -> None:
    """What is rare was not seen yet: how rare it is at most says how many it takes."""
    judged = judge(replace(FIXED, effect=0.05), _counts((users, 5.0), (users, 5.0), squares=0.0))
    assert (judged.needed, judged.outcome) == (needed, outcome)
    unknown = judge(replace(FIXED, effect=0.05, width=None), _counts((users, 5.0), (users, 5.0), squares=0.0))
    assert (unknown.powered, unknown.outcome) == (None, None)
    assert judge(replace(FIXED, effect=0.05), _counts((1, 5.0), (0, 0.0))).powered is None


def test_a_fixed_horizon_is_not_looked_at_again_for_one_whose_users_all_say_the_same() -> None:
    terms = replace(THREE, method="FixedHorizon", width=None)
    counts = _counts((200, 3.0), (200, 3.01), (200, 3.0))
    same = replace(counts, sums=(*counts.sums[:2], sums_of(200, 3.0, 0.0)))
    assert _said(judge(terms, same)) == ("Inconclusive", None)
