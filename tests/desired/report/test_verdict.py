"""The verdict for other systems: the same fields whatever happens, none of them null."""

from dataclasses import replace
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.desired.report.page import Papers, page
from anneal_operator.desired.report.verdict import verdict, verdict_text

from .examples import EXAMPLES, SPEC, papers

FIELDS = {
    "namespace",
    "name",
    "type",
    "model",
    "phase",
    "reason",
    "message",
    "healthy",
    "recommended",
    "dropped",
    "decided",
    "outcome",
    "winner",
    "winnerVersion",
    "decidedAt",
    "startedAt",
    "metric",
    "source",
    "direction",
    "minimumDetectableEffect",
    "control",
    "users",
    "variants",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_fields_are_always_the_same(name: str) -> None:
    told = verdict(EXAMPLES[name])
    assert set(told) == FIELDS
    assert None not in told.values()
    assert "null" not in verdict_text(EXAMPLES[name])


def test_a_winner_is_told_with_its_version_and_interval() -> None:
    told = verdict(EXAMPLES["promoted"])
    assert {field: told[field] for field in ("phase", "healthy", "decided", "outcome", "winner", "winnerVersion")} == {
        "phase": "Promoted",
        "healthy": True,
        "decided": True,
        "outcome": "Winner",
        "winner": "tuned",
        "winnerVersion": "spam-filter-7",
    }
    tuned = {"users": 2355, "values": 1177, "mean": 3.704, "lift": 0.2798, "lower": 0.1425, "upper": 0.417}
    assert told["variants"]["tuned"] == tuned | {"pValue": 8.864e-09}
    assert told["users"] == 4707


@pytest.mark.parametrize(
    ("name", "known"), [("fixed", {"users", "values"}), ("fixed-over", {"users", "values", "mean"})]
)
def test_of_a_fixed_horizon_nothing_is_told_before_its_look(name: str, known: set[str]) -> None:
    told = verdict(EXAMPLES[name])["variants"]
    assert set(told["stable"]) == known
    assert ("lift" in told["tuned"]) is (name == "fixed-over")


def test_means_that_an_earlier_build_told_of_a_fixed_horizon_are_not_told_before_its_look() -> None:
    made = EXAMPLES["fixed"]
    found: dict[str, Any] = made.status.dump()
    for variant in found["variants"]:
        variant["metrics"][0] |= {"mean": 3.4567, "stddev": 1.2345}
    early = replace(made, status=ABExperimentStatus.parse(found))
    assert set(verdict(early)["variants"]["tuned"]) == {"users", "values"}
    assert "3.457" not in page(early)
    assert "3.457" in page(replace(early, status=early.status.having(decision=EXAMPLES["fixed-over"].status.decision)))


def test_guardrails_are_told_by_their_names_and_who_was_dropped_for_them() -> None:
    told = verdict(EXAMPLES["guarded"])
    assert (told["dropped"], told["healthy"]) == (["bold"], True)
    assert "guardrails" not in told["variants"]["stable"]
    bold, tuned = (told["variants"][name]["guardrails"] for name in ("bold", "tuned"))
    assert bold["failures"] == {"state": "Breached", "value": 0.5, "ratio": 15.22, "bound": 0.5437}
    assert (set(tuned), tuned["failures"]["state"]) == ({"failures", "beside"}, "Kept")
    early = verdict(EXAMPLES["guarded-fixed"])["variants"]["tuned"]["guardrails"]
    assert early == {name: {"state": "NotShown"} for name in ("failures", "beside")}


def test_who_is_recommended_is_told_with_the_numbers_it_rests_on() -> None:
    told = verdict(EXAMPLES["recommended"])
    assert (told["recommended"], told["decided"], told["winner"]) == ("tuned", False, "")
    assert told["variants"]["tuned"]["lower"] > 0


def _with(condition: str, status: str) -> Papers:
    made = EXAMPLES["running"]
    found: dict[str, Any] = made.status.dump()
    found["conditions"] = [
        {**found["conditions"][0], "type": condition, "status": status, "reason": "SampleRatioMismatch"}
    ]
    return Papers(made.experiment, made.spec, ABExperimentStatus.parse(found), made.now)


@pytest.mark.parametrize(
    ("told", "healthy"),
    [
        (EXAMPLES["pending"], True),
        (EXAMPLES["running"], True),
        (_with("AssignmentHealthy", "False"), False),
        (_with("GuardrailsHealthy", "False"), False),
        (_with("DataFresh", "False"), True),
        (EXAMPLES["breach"], False),
        (EXAMPLES["returned"], False),
        (EXAMPLES["aborted"], False),
        (EXAMPLES["replaced"], False),
        (EXAMPLES["paused"], True),
        (EXAMPLES["baking"], True),
        (papers(hours=336, lifts=(-0.4,), decides=True), False),
        (papers(hours=336, lifts=(0.0,), decides=True, per_hour=40), True),
        (EXAMPLES["sound"], True),
        (EXAMPLES["unsound"], False),
    ],
    ids=[
        "pending",
        "running",
        "users are lost",
        "a guardrail",
        "old numbers",
        "a breach",
        "returned",
        "aborted",
        "replaced",
        "paused",
        "baking",
        "the control wins",
        "no difference",
        "sound",
        "unsound",
    ],
)
def test_it_is_unhealthy_only_where_something_was_found_against_it(told: Papers, healthy: bool) -> None:
    assert verdict(told)["healthy"] is healthy


@pytest.mark.parametrize(
    ("primary", "expected"),
    [
        ({}, ("Feedback", "Increase")),
        ({"direction": "Decrease"}, ("Feedback", "Decrease")),
        ({"source": "Errors"}, ("Errors", "Decrease")),
        ({"source": "OutputTokens", "direction": "Increase"}, ("OutputTokens", "Increase")),
    ],
)
def test_what_is_measured_is_told_and_which_way_is_better(primary: dict[str, str], expected: tuple[str, str]) -> None:
    metrics = {"primary": {"name": "user_rating", **primary}}
    told = verdict(replace(EXAMPLES["pending"], spec=ABExperimentSpec.parse(SPEC | {"metrics": metrics})))
    assert (told["source"], told["direction"]) == expected


def test_secondary_metrics_are_told_of_each_variant_that_has_them() -> None:
    made = EXAMPLES["promoted"]
    stable, tuned = made.status.variants
    status = made.status.having(
        variants=[stable, tuned.having(metrics=[*tuned.metrics, tuned.metrics[0].having(name="solved")])]
    )
    spec = ABExperimentSpec.parse(SPEC | {"metrics": SPEC["metrics"] | {"secondary": [{"name": "solved"}]}})
    told = verdict(replace(made, spec=spec, status=status))["variants"]
    own = {name: value for name, value in told["tuned"].items() if name not in {"users", "secondary"}}
    assert told["tuned"]["secondary"] == {"solved": own}
    assert "secondary" not in told["stable"]
    early = replace(made, spec=spec, status=status.having(decision=None))
    fixed = spec.model_copy(update={"stopping": spec.stopping.model_copy(update={"method": "FixedHorizon"})})
    assert verdict(replace(early, spec=fixed))["variants"]["tuned"]["secondary"] == {
        "solved": {"values": own["values"]}
    }
