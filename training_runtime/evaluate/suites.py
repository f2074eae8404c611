"""Judging answers: each suite turns answers and what was expected into scores, classes and pictures."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training_runtime.errors import DataError, PlanError
from training_runtime.page import heat_map
from training_runtime.plan import SuitePlan
from training_runtime.rows.conversations import at_path

from .language import written_alike
from .scores import Average, ClassAverage, Measured, Scores

__all__ = ["Judgement", "is_object", "judge_answers"]

_NO_LABEL, _OTHER_LANGUAGE = "(none)", "(other language)"
_MAX_LABELS = 30
_SHOWN_CHARACTERS = 80


@dataclass
class Judgement:
    """What a suite found."""

    scores: dict[str, Measured] = field(default_factory=dict)
    """Metrics that know their rows: they have an interval, and are compared between two models."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics that do not, as that of a group of the harness's tasks."""
    classes: dict[str, dict[str, float]] = field(default_factory=dict)
    """Per label: precision, recall, f1, support."""
    pictures: list[tuple[str, str]] = field(default_factory=list)

    def named(self, suite: str) -> "Judgement":
        """The same with every metric, label and picture named after its suite."""
        return Judgement(
            scores={f"{suite}/{name}": scores for name, scores in self.scores.items()},
            metrics={f"{suite}/{name}": value for name, value in self.metrics.items()},
            classes={f"{suite}/{label}": values for label, values in self.classes.items()},
            pictures=[(f"{title}: {suite}", picture) for title, picture in self.pictures],
        )

    def all_metrics(self) -> dict[str, float]:
        """Every metric by its name."""
        return {**{name: scores.value for name, scores in self.scores.items()}, **self.metrics}


def judge_answers(
    suite: SuitePlan, answers: Sequence[str], expected: Sequence[str], schema: dict[str, Any] | None
) -> Judgement:
    """Judge by a suite that needs nothing but the answers."""
    if suite.type == "JSON":
        return _json(suite, answers, schema)
    if suite.type == "Text":
        return _text(answers, expected)
    return _classification(suite, answers, expected)


def _json(suite: SuitePlan, answers: Sequence[str], schema: dict[str, Any] | None) -> Judgement:
    parsed = [_parsed(answer) for answer in answers]
    found = Judgement({"json_validity": Scores.of([float(value is not None) for value in parsed])})
    if suite.schema_path:
        schema = _schema(Path(suite.schema_path))
    if schema:
        from jsonschema.validators import validator_for

        validator = validator_for(schema)(schema)
        valid = [float(value is not None and _is_valid(validator, value)) for value in parsed]
        found.scores["schema_validity"] = Scores.of(valid)
    return found


def _is_valid(validator: Any, value: dict[str, Any]) -> bool:  # noqa: ANN401 - jsonschema makes its classes as it runs
    try:
        return bool(validator.is_valid(value))
    except RecursionError:  # a schema that refers to itself follows an answer down
        return False


def is_object(answer: str) -> bool:
    """Whether an answer is a JSON object."""
    return _parsed(answer) is not None


def _schema(path: Path) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PlanError(f"the json suite's schema {path} cannot be read: {error}") from error
    return schema


def _text(answers: Sequence[str], expected: Sequence[str]) -> Judgement:
    """Exact match, ROUGE-L (F1 over words) and chrF (Popović 2015), each from 0 to 1."""
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

    rouge, chrf = RougeScorer(["rougeL"], tokenizer=_Words()), CHRF()
    pairs = list(zip(answers, expected, strict=True))
    return Judgement(
        {
            "exact_match": Scores.of([float(answer.strip() == truth.strip()) for answer, truth in pairs]),
            "rouge_l": Scores.of([rouge.score(truth, answer)["rougeL"].fmeasure for answer, truth in pairs]),
            "chrf": Scores.of([chrf.sentence_score(answer, [truth]).score / 100 for answer, truth in pairs]),
        }
    )


class _Words:
    """Words by spaces: rouge_score's own tokenizer drops every letter but a to z."""

    def tokenize(self, text: str) -> list[str]:
        """Return the words in lower case."""
        return text.casefold().split()


def _classification(suite: SuitePlan, answers: Sequence[str], expected: Sequence[str]) -> Judgement:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth = [_label(text, suite.label_field) for text in expected]
    if _NO_LABEL in truth:
        answer = expected[truth.index(_NO_LABEL)]
        raise DataError(
            f"a row's answer has no `{suite.label_field}`, {answer[:_SHOWN_CHARACTERS]!r}: mend the data or the "
            "suite's labelField"
        )
    predicted = [_predicted(suite, *pair) for pair in zip(answers, expected, strict=True)]
    labels = sorted(set(truth))
    each = precision_recall_fscore_support(truth, predicted, labels=labels, average=None, zero_division=0)
    found = Judgement({"accuracy": Scores.of([float(a == b) for a, b in zip(truth, predicted, strict=True)])})
    averages: tuple[Average, ...] = ("precision", "recall", "f1")
    found.scores |= {f"macro_{kind}": ClassAverage(truth, predicted, kind) for kind in averages}
    names = ("precision", "recall", "f1", "support")
    found.classes = {
        label: {name: float(values[i]) for name, values in zip(names, each, strict=True)}
        for i, label in enumerate(labels)
    }
    if len(labels) <= _MAX_LABELS:
        everything = (
            labels + [label for label, _ in Counter(predicted).most_common() if label not in labels][:_MAX_LABELS]
        )
        counts = confusion_matrix(truth, predicted, labels=everything)[: len(labels)].tolist()
        found.pictures.append(("Confusion matrix", heat_map(labels, everything, counts)))
    return found


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _predicted(suite: SuitePlan, answer: str, expected: str) -> str:
    """The answer's label; the right decision in a language that the reader may not read is not an answer."""
    label = _label(answer, suite.label_field)
    if label == _NO_LABEL or suite.language_field is None:
        return label
    said, asked = (_label(text, suite.language_field) for text in (answer, expected))
    return label if said != _NO_LABEL and written_alike(said, asked) else _OTHER_LANGUAGE


def _label(text: str, path: str | None) -> str:
    if path is None:
        return text.strip() or _NO_LABEL
    parsed = _parsed(text)
    try:
        return _NO_LABEL if parsed is None else str(at_path(parsed, path))
    except (KeyError, RecursionError):
        return _NO_LABEL
