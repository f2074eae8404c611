"""Users whose window is over: what came within it enters the sums, once.

A window is not closed as it ends but with a tenth of it as grace, in which what was under way arrives. Where no router
was heard of for a while, or the recorder was away, more may be under way: then, for as long as the grace after, only
what is a whole window older is closed. So an outage costs time, and no answers.
"""

import sqlite3
from collections.abc import Sequence

from .columns import WINDOW_SECONDS, WINDOWED, State
from .definition import Ranges, ranges_of
from .parts import Values, closed_parts
from .totals import Totals

__all__ = ["GRACE_SECONDS", "Flow", "close_windows", "closed_by"]

GRACE_SECONDS = WINDOW_SECONDS / 10
_SILENCE_SECONDS = 600.0
_CHUNK = 500
_DAY_SECONDS = 86400
_COUNTED = f"split, {', '.join(WINDOWED)}"
_DUE = (
    f"SELECT id, scope, variant, first, {_COUNTED} FROM users"  # noqa: S608
    " WHERE state = 0 AND variant IS NOT NULL AND first <= ? ORDER BY first LIMIT ?"
)
_SELECT = f"SELECT scope, state, {_COUNTED} FROM users WHERE id = ?"  # noqa: S608


class Flow:
    """Whether routers' records come as answers do."""

    def __init__(self, told: float | None, now: float) -> None:
        """`told` is when any came last, before this process, too."""
        self._told = told
        self._since = float("-inf") if self._is_heard(now) else now

    def heard(self, now: float) -> None:
        """Some came."""
        if not self._is_heard(now):
            self._since = now
        self._told = now

    def due(self, now: float) -> float:
        """When, at the latest, somebody was enrolled whose window may be closed."""
        waits = 0.0 if self._is_heard(now) and now - self._since >= GRACE_SECONDS else WINDOW_SECONDS
        return now - WINDOW_SECONDS - GRACE_SECONDS - waits

    def _is_heard(self, now: float) -> bool:
        """Whether any came lately; a time far in the future, of a clock that was set back, says nothing."""
        return self._told is not None and abs(now - self._told) <= _SILENCE_SECONDS


def close_windows(connection: sqlite3.Connection, due: float) -> bool:
    """Close some of those that are due; return whether there may be more. The caller holds the transaction."""
    totals, ranges = Totals(connection), dict[int, Ranges]()
    rows = connection.execute(_DUE, (due, _CHUNK)).fetchall()
    for user, scope, variant, first, *counted in rows:
        if scope not in ranges:
            ranges[scope] = ranges_of(connection, scope)
        lists, cells = closed_parts(connection, user, _held(connection, user, counted), ranges[scope])
        totals.add((scope, variant), int(first // _DAY_SECONDS), lists)
        for name, cell in cells:
            totals.count((scope, variant), name, cell)
    totals.write()
    closed = [(State.CLOSED, row[0]) for row in rows]
    connection.executemany("UPDATE users SET state = ? WHERE id = ?", closed)
    return len(rows) == _CHUNK


def closed_by(connection: sqlite3.Connection, user: int) -> Values:
    """Return what a user has added as their window was closed, if it was."""
    scope, state, *counted = connection.execute(_SELECT, (user,)).fetchone()
    if state != State.CLOSED:
        return {}, []
    return closed_parts(connection, user, _held(connection, user, counted), ranges_of(connection, scope))


def _held(connection: sqlite3.Connection, user: int, counted: Sequence[int]) -> Sequence[int]:
    """What a window held: as the user's row says, or as is kept beside it where that holds more."""
    split, *counts = counted
    if not split:
        return counts
    select = f"SELECT {', '.join(WINDOWED)} FROM windows WHERE user = ?"  # noqa: S608
    return list(connection.execute(select, (user,)).fetchone())
