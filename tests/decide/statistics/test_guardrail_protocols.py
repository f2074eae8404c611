"""How often guardrails err, and what they cost, by simulation: a sample of each here, at full size with `-m soak`."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anneal_operator.decide.statistics.evidence import log_failure_evidence, odds_against
from anneal_operator.decide.statistics.guarded import Guardrail, Guards, Ratio, Said
from anneal_operator.decide.statistics.judgement import judge
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import MEASURED_RULE, Counts, Terms

PARTS = 1000
TOKENS = Guardrail("tokens", "OutputTokens", regression=0.1)
STARS = Guardrail("stars", "Feedback", increases=True, regression=0.1, low=1.0, high=5.0)
ERRORS = Guardrail("errors", "Errors", regression=0.5)
LOOKS = np.geomspace(100, 2500, 20).astype(int).tolist()
RUNS = pytest.mark.parametrize("runs", [30, pytest.param(2000, marks=pytest.mark.soak)])


def _beyond(nominal: float, runs: int) -> float:
    return nominal + 3 * math.sqrt(nominal * (1 - nominal) / runs)


def _terms(challengers: int, least: int = 100) -> Terms:
    shares = (10000 // (challengers + 1),) * (challengers + 1)
    terms = Terms("Sequential", 0.05, 0, shares, least, 2 * least, increases=True, width=4.0)
    return replace(terms, guardrails=(ERRORS, TOKENS), rule=MEASURED_RULE)


def _arm(rng: Any, users: int, *, rate: float, tokens: float, lift: float) -> dict[str, Any]:
    """Of each user what they rated, how often they asked and failed, and how many tokens they got."""
    asked = 1 + rng.poisson(9, users)
    own = rng.beta(2, 2 / rate - 2, users)
    rated = np.clip(np.rint((rng.choice(np.arange(1, 6), users) + lift) * PARTS), 0, 6 * PARTS).astype(int)
    got = np.rint(asked * tokens * rng.lognormal(0.0, 0.4, users)).astype(int)
    return {"asked": asked, "failed": rng.binomial(asked, own), "tokens": got, "rated": rated}


def _ratio(totals: Any, counts: Any) -> Ratio:
    squares = ((totals * totals).sum(), (counts * counts).sum(), (totals * counts).sum())
    return Ratio(len(totals), int(totals.sum()), int(counts.sum()), *map(int, squares))


def _looks(arms: Sequence[dict[str, Any]]) -> Iterator[Counts]:
    """What is counted at each look of an experiment whose users come to all arms alike."""
    for n in LOOKS:
        now = [{name: values[:n] for name, values in arm.items()} for arm in arms]
        rated = tuple(Sums(n, int(one["rated"].sum()), int((one["rated"] ** 2).sum())) for one in now)
        ratios = {
            "Errors": tuple(_ratio(one["failed"], one["asked"]) for one in now),
            "OutputTokens": tuple(_ratio(one["tokens"], one["asked"]) for one in now),
        }
        failed = tuple(int((one["failed"] > 0).sum()) for one in now)
        guards = Guards(failed, ratios, {"Errors": 1, "OutputTokens": 1})
        users = (n,) * len(arms)
        yield Counts(users, users, (0,) * len(arms), rated, Scale(PARTS), guards=guards)


def _ends(terms: Terms, arms: Sequence[dict[str, Any]]) -> tuple[str | None, bool]:
    """The first decision, and whether anybody was dropped before it; what was latched stays so."""
    latched: frozenset[str] = frozenset()
    for counts in _looks(arms):
        judged = judge(terms, replace(counts, latched=latched))
        latched = judged.latched
        if judged.outcome is not None:
            return judged.outcome, bool(judged.dropped)
    return None, any(latch.startswith("harm") for latch in latched)


@RUNS
@pytest.mark.parametrize("challengers", [1, 3])
def test_with_two_guardrails_at_their_margins_and_no_better_rating_hardly_anybody_is_promoted_or_dropped(
    runs: int, challengers: int
) -> None:
    rng, wrong = np.random.default_rng(11), {"Winner": 0, "dropped": 0}
    for _ in range(runs):
        control = _arm(rng, LOOKS[-1], rate=0.04, tokens=100, lift=0.0)
        worse = [_arm(rng, LOOKS[-1], rate=0.06, tokens=110, lift=0.0) for _ in range(challengers)]
        outcome, is_dropped = _ends(_terms(challengers), [control, *worse])
        wrong["Winner"] += outcome == "Winner"
        wrong["dropped"] += is_dropped
    assert max(wrong.values()) <= _beyond(0.05, runs) * runs, wrong


@RUNS
@pytest.mark.parametrize(("seed", "rate", "tokens", "is_within"), [(12, 0.02, 110, False), (13, 0.03, 98, True)])
def test_a_better_rating_promotes_who_is_well_within_the_margins_and_nobody_who_is_at_one(
    runs: int, seed: int, rate: float, tokens: float, is_within: bool
) -> None:
    rng, promoted = np.random.default_rng(seed), 0
    for _ in range(runs):
        control = _arm(rng, LOOKS[-1], rate=0.04, tokens=100, lift=0.0)
        outcome, _ = _ends(_terms(1), [control, _arm(rng, LOOKS[-1], rate=rate, tokens=tokens, lift=0.6)])
        promoted += outcome == "Winner"
    assert promoted >= 0.9 * runs if is_within else promoted <= _beyond(0.05, runs) * runs


def _said(rng: Any, users: int, *, mean: float, tells: float) -> Any:
    """Of each user the mean of one to five stars, of what they said one to six times; NaN of who said nothing."""
    own, times = rng.beta(2 * (mean - 1), 2 * (5 - mean), users), 1 + rng.integers(0, 6, users)
    stars = 1 + rng.binomial(4 * times, own) / times
    return np.where(rng.random(users) < tells, stars, np.nan)


def _sums(values: Any, parts: int = 60_000) -> Sums:
    whole = np.rint(values[~np.isnan(values)] * parts).astype(np.int64)
    return Sums(len(whole), int(whole.sum()), int((whole * whole).sum()))


def _judged(control: Any, challenger: Any, *, lift: float) -> tuple[bool, bool]:
    """Whether the challenger was promoted first, or dropped; by what decides it is better by so much, or alike."""
    terms = replace(_terms(1), guardrails=(STARS,))
    latched: frozenset[str] = frozenset()
    for n in LOOKS:
        guards = Guards((), {}, {}, said={"stars": Said((_sums(control[:n]), _sums(challenger[:n])), 60_000)})
        rated = tuple(Sums(n, round(n * mean * PARTS), round(n * (mean**2 + 2) * PARTS**2)) for mean in (3, 3 + lift))
        judged = judge(terms, Counts((n, n), (n, n), (0, 0), rated, Scale(PARTS), latched=latched, guards=guards))
        latched = judged.latched
        if judged.outcome is not None:
            return judged.outcome == "Winner", bool(judged.dropped)
    return False, False


@RUNS
@pytest.mark.parametrize(
    ("seed", "stars", "expected"), [(15, 3.6, "neither"), (16, 4.0, "promoted"), (17, 3.2, "dropped")]
)
def test_what_users_say_drops_who_is_beyond_a_limit_and_promotes_who_is_within(
    runs: int, seed: int, stars: float, expected: str
) -> None:
    """At its limit, a tenth of four stars, a challenger that is better otherwise; of users a half says something."""
    rng, promoted, dropped = np.random.default_rng(seed), 0, 0
    for _ in range(runs):
        arms = (_said(rng, LOOKS[-1], mean=mean, tells=0.5) for mean in (4.0, stars))
        was_promoted, was_dropped = _judged(*arms, lift=1.0)
        promoted, dropped = promoted + was_promoted, dropped + was_dropped
    assert promoted >= 0.9 * runs if expected == "promoted" else promoted <= _beyond(0.05, runs) * runs
    assert dropped >= 0.9 * runs if expected == "dropped" else dropped <= _beyond(0.05, runs) * runs


@RUNS
def test_where_only_the_content_of_one_variant_speak_it_is_not_promoted(runs: int) -> None:
    """Its users are as unhappy as its limit lets them, and of those below three and a half stars most keep silent: that
    takes some hundred users to be seen, as what decides does here.
    """
    rng, promoted = np.random.default_rng(18), 0
    for _ in range(runs):
        control, said = (_said(rng, LOOKS[-1], mean=mean, tells=1.0) for mean in (4.0, 3.6))
        silent = (said < 3.5) & (rng.random(len(said)) < 0.9)
        promoted += _judged(control, np.where(silent, np.nan, said), lift=0.2)[0]
    assert promoted <= _beyond(0.05, runs) * runs


@pytest.mark.parametrize("runs", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_three_times_the_failures_are_found_by_some_fifty_users_who_had_one(runs: int) -> None:
    """First failures alone: each is the challenger's three times in four."""
    rng, share, needed = np.random.default_rng(14), odds_against(0.1, 5000, 5000), math.log(80)
    found = []
    for _ in range(runs):
        ours = np.cumsum(rng.random(400) < 0.75)
        evidence = (log_failure_evidence(int(s), n - int(s), share) for n, s in enumerate(ours, 1))
        found.append(next((n for n, one in enumerate(evidence, 1) if one >= needed), 400))
    assert float(np.median(found)) <= 55
