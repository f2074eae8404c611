"""Reading files of rows: JSON Lines, JSON, CSV and Parquet, plain or compressed, in UTF-8 or a Korean code page.

Files are read in blocks, so that a large one never lies in memory whole; a JSON array is the exception, as it has to
be parsed in one piece. What cannot be read as a whole raises DataError; a single bad row is left to the block's reader.
"""

import bz2
import codecs
import csv
import gzip
import lzma
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import orjson

from training_runtime.errors import DataError
from training_runtime.plan import DataFormat

from .blocks import Block

__all__ = ["blocks", "data_files"]

_BLOCK_BYTES = 8 << 20
_BLOCK_ROWS = 8192
_ENCODING_SAMPLE_BYTES = 1 << 20
_SUFFIXES: dict[str, DataFormat] = {
    ".jsonl": "JSONL",
    ".ndjson": "JSONL",
    ".json": "JSON",
    ".csv": "CSV",
    ".tsv": "CSV",
    ".parquet": "Parquet",
}
_COMPRESSED = (".gz", ".bz2", ".xz")
_OPENERS: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": lambda path: cast("IO[bytes]", gzip.open(path)),  # noqa: SIM115 - closed by the reader
    b"BZh": lambda path: cast("IO[bytes]", bz2.open(path)),  # noqa: SIM115 - closed by the reader
    b"\xfd7zXZ": lambda path: cast("IO[bytes]", lzma.open(path)),  # noqa: SIM115 - closed by the reader
}
_UNREADABLE = (OSError, EOFError, lzma.LZMAError, csv.Error, UnicodeError)


def data_files(folder: Path) -> list[Path]:
    """Return the files of a folder that look like data, in the order of their names, or the one file given."""
    if folder.is_file():
        return [folder]
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    known = [path for path in files if _suffix(path) in _SUFFIXES]
    return known or files


def blocks(path: Path, wanted: DataFormat) -> Iterator[Block]:
    """Yield the file's rows."""
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path.name} is empty")
        name = wanted if wanted != "Auto" else _detected(path)
        if name == "Parquet":
            yield from _parquet(path)
        elif name == "CSV":
            yield from _csv(path)
        elif name == "JSON":
            yield from _json(path)
        else:
            yield from _json_lines(path)
    except _UNREADABLE as error:
        raise DataError(f"{path.name} cannot be read to its end ({error}): it may be cut off; copy it again") from error


def _suffix(path: Path) -> str:
    return Path(path.stem if path.suffix in _COMPRESSED else path.name).suffix.lower()


def _detected(path: Path) -> DataFormat:
    """By the name; by the first byte where the name says nothing or `.json`, which many call JSON Lines."""
    name = _SUFFIXES.get(_suffix(path))
    if name is not None and name != "JSON":
        return name
    with _opened(path) as file:
        head = file.read(4096).lstrip(codecs.BOM_UTF8 + b" \t\r\n")
    if head.startswith(b"PAR1"):
        return "Parquet"
    if head.startswith(b"["):
        return "JSON"
    if not head.startswith(b"{"):
        return "CSV"
    first = head.split(b"\n", 1)[0]
    return "JSON" if name == "JSON" and not _parses(first) else "JSONL"


def _parses(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except ValueError:
        return False
    return True


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(6)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    return opener(path) if opener else path.open("rb")


def _encoding(path: Path, *, by_line: bool = False) -> str:
    """UTF-8, UTF-16 by its mark, or CP949, which Korean spreadsheets write.

    Raises DataError for anything else, but where lines are judged one by one: there a few bad ones are no reason.
    """
    with _opened(path) as file:
        sample = file.read(_ENCODING_SAMPLE_BYTES)
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for encoding in ("utf-8-sig", "cp949"):
        try:
            codecs.getincrementaldecoder(encoding)().decode(sample)
        except UnicodeDecodeError as error:
            position = error.start
        else:
            return encoding
    if by_line:
        return "utf-8-sig"
    raise DataError(f"{path.name} is neither UTF-8 nor CP949 (byte {position}): save it as UTF-8")


def _text(path: Path, encoding: str) -> Iterator[str]:
    with codecs.getreader(encoding)(_opened(path)) as reader:
        yield from reader


def _json_lines(path: Path) -> Iterator[Block]:
    line = 1
    for content in _line_blocks(path):
        yield Block(path.name, line, lines=content)
        line += content.count(b"\n")


def _line_blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, in UTF-8, some megabytes at a time."""
    if (encoding := _encoding(path, by_line=True)) != "utf-8-sig":
        text = _text(path, encoding)
        while part := list(islice(text, _BLOCK_ROWS)):
            yield "".join(part).encode()
        return
    with _opened(path) as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        while content := file.read(_BLOCK_BYTES):
            yield content + file.readline()


def _json(path: Path) -> Iterator[Block]:
    with _opened(path) as file:
        content = file.read()
    if _encoding(path) != "utf-8-sig":
        content = content.decode(_encoding(path)).encode()
    try:
        parsed = orjson.loads(content.removeprefix(codecs.BOM_UTF8))
    except ValueError as error:
        raise DataError(f"{path.name} is not whole JSON ({error}): it may be cut off; copy it again") from error
    if isinstance(parsed, dict):
        lists = [value for value in parsed.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        parsed = lists[0] if len(lists) == 1 else [parsed]
    rows = (row if isinstance(row, dict) else "is not a JSON object" for row in parsed)
    yield from _numbered(path, enumerate(rows, 1))


def _numbered(path: Path, rows: Iterable[tuple[int, Any]]) -> Iterator[Block]:
    rows = iter(rows)
    while part := tuple(islice(rows, _BLOCK_ROWS)):
        yield Block(path.name, part[0][0], rows=part)


def _csv(path: Path) -> Iterator[Block]:
    csv.field_size_limit(_BLOCK_BYTES)
    lines = _text(path, _encoding(path))
    head = next(lines, "")
    delimiter = max(",;\t|", key=head.count)
    names = next(csv.reader([head], delimiter=delimiter))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    yield from _numbered(path, _csv_rows(reader, [name.strip() for name in names]))


def _csv_rows(reader: Any, names: list[str]) -> Iterator[tuple[int, Any]]:  # noqa: ANN401 - csv's reader has no name
    line = 2
    for cells in reader:
        if len(cells) == len(names):
            yield line, dict(zip(names, cells, strict=True))
        elif cells:
            yield line, f"has {len(cells)} cells where the header has {len(names)}"
        line = reader.line_num + 2


def _parquet(path: Path) -> Iterator[Block]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            line = 1
            for batch in file.iter_batches(batch_size=_BLOCK_ROWS):
                yield Block(path.name, line, rows=tuple(enumerate(batch.to_pylist(), line)))
                line += batch.num_rows
    except pyarrow.ArrowInvalid as error:
        message = f"{path.name} is not a complete Parquet file ({error}): it may be cut off; copy it again"
        raise DataError(message) from error
