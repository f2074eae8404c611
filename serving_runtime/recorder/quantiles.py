"""How many of a user's answers are within each of 33 times, for tests of a quantile that know users as the unit.

The times lie around the control's own 95 % quantile, 5 % apart, so that they fit any model. They are set once, when the
control has so many users, and as many answers are in its histogram, which lacks those of an earlier release; answers
are counted from then on. A failure is within none.
"""

import json
import sqlite3
import struct
from collections.abc import Sequence

from .measures import INFINITE, milliseconds

__all__ = ["LATENCY", "THRESHOLDS", "packed", "quicker", "set_thresholds", "unpacked"]

THRESHOLDS = 33
LATENCY = "answers.all"
"""The histogram of an arm's answers: unlike other sums one of answers, by the variant of each. No metric of
feedback can have its name."""
_LEVEL_PERCENT = 95
_USERS = 100
_STEP = 1.05
_PACKED = struct.Struct(f"<{THRESHOLDS + 1}I")


def unpacked(quick: bytes | None) -> list[int]:
    """Return how many answers were counted, and how many of them within each threshold."""
    return list(_PACKED.unpack(quick)) if quick else [0] * (THRESHOLDS + 1)


def packed(quick: Sequence[int] | None) -> bytes | None:
    """Return it as it is stored."""
    return _PACKED.pack(*quick) if quick else None


def quicker(quick: list[int], thresholds: Sequence[int], seconds: float | None) -> None:
    """Count an answer; `seconds` is None for a failure."""
    quick[0] += 1
    if seconds is None:
        return
    microseconds = round(seconds * 1e6)
    for number, threshold in enumerate(thresholds, start=1):
        quick[number] += microseconds <= threshold


def set_thresholds(connection: sqlite3.Connection, scope: int) -> None:
    """Set an experiment's thresholds, once its control has the users for it, unless failures alone are beyond them."""
    row = connection.execute("SELECT control, thresholds FROM scopes WHERE id = ?", (scope,)).fetchone()
    if row is None or row[0] is None or row[1] is not None:
        return
    arm = (scope, row[0])
    users = connection.execute("SELECT users FROM arms WHERE scope = ? AND variant = ?", arm).fetchone()
    quantile = _quantile(connection, arm) if users and users[0] >= _USERS else None
    if quantile is not None:
        middle = THRESHOLDS // 2
        thresholds = [round(quantile * 1000 * _STEP ** (number - middle)) for number in range(THRESHOLDS)]
        connection.execute("UPDATE scopes SET thresholds = ? WHERE id = ?", (json.dumps(thresholds), scope))


def _quantile(connection: sqlite3.Connection, arm: tuple[int, str]) -> float | None:
    """In milliseconds."""
    select = "SELECT cell, count FROM cells WHERE scope = ? AND variant = ? AND name = ? ORDER BY cell"
    rows = connection.execute(select, (*arm, LATENCY)).fetchall()
    answers = sum(count for _, count in rows)
    if answers < _USERS:
        return None
    needed = answers * _LEVEL_PERCENT
    for cell, count in rows:
        needed -= count * 100
        if needed <= 0:
            return None if cell == INFINITE else milliseconds(cell)
    return None
