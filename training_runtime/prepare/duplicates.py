"""Near-duplicates: MinHash over shingles of four characters, banded, and every candidate pair checked.

Rows that are similar to a third one count as one cluster, of which the first row stays: so no row of the test part
repeats one of the training part. Sketches lie in a file; memory holds a few bytes per row.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.generic]]

__all__ = ["PERMUTATIONS", "first_of_cluster", "sketches"]

PERMUTATIONS = 128
_BANDS = 32  # of 4: pairs of Jaccard 0.5 meet in one with 87 %, pairs of 0.85 always
_SHINGLE_CHARACTERS = 4
_PAIRS_PER_CHUNK = 16384
_SEED = 42


def sketches(texts: Sequence[str]) -> "Array":
    """Return the MinHash sketch of each text: shape (texts, PERMUTATIONS), unsigned 32 bit.

    Case and the width of spaces do not count. The shingles are hashed all at once: a shingle is four code points, and
    those that would reach over a text's end are left out.
    """
    import numpy as np
    from rensa import RMinHash

    plain = [" ".join(text.casefold().split()).ljust(_SHINGLE_CHARACTERS) for text in texts]
    codes = np.frombuffer("".join(plain).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    ends = np.cumsum([len(text) for text in plain])
    count = len(codes) - _SHINGLE_CHARACTERS + 1
    hashes = codes[:count].copy()
    for offset in range(1, _SHINGLE_CHARACTERS):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += codes[offset : offset + count]
    hashes ^= hashes >> np.uint64(31)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    within = np.ones(count, dtype=bool)
    for offset in range(1, _SHINGLE_CHARACTERS):
        within[ends[:-1] - offset] = False
    offsets = np.concatenate([[0], ends - np.arange(1, len(plain) + 1) * (_SHINGLE_CHARACTERS - 1)]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes[within], offsets, PERMUTATIONS, _SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32)


def first_of_cluster(file: Path, threshold: float) -> "Array":
    """Return for each row the first row that it repeats, itself where it repeats none.

    `file` holds the rows' sketches one after the other; `threshold` is a Jaccard similarity.
    """
    import numpy as np

    rows = file.stat().st_size // (PERMUTATIONS * 4)
    parent = np.arange(rows)
    if rows < 2:
        return parent
    for keys in _bands(file, rows):
        for left, right in _similar(file, rows, _neighbours(keys, parent), threshold):
            a, b = _root(parent, left), _root(parent, right)
            parent[max(a, b)] = min(a, b)
    for row in range(rows):
        if parent[row] != row:
            parent[row] = parent[parent[row]]  # a parent comes before its row, so it is settled
    return parent


def _bands(file: Path, rows: int) -> Iterator["Array"]:
    """For each band one number per row, the same where the band's part of the sketch is the same."""
    import numpy as np

    width = PERMUTATIONS // _BANDS
    at_once = 1 << 16
    for band in range(_BANDS):
        keys = np.zeros(rows, dtype=np.uint64)
        for start in range(0, rows, at_once):
            part = np.memmap(file, dtype=np.uint32, mode="r").reshape(rows, PERMUTATIONS)[start : start + at_once]
            for column in range(band * width, (band + 1) * width):
                keys[start : start + at_once] *= np.uint64(0x9E3779B97F4A7C15)
                keys[start : start + at_once] += part[:, column]
                keys[start : start + at_once] ^= keys[start : start + at_once] >> np.uint64(29)
            del part
        yield keys


def _neighbours(keys: "Array", parent: "Array") -> "Array":
    """Pairs of rows with the same key that are not known to be one cluster: each with the first and the one before."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    before = np.concatenate([order[:1], order[:-1]])
    later = ~starts
    pairs = np.concatenate([np.stack([one[later], order[later]], axis=1) for one in (first, before)])
    apart: Array = pairs[parent[pairs[:, 0]] != parent[pairs[:, 1]]]
    return apart


def _similar(file: Path, rows: int, pairs: "Array", threshold: float) -> Iterator[tuple[int, int]]:
    import numpy as np

    for start in range(0, len(pairs), _PAIRS_PER_CHUNK):
        part = pairs[start : start + _PAIRS_PER_CHUNK]
        sketch = np.memmap(file, dtype=np.uint32, mode="r").reshape(rows, PERMUTATIONS)
        share = (sketch[part[:, 0]] == sketch[part[:, 1]]).mean(axis=1)
        del sketch
        yield from map(tuple, part[share >= threshold].tolist())


def _root(parent: "Array", row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row
