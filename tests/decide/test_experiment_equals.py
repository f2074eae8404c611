"""An experiment of `type: AA`: it begins with what is the same, promotes nothing, and tells whether it looks it."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.model_version import Cost
from anneal_operator.decide.ab_experiment import decide
from anneal_operator.decide.experiment_end import has_users, kept_versions
from anneal_operator.decide.observed_experiment import (
    KeepDecision,
    KeepLatches,
    KeepStart,
    MoveAlias,
    ObservedExperiment,
    RecordDecision,
)
from anneal_operator.decide.statistics.judgement import SPREAD
from anneal_operator.decide.statistics.terms import Counts
from tests.decide.contested import NOW, condition, counted, seen_of, spec_of
from tests.support.counted import failures, sums_of

SAME = [{"name": name, "modelVersionRef": {"name": "m-1"}, "weight": 1} for name in "ab"]
SPEC = spec_of(type="AA", decision={"mode": "Observe"}, variants=SAME)
EARLY = NOW - timedelta(minutes=90)


def _seen(observations: Counts | None = None, **changes: Any) -> ObservedExperiment:
    seen = seen_of(SPEC, observations)
    variants = dict.fromkeys("ab", seen.variants["a"])
    record = replace(seen.record, pins={}) if seen.record else None
    seen = replace(seen, **{"variants": variants, "record": record, **changes})
    return replace(seen, remembered=seen.record and replace(seen.record.content, uid="u"))


@pytest.mark.parametrize(("observations", "reason"), [(counted(3.0, 3.0), "Sound"), (counted(3.0, 4.0), "Unsound")])
def test_the_verdict_is_told_and_nothing_follows(observations: Counts, reason: str) -> None:
    first = decide(_seen(observations), NOW)
    assert (first.status.phase, first.status.reason) == ("Observed", reason)
    [kept] = first.apply
    assert isinstance(kept, KeepDecision)
    assert kept.closes
    assert kept.decision.winner is None
    after = _seen(previous=first.status)
    assert after.record is not None
    decision = first.status.decision
    after = replace(after, record=replace(after.record, decision=decision, is_closed=True))
    later = decide(after, NOW)
    assert not [effect for effect in later.effects if isinstance(effect, MoveAlias | RecordDecision)]
    assert condition(later.status, "Decided") == ("True", reason)
    assert not has_users(later.status)
    assert kept_versions(SPEC, later.status) is None
    assert [variant.weight for variant in later.status.variants] == [1, 1]


def test_users_who_are_not_spread_end_it_before_its_least_duration() -> None:
    skewed = replace(counted(3.0, 3.0), users=(900, 100))
    first = decide(_seen(skewed), EARLY)
    assert [type(intent) for intent in first.apply] == [KeepLatches]
    seen = _seen(skewed)
    assert seen.record is not None
    second = decide(_seen(skewed, record=replace(seen.record, latches=frozenset({SPREAD}))), EARLY)
    assert (second.status.phase, second.status.reason) == ("Observed", "Unsound")
    assert second.status.decision is not None
    assert "users are not spread as the weights say" in second.status.decision.reason


@pytest.mark.parametrize(("now", "phase"), [(EARLY, "Running"), (NOW, "Observed")])
def test_users_of_two_variants_are_a_finding_once_its_least_duration_is_over(now: datetime, phase: str) -> None:
    verdict = decide(_seen(replace(counted(3.0, 3.0), moved=6)), now)
    assert (verdict.status.phase, condition(verdict.status, "AssignmentHealthy")[0]) == (phase, "False")
    if verdict.status.decision is not None:
        assert "6 users were given more than one variant" in verdict.status.decision.reason


def test_of_who_says_anything_no_promotion_is_spoken_of() -> None:
    uneven = replace(counted(3.0, 3.0, users=900), sums=(sums_of(900, 3.0, 900.0), sums_of(500, 3.0, 500.0)))
    sufficient = next(one for one in decide(_seen(uneven), EARLY).status.conditions if one.type == "SampleSufficient")
    assert sufficient.reason == "ResponseDiffers"
    assert "promoted" not in sufficient.message


def test_what_no_guardrail_was_looked_for_in_is_not_found_sound() -> None:
    """A recorder of an earlier build tells nothing of answers."""
    metrics = {"primary": {"name": "rating"}, "guardrails": [{"name": "errors", "source": "Errors", "max": 0.5}]}
    spec = spec_of(type="AA", decision={"mode": "Observe"}, variants=SAME, metrics=metrics)
    assert decide(_seen_of(spec, counted(3.0, 4.0)), NOW).status.decision is None, "it has one look, and that takes all"
    blind = decide(_seen_of(spec, counted(3.0, 3.0)), NOW).status
    assert (blind.phase, condition(blind, "GuardrailsHealthy")) == ("Running", ("Unknown", "GuardrailsUnknown"))
    seeing = replace(counted(3.0, 3.0), guards=failures((200, 10), (200, 10)))
    assert decide(_seen_of(spec, seeing), NOW).status.reason == "Sound"
    over = decide(_seen_of(spec, counted(3.0, 3.0)), NOW + timedelta(days=2)).status
    assert over.decision is not None
    assert "the set-up is not found sound: have the chart's recorder run this release" in over.decision.reason
    assert all("promoted" not in one.message for one in (*blind.conditions, *over.conditions))


def test_numbers_alone_wait_for_the_least_duration() -> None:
    early = decide(_seen(counted(3.0, 4.0)), EARLY)
    assert (early.status.phase, early.status.decision) == ("Running", None)


@pytest.mark.parametrize(
    ("observations", "said"),
    [
        (counted(3.0, 3.0, users=50), "the smallest variant has 50 of 100 users"),
        (counted(3.0, 3.0), "that they differ by less than 0.01 is not shown"),
    ],
)
def test_what_is_not_shown_in_time_is_inconclusive(observations: Counts, said: str) -> None:
    primary = {"name": "rating", "minimumDetectableEffect": 0.01}
    spec = spec_of(
        type="AA",
        decision={"mode": "Observe"},
        variants=SAME,
        metrics={"primary": primary},
        stopping={"method": "Sequential"},
    )
    verdict = decide(_seen_of(spec, observations), NOW + timedelta(days=2))
    assert verdict.status.phase == "Inconclusive"
    assert verdict.status.decision is not None
    assert said in verdict.status.decision.reason


def test_what_is_not_shown_in_time_is_told_in_the_metric_s_unit() -> None:
    primary = {"name": "failed", "source": "Errors", "minimumDetectableEffect": 0.01}
    spec = spec_of(
        type="AA",
        decision={"mode": "Observe"},
        variants=SAME,
        metrics={"primary": primary},
        stopping={"method": "Sequential"},
    )
    measured = replace(counted(3.0, 3.0, users=300), guards=failures((300, 30), (300, 30)))
    decision = decide(_seen_of(spec, measured), NOW + timedelta(days=2)).status.decision
    assert decision is not None
    assert decision.reason.endswith("but that they differ by less than 1 points is not shown")


def _seen_of(spec: Any, observations: Counts) -> ObservedExperiment:
    seen = seen_of(spec, observations)
    variants = dict.fromkeys("ab", seen.variants["a"])
    return replace(seen, variants=variants, record=seen.record and replace(seen.record, pins={}))


@pytest.mark.parametrize(("digest", "begins"), [("sha256:a", True), ("sha256:other", False)])
def test_it_begins_with_one_artifact_alone(digest: str, begins: bool) -> None:
    variants = [*SAME[:1], {**SAME[1], "modelVersionRef": {"name": "m-2"}}]
    spec = spec_of(type="AA", decision={"mode": "Observe"}, variants=variants)
    seen = _seen(previous=ABExperimentStatus(), record=None, remembered=None, spec=spec)
    seen = replace(seen, variants={"a": seen.variants["a"], "b": replace(seen.variants["b"], digest=digest)})
    verdict = decide(replace(seen, remembered=None), NOW)
    assert [type(intent) for intent in verdict.apply] == ([KeepStart] if begins else [])
    ready = condition(verdict.status, "VariantsReady")
    assert ready == (("True", "AllReady") if begins else ("False", "ArtifactsDiffer"))
    if not begins:
        told = next(one.message for one in verdict.status.conditions if one.type == "VariantsReady")
        assert "ModelVersion m-2 has another artifact than m-1" in told
        assert "or set `type: AB`" in told


def test_a_version_that_two_variants_are_on_shows_its_cost_as_neither_of_theirs() -> None:
    seen = _seen(counted(3.0, 3.0))
    cost = Cost(gpus=1, gpu_seconds=1, amount=2.0, counted_at="2026-01-01T00:00:00Z")
    priced = replace(seen, variants={name: replace(one, cost=cost) for name, one in seen.variants.items()})
    assert [variant.cost for variant in decide(priced, EARLY).status.variants] == [None, None]
