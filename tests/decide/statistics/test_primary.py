"""A primary metric that is measured of answers: ratios of users' totals, of times as logarithms."""

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from anneal_operator.api.amounts import MetricSource
from anneal_operator.decide.statistics.comparison import Comparison
from anneal_operator.decide.statistics.guarded import Guardrail, Guards, Ratio, Source
from anneal_operator.decide.statistics.judgement import RESPONSE, Judgement, judge
from anneal_operator.decide.statistics.power import fixed_users
from anneal_operator.decide.statistics.primary import mean_of, values
from anneal_operator.decide.statistics.recomputed import recomputed
from anneal_operator.decide.statistics.snapshot import Snapshot
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import EQUALS_RULE, MEASURED_RULE, RULE, Counts, Method, Terms
from tests.support.counted import failures, ratio_over

LOG_PARTS = 1 << 20


def _terms(source: MetricSource, method: Method = "Sequential", **changes: Any) -> Terms:
    terms = Terms(method, 0.05, 0, (5000, 5000), 100, 200, increases=False, source=source, rule=MEASURED_RULE)
    return replace(terms, **changes)


def _counts(source: Source, *ratios: Ratio, parts: int = 1, exposed: int = 0) -> Counts:
    users = tuple(exposed or ratio.n for ratio in ratios)
    guards = Guards((0,) * len(ratios), {source: ratios}, {source: parts})
    nobody = (0,) * len(ratios)
    return Counts(users, users, nobody, (Sums(),) * len(ratios), guards=guards)


def _once_each(seconds: list[float]) -> Ratio:
    return ratio_over([round(math.log(one * 1000) * LOG_PARTS) for one in seconds], [1] * len(seconds))


def _times(middle: float, users: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [middle * math.exp(rng.gauss(0, 0.6)) for _ in range(users)]


def _only(judged: Judgement) -> Comparison:
    (found,) = (one for one in judged.compared if one)
    return found


def _latency(control: float, challenger: float, users: int = 400) -> Counts:
    ratios = (_once_each(_times(control, users, 1)), _once_each(_times(challenger, users, 2)))
    return _counts("Latency", *ratios, parts=LOG_PARTS)


@pytest.mark.parametrize(
    ("left", "changes", "waits"),
    [
        ((), {}, False),
        ((0, 0), {}, False),
        ((40, 5), {}, False),
        ((3, 9), {}, False),
        ((5, 40), {}, True),
        ((5, 40), {"shares": (1000, 9000)}, False),
        ((5, 40), {"method": "FixedHorizon"}, True),
        ((5, 40), {"source": "Errors"}, False),
        ((5, 40), {"source": "Errors", "guardrails": (Guardrail("slow", "TimePerOutputToken", most=0.1),)}, True),
        ((5, 40), {"source": "OutputTokens"}, True),
        ((5, 40), {"source": "OutputTokens", "increases": True}, False),
        ((5, 40), {"source": "Errors", "guardrails": (Guardrail("short", "OutputTokens", most=90.0),)}, True),
        ((5, 40), {"source": "Errors", "guardrails": (Guardrail("long", "OutputTokens", True, 0.1),)}, False),
        ((5, 40), {"rule": EQUALS_RULE}, False),
    ],
)
def test_who_is_left_more_often_is_not_promoted_where_it_looks_better_by_that(
    left: tuple[int, ...], changes: dict[str, Any], waits: bool
) -> None:
    counts = _latency(1.2, 0.9)
    assert counts.guards is not None
    judged = judge(replace(_terms("Latency"), **changes), replace(counts, guards=replace(counts.guards, left=left)))
    assert judged.left == ((1,) if waits else ())
    if not changes:
        assert judged.outcome == (None if waits else "Winner")


def test_a_fixed_horizon_that_is_over_says_that_answers_were_left() -> None:
    counts = _latency(1.2, 0.9)
    assert counts.guards is not None
    left = replace(counts, guards=replace(counts.guards, left=(5, 40)))
    found = Snapshot("m", ("a", "b"), _terms("Latency", "FixedHorizon"), left).conclusion()
    assert found is not None
    assert found.reason.startswith("b looks better than a, but its users leave answers before their end more often: m")


def test_a_ratio_s_welch_is_gbstats_and_tea_tasting_s() -> None:
    ratios = ratio_over([3, 1, 4, 0, 2], [4, 2, 5, 3, 2]), ratio_over([4, 2, 5, 1, 0, 3], [5, 2, 5, 4, 1, 3])
    found = _only(judge(_terms("OutputTokens", "FixedHorizon", least=2), _counts("OutputTokens", *ratios)))
    assert (found.lift, found.p_value) == pytest.approx((0.125, 0.575622990), rel=1e-8)


def test_a_geometric_mean_s_interval_is_scipy_s_of_logarithms_told_as_a_part_of_the_control_s() -> None:
    control, challenger = _times(1.2, 300, 3), _times(1.0, 280, 4)
    counts = _counts("Latency", _once_each(control), _once_each(challenger), parts=LOG_PARTS)
    found = _only(judge(_terms("Latency", "FixedHorizon"), counts))
    oracle = stats.ttest_ind([math.log(one) for one in challenger], [math.log(one) for one in control], equal_var=False)
    ends = oracle.confidence_interval(0.95)
    expected = stats.gmean(challenger) / stats.gmean(control) - 1, math.expm1(ends.low), math.expm1(ends.high)
    assert (found.lift, found.lower, found.upper) == pytest.approx(expected, abs=1e-6)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-4)
    assert mean_of(_terms("Latency"), counts, 1) == pytest.approx(stats.gmean(challenger), rel=1e-5)


