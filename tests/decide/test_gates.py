"""Gates, as a table: what was measured, what is wanted, what becomes of it."""

from typing import Any

import pytest

from anneal_operator.api.evaluation import Gate
from anneal_operator.decide.gates import judge_gates, unmet

METRICS = {"accuracy": 0.9, "perplexity": 8.0, "r2": -2.1}
REMEDY = "evaluate it with the same suites, or ask for `min` or `max`"
PRODUCTION = {"production": {"accuracy": 0.92, "perplexity": 7.5}}


@pytest.mark.parametrize(
    ("gate", "references", "passed", "required"),
    [
        ({"metric": "accuracy", "min": 0.9}, {}, True, "at least 0.9"),
        ({"metric": "accuracy", "min": 0.91}, {}, False, "at least 0.91"),
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
    ],
)
def test_a_gate(gate: dict[str, Any], references: Any, passed: bool, required: str) -> None:
    [found] = judge_gates([Gate.parse(gate)], METRICS, references)
    assert (found.passed, found.required) == (passed, required)


def test_what_is_unmet_is_told_in_a_sentence() -> None:
    gates = [Gate(metric="accuracy", min=0.95), Gate(metric="f1", min=0.1), Gate(metric="perplexity", max=9)]
    assert unmet(judge_gates(gates, METRICS, {}), METRICS) == (
        "accuracy is 0.9, and must be at least 0.95; no suite measures f1; there are accuracy, perplexity, r2"
    )


def test_nothing_is_unmet_where_all_is_well() -> None:
    assert unmet(judge_gates([Gate(metric="accuracy", min=0.5)], METRICS, {}), METRICS) is None
