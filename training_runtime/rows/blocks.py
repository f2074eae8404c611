"""Blocks of rows: few of them lie in memory at a time, and each is parsed where it is worked on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["Block", "rows_of"]


@dataclass(frozen=True)
class Block:
    """Rows that follow each other in a file: raw lines of JSON, or rows already parsed."""

    file: str
    first_line: int
    lines: bytes = b""
    rows: tuple[tuple[int, Any], ...] = ()
    """Line and content; a text instead of a mapping says why the row cannot be read."""


def rows_of(block: Block) -> Iterator[tuple[int, Any, Any]]:
    """Line, the row as it came, and the parsed row, or why it could not be parsed."""
    for line, row in block.rows:
        yield line, row, row
    if not block.lines:
        return
    for line, raw in enumerate(block.lines.split(b"\n"), block.first_line):
        if not raw or raw.isspace():
            continue
        try:
            row = orjson.loads(raw)
            yield line, raw, row if isinstance(row, dict) else "is not a JSON object"
        except ValueError as error:
            yield line, raw, _why_not_json(raw, error)


def _why_not_json(raw: bytes, error: ValueError) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "is not UTF-8: save the file as UTF-8"
    return f"is not JSON: {str(error).partition(': line')[0]}"
