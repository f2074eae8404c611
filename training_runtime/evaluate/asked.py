"""The rows that are asked: of the test rows, or of a suite's own cases, as preparation left them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from training_runtime.errors import DataError
from training_runtime.plan import Plan
from training_runtime.prepared import part_files
from training_runtime.rows.conversations import question
from training_runtime.workspace import cases_folder, cases_name

from .questions import TEST_ROWS, RowSet
from .sample import sample

__all__ = ["Asked", "Exchange", "loss_rows", "rows_to_ask"]


class Exchange(NamedTuple):
    """A question and the tuned model's answer, as tokens."""

    question: list[int]
    answer: list[int]


@dataclass
class Asked:
    """Rows that were asked, and each model's answers to them."""

    conversations: list[list[dict[str, str]]]
    answers: dict[str, list[str]] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def expected(self) -> list[str]:
        """The rows' own answers."""
        return [messages[-1]["content"] for messages in self.conversations]

    @property
    def questions(self) -> list[str]:
        """What was asked, each in one text."""
        return [question(messages) for messages in self.conversations]

    def lines(self, rows: RowSet) -> list[dict[str, Any]]:
        """The rows with all answers, as `answers.jsonl` keeps them."""
        return [
            {
                "file": rows.path or "test",
                "constrained": rows.constrained,
                "messages": messages,
                **{f"{name}_answer": found[i] for name, found in self.answers.items()},
            }
            for i, messages in enumerate(self.conversations)
        ]


def rows_to_ask(plan: Plan, path: str) -> Asked:
    """Return a sample of the rows; those of plain text have no question, so only their loss is measured."""
    rows = [json.loads(row["messages"]) for row in _sampled(plan, _files(plan, path), ["messages"])]
    return Asked([messages for messages in rows if messages[-1]["role"] == "assistant"])


def loss_rows(plan: Plan) -> list[tuple[list[int], list[int]]]:
    """Return the token ids and labels of the same sample of the test rows."""
    rows = _sampled(plan, part_files(plan, "test"), ["input_ids", "labels"])
    return [(row["input_ids"], row["labels"]) for row in rows]


def _sampled(plan: Plan, files: Sequence[str], columns: list[str]) -> list[dict[str, Any]]:
    return sample(files, columns, plan.evaluation.max_rows, plan.evaluation.seed)


def _files(plan: Plan, path: str) -> list[str]:
    if path == TEST_ROWS:
        return part_files(plan, "test")
    found = sorted((cases_folder(plan) / cases_name(path)).glob("*.parquet"))
    if not found:
        raise DataError(f"the cases of {path} are not prepared: run the prepare stage first")
    return [str(file) for file in found]
