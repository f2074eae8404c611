"""What an experiment's counts say, on the edges of each judgement."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.decide.experiment_sample import decision_of, health, power_told, sufficiency, variants_told
from anneal_operator.decide.experiment_terms import terms_of
from anneal_operator.decide.observed_experiment import ObservedExperiment, Record, VariantSeen
from anneal_operator.decide.statistics.comparison import Comparison
from anneal_operator.decide.statistics.guarded import Guards
from anneal_operator.decide.statistics.judgement import judge
from anneal_operator.decide.statistics.snapshot import Snapshot
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import Counts, Terms
from tests.support.counted import PARTS, ratio_over, sums_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPEC: dict[str, Any] = {
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
MANY, FEW = sums_of(200, 3.0, 199.0), sums_of(20, 3.0, 19.0)
STARTED = "2026-03-01T10:00:00Z"


def _counts(a: Sums = MANY, b: Sums = MANY, **changes: Any) -> Counts:
    users = (max(a.n, b.n), max(a.n, b.n))
    return replace(Counts(users, (400, 400), (0, 0), (a, b), Scale(PARTS)), **changes)


def _seen(spec: ABExperimentSpec = EXPERIMENT, **changes: Any) -> ObservedExperiment:
    variants = {name: VariantSeen("m", ready=True, number=number) for name, number in (("a", "1"), ("b", "2"))}
    return ObservedExperiment(1, spec, ABExperimentStatus(), variants, **changes)


def _spec(**stopping: Any) -> ABExperimentSpec:
    return ABExperimentSpec.parse({**SPEC, "stopping": {**SPEC["stopping"], **stopping}})


def _effect(least: float) -> ABExperimentSpec:
    return ABExperimentSpec.parse(
        {**SPEC, "metrics": {"primary": {"name": "rating", "minimumDetectableEffect": least}}}
    )


def _health(counts: Counts) -> tuple[str, str]:
    found = health(counts, judge(_seen().terms, counts))
    return found.status, found.message


@pytest.mark.parametrize(("users", "status"), [((560, 440), "True"), ((620, 380), "False")])
def test_a_split_is_unhealthy_where_chance_would_give_it_less_than_once_in_a_thousand(
    users: tuple[int, int], status: str
) -> None:
    assert _health(_counts(users=users))[0] == status


@pytest.mark.parametrize(("moved", "status"), [(0, "True"), (5, "True"), (6, "False")])
def test_a_few_users_who_were_given_more_than_one_variant_hold_up_nothing(moved: int, status: str) -> None:
    found, message = _health(_counts(moved=moved))
    assert (found, f"{moved} users were given" in message) == (status, status == "False")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (_counts(Sums(), Sums()), ("False", "Collecting", "the smallest variant has 0 of 100 users with rating")),
        (_counts(MANY, sums_of(99, 3.0, 9.0)), ("False", "Collecting", "the smallest variant has 99 of 100 users")),
        (_counts(MANY, sums_of(100, 3.0, 9.0)), ("True", "Sufficient", "the smallest variant has 100 of 100 users")),
        (_counts(MANY, sums_of(200, 3.0, 0.0)), ("False", "Collecting", "a variant all say the same")),
        (_counts(fallbacks=(0, 20)), ("True", "Sufficient", "")),
        (
            _counts(fallbacks=(0, 21)),
            ("False", "AnsweredByOthers", "more than 5 % of the requests of b: keep its pods"),
        ),
        (_counts(MANY, sums_of(400, 3.0, 9.0)), ("False", "ResponseDiffers", "users of one variant give rating more")),
    ],
)
def test_a_sample_is_enough_where_every_variant_has_it(counts: Counts, expected: tuple[str, str, str]) -> None:
    found = sufficiency(_seen(), counts, judge(terms_of(EXPERIMENT), counts))
    assert (found.status, found.reason.value) == expected[:2]
    assert expected[2] in found.message


def _streamed(a: list[int], b: list[int], left: tuple[int, ...] = ()) -> Counts:
    """Users' times to the first content, of one stream each, as logarithms."""
    ratios = tuple(ratio_over(times, [1] * len(times)) for times in (a, b))
    guards = Guards((0, 0), {"TimeToFirstToken": ratios}, {"TimeToFirstToken": 10}, left)
    return Counts((400, 400), (400, 400), (0, 0), (Sums(), Sums()), guards=guards)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (
            _streamed([60, 70] * 40, [60, 70] * 60),
            ("Collecting", "the smallest variant has 80 of 100 users with first"),
        ),
        (_streamed([60, 70] * 60, [60, 70] * 60), ("Sufficient", "the smallest variant has 120 of 100 users with")),
        (_streamed([60] * 120, [70] * 120), ("Collecting", "those of a variant all have the same, and nothing tells")),
        (_streamed([60, 70] * 60, [60, 70] * 180), ("ResponseDiffers", "users of one variant have first more often")),
        (
            _streamed([60, 70] * 60, [60, 70] * 60, (5, 40)),
            ("ResponseDiffers", "users of b leave answers before their end more often than those of a"),
        ),
    ],
)
def test_a_sample_of_what_is_measured_of_answers_is_of_those_who_have_it(
    counts: Counts, expected: tuple[str, str]
) -> None:
    primary = {"name": "first", "source": "TimeToFirstToken"}
    guardrails = [{"name": "failures", "source": "Errors", "max": 0.1}]
    seen = _seen(ABExperimentSpec.parse({**SPEC, "metrics": {"primary": primary, "guardrails": guardrails}}))
    found = sufficiency(seen, counts, judge(seen.terms, counts))
    assert found.reason.value == expected[0]
    assert expected[1] in found.message
    assert "window" not in found.message


