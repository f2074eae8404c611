"""What the first pass came to over all blocks, and which of its rows go where."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training_runtime.plan import DatasetPlan

from .duplicates import first_of_cluster
from .first_pass import Removed, Sample, Spooled
from .second_pass import LEFT_OUT, UNWRITABLE
from .split import split_rows

__all__ = ["BAD", "Spool", "hold_out"]

BAD = ("unreadable", "incomplete", "schema", "unmaskable", UNWRITABLE)
"""The kinds that mean a bad row; the others are rules of the plan at work."""
_SAMPLE_ROWS = 10


@dataclass
class Spool:
    """Every block's result, and a few bytes for each row."""

    blocks: list[Spooled] = field(default_factory=list)
    strata: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    pii: Counter[str] = field(default_factory=Counter)
    removed: list[Removed] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    parts: bytearray = field(default_factory=bytearray)
    """Which part each row belongs to, or LEFT_OUT; known once rows are held out."""
    clusters: Counter[str] = field(default_factory=Counter)
    """How many rows were how often repeated."""
    _names: dict[str, str] = field(default_factory=dict)

    def take(self, one: Spooled) -> None:
        """Add a block's result."""
        if one.rows:
            self.blocks.append(Spooled(one.path, one.rows))
        self.strata += [self._names.setdefault(label, label) for label in one.labels]
        self.groups += one.groups
        self.labels.update(label for label in one.labels if label)
        self.pii += one.pii
        self.removed += one.removed
        self.answers += one.answers
        ranked = sorted([*self.samples, *one.samples], key=lambda sample: not sample.changed)
        self.samples = ranked[:_SAMPLE_ROWS]

    def removed_as(self, *kinds: str) -> list[Removed]:
        """The rows that were left out for one of these reasons."""
        return [row for row in self.removed if row.kind in kinds]

    def portions(self) -> Iterator[tuple[Path, bytes]]:
        """Yield each block's file with the parts of its rows."""
        start = 0
        for one in self.blocks:
            yield one.path, bytes(self.parts[start : start + one.rows])
            start += one.rows


def hold_out(spool: Spool, plan: DatasetPlan, sketches: Path) -> None:
    """Find the rows that repeat another, and share the others out between the parts."""
    rows = len(spool.strata)
    if plan.duplicate_threshold is None:
        first: Sequence[int] = range(rows)
    else:
        first = first_of_cluster(sketches, plan.duplicate_threshold).tolist()
    kept = [row for row in range(rows) if first[row] == row]
    groups = [spool.groups[row] for row in kept] if plan.columns.group else None
    held_out = split_rows([spool.strata[row] for row in kept], groups, plan.split)
    spool.parts = bytearray([LEFT_OUT]) * rows
    for row, part in zip(kept, held_out, strict=True):
        spool.parts[row] = part
    repeated = [row for row in range(rows) if first[row] != row]
    spool.clusters = Counter(f"{count + 1} times" for count in Counter(first[row] for row in repeated).values())
    spool.removed += _repetitions(spool.blocks, repeated, first)


def _repetitions(blocks: Sequence[Spooled], repeated: Sequence[int], first: Sequence[int]) -> list[Removed]:
    if not repeated:
        return []
    from pyarrow.parquet import read_table

    places: list[tuple[str, int]] = []
    for one in blocks:
        table = read_table(one.path, columns=["file", "line"])
        places += zip(table["file"].to_pylist(), table["line"].to_pylist(), strict=True)

    def told(row: int) -> Removed:
        file, line = places[row]
        earlier_file, earlier = places[first[row]]
        return Removed(file, line, "repetition", f"repeats {earlier_file} line {earlier}")

    return [told(row) for row in repeated]
