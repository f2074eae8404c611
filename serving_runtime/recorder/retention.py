"""What goes again, when, and what stays.

The sums of experiments stay. Rows that name users go when their user is erased, and when an experiment had no answer
for as long as answers are kept; what they added becomes an anonymous `residual`, so that rows and residual are always
the sums (but of the histogram of latencies, which has none of users). An erased user's answers keep their ids, and
nothing else, until they are too old: a replay would count them anew.

What is outside experiments comes second. It leaves the last half of a volume, or GiB of a large one, to experiments:
from there on it goes on with the rows that a day's users have, adds none, and keeps two weeks of days. Where the volume
is nearly full, experiments' sums go on, and rows of answers are no longer written, either; of an answer without a row
no feedback is taken. It is full for good only by others' doing: what is deleted is room for the same file.
"""

import shutil
import sqlite3
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

from .closing import closed_by
from .feedback import expire
from .ledger import add_arms, add_moments, moments_of
from .parts import late_part
from .totals import Arm, Totals
from .user import Added, added_by

__all__ = ["RETENTION_DAYS", "Shortage", "erase", "prune", "shortage"]

RETENTION_DAYS = 30
"""Feedback counts for as long, and days outside experiments are kept."""
_SHORT_DAYS = 14
"""In so many a user's history before an experiment is sought."""
_DAY_SECONDS = 86400
_CHUNK = 2000
_SHORT, _SHORTEST = 0.50, 0.05
_SHORT_BYTES, _SHORTEST_BYTES = 1 << 30, 1 << 29
"""As much is enough on a large volume, as on the disk of a node that others fill, too."""


class Shortage(IntEnum):
    """How little of the volume is left."""

    NONE = 0
    SOME = 1
    """Less than half and 1 GiB: what is outside experiments adds no rows."""
    SEVERE = 2
    """Less than 5 % and 512 MiB: all do, unless something was said of them that waits."""


def shortage(connection: sqlite3.Connection, folder: Path) -> Shortage:
    """Look at the volume; pages of the file that are free count as left."""
    free, size = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("freelist_count", "page_size"))
    volume = shutil.disk_usage(folder)
    left = volume.free + free * size
    if left >= min(_SHORT * volume.total, _SHORT_BYTES):
        return Shortage.NONE
    return Shortage.SOME if left >= min(_SHORTEST * volume.total, _SHORTEST_BYTES) else Shortage.SEVERE


def erase(connection: sqlite3.Connection, user: str) -> int:
    """Forget one user, in every experiment and on every day; return how many rows that were."""
    rows = connection.execute("SELECT id FROM users WHERE user = ?", (user,)).fetchall()
    _forget(connection, [row[0] for row in rows])
    return len(rows)


def prune(connection: sqlite3.Connection, now: float, days: float, *, is_short: bool = False) -> bool:
    """Delete some of what is too old; return whether there may be more, so that others get their turn in between."""
    horizon = now - days * _DAY_SECONDS
    oldest_day = int(now // _DAY_SECONDS) - (_SHORT_DAYS if is_short else RETENTION_DAYS)
    expire(connection, now)
    connection.execute("DELETE FROM sources WHERE at < ?", (horizon,))
    return any([_answers(connection, horizon), _users(connection, horizon, oldest_day)])


def _answers(connection: sqlite3.Connection, horizon: float) -> bool:
    """They are numbered as they came."""
    select = "SELECT number, user, recorded FROM answered ORDER BY number LIMIT ?"
    rows = [row[:2] for row in connection.execute(select, (_CHUNK,)) if row[2] < horizon]
    connection.executemany("DELETE FROM answered WHERE number = ? AND user = ?", rows)
    connection.executemany("DELETE FROM said WHERE answer = ? AND user = ?", rows)
    return len(rows) == _CHUNK


def _users(connection: sqlite3.Connection, horizon: float, oldest_day: int) -> bool:
    """Of experiments that are long silent, and of days that are too long ago."""
    scopes = "SELECT id FROM scopes WHERE experiment IS NOT NULL AND recorded < ? OR day < ?"
    select = f"SELECT id FROM users WHERE scope IN ({scopes}) LIMIT ?"  # noqa: S608
    rows = connection.execute(select, (horizon, oldest_day, _CHUNK)).fetchall()
    _forget(connection, [row[0] for row in rows])
    if len(rows) < _CHUNK:
        connection.execute(f"DELETE FROM scopes WHERE experiment IS NULL AND id IN ({scopes})", (horizon, oldest_day))  # noqa: S608
    return len(rows) == _CHUNK


def _forget(connection: sqlite3.Connection, users: Sequence[int]) -> None:
    residual = Totals(connection, "residual_")
    for user in users:
        scope, told = added_by(connection, user)
        if told.variant is not None:
            _leave(connection, residual, user, (scope, told.variant), told)
    residual.write()
    for table, column in (*((name, "user") for name in ("said", "ratings", "windows", "histories")), ("users", "id")):
        connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(user,) for user in users])  # noqa: S608


def _leave(connection: sqlite3.Connection, residual: Totals, user: int, arm: Arm, told: Added) -> None:
    """Keep what a row added."""
    add_arms(connection, "residual", {arm: told.arm})
    for metric, moments in moments_of(connection, user):
        add_moments(connection, "residual_metrics", arm, metric, moments)
    lists, cells = closed_by(connection, user)
    for parts in (told.lists, late_part(connection, user), lists):
        residual.add(arm, told.day, parts)
    for name, cell in cells:
        residual.count(arm, name, cell)
