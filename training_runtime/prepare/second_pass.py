"""The second pass: what the first left on the spool, less the repetitions, becomes tokens in shards of each part.

It runs in a process of its own, one block at a time; which row belongs to which part was decided in between.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from training_runtime.plan import Plan
from training_runtime.rows.conversations import Message
from training_runtime.tokenizer import load_tokenizer
from training_runtime.workspace import PARTS, base_folder

from .first_pass import Removed
from .tokens import IGNORED, Encoded, Encoder

if TYPE_CHECKING:
    import pyarrow

__all__ = ["LEFT_OUT", "UNWRITABLE", "SecondPass", "Sharded", "texts"]

LEFT_OUT = 255
"""Where a row belongs that repeats another."""
UNWRITABLE = "unwritable"
"""The kind of a row that the chat template cannot write."""


@dataclass
class Sharded:
    """What one block came to."""

    lengths: list[int] = field(default_factory=list)
    """Of every row that stays, in tokens, before it was cut."""
    rows: dict[str, int] = field(default_factory=dict)
    highest: int = 0
    """The highest token in them."""
    removed: list[Removed] = field(default_factory=list)


@dataclass
class SecondPass:
    """The tokenizer's plan and template, and the folder the shards go to. It is sent to the workers."""

    plan: Plan
    target: Path
    template: str | None
    """The chat template that rows are written by; None where plain text is all that the base can read."""

    def __call__(self, item: tuple[Path, bytes]) -> Sharded:
        """Work on one block; the bytes say which of PARTS each of its rows belongs to, or LEFT_OUT."""
        import pyarrow
        from pyarrow.parquet import read_table

        path, parts = item
        done = Sharded()
        table = read_table(path, columns=["file", "line", "messages", "label", "group"], use_threads=False)
        kept = [position for position, part in enumerate(parts) if part != LEFT_OUT]
        table = table.take(kept)
        encoder = _encoder(self.plan.model_dump_json(), self.template)

        def refuse(row: int, reason: str, table: "pyarrow.Table" = table) -> None:
            done.removed.append(_removed(table, row, UNWRITABLE, reason))

        found = list(encoder.encode(_messages(table), _places(table), refuse))
        table = table.take([row for row, examples in enumerate(found) for _ in examples])
        kept = [position for position, examples in zip(kept, found, strict=True) for _ in examples]
        encoded = [example for examples in found for example in examples]
        for number, part in enumerate(PARTS):
            mine = [row for row, position in enumerate(kept) if parts[position] == number]
            learnt = [row for row in mine if any(label != IGNORED for label in encoded[row].labels)]
            done.removed += [_too_long(table, row, encoded[row]) for row in sorted(set(mine) - set(learnt))]
            done.lengths += [encoded[row].length for row in learnt]
            done.highest = max([done.highest, *(max(encoded[row].input_ids) for row in learnt)])
            done.rows[part] = len(learnt)
            if learnt:
                self._write(pyarrow.table(_columns(table.take(learnt), [encoded[row] for row in learnt])), part, path)
        return done

    def _write(self, table: "pyarrow.Table", part: str, path: Path) -> None:
        from pyarrow.parquet import write_table

        folder = self.target / part
        folder.mkdir(parents=True, exist_ok=True)
        write_table(table, folder / path.name, compression="zstd", compression_level=1)


@lru_cache(1)
def _encoder(plan: str, template: str | None) -> Encoder:
    """One tokenizer per process."""
    parsed = Plan.model_validate_json(plan)
    training = parsed.training
    tokenizer = load_tokenizer(base_folder(parsed))
    if template:
        tokenizer.chat_template = template
    return Encoder(tokenizer, training.max_sequence_length, answers_only=training.assistant_only_loss)


def _messages(table: "pyarrow.Table") -> list[list[Message]]:
    return [orjson.loads(text) for text in table["messages"].to_pylist()]


def _places(table: "pyarrow.Table") -> list[str]:
    return [
        f"{file} line {line}" for file, line in zip(table["file"].to_pylist(), table["line"].to_pylist(), strict=True)
    ]


def _columns(table: "pyarrow.Table", encoded: list[Encoded]) -> dict[str, "pyarrow.Array"]:
    import pyarrow

    ids = pyarrow.list_(pyarrow.int32())
    return {
        "input_ids": pyarrow.array([example.input_ids for example in encoded], type=ids),
        "labels": pyarrow.array([example.labels for example in encoded], type=ids),
        "messages": pyarrow.array([orjson.dumps(example.messages).decode() for example in encoded]),
        "label": table["label"],
        "group": table["group"],
    }


def _too_long(table: "pyarrow.Table", row: int, example: Encoded) -> Removed:
    reason = f"its question alone fills the {len(example.input_ids)} tokens a row may have"
    return _removed(table, row, "too-long", reason)


def _removed(table: "pyarrow.Table", row: int, kind: str, reason: str) -> Removed:
    return Removed(table["file"][row].as_py(), table["line"][row].as_py(), kind, reason)


def texts(paths: Iterable[Path]) -> Iterator[str]:
    """Yield every message's text on the spool, for a new tokenizer to learn from."""
    from pyarrow.parquet import ParquetFile

    for path in paths:
        for batch in ParquetFile(path).iter_batches(columns=["messages"]):
            for text in batch["messages"].to_pylist():
                yield from (message["content"] for message in orjson.loads(text))