@pytest.mark.parametrize("method", ["Sequential", "FixedHorizon"])
def test_of_users_who_ask_once_each_it_is_judged_as_what_they_said_would_be(method: Method) -> None:
    rng = random.Random(5)
    totals = [[rng.randint(50, 150 + 40 * arm) for _ in range(250)] for arm in (0, 1)]
    measured = _terms("OutputTokens", method, increases=True, effect=5.0)
    said = replace(measured, source="Feedback", rule=RULE)
    ratios = [ratio_over(one, [1] * len(one)) for one in totals]
    sums = tuple(Sums(one.n, one.m, one.mm) for one in ratios)
    found, expected = (
        judge(measured, _counts("OutputTokens", *ratios)),
        judge(said, replace(_counts("OutputTokens", *ratios), guards=None, sums=sums, scale=Scale(1))),
    )
    one, other = _only(found), _only(expected)
    assert (one.lift, one.lower, one.upper) == pytest.approx((other.lift, other.lower, other.upper), rel=1e-9)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-6)
    assert (found.outcome, found.powered) == (expected.outcome, expected.powered)
    assert found.powered


def test_a_tenth_less_takes_as_many_users_as_its_logarithm_is_apart() -> None:
    control = _times(1.0, 500, 6)
    counts = _counts("Latency", _once_each(control), _once_each(control), parts=LOG_PARTS)
    judged = judge(_terms("Latency", "FixedHorizon", effect=0.1), counts)
    logs = [math.log(one) for one in control] * 2
    variance = stats.tvar(logs)
    assert judged.powered == pytest.approx(fixed_users(variance, -math.log(0.9), 0.05), rel=0.01)
    assert judged.needed == judged.powered, "a fixed horizon takes as many"


