"""One file on its way: its bytes lie in their places, and a journal beside it says how far each stretch of it came.

A kill loses nothing of it: bytes are written before the journal says so, and both lie with the kernel by then. What a
power cut leaves may be worse, as nothing is flushed while it grows: whoever has it complete has to check it.
"""

import os
import struct
from pathlib import Path

__all__ = ["Draft"]

_NUMBER = struct.Struct("<Q")
_HEAD = 2


class Draft:
    """A file of so many bytes, in stretches of at most `longest` that come independently of each other."""

    def __init__(self, path: Path, journal: Path, size: int, longest: int) -> None:
        self.path, self.size = path, size
        self.stretches = [(begin, min(begin + longest, size)) for begin in range(0, size, longest)]
        path.parent.mkdir(parents=True, exist_ok=True)
        journal.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._journal = os.open(journal, os.O_RDWR | os.O_CREAT, 0o644)
        head = _NUMBER.pack(size) + _NUMBER.pack(longest)
        written = os.pread(self._journal, (_HEAD + len(self.stretches)) * _NUMBER.size + 1, 0)
        is_known = written[: len(head)] == head and len(written) == len(head) + len(self.stretches) * _NUMBER.size
        if not is_known or os.fstat(self._file).st_size != size:
            self.clear()
            os.pwrite(self._journal, head, 0)

    def clear(self) -> None:
        """Take nothing for having come."""
        os.ftruncate(self._file, 0)
        os.ftruncate(self._file, self.size)
        os.ftruncate(self._journal, min(os.fstat(self._journal).st_size, _HEAD * _NUMBER.size))
        os.ftruncate(self._journal, (_HEAD + len(self.stretches)) * _NUMBER.size)

    def come(self, number: int) -> int:
        """Return how many bytes of a stretch are here."""
        (found,) = _NUMBER.unpack(os.pread(self._journal, _NUMBER.size, (_HEAD + number) * _NUMBER.size))
        return int(found)

    @property
    def all_come(self) -> int:
        """How many bytes of the file are here."""
        return sum(self.come(number) for number in range(len(self.stretches)))

    def write(self, number: int, data: bytes) -> None:
        """Add the bytes that follow in a stretch."""
        before = self.come(number)
        begin, view = self.stretches[number][0] + before, memoryview(data)
        while view:
            written = os.pwrite(self._file, view, begin)
            begin, view = begin + written, view[written:]
        os.pwrite(self._journal, _NUMBER.pack(before + len(data)), (_HEAD + number) * _NUMBER.size)

    def flush(self) -> None:
        """Have the disk hold it."""
        os.fsync(self._file)

    def close(self) -> None:
        """Leave it as it is."""
        os.close(self._file)
        os.close(self._journal)
