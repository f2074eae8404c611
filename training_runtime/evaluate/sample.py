"""Which rows are asked, where there are more than may be: a sample in which each label has its share.

Chance decides by a row's own text and the seed, so the order in which rows lie on the disk decides nothing: data that
is sorted, by date or by label, is asked as fairly as any other.
"""

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

__all__ = ["chosen", "drawn_key", "sample"]


def sample(files: Sequence[str], columns: Sequence[str], most: int, seed: int) -> list[dict[str, Any]]:
    """Return the sampled rows of prepared files with the columns named, in an order drawn by the seed."""
    labels: list[str] = []
    keys: list[bytes] = []
    for batch in _batches(files, ["label", "messages"]):
        labels += batch["label"].to_pylist()
        keys += [drawn_key(seed, text) for text in batch["messages"].to_pylist()]
    order = chosen(labels, keys, most)
    found: dict[int, dict[str, Any]] = {}
    wanted, start = sorted(order), 0
    for batch in _batches(files, list(columns)):
        end = start + batch.num_rows
        inside = wanted[bisect_left(wanted, start) : bisect_left(wanted, end)]
        rows = batch.take([position - start for position in inside]).to_pylist()
        found |= dict(zip(inside, rows, strict=True))
        start = end
    return [found[position] for position in order]


def chosen(labels: Sequence[str], keys: Sequence[bytes], most: int) -> list[int]:
    """Return the positions of at most so many rows, in the order of their keys, drawn by each label's share.

    A label gives no more than its share: a row of each rare one would weigh more in every metric than it does in the
    data. Where there are more labels than rows to ask, they say nothing, and all rows are drawn alike.
    """
    ordered = sorted(range(len(keys)), key=keys.__getitem__)
    if len(ordered) <= most:
        return ordered
    sizes = Counter(labels)
    if len(sizes) > most:
        return ordered[:most]
    left = _shares(sizes, most)
    found = []
    for position in ordered:
        if left[labels[position]]:
            left[labels[position]] -= 1
            found.append(position)
    return found


def _shares(sizes: Mapping[str, int], most: int) -> dict[str, int]:
    """How many rows each label gives: its share, by the largest remainder; a rare label may give none."""
    total = sum(sizes.values())
    parts = {label: divmod(size * most, total) for label, size in sizes.items()}
    shares = {label: whole for label, (whole, _) in parts.items()}
    spare = most - sum(shares.values())
    for label in sorted(parts, key=lambda label: (-parts[label][1], label))[:spare]:
        shares[label] += 1
    return shares


def drawn_key(seed: int, text: str) -> bytes:
    """Return what a row is ordered by: chance, but the same for the same text and seed."""
    return hashlib.blake2b(f"{seed} {text}".encode(), digest_size=8).digest()


def _batches(files: Sequence[str], columns: list[str]) -> Iterator["pyarrow.RecordBatch"]:
    from pyarrow.parquet import ParquetFile

    for path in files:
        with ParquetFile(path) as file:
            yield from file.iter_batches(columns=columns)