@pytest.mark.parametrize(
    ("source", "counts", "effect", "said"),
    [
        (
            "Latency",
            _latency(1.5, 1.0),
            0.1,
            "Winner b: b is better than a: m -38.2 % [-45.8 %, -29.6 %], p = 4e-28; at least 10 % was asked for: shown",
        ),
        (
            "Latency",
            _latency(1.0, 1.5),
            None,
            "ControlWins a: a is better than b: m +39 % [+22 %, +58.3 %], p = 4.2e-13",
        ),
        ("Latency", _latency(1.0, 1.03, 3000), 0.2, "Inconclusive None: b is not better than a by 20 %: m "),
        (
            "Errors",
            replace(_counts("Errors", *failures((800, 120), (800, 24)).ratios["Errors"])),
            0.01,
            "Winner b: b is better than a: m -12 points [",
        ),
    ],
)
def test_the_verdict_says_what_is_measured_in_its_unit(
    source: MetricSource, counts: Counts, effect: float | None, said: str
) -> None:
    found = Snapshot("m", ("a", "b"), _terms(source, effect=effect), counts).conclusion()
    assert found is not None
    assert f"{found.outcome} {found.winner}: {found.sentence}".startswith(said)


def test_more_tokens_are_better_only_where_that_was_said() -> None:
    rng = random.Random(7)
    ratios = [ratio_over([rng.randint(50, 150) + 30 * arm for _ in range(300)], [1] * 300) for arm in (0, 1)]
    counts = _counts("OutputTokens", *ratios)
    outcomes = [judge(_terms("OutputTokens", increases=more), counts).outcome for more in (True, False)]
    assert outcomes == ["Winner", "ControlWins"]


def test_nobody_is_promoted_whose_streams_have_a_time_less_often() -> None:
    """Those that are broken might have been the slow ones."""
    ratios = (_once_each(_times(1.5, 900, 8)), _once_each(_times(1.0, 650, 9)))
    counts = _counts("TimeToFirstToken", *ratios, parts=LOG_PARTS, exposed=1000)
    terms = _terms("TimeToFirstToken")
    judged = judge(terms, counts)
    assert (judged.outcome, judged.latched) == (None, frozenset({RESPONSE}))
    assert _only(judged).upper < 0
    over = Snapshot("ttft", ("a", "b"), replace(terms, method="FixedHorizon"), counts).conclusion()
    assert over is not None
    assert over.reason.startswith("b looks better than a, but users of one variant have ttft more often than those of")


def test_a_guardrail_of_another_source_holds_a_promotion() -> None:
    latency, failed = _latency(1.5, 1.0), failures((400, 40), (400, 40))
    assert latency.guards is not None
    ratios, parts = {**latency.guards.ratios, **failed.ratios}, {**latency.guards.parts, **failed.parts}
    both = replace(failed, ratios=ratios, parts=parts)
    limit = Guardrail("errors", "Errors", regression=0.1)
    counts = replace(latency, guards=both)
    assert judge(_terms("Latency"), counts).outcome == "Winner"
    assert judge(_terms("Latency", guardrails=(limit,)), counts).outcome is None


def test_a_recorder_that_does_not_tell_of_answers_leaves_nobody_with_a_value() -> None:
    terms, counts = _terms("Latency", effect=0.1), replace(_latency(1.5, 1.0), guards=None)
    judged = judge(terms, counts)
    assert (values(terms, counts), mean_of(terms, counts, 0)) == ((0, 0), None)
    assert (judged.outcome, judged.has_sample, judged.powered, judged.compared) == (None, False, None, (None, None))


def test_users_who_are_all_alike_say_nothing_of_what_has_no_bounds() -> None:
    same = _once_each([1.0] * 300), _once_each([0.5] * 300)
    assert judge(_terms("Latency"), _counts("Latency", *same, parts=LOG_PARTS)).compared == (None, None)


def test_the_ends_of_an_interval_that_knows_nothing_are_numbers_all_the_same() -> None:
    control, challenger = _once_each([0.001, 600.0]), _once_each([600.0, 0.001, 600.0])
    found = _only(judge(_terms("Latency", planned=10**9), _counts("Latency", control, challenger, parts=LOG_PARTS)))
    assert -1 <= found.lower < found.lift < found.upper < math.inf


