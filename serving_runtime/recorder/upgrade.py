"""A file of format 1 becomes one of format 2, all of it or nothing.

It has counts of users, but not when they said what they said. So of users whose window is not over everything came
within it, and they go on like new ones; those whose window is over are left out of closed values, in every variant
alike. Users outside experiments have no window, so their rows are not written anew. What rows say of answers enters the
sums.
"""

import sqlite3
import time
from collections.abc import Iterable

from .columns import WINDOW_SECONDS, State
from .totals import Totals
from .user import added_by

__all__ = ["add_open_parts", "upgrade"]

_ADDED = ("firsts", "ln_first", "paced", "pace")
_CHUNK = 2000
_WHOLE = "INTEGER NOT NULL DEFAULT 0"
_COLUMNS = (
    *(("users", f"{name} {_WHOLE}") for name in (*_ADDED, "state", "split")),
    ("users", "quick BLOB"),
    *((table, f"{name} {_WHOLE}") for table in ("arms", "residual") for name in _ADDED),
    ("ratings", f"window_count {_WHOLE}"),
    ("ratings", "window_total NOT NULL DEFAULT 0"),
    ("ratings", f"late {_WHOLE}"),
    ("said", "in_window"),
    ("said", f"late {_WHOLE}"),
    ("scopes", "control TEXT"),
    ("scopes", "thresholds TEXT"),
)
_OPEN = f"SELECT id FROM users WHERE state = {State.OPEN} AND variant IS NOT NULL"  # noqa: S608


def upgrade(connection: sqlite3.Connection, tables: str, version: int) -> None:
    """Add columns and tables, and fill them from the rows that there are."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, column in _COLUMNS:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
        for statement in filter(str.strip, tables.split(";")):
            connection.execute(statement)
        over = "UPDATE users SET state = ? WHERE variant IS NOT NULL AND first < ?"
        connection.execute(over, (State.LEFT_OUT, time.time() - WINDOW_SECONDS))
        connection.execute(
            f"UPDATE ratings SET window_count = count, window_total = total WHERE user IN ({_OPEN})"  # noqa: S608
        )
        connection.execute(f"UPDATE said SET in_window = value WHERE user IN ({_OPEN})")  # noqa: S608
        add_open_parts(connection)
        connection.execute(f"PRAGMA user_version = {version}")


def add_open_parts(connection: sqlite3.Connection) -> None:
    """Add what users' rows say to the sums that have nothing of it."""
    totals = Totals(connection)
    for number in _users(connection):
        scope, told = added_by(connection, number)
        totals.add((scope, told.variant or ""), told.day, told.lists)
    totals.write()


def _users(connection: sqlite3.Connection) -> Iterable[int]:
    """Of experiments, in turn: millions may not fit at once."""
    last, more = 0, True
    while more:
        select = "SELECT id FROM users WHERE id > ? AND variant IS NOT NULL ORDER BY id LIMIT ?"
        rows = [row[0] for row in connection.execute(select, (last, _CHUNK))]
        yield from rows
        last, more = (rows[-1], True) if rows else (last, False)
