"""Evaluation's own cases, made ready before a GPU is asked for: cleaned and masked as the training rows are.

A case that training learns says nothing of what the model can do, so it fails the stage. It is known by its question,
whatever its answer, among the questions of every turn that training learns: word by word, with the row's context, but
for case and the width of spaces, and after cleaning and masking.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from training_runtime.committed import committing
from training_runtime.errors import DataError
from training_runtime.plan import DatasetPlan, Plan, QualityPlan
from training_runtime.prepared import part_files
from training_runtime.rows.blocks import Block, rows_of
from training_runtime.rows.conversations import Message, question
from training_runtime.rows.formats import blocks, data_files
from training_runtime.rows.templates import detected_template
from training_runtime.workspace import cases_folder, cases_name

from .first_pass import FirstPass

__all__ = ["prepare_cases"]

_SHOWN_CASES = 10


def prepare_cases(plan: Plan) -> None:
    """Leave the cases of every suite that has its own; raise DataError where they cannot be asked."""
    paths = {suite.own_cases for suite in plan.evaluation.suites if suite.own_cases}
    if not paths:
        return
    with committing(cases_folder(plan)) as draft:
        for path in sorted(paths):
            _read(plan.dataset, Path(path), draft / cases_name(path))
        _check_apart(plan, sorted(map(str, draft.glob("*/*.parquet"))))


def _read(dataset: DatasetPlan, path: Path, folder: Path) -> None:
    if not path.exists():
        raise DataError(f"the evaluation file {path} is not there: check the suite's cases")
    folder.mkdir()
    stream = chain.from_iterable(blocks(file, "Auto") for file in data_files(path))
    first = next(stream, Block("", 1))
    row = next((row for _, _, row in rows_of(first) if isinstance(row, dict)), None)
    if row is None:
        raise DataError(f"the evaluation file {path} holds no row that can be read")
    rules = _rules(dataset)
    template = dataset.template if dataset.template != "Auto" else detected_template(row, dataset.columns)
    if template == "Text":
        raise DataError(f"the evaluation file {path} holds plain text: a case needs a question and an answer")
    work = FirstPass(rules, template, folder, sketch=False)
    removed = [row for found in map(work, enumerate(chain([first], stream))) for row in found.removed]
    if removed:
        shown = "; ".join(f"{row.file} line {row.line}: {row.reason}" for row in removed[:_SHOWN_CASES])
        raise DataError(f"{len(removed)} evaluation cases cannot be asked, mend them or leave them out: {shown}")


def _rules(dataset: DatasetPlan) -> DatasetPlan:
    """What is done to a row's text, without what chooses between rows: every case was chosen by the user."""
    return dataset.model_copy(
        update={
            "clean": dataset.clean.model_copy(update={"min_characters": 1, "max_characters": None}),
            "quality": QualityPlan(),
            "columns": dataset.columns.model_copy(update={"group": None}),
            "response_schema": None,
            "response_dictionary": None,
        }
    )


def _check_apart(plan: Plan, files: Sequence[str]) -> None:
    cases: dict[bytes, str] = {}
    for path in files:
        for file, line, text in _columns(path, ["file", "line", "messages"]):
            cases.setdefault(_known_by(orjson.loads(text)), f"{file} line {line}")
    learnt = chain.from_iterable(
        _turns(orjson.loads(text)) for path in part_files(plan, "train") for (text,) in _columns(path, ["messages"])
    )
    found = dict.fromkeys(cases[one] for one in map(_known_by, learnt) if one in cases)
    if found:
        shown = "; ".join(list(found)[:_SHOWN_CASES])
        raise DataError(
            f"{len(found)} evaluation cases ask what a training row asks: {shown}: take them out of the cases, or the "
            "rows out of the training data"
        )


def _turns(messages: list[Message]) -> Iterator[list[Message]]:
    """The conversation up to each of its answers, for each is learnt."""
    return (messages[: turn + 1] for turn, message in enumerate(messages) if message["role"] == "assistant")


def _known_by(messages: list[Message]) -> bytes:
    plain = " ".join(question(messages, system=False).casefold().split())
    return hashlib.blake2b(plain.encode(), digest_size=16).digest()


def _columns(path: str, names: list[str]) -> Iterator[tuple[Any, ...]]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        for batch in file.iter_batches(columns=names):
            yield from zip(*(batch[name].to_pylist() for name in names), strict=True)
