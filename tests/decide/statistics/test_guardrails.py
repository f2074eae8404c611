"""Guardrails: the golden numbers (of scipy, gbstats and confseq), and what follows from them row by row."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from anneal_operator.decide.statistics.comparison import rho2_of
from anneal_operator.decide.statistics.evidence import log_evidence_above, log_failure_evidence, odds_against
from anneal_operator.decide.statistics.guard_responses import unevenly_said
from anneal_operator.decide.statistics.guarded import Guardrail, Guards, Ratio, Said, unknown_to
from anneal_operator.decide.statistics.guardrails import Guarded, breach, breaches, guarded
from anneal_operator.decide.statistics.judgement import judge
from anneal_operator.decide.statistics.sums import Arm, Scale
from anneal_operator.decide.statistics.terms import GUARDED_RULE, MEASURED_RULE, RULE, Counts, Missing, Terms, rule_of
from tests.support.counted import PARTS, failures, ratio_over, sums_of

RHO2 = rho2_of(0.05, 400)


@pytest.mark.parametrize(("z", "evidence"), [(3.2, 60.0933105), (-1.0, 0.129403355)])
def test_one_sided_evidence(z: float, evidence: float) -> None:
    assert math.exp(log_evidence_above(z, 1.0, 800, RHO2)) == pytest.approx(evidence, rel=1e-8)


@pytest.mark.parametrize(
    ("challenger", "control", "share", "evidence"), [(20, 7, 0.5, 12.4073731), (12, 30, 0.1, 60.7617226)]
)
def test_evidence_of_too_many_failures(challenger: int, control: int, share: float, evidence: float) -> None:
    assert math.exp(log_failure_evidence(challenger, control, share)) == pytest.approx(evidence, rel=1e-8)


def test_eleven_users_who_all_fail_are_enough() -> None:
    share = odds_against(0.1, 5000, 5000)
    found = [math.exp(log_failure_evidence(users, 0, share)) for users in (10, 11)]
    assert found[0] < 80 <= found[1]


@pytest.mark.parametrize(("challenger", "control"), [(10**7, 10), (10, 10**7), (10**7, 10**7), (0, 0)])
def test_evidence_of_many_failures_overflows_nothing(challenger: int, control: int) -> None:
    found = log_failure_evidence(challenger, control, 0.1)
    assert not math.isnan(found)
    assert (found > 0) == (challenger > control or challenger == 10**7)


@pytest.mark.parametrize(
    ("totals", "counts", "mean", "variance"),
    [
        ([3, 1, 4, 0, 2], [4, 2, 5, 3, 2], 0.625, 0.0251770020),
        ([4, 2, 5, 1, 0, 3], [5, 2, 5, 4, 1, 3], 0.75, 0.021),
        ([3, 2, 5, 2, 5], [4, 2, 5, 3, 6], 0.85, 0.003515625),
    ],
)
def test_a_ratio_s_variance_is_that_of_users(
    totals: list[int], counts: list[int], mean: float, variance: float
) -> None:
    arm = ratio_over(totals, counts).arm(1, "OutputTokens")
    assert arm is not None
    assert (arm.n, arm.mean, arm.variance) == pytest.approx((len(totals), mean, variance), rel=1e-8)


def test_users_none_of_whose_requests_failed_are_as_uncertain_as_one_more_could_make_them() -> None:
    never = ratio_over([0] * 200, [10] * 200)
    assert never.arm(1, "Errors") == Arm(200, 0.0, 2000 * 10 / (200 * 2000**2))
    assert never.arm(1, "OutputTokens") is None


@pytest.mark.parametrize(
    "ratio",
    [
        Ratio(2, 1, 1, 1, 1, 1),
        Ratio(2, 5, 4, 1, 8, 2),
        Ratio(2, 2, 4, 2, 5, 2),
        Ratio(2, 2, 4, 2, 17, 2),
        Ratio(2, 2, 4, 2, 8, 9),
        Ratio(2, -1, 4, 2, 8, 2),
    ],
)
def test_sums_that_no_users_have_are_known(ratio: Ratio) -> None:
    assert not ratio.can_be()
    assert ratio_over([1, 1], [2, 2]).can_be()


ERRORS = Guardrail("errors", "Errors", regression=0.1)
TERMS = Terms(
    "Sequential", 0.05, 0, (5000, 5000), 100, 400, increases=True, width=4.0, guardrails=(ERRORS,), rule=GUARDED_RULE
)


def _normal(n: int, mean: float, stddev: float) -> Ratio:
    """Users who asked once each: a mean and its spread, in millionths."""
    m, spread = round(n * mean * 10**6), round((n - 1) * (stddev * 10**6) ** 2)
    return Ratio(n, m, n, m * m // n + spread, n, m)


def _of(guardrail: Guardrail, *arms: Ratio, **changes: Any) -> tuple[Terms, Counts]:
    users = tuple(arm.n for arm in arms)
    sums = tuple(sums_of(1000, mean, 999.0) for mean in (3.0, 4.0, 4.0))[: len(arms)]
    guards = Guards((0,) * len(arms), {guardrail.source: arms}, {guardrail.source: 10**6})
    shares = (10000 // len(arms),) * len(arms)
    terms = replace(TERMS, guardrails=(guardrail,), shares=shares, **changes)
    return terms, Counts(users, users, (0,) * len(arms), sums, Scale(PARTS), guards=guards)


def _stand(terms: Terms, counts: Counts, place: int) -> tuple[Guarded, ...]:
    return guarded(terms, counts.guards, place)


TOKENS = Guardrail("tokens", "OutputTokens", regression=0.1)


def test_evidence_that_a_regression_is_within_its_limit() -> None:
    (found,) = _stand(*_of(TOKENS, _normal(400, 812, 240), _normal(390, 842, 255)), 1)
    assert 1 / found.p_value == pytest.approx(18.1045985, rel=1e-6)
    (fixed,) = _stand(*_of(TOKENS, _normal(400, 812, 240), _normal(390, 842, 255), method="FixedHorizon"), 1)
    assert fixed.p_value == pytest.approx(0.00284483730, rel=1e-5)
    assert not found.is_breached


def test_evidence_that_a_regression_is_beyond_its_limit() -> None:
    terms, counts = _of(TOKENS, _normal(400, 812, 240), _normal(390, 960, 255))
    (found,) = _stand(terms, counts, 1)
    assert (found.p_value, found.is_breached) == (1.0, True), "its evidence is 229.75, and 40 is needed"
    six = replace(terms, guardrails=tuple(replace(TOKENS, name=f"t{number}") for number in range(6)))
    assert not any(one.is_breached for one in _stand(six, counts, 1)), "240 is needed of six"


@pytest.mark.parametrize(("users", "is_breached"), [(99, False), (100, True)])
def test_but_for_failures_nothing_is_beyond_a_limit_before_a_hundred_users(users: int, is_breached: bool) -> None:
    (found,) = _stand(*_of(TOKENS, _normal(200, 812, 24), _normal(users, 1600, 25)), 1)
    assert found.is_breached is is_breached


@pytest.mark.parametrize(
    ("guardrail", "control", "challenger", "state"),
    [
        (replace(TOKENS, increases=True), 800, 800, "kept"),
        (replace(TOKENS, increases=True), 800, 900, "kept"),
        (replace(TOKENS, increases=True), 800, 500, "breached"),
        (TOKENS, 800, 700, "kept"),
        (TOKENS, 800, 1200, "breached"),
        (Guardrail("tokens", "OutputTokens", most=900), 800, 800, "kept"),
        (Guardrail("tokens", "OutputTokens", most=900), 800, 1200, "breached"),
        # What the control breaks, too, says nothing of the challenger: neither is it kept.
        (Guardrail("tokens", "OutputTokens", most=900), 1000, 1200, "open"),
    ],
)
def test_which_way_is_worse_and_what_is_allowed(
    guardrail: Guardrail, control: float, challenger: float, state: str
) -> None:
    (found,) = _stand(*_of(guardrail, _normal(400, control, 240), _normal(400, challenger, 240)), 1)
    told = "breached" if found.is_breached else "kept" if found.p_value <= 0.05 else "open"
    assert told == state


@pytest.mark.parametrize(
    ("guardrail", "seconds", "is_kept"),
    [
        (Guardrail("latency", "Latency", regression=0.1), 2.0, True),
        (Guardrail("latency", "Latency", regression=0.1), 2.16, False),
        (Guardrail("latency", "Latency", regression=0.2), 2.16, True),
        (Guardrail("latency", "Latency", most=2.5), 2.16, True),
        (Guardrail("latency", "Latency", most=2.2), 2.16, False),
        (Guardrail("latency", "TimeToFirstToken", regression=0.2), 2.16, True),
    ],
)
def test_a_regression_of_a_time_is_one_of_seconds_and_not_of_their_logarithm(
    guardrail: Guardrail, seconds: float, is_kept: bool
) -> None:
    control, challenger = (_normal(2000, math.log(1000 * one), 0.6) for one in (2.0, seconds))
    (found,) = _stand(*_of(guardrail, control, challenger), 1)
    assert (found.p_value <= 0.05) is is_kept
    assert found.value == pytest.approx(seconds, rel=1e-6)
    assert found.ratio == pytest.approx(seconds / 2.0, rel=1e-6)


@pytest.mark.parametrize("guardrail", [TOKENS, replace(TOKENS, increases=True)])
def test_a_bound_is_the_narrowest_limit_that_would_be_kept(guardrail: Guardrail) -> None:
    arms = _normal(400, 812, 240), _normal(390, 842, 255)
    (found,) = _stand(*_of(guardrail, *arms), 1)
    assert found.bound is not None
    for wider, is_kept in ((0.001, True), (-0.001, False)):
        limit = 1 - found.bound if guardrail.increases else found.bound - 1
        terms, counts = _of(replace(guardrail, regression=limit + wider), *arms)
        assert (_stand(terms, counts, 1)[0].p_value <= 0.05) is is_kept


def _failing(*arms: tuple[int, int], **changes: Any) -> Counts:
    users = tuple(n for n, _ in arms)
    sums = tuple(sums_of(n, 3.0, n - 1.0) if n > 1 else sums_of(0, 0.0, 0.0) for n in users)
    counted = Counts(users, users, (0,) * len(arms), sums, Scale(PARTS), guards=failures(*arms))
    return replace(counted, **changes)


@pytest.mark.parametrize(
    ("arms", "is_breached"),
    [
        (((11, 0), (11, 11)), True),
        (((11, 0), (11, 5)), False),
        (((2000, 20), (2000, 60)), True),
        (((2000, 20), (2000, 24)), False),
        (((2000, 60), (2000, 20)), False),
    ],
)
def test_a_challenger_that_fails_is_out_of_it_without_any_sample(
    arms: tuple[tuple[int, int], ...], is_breached: bool
) -> None:
    judged = judge(TERMS, _failing(*arms))
    assert (judged.outcome == "GuardrailBreach") is is_breached
    assert judged.dropped == ({1: ["errors"]} if is_breached else {})


def test_more_failures_of_users_who_ask_more_are_no_breach() -> None:
    """All of one variant's users failed once in twenty requests; of the other's one in twenty did, who asked once."""
    often, once = ratio_over([1] * 400, [20] * 400), ratio_over([1] * 20 + [0] * 380, [1] * 400)
    guards = Guards((20, 400), {"Errors": (once, often)}, {"Errors": 1})
    assert judge(TERMS, _failing((400, 20), (400, 400), guards=guards)).outcome is None


@pytest.mark.parametrize(
    ("arms", "outcome"),
    [(((2000, 2), (2000, 60)), "GuardrailBreach"), (((2000, 2), (2000, 15)), None), (((2000, 60), (2000, 300)), None)],
)
def test_failures_beyond_what_is_allowed_at_most_are_a_breach_unless_the_control_s_are(
    arms: tuple[tuple[int, int], ...], outcome: str | None
) -> None:
    terms = replace(TERMS, guardrails=(Guardrail("errors", "Errors", most=0.01),))
    assert judge(terms, _failing(*arms)).outcome == outcome


@pytest.mark.parametrize("changes", [{"users": (700, 300)}, {"moved": 100}, {"latched": frozenset({"sampleRatio"})}])
def test_a_breach_waits_for_no_sound_numbers(changes: dict[str, Any]) -> None:
    assert judge(TERMS, _failing((11, 0), (11, 11), **changes)).outcome == "GuardrailBreach"


def test_a_breach_stands_when_the_numbers_look_well_again() -> None:
    well = _failing((2000, 20), (2000, 20), latched=frozenset({breach("errors", 1)}))
    judged = judge(TERMS, well)
    assert (judged.outcome, judged.winner) == ("GuardrailBreach", 0)
    assert breaches(judged.latched) == {1: ["errors"]}
    assert breaches(["sampleRatio", "response", "harm:errors:x"]) == {}


RARE = replace(TERMS, guardrails=(Guardrail("errors", "Errors", most=0.05),))


@pytest.mark.parametrize(
    ("guards", "outcome"),
    [
        (failures((2000, 10), (2000, 10)), "Winner"),
        (failures((2000, 10), (2000, 95)), None),
        (None, None),
        (Guards((0, 0), {}, {}), None),
    ],
)
def test_nobody_is_promoted_who_is_not_shown_to_keep_within(guards: Guards | None, outcome: str | None) -> None:
    better = Counts((2000,) * 2, (2000,) * 2, (0, 0), (sums_of(2000, 3.0, 1999.0), sums_of(2000, 4.0, 1999.0)))
    judged = judge(RARE, replace(better, scale=Scale(PARTS), guards=guards))
    assert judged.outcome == outcome
    assert judged.unshown(1, RARE.level) == ([] if outcome else ["errors"])


def test_of_several_challengers_the_rest_goes_on_without_one_that_was_dropped() -> None:
    terms = replace(RARE, shares=(3333, 3333, 3334))
    guards = failures((2000, 10), (300, 200), (2000, 10))
    sums = (sums_of(2000, 3.0, 1999.0), sums_of(20, 1.0, 19.0), sums_of(2000, 3.5, 1999.0))
    counts = Counts((2000, 1990, 2000), (2000,) * 3, (0,) * 3, sums, Scale(PARTS), guards=guards)
    judged = judge(terms, replace(counts, latched=frozenset({breach("errors", 1)})))
    assert (judged.outcome, judged.winner, judged.dropped) == ("Winner", 2, {1: ["errors"]})
    close = replace(counts, sums=(*sums[:2], sums_of(2000, 3.13, 1999.0)))
    alone = judge(replace(RARE, planned=400), replace(close, users=(2000, 2000), sums=(close.sums[0], close.sums[2])))
    assert alone.compared[1] is not None
    assert judge(terms, close).compared[2] is not None, "compared at a half of the level, as at the start"


def test_terms_with_guardrails_are_another_rule_s_and_read_again() -> None:
    assert Terms.read(RARE.told()) == RARE
    assert RARE.told()["rule"] == 2
    plain = replace(TERMS, guardrails=(), rule=1)
    assert "guardrails" not in plain.told()
    assert Terms.read(RARE.told() | {"rule": 1}) == replace(RARE, guardrails=(), rule=1)
    several: tuple[dict[str, Any], ...] = ({"guardrails": []}, {"guardrails": [{"name": "x", "source": "Errors"}]})
    for spoilt in several:
        with pytest.raises(ValueError, match="nothing can be judged"):
            Terms.read(RARE.told() | spoilt)


@pytest.mark.parametrize(
    "later",
    [
        {"name": "x", "source": "Errors", "regression": 0.1, "hourly": True},
        {"name": "x", "source": "Toxicity", "most": 0.1},
        {"source": "Errors", "most": 0.1},
        {"name": "x", "source": "Errors"},
    ],
)
def test_a_later_rule_s_guardrails_are_read_as_far_as_they_are_known(later: dict[str, Any]) -> None:
    told = RARE.told() | {"rule": 99}
    terms = Terms.read(told | {"guardrails": [*told["guardrails"], later], "phase": 3})
    assert (terms.rule, terms.is_known, terms.guardrails) == (99, False, RARE.guardrails)


def test_counts_with_guards_are_read_again() -> None:
    counts = _failing((2000, 20), (2000, 60))
    assert Counts.read(counts.told()) == counts


@pytest.mark.parametrize(("others", "is_breached"), [((), True), (((100, 0),), False)])
def test_the_error_is_shared_out_over_the_challengers(others: tuple[tuple[int, int], ...], is_breached: bool) -> None:
    """Ten users who all fail are enough against one challenger, and not against two."""
    counts = _failing((100, 0), (100, 10), *others)
    shares = (3000,) * (2 + len(others))
    assert (judge(replace(TERMS, shares=shares), counts).latched == {breach("errors", 1)}) is is_breached


def test_that_a_challenger_s_failures_kept_its_users_from_answering_is_nothing_against_the_others() -> None:
    """Also where one look shows both, as after the recorder was away."""
    terms = replace(TERMS, shares=(3334, 3333, 3333), guardrails=(replace(ERRORS, regression=None, most=0.05),))
    counts = _failing((400, 0), (400, 400), (400, 0))
    silent = replace(counts, sums=(counts.sums[0], sums_of(0, 0.0, 0.0), counts.sums[2]))
    assert judge(terms, silent).latched == {breach("errors", 1)}
    unfailing = replace(silent, guards=failures((400, 0), (400, 0), (400, 0)))
    assert judge(terms, unfailing).latched == {"response"}


SLOW = Guardrail("slow", "Latency", regression=0.5)


@pytest.mark.parametrize(("rule", "says"), [(GUARDED_RULE, True), (MEASURED_RULE, False)])
@pytest.mark.parametrize("own", [100, 300])
def test_nothing_is_shown_by_answers_most_of_which_one_user_has(rule: int, says: bool, own: int) -> None:
    """An experiment that began before that was asked goes on as it began."""
    often = [10_000, *[1] * 399]
    ratios = [
        ratio_over([one * (times if one > 1 else 100 + place % 3) for place, one in enumerate(often)], often)
        for times in (100, own)
    ]
    counts = Counts((400,) * 2, (400,) * 2, (0, 0), (sums_of(400, 3.0, 399.0),) * 2, Scale(PARTS))
    counts = replace(counts, guards=Guards((0, 0), {"Latency": tuple(ratios)}, {"Latency": 1}))
    terms = Terms.read(replace(TERMS, guardrails=(SLOW,), rule=rule).told())
    judged = judge(terms, counts)
    ((), (found,)) = judged.guarded
    assert (found.is_breached, found.p_value < 0.05) == (says and own == 300, says and own == 100)


STARS = Guardrail("stars", "Feedback", increases=True, regression=0.1, low=1.0, high=5.0)
AT_LEAST = replace(STARS, regression=None, least=3.5)
GRUMBLE = Guardrail("stars", "Feedback", most=3.5, low=1.0, high=5.0)


def _saying(guardrail: Guardrail, *said: tuple[int, float], users: int = 2000, **changes: Any) -> tuple[Terms, Counts]:
    """Of each variant how many said something, and the mean of that; by another metric challengers are better."""
    sums = tuple(sums_of(n, mean, 1.2 * max(n - 1, 0)) for n, mean in said)
    rated = tuple(sums_of(users, mean, users - 1.0) for mean in (3.0, 4.0, 4.0)[: len(said)])
    shares = (10000 // len(said),) * len(said)
    terms = replace(TERMS, guardrails=(guardrail,), shares=shares, rule=MEASURED_RULE, **changes)
    guards = Guards((), {}, {}, said={guardrail.name: Said(sums, PARTS)})
    return terms, Counts(
        (users,) * len(said), (users,) * len(said), (0,) * len(said), rated, Scale(PARTS), guards=guards
    )


@pytest.mark.parametrize(
    ("guardrail", "control", "challenger", "state"),
    [
        (STARS, 4.0, 4.0, "kept"),
        (STARS, 4.0, 3.65, "open"),
        (STARS, 4.0, 3.0, "breached"),
        (AT_LEAST, 4.0, 3.8, "kept"),
        (AT_LEAST, 4.0, 3.55, "open"),
        (AT_LEAST, 4.0, 3.2, "breached"),
        (AT_LEAST, 3.2, 3.0, "open"),  # the control breaks it, too
        (GRUMBLE, 3.0, 3.2, "kept"),
        (GRUMBLE, 3.0, 4.0, "breached"),
        (GRUMBLE, 4.0, 4.2, "open"),
        (replace(GRUMBLE, most=None, regression=0.2), 3.0, 3.2, "kept"),
        (replace(GRUMBLE, most=None, regression=0.2), 3.0, 4.2, "breached"),
        (replace(AT_LEAST, least=-0.5, low=-1.0, high=1.0), 0.0, 0.0, "kept"),
        (replace(AT_LEAST, least=-0.5, low=-1.0, high=1.0), 0.0, -0.9, "breached"),
    ],
)
@pytest.mark.parametrize("method", ["Sequential", "FixedHorizon"])
def test_what_users_say_is_held_to_a_limit_by_each_one_s_mean(
    method: str, guardrail: Guardrail, control: float, challenger: float, state: str
) -> None:
    terms, counts = _saying(guardrail, (800, control), (800, challenger), method=method)
    (found,) = _stand(terms, counts, 1)
    told = "breached" if found.is_breached else "kept" if found.p_value <= 0.05 else "open"
    assert told == state
    assert found.value == pytest.approx(challenger, abs=1e-3)
    assert (found.ratio is None) is (guardrail.low == -1.0), "of means about 0 there is no ratio"
    judged = judge(terms, counts)
    assert judged.outcome == {"breached": "GuardrailBreach", "kept": "Winner"}.get(state, judged.outcome)
    assert (judged.winner == 1) is (state == "kept")
    assert judged.latched == ({breach("stars", 1)} if state == "breached" else set())


def test_evidence_of_what_users_say_is_that_of_their_means() -> None:
    """The same numbers as of tokens, above: both are means of users, with the variances of these."""
    ratios = _normal(400, 812, 240), _normal(390, 842, 255)
    as_tokens = _stand(*_of(TOKENS, *ratios), 1)[0]
    sums = tuple(sums_of(n, mean, (n - 1) * stddev**2) for n, mean, stddev in ((400, 812, 240), (390, 842, 255)))
    terms, counts = _of(replace(TOKENS, name="t", source="Feedback", low=0.0, high=2000.0), *ratios)
    guards = Guards((), {}, {}, said={"t": Said(sums, PARTS)})
    (found,) = _stand(terms, replace(counts, guards=guards), 1)
    assert 1 / found.p_value == pytest.approx(1 / as_tokens.p_value, rel=1e-4)
    assert found.bound == pytest.approx(as_tokens.bound, rel=1e-5)


@pytest.mark.parametrize(("users", "is_breached"), [(99, False), (100, True)])
def test_what_users_say_is_beyond_a_limit_from_a_hundred_who_say_something_on(users: int, is_breached: bool) -> None:
    (found,) = _stand(*_saying(STARS, (users, 4.9), (users, 1.5)), 1)
    assert found.is_breached is is_breached


def test_users_who_all_say_the_same_are_no_surer_than_one_more_could_make_them() -> None:
    arm = Said((sums_of(100, 4.0, 0.0),), PARTS).arm(0, 4.0)
    assert arm == Arm(100, 4.0, (4 / 100) ** 2)
    assert Said((sums_of(0, 0.0, 0.0),), PARTS).arm(0, 4.0) is None


@pytest.mark.parametrize("guardrail", [AT_LEAST, GRUMBLE, STARS])
def test_a_bound_of_what_users_say_is_the_narrowest_that_would_be_kept(guardrail: Guardrail) -> None:
    arms = (800, 3.2), (800, 3.3)
    (found,) = _stand(*_saying(guardrail, *arms), 1)
    assert found.bound is not None
    for wider, is_kept in ((0.001, True), (-0.001, False)):
        limit = found.bound + (-wider if guardrail.increases else wider)
        one = replace(guardrail, regression=1 - limit) if guardrail.regression else guardrail
        one = replace(one, least=limit) if guardrail.least else one
        one = replace(one, most=limit) if guardrail.most else one
        assert (_stand(*_saying(one, *arms), 1)[0].p_value <= 0.05) is is_kept
    (early,) = _stand(*_saying(AT_LEAST, (100, 3.2), (100, 1.2)), 1)
    assert early.bound is None, "nothing within the range is shown"


@pytest.mark.parametrize(
    ("said", "outcome"), [(((1000, 4.0), (1000, 4.0)), "Winner"), (((1000, 4.0), (1300, 4.0)), None)]
)
def test_nobody_is_promoted_by_what_users_of_one_variant_say_more_often(
    said: tuple[tuple[int, float], ...], outcome: str | None
) -> None:
    terms, counts = _saying(STARS, *said)
    judged = judge(terms, counts)
    assert judged.outcome == outcome
    assert judged.latched == (set() if outcome else {"response:stars"})
    assert judged.unshown(1, 0.05) == ([] if outcome else ["stars"])
    later = judge(terms, replace(_saying(STARS, (1300, 4.0), (1300, 4.0))[1], latched=judged.latched))
    assert later.outcome == outcome, "it stands"
    assert unevenly_said(later.latched) == ([] if outcome else ["stars"])


def test_a_breach_of_what_users_of_one_variant_say_more_often_returns_users_all_the_same() -> None:
    judged = judge(*_saying(STARS, (1000, 4.0), (1300, 2.0)))
    assert (judged.outcome, judged.dropped) == ("GuardrailBreach", {1: ["stars"]})


def test_what_a_recorder_does_not_tell_of_what_users_say_holds_up_a_promotion() -> None:
    terms, counts = _saying(STARS, (1000, 4.0), (1000, 4.0))
    for guards in (None, Guards((), {}, {}), Guards((), {}, {}, said={"other": Said((), 1)})):
        assert judge(terms, replace(counts, guards=guards)).outcome is None
        assert unknown_to(guards, terms.guardrails) == ["Feedback"]


def test_what_users_say_is_read_again_with_the_terms_and_the_counts() -> None:
    for guardrail in (STARS, AT_LEAST, GRUMBLE):
        terms, counts = _saying(guardrail, (800, 4.0), (800, 3.0))
        assert Terms.read(json.loads(json.dumps(terms.told()))) == terms
        assert Counts.read(json.loads(json.dumps(counts.told()))) == counts
    assert "said" not in _failing((20, 0), (20, 3)).told()["guards"], "as an earlier build kept it"


@pytest.mark.parametrize(
    "changes",
    [
        {"low": None},
        {"low": 5.0},
        {"regression": 1.0},
        {"low": -1.0},
        {"least": 3.0},
        {"regression": None, "most": 3.0},
        {"regression": None, "least": 1.0},
        {"source": "OutputTokens", "regression": None, "least": 1.0},
    ],
)
def test_there_is_something_to_hold_what_users_say_to(changes: dict[str, Any]) -> None:
    assert STARS.can_be()
    assert not replace(STARS, **changes).can_be()


@pytest.mark.parametrize(
    ("guardrails", "missing", "rule"),
    [
        ((), "Ignore", RULE),
        ((), "Zero", GUARDED_RULE),
        ((ERRORS,), "Ignore", GUARDED_RULE),
        ((ERRORS, SLOW), "Zero", MEASURED_RULE),
        ((ERRORS, STARS), "Ignore", MEASURED_RULE),
    ],
)
def test_the_rule_is_the_first_that_knows_of_the_guardrails_and_of_silent_users(
    guardrails: tuple[Guardrail, ...], missing: Missing, rule: int
) -> None:
    assert rule_of("Feedback", guardrails, missing=missing, of_equals=False) == rule
