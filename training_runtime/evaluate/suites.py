"""Judging answers: each suite turns answers and what was expected into named numbers."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from training_runtime.errors import DataError
from training_runtime.plan import SuitePlan
from training_runtime.prepare.rows import at_path

__all__ = ["judge"]

_NO_LABEL = "(none)"


def judge(suite: SuitePlan, answers: Sequence[str], expected: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield each metric of a suite with its name."""
    if suite.name == "json":
        valid = sum(_parsed(answer) is not None for answer in answers)
        yield "json_validity", valid / len(answers)
        return
    field = suite.label_field or ""
    truth = [_label(text, field) for text in expected]
    if _NO_LABEL in truth:
        row = truth.index(_NO_LABEL) + 1
        raise DataError(f"test row {row} has no `{field}` in its answer: mend the data or the suite's labelField")
    yield from _classification(truth, [_label(answer, field) for answer in answers])


def _classification(truth: list[str], predicted: list[str]) -> Iterator[tuple[str, float]]:
    """Accuracy, and the unweighted mean over the true labels of precision, recall and F1."""
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    yield "accuracy", float(accuracy_score(truth, predicted))
    scores = precision_recall_fscore_support(
        truth, predicted, labels=sorted(set(truth)), average="macro", zero_division=0
    )
    for name, value in zip(("precision", "recall", "f1"), scores, strict=False):
        yield f"macro_{name}", float(value)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _label(text: str, field: str) -> str:
    parsed = _parsed(text)
    try:
        return _NO_LABEL if parsed is None else str(at_path(parsed, field))
    except KeyError:
        return _NO_LABEL
