"""The first pass over the data: one block of rows read, rendered, cleaned, masked, judged and sketched.

It runs in a process of its own and writes what goes on to a spool on the volume; only what is counted comes back.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from training_runtime.errors import PlanError
from training_runtime.plan import DatasetPlan, RowTemplate
from training_runtime.rows.blocks import Block, rows_of
from training_runtime.rows.conversations import Conversation, Message, Part, Rejected, with_texts
from training_runtime.rows.dictionary import dictionary_of, outside
from training_runtime.rows.templates import Renderer

from .duplicates import sketches
from .masking import Masked, mask
from .pii import Finder
from .quality import Gate

if TYPE_CHECKING:
    from .duplicates import Array

__all__ = ["FirstPass", "Removed", "Sample", "Spooled"]

_SAMPLE_ROWS = 10
_TOLD_CHARACTERS = 200


@dataclass(frozen=True)
class Removed:
    """A row that goes no further."""

    file: str
    line: int
    kind: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """A row as it came and as training reads it."""

    before: str
    after: str
    changed: bool


@dataclass
class Spooled:
    """What one block came to."""

    path: Path
    rows: int = 0
    labels: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    sketches: "Array | None" = None
    removed: list[Removed] = field(default_factory=list)
    pii: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often an answer's field had a type."""


@dataclass
class FirstPass:
    """The rules, and the folder that spools go to. It is sent to the workers, so it holds no compiled state."""

    plan: DatasetPlan
    template: RowTemplate
    spool: Path
    sketch: bool

    def __call__(self, numbered: tuple[int, Block]) -> Spooled:
        """Work on one block; write its rows to `spool/NUMBER.parquet`."""
        number, block = numbered
        rules = _rules(self.plan.model_dump_json(), self.template)
        found = Spooled(self.spool / f"{number:06d}.parquet")
        kept: list[tuple[int, Conversation]] = []
        for line, raw, row in rows_of(block):
            try:
                conversation = rules.apply(row, found, raw)
            except Rejected as reason:
                found.removed.append(Removed(block.file, line, reason.kind, str(reason)))
            else:
                kept.append((line, conversation))
        if kept:
            _write(found, block.file, kept)
            if self.sketch:
                found.sketches = sketches([conversation.asked for _, conversation in kept])
        return found


