"""Rows are read and rendered; what cannot be used is set aside with its line and reason."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from training_runtime.errors import DataError
from training_runtime.prepare.rows import Example, Rejected, Row, read_rows, render

INSTRUCTION = {"instruction": "Decide.", "input": {"subject": "상품"}, "output": {"action": "BLOCK"}}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_plain_and_compressed_files_read_alike(tmp_path: Path, name: str) -> None:
    content = "\ufeff" + json.dumps(INSTRUCTION, ensure_ascii=False) + "\n\n{broken\n[1]\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    first, second, third = read_rows(path)
    assert first == Row(1, INSTRUCTION)
    assert isinstance(second, Rejected)
    assert second.line == 3
    assert third == Rejected(4, "not a JSON object")


@pytest.mark.parametrize("content", [b"\xc5\xd7\xbd\xba\xc6\xae", b"\x1f\x8b\x08\x00half"])
def test_an_unreadable_file_is_bad_data(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ("rows.jsonl.gz" if content.startswith(b"\x1f") else "rows.jsonl")
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as UTF-8 JSON Lines"):
        list(read_rows(path))


def test_instruction_input_and_output_become_a_chat() -> None:
    example = render(Row(1, INSTRUCTION), "instruction-io", "output.action")
    assert example == Example(
        [{"role": "user", "content": 'Decide.\n{"subject": "상품"}'}], '{"action": "BLOCK"}', "BLOCK"
    )


def test_messages_are_split_before_the_last_answer() -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert render(Row(1, {"messages": chat}), "messages", None) == Example(chat[:2], "a", "")


@pytest.mark.parametrize(
    ("template", "content", "reason"),
    [
        ("instruction-io", {"input": "x", "output": "y"}, "has no instruction"),
        ("instruction-io", {"instruction": "x"}, "has no output"),
        ("instruction-io", {"instruction": "x", "output": "  "}, "the answer is empty"),
        ("instruction-io", {"instruction": "x", "output": "y"}, "has no output.action"),
        ("messages", {"messages": "x"}, "`messages` must be a list of at least a question and an answer"),
        ("messages", {"messages": [{"role": "user", "content": "x"}]}, "`messages` must be a list of at least"),
        (
            "messages",
            {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]},
            "the last of `messages` must be the assistant's answer",
        ),
    ],
)
def test_a_row_that_cannot_be_rendered_says_why(template: str, content: dict[str, Any], reason: str) -> None:
    stratify = "output.action" if "output.action" in reason else None
    rejected = render(Row(7, content), template, stratify)
    assert isinstance(rejected, Rejected)
    assert rejected.line == 7
    assert rejected.reason.startswith(reason)
