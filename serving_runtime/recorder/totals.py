"""Lists of whole numbers and histograms by variant, to which one transaction adds.

A list is read and written once per transaction, in Python's whole numbers, as squares of sums do not fit SQLite's. One
that is all 0 has no row, so that tables are the same however they came about.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence

__all__ = ["Arm", "Parts", "Totals"]

Arm = tuple[int, str]
"""A scope and a variant."""
Parts = Mapping[str, Sequence[int]]
"""What is added to each of an arm's lists, by name."""


class Totals:
    """What is added to `sums` and `cells`, or to the part of them that `residual` tables have; `write` writes it."""

    def __init__(self, connection: sqlite3.Connection, prefix: str = "") -> None:
        self._connection = connection
        self._sums, self._cells = f"{prefix}sums", f"{prefix}cells"
        self._lists: dict[tuple[Arm, int], dict[str, list[int]]] = defaultdict(dict)
        self._counted: dict[tuple[int, str, str, int], int] = defaultdict(int)

    def add(self, arm: Arm, day: int, parts: Parts, sign: int = 1) -> None:
        """Add to lists of users who were enrolled on a day."""
        lists = self._lists[arm, day]
        for name, own in parts.items():
            known = lists.get(name)
            lists[name] = [sign * one for one in own] if known is None else _sum(known, own, sign)

    def count(self, arm: Arm, name: str, cell: int) -> None:
        """Add one to a histogram's cell."""
        self._counted[*arm, name, cell] += 1

    def write(self) -> None:
        """Write it; what is added from then on is written next time."""
        for (arm, day), lists in self._lists.items():
            for name, parts in lists.items():
                if any(parts):
                    self._write((*arm, day, name), parts)
        rows = [(*key, count) for key, count in self._counted.items()]
        insert = f"INSERT INTO {self._cells} (scope, variant, name, cell, count) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
        self._connection.executemany(f"{insert} ON CONFLICT DO UPDATE SET count = count + excluded.count", rows)
        self._lists.clear()
        self._counted.clear()

    def _write(self, key: tuple[int, str, int, str], parts: Sequence[int]) -> None:
        where = "scope = ? AND variant = ? AND day = ? AND name = ?"
        row = self._connection.execute(f"SELECT parts FROM {self._sums} WHERE {where}", key).fetchone()  # noqa: S608
        new = _sum(json.loads(row[0]), parts) if row else parts
        if any(new):
            columns = "scope, variant, day, name, parts"
            insert = f"INSERT OR REPLACE INTO {self._sums} ({columns}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
            self._connection.execute(insert, (*key, json.dumps(new, separators=(",", ":"))))
        else:
            self._connection.execute(f"DELETE FROM {self._sums} WHERE {where}", key)  # noqa: S608


def _sum(one: Sequence[int], other: Sequence[int], sign: int = 1) -> list[int]:
    return [a + sign * b for a, b in zip(one, other, strict=True)]