def test_a_variant_that_nobody_rated_has_no_metric() -> None:
    told = variants_told(EXPERIMENT, _counts(Sums(), Sums()), {}, {}, {})
    assert [(one.name, one.users, one.requests, one.metrics) for one in told] == [("a", 0, 400, []), ("b", 0, 400, [])]


def test_a_comparison_is_told_where_it_may_be() -> None:
    compared = {"b": Comparison(0.12345678, 0.1, 0.2, 0.0001234567)}
    (b,) = variants_told(EXPERIMENT, _counts(), compared, {}, {})[1].metrics
    assert (b.mean, b.stddev, b.lift, b.p_value) == (3.0, 1.0, 0.1235, 0.0001235), "short enough to be read"
    (b,) = variants_told(EXPERIMENT, _counts(), {}, {}, {})[1].metrics
    assert (b.lift, b.lower, b.upper, b.p_value) == (None, None, None, None)


@pytest.mark.parametrize(
    ("spec", "counts", "required", "at"),
    [
        (_spec(), _counts(), None, None),
        (_spec(method="FixedHorizon"), _counts(FEW, FEW), 100, "2026-03-01T20:00:00Z"),
        (_spec(method="FixedHorizon"), _counts(FEW, MANY), 100, "2026-03-01T20:00:00Z"),
        (_spec(method="FixedHorizon"), _counts(FEW, Sums()), 100, None),
        (_spec(method="FixedHorizon"), _counts(), 100, None),
    ],
)
def test_when_the_sample_will_be_there_is_told_by_the_pace_so_far(
    spec: ABExperimentSpec, counts: Counts, required: int | None, at: str | None
) -> None:
    seen = _seen(spec)
    told = power_told(seen, counts, judge(seen.terms, counts), STARTED, NOW)
    assert (told and told.required_users_per_variant, told and told.estimated_decision_time) == (required, at)


@pytest.mark.parametrize(
    ("least", "variance", "required"),
    [
        (0.001, 1.0, 26149556),
        (0.00001, 1.0, 10_000_000_000),  # as many as there are people
        (0.000001, 1e24, 10_000_000_000),  # else more than the API server takes in a status
    ],
)
@pytest.mark.parametrize("method", ["Sequential", "FixedHorizon"])
def test_however_small_an_effect_is_asked_for_its_sample_can_be_told(
    method: str, least: float, variance: float, required: int
) -> None:
    primary = {"name": "rating", "minimumDetectableEffect": least}
    spec = ABExperimentSpec.parse({**SPEC, "metrics": {"primary": primary}, "stopping": {"method": method}})
    seen, counts = _seen(spec), _counts(sums_of(2, 3.0, variance), sums_of(400, 3.0, 399 * variance))
    told = power_told(seen, counts, judge(seen.terms, counts), STARTED, NOW + timedelta(days=14))
    assert told is not None
    assert told.required_users_per_variant == pytest.approx(required, rel=0.5)
    assert told.estimated_decision_time == "2036-03-12T12:00:00Z", "ten years at the most"


@pytest.mark.parametrize(
    ("later", "users", "at"),
    [
        ({"minutes": 10}, 20, "2026-03-01T20:00:00Z"),
        ({"hours": 1}, 20, "2026-03-02T01:00:00Z"),
        ({"minutes": 10}, 50, "2026-03-01T14:20:00Z"),
        ({"hours": 9}, 90, "2026-03-01T22:14:00Z"),
    ],
)
def test_an_estimate_stays_until_it_is_another(later: dict[str, int], users: int, at: str) -> None:
    """Where nobody comes it would move with the clock, and the status be written as often as somebody looks."""
    seen, few = _seen(_spec(method="FixedHorizon")), _counts(FEW, FEW)
    first = power_told(seen, few, judge(seen.terms, few), STARTED, NOW)
    seen, more = replace(seen, previous=ABExperimentStatus(power=first)), _counts(sums_of(users, 3.0, users - 1), MANY)
    told = power_told(seen, more, judge(seen.terms, more), STARTED, NOW + timedelta(**later))
    assert (first and first.estimated_decision_time, told and told.estimated_decision_time) == (
        "2026-03-01T20:00:00Z",
        at,
    )