def test_the_terms_say_what_is_measured_by_a_rule_of_their_own() -> None:
    terms = _terms("Latency", guardrails=(Guardrail("errors", "Errors", most=0.05),), effect=0.1)
    told = json.loads(json.dumps(terms.told()))
    assert (told["source"], told["rule"]) == ("Latency", MEASURED_RULE)
    assert Terms.read(told) == terms
    assert Terms.read(json.loads(json.dumps(_terms("Errors").told()))) == _terms("Errors"), "without guardrails, too"
    assert "source" not in replace(terms, source="Feedback", guardrails=(), rule=RULE).told(), (
        "as earlier builds told it"
    )


@pytest.mark.parametrize(
    "spoilt", [{"rule": 1}, {"rule": 2}, {"source": "Feedback"}, {"effect": 1.0}, {"effect": 0.0}, {"effect": -1}]
)
def test_terms_that_are_at_odds_with_their_rule_are_refused(spoilt: dict[str, Any]) -> None:
    told = _terms("Latency", effect=0.1).told() | spoilt
    with pytest.raises(ValueError, match="nothing can be judged"):
        Terms.read(told)


@pytest.mark.parametrize("guardrails", [(), (Guardrail("slow", "Latency", regression=0.5),)])
def test_a_decision_is_made_again_from_its_record(guardrails: tuple[Guardrail, ...]) -> None:
    snapshot = Snapshot("latency", ("a", "b"), _terms("Latency", guardrails=guardrails), _latency(1.5, 1.0))
    found = snapshot.conclusion()
    assert found is not None
    decision = {"outcome": found.outcome, "winner": found.winner, "rule": found.rule, "reason": found.sentence}
    told, agrees = recomputed(json.dumps({**decision, "snapshot": snapshot.text()}))
    assert agrees, told
    spoilt = json.loads(snapshot.text())
    spoilt["counts"]["guards"]["ratios"]["Latency"].reverse()
    assert not recomputed(json.dumps({**decision, "snapshot": json.dumps(spoilt)}))[1]


def _with_a_heavy_user(asks: int, times: float, seed: int) -> Ratio:
    """Of 400 users one asks so often, and waits so many times as long as others do."""
    rng = random.Random(seed)
    often = [asks, *[1] * 399]
    own = [math.log(1000 * (times if d > 1 else 1.0)) + rng.gauss(0, 0.4) for d in often]
    return ratio_over([round(d * one * LOG_PARTS) for d, one in zip(often, own, strict=True)], often)


@pytest.mark.parametrize(("asks", "is_told"), [(20, True), (10_000, False)])
@pytest.mark.parametrize("method", ["Sequential", "FixedHorizon"])
def test_nothing_is_decided_by_what_one_user_had_who_asked_most_of_it(method: Method, asks: int, is_told: bool) -> None:
    """A ratio follows that user, who then seems not to be away from it at all."""
    ratios = _with_a_heavy_user(asks, 1.0, 10), _with_a_heavy_user(asks, 0.5, 11)
    judged = judge(_terms("Latency", method), _counts("Latency", *ratios, parts=LOG_PARTS))
    assert (judged.has_sample, judged.few) == (is_told, () if is_told else (0, 1))
    assert is_told or judged.outcome is None
    equals = replace(_terms("Latency", method), rule=EQUALS_RULE)
    assert is_told or judge(equals, _counts("Latency", *ratios, parts=LOG_PARTS)).outcome is None


def test_failures_of_one_user_who_asks_most_are_no_surer_than_one_more_user_leaves_them() -> None:
    ratios = [ratio_over([failed, *[0] * 399], [10_000, *[1] * 399]) for failed in (500, 100)]
    judged = judge(_terms("Errors"), _counts("Errors", *ratios))
    assert (judged.has_sample, judged.outcome) == (True, None)