class _Rules:
    def __init__(self, plan: DatasetPlan, template: RowTemplate) -> None:
        self._plan = plan
        self._render = Renderer(plan, template)
        self._gate = Gate(plan.clean, plan.quality)
        self._schema = _validator(plan.response_schema)
        # What all rows share, a system prompt or an instruction, is looked at once.
        self._mask = lru_cache(4096)(partial(mask, Finder.of(plan.pii.entities)))

    def apply(self, row: Any, found: Spooled, raw: Any) -> Conversation:  # noqa: ANN401 - a row holds anything
        conversation = self._render(row)
        answer = conversation.messages[-1]["content"]
        if unfit := self._gate.unfit(conversation.asked, answer):
            raise Rejected(unfit.kind, unfit.reason)
        self._check_answer(answer, found.answers)
        self._check_words(conversation)
        masked = conversation if self._plan.pii.action == "None" else self._masked(conversation, found.pii)
        changed = masked is not conversation
        if len(found.samples) < _SAMPLE_ROWS or (
            changed and sum(sample.changed for sample in found.samples) < _SAMPLE_ROWS
        ):
            found.samples.append(Sample(_as_came(raw), _as_read(masked), changed))
        return masked

    def _masked(self, conversation: Conversation, counts: Counter[str]) -> Conversation:
        every: list[Masked] = []

        def masked(text: str) -> str:
            every.append(self._mask(text))
            return every[-1].text

        messages = with_texts(conversation.messages, masked)
        found = sum((one.found for one in every if one.found), Counter[str]())
        if not found:
            return conversation
        counts.update(found)
        if self._plan.pii.action == "Drop":
            raise Rejected("personal-data", f"holds {', '.join(sorted(found))}")
        if self._plan.pii.action == "Report":
            return conversation
        self._check_masked(conversation.messages[-1]["content"], messages[-1]["content"], every)
        parts = tuple(self._moved(part, conversation.messages, messages) for part in conversation.parts)
        return Conversation(messages, parts, conversation.label, conversation.group)

    def _moved(self, part: Part, messages: Sequence[Message], masked: Sequence[Message]) -> Part:
        """A part as training reads it, so that rows that differ in what was masked alone are repetitions.

        It is all of its turn where one mask covers what is shared and what is not.
        """
        shared = self._mask(messages[part.turn]["content"][: part.start]).text
        return Part(part.turn, len(shared) if masked[part.turn]["content"].startswith(shared) else 0)

    def _check_masked(self, answer: str, masked: str, every: Sequence[Masked]) -> None:
        if field := next((one.number for one in every if one.number), ""):
            raise Rejected(
                "unmaskable",
                f"holds personal data as the JSON number {field!r}, which no word can replace: write it as text, or "
                "set dataset.pii.action to Drop or Report",
            )
        if masked != answer and (problem := self._problem(_parsed(masked))):
            raise Rejected(
                "unmaskable",
                f"breaks responseSchema once personal data is masked, at {problem}: let the schema allow it, or set "
                "dataset.pii.action to Drop or Report",
            )

    def _check_answer(self, answer: str, fields: Counter[tuple[str, str]]) -> None:
        parsed = _parsed(answer)
        if isinstance(parsed, dict):
            fields.update((name, type(value).__name__) for name, value in parsed.items())
        if problem := self._problem(parsed):
            raise Rejected("schema", f"breaks responseSchema at {problem}")

    def _check_words(self, conversation: Conversation) -> None:
        if (rule := self._plan.response_dictionary) is None:
            return
        dictionary = dictionary_of(rule, self._plan.prompt, conversation.messages)
        if named := outside(rule, conversation.messages[-1]["content"], dictionary):
            raise Rejected(
                "schema", f"names in {rule.field} what its {rule.context} does not have: {self._told(named)}"
            )

    def _told(self, text: str) -> str:
        """As much of a row's text as a reason may hold."""
        return (text if self._plan.pii.action == "None" else self._mask(text).text)[:_TOLD_CHARACTERS]

    def _problem(self, parsed: Any) -> str:  # noqa: ANN401 - JSON holds anything
        """Where an answer breaks the schema, and how, without the personal data in it; empty where it does not."""
        if self._schema is None:
            return ""
        from referencing.exceptions import Unresolvable

        try:
            problem = next(self._schema.iter_errors(parsed), None)
        except Unresolvable as error:
            raise PlanError(
                f"dataset.responseSchema refers to {error.ref}, which is not in it: write it there, or refer to another"
            ) from error
        except RecursionError:
            return "the answer: it is nested too deeply"
        if problem is None:
            return ""
        where = "/".join(map(str, problem.absolute_path)) or "the answer"
        return f"{where}: {self._told(problem.message)}"


@lru_cache(1)
def _rules(plan: str, template: RowTemplate) -> _Rules:
    """One compiled set of rules per process."""
    return _Rules(DatasetPlan.model_validate_json(plan), template)


def _validator(schema: dict[str, Any] | None) -> Any:  # noqa: ANN401 - jsonschema makes its classes as it runs
    if schema is None:
        return None
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top"
        raise PlanError(
            f"dataset.responseSchema is no JSON Schema, mend it at {where}: {error.message[:200]}"
        ) from error
    return kind(schema)


def _parsed(answer: str) -> Any:  # noqa: ANN401 - JSON holds anything
    if not answer.lstrip().startswith(("{", "[")):
        return None
    try:
        return orjson.loads(answer)
    except ValueError:
        return None


def _as_came(raw: Any) -> str:  # noqa: ANN401 - a row holds anything
    return raw.decode() if isinstance(raw, bytes) else json.dumps(raw, ensure_ascii=False, default=str)


def _as_read(conversation: Conversation) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in conversation.messages)


def _write(found: Spooled, file: str, kept: list[tuple[int, Conversation]]) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    found.rows = len(kept)
    found.labels = [conversation.label for _, conversation in kept]
    found.groups = [_number(conversation.group) for _, conversation in kept]
    columns = {
        "file": [file] * len(kept),
        "line": [line for line, _ in kept],
        "messages": [orjson.dumps(conversation.messages).decode() for _, conversation in kept],
        "label": found.labels,
        "group": [conversation.group for _, conversation in kept],
    }
    write_table(pyarrow.table(columns), found.path, compression="zstd", compression_level=1)


def _number(group: str) -> int:
    """A group's name in eight bytes, so that a million of them fit."""
    return int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8).digest(), "big", signed=True)
