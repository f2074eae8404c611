"""Every format is read in blocks, plain or compressed, in UTF-8 or a Korean code page."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow.parquet import write_table

from training_runtime.errors import DataError
from training_runtime.plan import DataFormat
from training_runtime.rows.blocks import rows_of
from training_runtime.rows.formats import blocks, data_files

ROWS = [{"question": "통행료는?", "answer": "1,000원"}, {"question": 'a "b"\nc', "answer": "d"}]


def _read(path: Path, wanted: DataFormat = "Auto") -> list[Any]:
    return [row for block in blocks(path, wanted) for _, _, row in rows_of(block)]


def _lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _csv(rows: list[dict[str, str]]) -> str:
    quoted = ['"{}","{}"'.format(*(value.replace('"', '""') for value in row.values())) for row in rows]
    return "question,answer\n" + "\n".join(quoted) + "\n"


WRITERS: dict[str, Callable[[Path], Any]] = {
    "rows.jsonl": lambda path: path.write_text(_lines(ROWS)),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(_lines(ROWS).encode())),
    "rows.jsonl.bz2": lambda path: path.write_bytes(bz2.compress(_lines(ROWS).encode())),
    "rows.jsonl.xz": lambda path: path.write_bytes(lzma.compress(_lines(ROWS).encode())),
    "mark.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + _lines(ROWS).encode()),
    "korean.jsonl": lambda path: path.write_text(_lines(ROWS), encoding="cp949"),
    "utf16.jsonl": lambda path: path.write_text(_lines(ROWS), encoding="utf-16"),
    "lines.json": lambda path: path.write_text(_lines(ROWS)),
    "array.json": lambda path: path.write_text(json.dumps(ROWS)),
    "wrapped.json": lambda path: path.write_text(json.dumps({"version": 1, "data": ROWS}, indent=2)),
    "rows.csv": lambda path: path.write_text(_csv(ROWS)),
    "mark.csv": lambda path: path.write_text(_csv(ROWS), encoding="utf-8-sig"),
    "korean.csv": lambda path: path.write_text(_csv(ROWS), encoding="cp949"),
    "rows.tsv": lambda path: path.write_text("question\tanswer\n통행료는?\t1,000원\n"),
    "rows.parquet": lambda path: write_table(pyarrow.Table.from_pylist(ROWS), path),
    "nameless": lambda path: path.write_text(_lines(ROWS)),
    "nameless-array": lambda path: path.write_text(json.dumps(ROWS)),
    "nameless-csv": lambda path: path.write_text(_csv(ROWS)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_format_is_detected_and_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    assert _read(path) == (ROWS[:1] if name == "rows.tsv" else ROWS)


def test_lines_are_numbered_across_blocks_and_blank_ones_count(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    filler = "x" * 3_000_000
    path.write_text("".join(f'{{"n": {i}, "filler": "{filler}"}}\n\n' for i in range(8)))
    found = list(blocks(path, "Auto"))
    assert len(found) > 1
    assert [line for block in found for line, _, _ in rows_of(block)] == [1, 3, 5, 7, 9, 11, 13, 15]


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("rows.jsonl", b'{"a": 1}\n{"a": \n', 2, "is not JSON"),
        ("rows.jsonl", b'{"a": 1}\n[1]\n', 2, "is not a JSON object"),
        ("rows.jsonl", b'{"a": 1}\n{"a": "\xff\xfe"}\n', 2, "is not UTF-8"),
        ("rows.json", b'[{"a": 1}, 5]', 2, "is not a JSON object"),
        ("rows.csv", b"a,b\n1,2\n1,2,3\n", 3, "has 3 cells where the header has 2"),
    ],
)
def test_a_bad_row_says_its_line_and_why(tmp_path: Path, name: str, content: bytes, line: int, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = [
        (number, row) for block in blocks(path, "Auto") for number, _, row in rows_of(block) if isinstance(row, str)
    ]
    assert [number for number, _ in found] == [line]
    assert found[0][1].startswith(reason)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b"", "rows.jsonl is empty"),
        ("rows.jsonl.gz", gzip.compress(_lines(ROWS).encode(), mtime=0)[:-20], "cannot be read to its end"),
        ("rows.json", json.dumps(ROWS).encode()[:-5], "is not whole JSON"),
        ("rows.csv", b'a,b\n1,"2\n', "cannot be read to its end"),
        ("rows.parquet", b"PAR1 half", "is not a complete Parquet file"),
        ("rows.csv", b"a,b\n\xff\xff\xff,\x81\n", "is neither UTF-8 nor CP949 (byte"),
    ],
)
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        _read(path)
    assert message in str(caught.value)


def test_a_folder_gives_its_data_files_in_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.csv.gz", "README.md", ".hidden.jsonl"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in data_files(tmp_path)] == ["a.csv.gz", "b.jsonl"]
