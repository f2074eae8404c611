"""Gates, as a table: what was measured, what is wanted, what becomes of it."""

from typing import Any

import pytest

from anneal_operator.api.evaluation import Gate
from anneal_operator.api.fine_tune_job_status import EvaluationStatus
from anneal_operator.decide.gates import doubts, judge_gates, unmet
from training_runtime.plan import Evaluated, MetricInterval

METRICS = {"accuracy": 0.9, "perplexity": 8.0, "r2": -2.1}
MEASURED = EvaluationStatus(metrics=METRICS)
REMEDY = "evaluate it with the same suites, or ask for `min`, `above` or `max`"
PRODUCTION = {"production": {"accuracy": 0.92, "perplexity": 7.5}}


@pytest.mark.parametrize(
    ("gate", "references", "passed", "required"),
    [
        ({"metric": "accuracy", "min": 0.9}, {}, True, "at least 0.9"),
        ({"metric": "accuracy", "min": 0.91}, {}, False, "at least 0.91"),
        ({"metric": "accuracy", "above": 0.9}, {}, False, "above 0.9"),
        ({"metric": "accuracy", "above": 0.899}, {}, True, "above 0.899"),
        ({"metric": "accuracy", "above": 0.85, "max": 0.95}, {}, True, "above 0.85 and at most 0.95"),
        (
            {"metric": "accuracy", "above": 0.95, "vsAlias": "production", "maxRegressionPercent": 5},
            PRODUCTION,
            False,
            "at least 0.874 and above 0.95 (not worse than production)",
        ),
        ({"metric": "perplexity", "max": 8}, {}, True, "at most 8"),
        ({"metric": "perplexity", "max": 7.9}, {}, False, "at most 7.9"),
        ({"metric": "accuracy", "min": 0.5, "max": 0.8}, {}, False, "at least 0.5 and at most 0.8"),
        ({"metric": "f1", "min": 0.1}, {}, False, "at least 0.1"),
        (
            {"metric": "accuracy", "vsAlias": "production"},
            PRODUCTION,
            False,
            "at least 0.92 (not worse than production)",
        ),
        (
            {"metric": "accuracy", "vsAlias": "production", "maxRegressionPercent": 5},
            PRODUCTION,
            True,
            "at least 0.874 (not worse than production)",
        ),
        (
            {"metric": "perplexity", "vsAlias": "production"},
            PRODUCTION,
            False,
            "at most 7.5 (not worse than production)",
        ),
        (
            {"metric": "perplexity", "vsAlias": "production", "maxRegressionPercent": 10},
            PRODUCTION,
            True,
            "at most 8.25 (not worse than production)",
        ),
        (
            {"metric": "r2", "vsAlias": "production", "maxRegressionPercent": 10},
            {"production": {"r2": -2.0}},
            True,
            "at least -2.2 (not worse than production)",
        ),
        (
            {"metric": "accuracy", "vsAlias": "production"},
            {"production": None},
            True,
            "measured (not worse than production)",
        ),
        (
            {"metric": "accuracy", "vsAlias": "production"},
            {"production": {"other": 1.0}},
            False,
            f"comparable with production, whose run has no such metric (it has other): {REMEDY}",
        ),
        (
            {"metric": "accuracy", "min": 0.95, "vsAlias": "production"},
            PRODUCTION,
            False,
            "at least 0.95 (not worse than production)",
        ),
        (
            {"metric": "accuracy", "min": 0.86, "vsAlias": "production", "maxRegressionPercent": 5},
            PRODUCTION,
            True,
            "at least 0.874 (not worse than production)",
        ),
        (
            {"metric": "perplexity", "max": 9, "vsAlias": "production", "maxRegressionPercent": 10},
            PRODUCTION,
            True,
            "at most 8.25 (not worse than production)",
        ),
        (
            {"metric": "perplexity", "max": 8, "vsAlias": "production", "maxRegressionPercent": 10},
            PRODUCTION,
            True,
            "at most 8 (not worse than production)",
        ),
    ],
)
def test_a_gate(gate: dict[str, Any], references: Any, passed: bool, required: str) -> None:
    [found] = judge_gates([Gate.parse(gate)], MEASURED, references)
    assert (found.passed, found.required) == (passed, required)
    assert (found.supported, found.sample) == (None, None)


@pytest.mark.parametrize(
    "metric", ["loss", "claims/loss", "seconds", "wikitext.bits_per_byte", "hellaswag.brier_score", "wmt.ter"]
)
def test_of_some_metrics_less_is_better(metric: str) -> None:
    measured, gate = EvaluationStatus(metrics={metric: 1.0}), Gate.parse({"metric": metric, "vsAlias": "production"})
    [found] = judge_gates([gate], measured, {"production": {metric: 1.5}})
    assert (found.passed, found.required) == (True, "at most 1.5 (not worse than production)")


