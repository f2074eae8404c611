"""Variants that are the same: what tells them apart, and when nothing does."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from anneal_operator.decide.statistics.guarded import Guardrail
from anneal_operator.decide.statistics.guardrails import breach
from anneal_operator.decide.statistics.judgement import RESPONSE, SPREAD, judge
from anneal_operator.decide.statistics.recomputed import recomputed
from anneal_operator.decide.statistics.snapshot import Conclusion, Snapshot
from anneal_operator.decide.statistics.sums import Scale
from anneal_operator.decide.statistics.terms import EQUALS_RULE, Counts, Terms
from tests.support.counted import PARTS, sums_of, sums_over

SEQUENTIAL = Terms("Sequential", 0.05, 0, (5000, 5000), 100, 200, increases=True, width=4.0, rule=EQUALS_RULE)
FIXED = replace(SEQUENTIAL, method="FixedHorizon")
SAME, APART, BELOW = ((400, 3.0), (400, 3.05)), ((400, 3.0), (400, 4.0)), ((400, 4.0), (400, 3.0))


def _counts(*arms: tuple[int, float], **changes: Any) -> Counts:
    users = tuple(n for n, _ in arms)
    sums = tuple(sums_of(n, mean, n - 1.0) for n, mean in arms)
    return replace(Counts(users, users, (0,) * len(arms), sums, Scale(PARTS)), **changes)


def _concluded(terms: Terms, counts: Counts) -> Conclusion | None:
    names = "abcdefgh"[: len(terms.shares)]
    return Snapshot("rating", tuple(names), terms, counts).conclusion()


@pytest.mark.parametrize("terms", [SEQUENTIAL, FIXED])
@pytest.mark.parametrize(
    ("counts", "outcome", "said"),
    [
        (_counts(*SAME), "Sound", "nothing tells the variants apart; the furthest from a is b: rating +0.05 ["),
        (_counts(*APART), "Unsound", "tells them apart: b: rating +1 ["),
        (_counts(*BELOW), "Unsound", "tells them apart: b: rating -1 ["),
        (_counts((99, 3.0), (120, 4.0)), None, ""),
        (_counts(*SAME, users=(700, 300)), "Unsound", "users are not spread as the weights say (p = "),
        (_counts(*SAME, latched=frozenset({SPREAD})), "Unsound", "users are not spread"),
        (_counts((20, 3.0), (20, 3.0), users=(700, 300)), "Unsound", "users are not spread"),
        (_counts((700, 3.0), (300, 3.0), users=(900, 900)), "Unsound", "give rating more often"),
        (_counts(*SAME, latched=frozenset({RESPONSE})), "Unsound", "give rating more often"),
        (_counts(*SAME, moved=6), "Unsound", "6 users were given more than one variant"),
        (_counts(*SAME, requests=(100, 100), fallbacks=(0, 6)), "Unsound", "more than 5 % of the requests of b"),
        (_counts((9, 3.0), (9, 3.0), requests=(9, 9), fallbacks=(0, 6)), None, ""),
    ],
)
def test_what_is_the_same_should_look_the_same(terms: Terms, counts: Counts, outcome: str | None, said: str) -> None:
    found = _concluded(terms, counts)
    assert (found.outcome if found else None) == outcome
    if found is not None:
        assert said in found.reason
        assert (found.winner, found.rule) == (None, "equals-0.95")


def test_all_that_is_found_is_named() -> None:
    found = _concluded(FIXED, _counts(*APART, moved=6, latched=frozenset({SPREAD, RESPONSE})))
    assert found is not None
    assert found.reason.count(";") == 3
    assert found.reason.endswith(_ended(FIXED, _counts(*APART)))


def _ended(terms: Terms, counts: Counts) -> str:
    found = _concluded(terms, counts)
    assert found is not None
    return found.reason.rpartition("apart: ")[2]


@pytest.mark.parametrize(
    ("effect", "second", "outcome"),
    [(None, 3.05, "Sound"), (0.5, 3.05, "Sound"), (0.2, 3.05, None), (0.3, 3.15, None), (0.3, 2.85, None)],
)
def test_a_sequence_goes_on_until_no_difference_is_as_large_as_what_matters(
    effect: float | None, second: float, outcome: str | None
) -> None:
    found = _concluded(replace(SEQUENTIAL, effect=effect), _counts((400, 3.0), (400, second)))
    assert (found.outcome if found else None) == outcome


def test_a_fixed_horizon_takes_the_sample_that_finds_what_matters_and_one_look() -> None:
    terms = replace(FIXED, effect=0.3)
    needed = judge(terms, _counts(*SAME)).needed
    assert needed > 100
    few, enough = (_concluded(terms, _counts((n, 3.0), (n, 3.0))) for n in (needed - 10, needed + 10))
    assert few is None
    assert enough is not None
    assert enough.outcome == "Sound"


def test_of_several_the_error_is_shared_out() -> None:
    arms, shares = ((400, 3.0), (400, 3.15), (400, 3.0), (400, 3.0)), (2500,) * 4
    pair = _concluded(FIXED, _counts(*arms[:2]))
    several = _concluded(replace(FIXED, shares=shares), _counts(*arms))
    assert pair is not None
    assert several is not None
    assert (pair.outcome, several.outcome) == ("Unsound", "Sound")


def test_a_guardrail_that_is_broken_tells_them_apart() -> None:
    terms = replace(FIXED, guardrails=(Guardrail("errors", "Errors", most=0.1),))
    found = _concluded(terms, _counts(*SAME, latched=frozenset({breach("errors", 1)})))
    assert found is not None
    assert (found.outcome, found.winner) == ("Unsound", None)
    assert "b was shown to be beyond errors" in found.reason


@pytest.mark.parametrize(
    ("counts", "stands"),
    [
        (_counts(*SAME, latched=frozenset({SPREAD})), True),
        (_counts(*SAME, moved=6), False),
        (_counts(*APART), False),
        (_counts(*SAME), False),
    ],
)
def test_only_what_is_found_for_good_waits_for_no_duration(counts: Counts, stands: bool) -> None:
    assert judge(SEQUENTIAL, counts).stands is stands


@pytest.mark.parametrize("terms", [FIXED, replace(FIXED, guardrails=(Guardrail("errors", "Errors", most=0.1),))])
def test_terms_are_kept_and_read_again(terms: Terms) -> None:
    assert Terms.read(json.loads(json.dumps(terms.told()))) == terms


@pytest.mark.parametrize("arms", [SAME, APART])
def test_the_verdict_can_be_made_again(arms: tuple[tuple[int, float], ...]) -> None:
    snapshot = Snapshot("rating", ("a", "b"), SEQUENTIAL, _counts(*arms))
    found = snapshot.conclusion()
    assert found is not None
    told = {"outcome": found.outcome, "rule": found.rule, "reason": found.sentence, "snapshot": snapshot.text()}
    assert recomputed(json.dumps(told))[1]
    assert not recomputed(json.dumps(told | {"outcome": "Winner"}))[1]


def test_one_sound_set_up_in_twenty_is_found_apart_and_one_that_is_not_nearly_always() -> None:
    rng, runs = random.Random(11), 400
    outcomes = {shift: [_simulated(rng, shift) for _ in range(runs)].count("Unsound") / runs for shift in (0.0, 0.5)}
    assert abs(outcomes[0.0] - 0.05) <= 3 * (0.05 * 0.95 / runs) ** 0.5
    assert outcomes[0.5] > 0.9


def _simulated(rng: random.Random, shift: float) -> str | None:
    sums = tuple(sums_over(rng.gauss(3 + own, 1) for _ in range(150)) for own in (0.0, shift))
    return judge(FIXED, Counts((150, 150), (150, 150), (0, 0), sums, Scale(PARTS))).outcome
