"""What vLLM is asked in evaluation and what it answers: token ids in JSON, on the volume between two images.

The trainer's image has what reads and renders rows, the server's has vLLM. So the questions are written where they are
asked otherwise, token for token the same, and the answers are read there; in between nothing knows of rows. This module
is imported in both and needs the standard library alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from training_runtime.committed import MANIFEST, committing, facts_of, file_digest, verified_digest
from training_runtime.errors import DataError
from training_runtime.plan import Plan, SuitePlan
from training_runtime.workspace import answers_folder, base_folder, model_folder, questions_folder

__all__ = [
    "ANSWERS_FILE",
    "QUESTIONS_FILE",
    "TEST_ROWS",
    "Ids",
    "RowSet",
    "answers_are_there",
    "answers_on_volume",
    "asked_models",
    "asked_rows",
    "declined",
    "questions_text",
    "row_sets",
    "set_answers_facts",
    "write_questions",
]

QUESTIONS_FILE, ANSWERS_FILE = "questions.json", "answers.json"
TEST_ROWS = ""
"""Instead of the path of own cases."""
_DECLINED = "declined"
Ids = list[list[int]]


class RowSet(NamedTuple):
    """Rows that are asked together, in one way."""

    path: str
    constrained: bool


def asked_rows(suite: SuitePlan) -> RowSet:
    """Return which rows a suite judges the answers to."""
    return RowSet(suite.own_cases or TEST_ROWS, suite.constrained)


def row_sets(plan: Plan) -> list[RowSet]:
    """Return what is asked: the test rows first, whether a suite judges them or not, then own cases.

    Rows that one suite has constrained and another has not are asked both ways.
    """
    wanted = [asked_rows(suite) for suite in plan.evaluation.suites if suite.needs_answers]
    of_test = [one for one in wanted if one.path == TEST_ROWS]
    return list(dict.fromkeys([*(of_test or [RowSet(TEST_ROWS, constrained=False)]), *wanted]))


def asked_models(plan: Plan) -> dict[str, Path]:
    """Return the models that are asked; a new base knows nothing, so it is not."""
    models = {"tuned": model_folder(plan)}
    if plan.evaluation.compare_base and plan.base.initialize == "Pretrained":
        models["base"] = base_folder(plan)
    return models


def questions_text(plan: Plan, asked: Mapping[RowSet, Ids], ends: Sequence[int]) -> str:
    """Return the questions with all that answers depend on beside the model; the same for the same."""
    settings = plan.evaluation
    schema = plan.dataset.response_schema if any(one.constrained for one in asked) else None
    content = {
        "ends": list(ends),
        "limit": settings.max_new_tokens,
        "seed": settings.seed,
        "schema": schema,
        "sets": [{**one._asdict(), "ids": ids} for one, ids in asked.items()],
    }
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def write_questions(plan: Plan, text: str) -> None:
    """Commit the questions to the volume."""
    with committing(questions_folder(plan)) as draft:
        (draft / QUESTIONS_FILE).write_text(text, encoding="utf-8")


def set_answers_facts(draft: Path, questions: str, model: Path, declined_because: str = "") -> None:
    """Have the answers say to which questions they are (their digest), and by which model; or why there are none."""
    facts = _facts(questions, model) | ({_DECLINED: declined_because} if declined_because else {})
    (draft / MANIFEST).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")


def answers_are_there(plan: Plan, name: str, questions: str) -> bool:
    """Whether a model has answered these questions already, and whole."""
    folder = answers_folder(plan, name)
    return bool(verified_digest(folder)) and _are_of(folder, questions, asked_models(plan)[name])


def declined(plan: Plan, name: str) -> str:
    """Return why vLLM did not answer for a model, empty where it did."""
    return str(facts_of(answers_folder(plan, name)).get(_DECLINED, ""))


def answers_on_volume(plan: Plan, name: str, text: str) -> dict[RowSet, Ids]:
    """Return a model's answers to these questions; raise DataError where there are none, or others."""
    folder = answers_folder(plan, name)
    if not verified_digest(folder):
        raise DataError(
            f"vLLM's answers for the {name} model are not on the volume: run the ask step, then, where vLLM is "
            "installed, the answer step first"
        )
    if not _are_of(folder, hashlib.sha256(text.encode()).hexdigest(), asked_models(plan)[name]):
        raise DataError(
            f"vLLM's answers for the {name} model on the volume are to other questions, or another model's: run the "
            "ask and the answer step again"
        )
    if declined(plan, name):
        return {}
    found: list[dict[str, Any]] = json.loads((folder / ANSWERS_FILE).read_bytes())["sets"]
    return {RowSet(one["path"], one["constrained"]): one["ids"] for one in found}


def _are_of(folder: Path, questions: str, model: Path) -> bool:
    facts = facts_of(folder)
    return {name: facts.get(name) for name in ("questions", "model")} == _facts(questions, model)


def _facts(questions: str, model: Path) -> dict[str, str]:
    """A committed model is known by its manifest, which lists every file's digest."""
    try:
        return {"questions": questions, "model": file_digest(model / MANIFEST)}
    except FileNotFoundError as error:
        raise DataError("there is no finished model on the volume: run the train stage first") from error