def _snapshot(counts: Counts, spec: ABExperimentSpec = EXPERIMENT) -> Snapshot:
    return Snapshot("rating", ("a", "b"), terms_of(spec), counts)


@pytest.mark.parametrize(
    ("spec", "b", "outcome", "reason"),
    [
        (EXPERIMENT, 4.0, "Winner", "b is better than a: rating +1 [+0.694, +1.31], p = 1.5e-20"),
        (EXPERIMENT, 2.0, "ControlWins", "a is better than b: rating -1 [-1.31, -0.694], p = 1.5e-20"),
        (_spec(method="FixedHorizon"), 3.01, "Inconclusive", "no difference between b and a is shown: rating +0.01 ["),
        (_effect(0.5), 3.01, "Inconclusive", "b is not better than a by 0.5: rating +0.01 ["),
        (_effect(0.5), 4.0, "Winner", "p = 1.5e-20; at least 0.5 was asked for: shown to be as much"),
        (_effect(0.9), 4.0, "Winner", "p = 1.5e-20; at least 0.9 was asked for: not shown to be as much"),
        (_effect(1.5), 4.0, "Winner", "p = 1.5e-20; at least 1.5 was asked for: shown to be less"),
    ],
)
def test_a_decision_says_what_it_rests_on(spec: ABExperimentSpec, b: float, outcome: str, reason: str) -> None:
    decision = decision_of(_snapshot(_counts(b=sums_of(200, b, 199.0)), spec), NOW)
    assert decision is not None
    assert decision.outcome == outcome
    assert reason in decision.reason


@pytest.mark.parametrize(
    ("method", "means", "why"),
    [
        ("Sequential", (3.0, 4.0, 3.5), "b is better than a: "),
        ("Sequential", (3.0, 2.0, 2.5), "a is better than every challenger; c came nearest: rating -0.5 ["),
        ("Sequential", (3.0, 3.0, 3.1), "no challenger is better than a by 0.6; c came nearest: rating +0.1 ["),
        ("FixedHorizon", (3.0, 3.0, 3.1), "no difference between any challenger and a is shown; c came nearest: "),
    ],
)
def test_of_several_challengers_the_one_that_came_nearest_is_shown(
    method: Any, means: tuple[float, ...], why: str
) -> None:
    terms = Terms(method, 0.05, 0, (3334, 3333, 3333), 100, 200, increases=True, effect=0.6)
    sums = tuple(sums_of(400, mean, 399.0) for mean in means)
    counts = Counts((400,) * 3, (400,) * 3, (0,) * 3, sums, Scale(PARTS))
    decision = decision_of(Snapshot("rating", ("a", "b", "c"), terms, counts), NOW)
    assert decision is not None
    assert decision.reason.startswith(why)


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        (_counts(b=sums_of(200, 4.0, 199.0), fallbacks=(0, 30)), "other variants' servers answered too many of its"),
        (_counts(b=sums_of(400, 4.0, 399.0)), "users of one variant give rating more often than those of another"),
    ],
)
def test_a_look_that_may_not_promote_says_why(counts: Counts, why: str) -> None:
    decision = decision_of(_snapshot(counts, _spec(method="FixedHorizon")), NOW)
    assert decision is not None
    assert (decision.outcome, decision.winner) == ("Inconclusive", None)
    assert f"b looks better than a, but {why}" in decision.reason


@pytest.mark.parametrize("b", [2.0, 3.01])
def test_where_nothing_was_found_better_what_was_asked_for_is_not_said_again(b: float) -> None:
    decision = decision_of(_snapshot(_counts(b=sums_of(200, b, 199.0)), _effect(0.5)), NOW)
    assert decision is not None
    assert "was asked for" not in decision.reason


def test_nothing_is_decided_by_numbers_that_show_nothing() -> None:
    assert decision_of(_snapshot(_counts()), NOW) is None


def test_a_decision_keeps_the_numbers_that_it_was_made_from() -> None:
    decision = decision_of(_snapshot(_counts(b=sums_of(200, 4.0, 199.0))), NOW)
    assert decision is not None
    assert decision.snapshot == _snapshot(_counts(b=sums_of(200, 4.0, 199.0))).text()


def test_one_that_began_under_an_earlier_build_takes_its_one_look() -> None:
    assert _seen(record=Record(STARTED)).terms.method == "FixedHorizon"
    assert _seen(record=Record(STARTED, terms=terms_of(EXPERIMENT))).terms.method == "Sequential"
    assert _seen().terms.method == "Sequential"
