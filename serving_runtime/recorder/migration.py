"""An earlier release's tables, counted into today's and deleted as they are: killed on the way, it goes on.

Their names are others', so a file that an earlier release opened again, and wrote to, loses nothing by the next
upgrade. What became of an answer is told by `answers`; of those before that table by their status alone. Feedback about
unknown answers waits as any, as much of it as may. When it was said is not known, so users whose window is over are
left out of closed values.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .columns import WINDOW_SECONDS, State
from .feedback import Said
from .sums import scaled

__all__ = ["migrate"]

_CHUNK = 2000
_TABLES = ("feedback", "answers", "exposures", "files")
_ANSWERS = (
    "SELECT id, experiment, variant, user, at, status, outcome, first, last"
    " FROM exposures LEFT JOIN answers ON exposure = id ORDER BY id LIMIT ?"
)
_OVER = "UPDATE users SET state = ? WHERE state = ? AND variant IS NOT NULL AND first < ?"
_NAMES = ("exposure", "experiment", "variant", "user", "at", "status", "outcome", "first", "last")

Count = Callable[[Sequence[Mapping[str, Any]]], None]
Take = Callable[[Sequence[Said]], object]


def migrate(connection: sqlite3.Connection, count: Count, take: Take, now: float) -> None:
    """Count all of an earlier release's rows with what counts new ones, in transactions of a few thousand."""
    found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not found & set(_TABLES):
        return
    if "answers" not in found:
        connection.execute("CREATE TABLE answers (exposure TEXT PRIMARY KEY, outcome TEXT, first REAL, last REAL)")
    while _some_answers(connection, count):
        pass
    while _some_feedback(connection, take):
        pass
    with connection:
        connection.execute("INSERT OR IGNORE INTO sources SELECT name, position, ? FROM files", (now,))
        connection.execute(_OVER, (State.LEFT_OUT, State.OPEN, now - WINDOW_SECONDS))
        for table in _TABLES:
            connection.execute(f"DROP TABLE {table}")


def _some_answers(connection: sqlite3.Connection, count: Count) -> bool:
    with connection:
        rows = [dict(zip(_NAMES, row, strict=True)) for row in connection.execute(_ANSWERS, (_CHUNK,))]
        count(rows)
        ids = [(row["exposure"],) for row in rows]
        connection.executemany("DELETE FROM exposures WHERE id = ?", ids)
        connection.executemany("DELETE FROM answers WHERE exposure = ?", ids)
    return bool(rows)


def _some_feedback(connection: sqlite3.Connection, take: Take) -> bool:
    """After all answers, so that what waits from then on never had one."""
    with connection:
        rows = connection.execute("SELECT exposure, metric, value FROM feedback LIMIT ?", (_CHUNK,)).fetchall()
        take([Said(metric, scaled(value), exposure) for exposure, metric, value in rows])
        connection.executemany("DELETE FROM feedback WHERE exposure = ? AND metric = ?", [row[:2] for row in rows])
    return bool(rows)
