"""The records that wait in a router's pod: a file per worker of nginx and minute, to which whole lines are appended.

A file goes once it is stored to its end, its minute is over, and nothing was appended for a minute. After a kill its
last line may be half; that is never sent. How far a file is stored, the recorder knows best: after a start here, its
answer to the first lines says so.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from serving_runtime.records import LARGEST_BATCH

from .recorder import RecorderError

__all__ = ["Spool", "Store"]

_FILES = "[0-9]*T[0-9]*-*.jsonl"
_QUIET_SECONDS = 60.0


class Store(Protocol):
    """What hands lines over; returns up to where they are stored."""

    def __call__(self, source: str, position: int, lines: bytes) -> int:
        """Store lines of this source that begin there."""


@dataclass
class _Sent:
    """A file as the recorder knows it."""

    source: str
    position: int = 0


class Spool:
    """The records of one pod."""

    def __init__(self, folder: Path, pod: str) -> None:
        self._folder = folder
        self._pod = pod
        self._sent: dict[str, _Sent] = {}

    def ship(self, store: Store) -> int:
        """Hand over what is not stored yet, the oldest first, and return how often; what `store` raises ends it."""
        sent = 0
        for file in self._files():
            is_over = _is_over(file)  # before it is read: nothing follows
            with file.open("rb") as opened:
                sent += self._send(file.name, opened, store)
            if is_over:
                self._drop(file)
        return sent

    def waiting(self) -> int:
        """How many whole lines are not stored."""
        return sum(self._lines(file) for file in self._files())

    def make_room(self, most: int) -> int:
        """Drop the oldest files until what is left takes no more than so many bytes; return how many lines that cost.

        nginx opens its file anew each time, so what it writes afterwards is in a new one.
        """
        files = self._files()
        total, lost = sum(file.stat().st_size for file in files), 0
        for file in files:
            if total <= most:
                break
            total -= file.stat().st_size
            lost += self._lines(file)
            self._drop(file)
        return lost

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(_FILES))

    def _send(self, name: str, opened: BinaryIO, store: Store) -> int:
        first = b"" if name in self._sent else _first_line(opened)
        if first:
            self._sent[name] = _Sent(_source(self._pod, name, first))
        sent, times = self._sent.get(name), 0
        while sent and (lines := _whole_lines(opened, sent.position)):
            before, sent.position = sent.position, store(sent.source, sent.position, lines)
            if sent.position <= before:  # its database may be another; from here, but not at once
                raise RecorderError(f"it has {sent.source} up to {sent.position} only, not {before}")
            times += 1
        return times

    def _drop(self, file: Path) -> None:
        file.unlink()
        self._sent.pop(file.name, None)

    def _lines(self, file: Path) -> int:
        sent = self._sent.get(file.name)
        with file.open("rb") as opened:
            opened.seek(sent.position if sent else 0)
            return sum(piece.count(b"\n") for piece in _pieces(opened))


def _source(pod: str, name: str, first: bytes) -> str:
    """A name that no other file ever has, though the clock were set back and this minute came again."""
    digest = hashlib.sha256(first).hexdigest()[:8]
    return f"{pod}/{name.removesuffix('.jsonl')}-{digest}"


def _first_line(opened: BinaryIO) -> bytes:
    """The first line that is not empty, if it is whole."""
    line = opened.readline(LARGEST_BATCH)
    while line == b"\n":
        line = opened.readline(LARGEST_BATCH)
    return line if line.endswith(b"\n") or len(line) == LARGEST_BATCH else b""


def _whole_lines(opened: BinaryIO, position: int) -> bytes:
    """As many as are sent at once; of a line that is larger than that a piece, for the recorder to leave out."""
    opened.seek(position)
    piece = opened.read(LARGEST_BATCH)
    end = piece.rfind(b"\n") + 1
    return piece if not end and len(piece) == LARGEST_BATCH else piece[:end]


def _pieces(opened: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: opened.read(LARGEST_BATCH), b"")


def _is_over(file: Path) -> bool:
    before = time.time() - _QUIET_SECONDS
    minute = time.strftime("%Y%m%dT%H%M", time.gmtime(before))
    return file.name.partition("-")[0] < minute and file.stat().st_mtime < before