ON_120 = "95 % interval 0.88 to 0.96 on 120 rows"


@pytest.mark.parametrize(
    ("gate", "passed", "supported", "sample"),
    [
        ({"above": 0.85}, True, True, ON_120),
        ({"min": 0.88}, True, True, ON_120),
        ({"above": 0.88}, True, False, f"{ON_120}: too few to tell whether it is above 0.88; about 130 would"),
        ({"above": 0.9}, True, False, f"{ON_120}: too few to tell whether it is above 0.9; about 340 would"),
        ({"min": 0.95}, False, False, f"{ON_120}: too few to tell whether it is at least 0.95; about 270 would"),
        ({"max": 0.94}, True, False, f"{ON_120}: too few to tell whether it is at most 0.94; about 1,100 would"),
        ({"min": 0.93}, True, False, f"{ON_120}: too few to tell whether it is at least 0.93"),
        ({"min": 0.97}, False, True, ON_120),
        ({"max": 0.8}, False, True, ON_120),
        (
            {"min": 0.9, "max": 0.95},
            True,
            False,
            f"{ON_120}: too few to tell whether it is at least 0.9 and at most 0.95; about 340 would",
        ),
        (
            {"vsAlias": "production"},
            True,
            False,
            f"{ON_120}: too few to tell whether it is at least 0.92; about 3,000 would",
        ),
        ({"vsAlias": "staging"}, True, None, None),
    ],
)
def test_a_gate_says_whether_the_sample_can_tell(
    gate: dict[str, Any], passed: bool, supported: bool | None, sample: str | None
) -> None:
    interval = MetricInterval(low=0.88, high=0.96, rows=120)
    measured = Evaluated(metrics={"accuracy": 0.93}, intervals={"accuracy": interval})
    [found] = judge_gates([Gate.parse({"metric": "accuracy", **gate})], measured, PRODUCTION)
    assert (found.passed, found.supported, found.sample) == (passed, supported, sample)


@pytest.mark.parametrize(
    ("bound", "rows", "more"),
    [
        (0.4996, 1, "; about 1,000,000 would"),
        (0.4995, 1, "; about 640,000 would"),
        (0.5, 1, "; about 1,000,000 would"),
        (0.5, 4, ""),
        (0.1001, 4, "; about 5 would"),
    ],
)
def test_how_many_rows_would_tell(bound: float, rows: int, more: str) -> None:
    interval = MetricInterval(low=0.1, high=0.9, rows=rows)
    measured = Evaluated(metrics={"accuracy": 0.5}, intervals={"accuracy": interval})
    [found] = judge_gates([Gate(metric="accuracy", min=bound)], measured, {})
    assert str(found.sample).endswith(f"at least {bound:.4g}{more}")


def test_what_is_measured_is_judged_in_all_its_digits() -> None:
    [found] = judge_gates([Gate(metric="accuracy", above=0.9)], Evaluated(metrics={"accuracy": 0.900003}), {})
    assert found.passed


def test_a_gate_that_is_passed_by_luck_is_told_and_one_that_is_missed_says_by_how_many_rows() -> None:
    interval = MetricInterval(low=0.88, high=0.96, rows=120)
    measured = Evaluated(metrics={"accuracy": 0.93}, intervals={"accuracy": interval})
    gates = [Gate(metric="accuracy", above=bound) for bound in (0.5, 0.9, 0.99)]
    found = judge_gates(gates, measured, {})
    assert doubts(found) == f"accuracy is 0.93 ({ON_120}: too few to tell whether it is above 0.9; about 340 would)"
    assert unmet(found, measured.metrics) == f"accuracy is 0.93 ({ON_120}), and must be above 0.99"
    assert doubts(found[:1]) is None


def test_what_is_unmet_is_told_in_a_sentence() -> None:
    gates = [Gate(metric="accuracy", min=0.95), Gate(metric="f1", min=0.1), Gate(metric="perplexity", max=9)]
    assert unmet(judge_gates(gates, MEASURED, {}), METRICS) == (
        "accuracy is 0.9, and must be at least 0.95; no suite measures f1; there are accuracy, perplexity, r2"
    )


def test_nothing_is_unmet_where_all_is_well() -> None:
    assert unmet(judge_gates([Gate(metric="accuracy", min=0.5)], MEASURED, {}), METRICS) is None
