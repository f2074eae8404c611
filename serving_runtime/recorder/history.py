"""What users were like before an experiment: their sums of the 14 days before the one on which they were enrolled.

They are taken from the model's days outside experiments as the user is enrolled, and stay as they are then: what
comes later may be the experiment's doing. Who has none has no row.
"""

import sqlite3
from collections import defaultdict

from .columns import COUNTS
from .measures import MEASURES
from .sums import stored

__all__ = ["remember"]

_DAYS = 14
_DAY_SECONDS = 86400
_COLUMNS = ", ".join(f"users.{name}" for name in COUNTS)
_BEFORE = "user = ? AND scope IN (SELECT id FROM scopes WHERE model = ? AND day >= ? AND day < ?)"


def remember(connection: sqlite3.Connection, user: int, name: str, model: str | None, first: float) -> None:
    """Keep what a user's row in an experiment, of this number, has as its history, instead of what it had."""
    connection.execute("DELETE FROM histories WHERE user = ?", (user,))
    day = int(first // _DAY_SECONDS)
    select = f"SELECT id, {_COLUMNS} FROM users WHERE {_BEFORE}"  # noqa: S608
    rows = connection.execute(select, (name, model, day - _DAYS, day)).fetchall()
    if not rows:
        return
    told = dict(zip(COUNTS, map(sum, list(zip(*rows, strict=True))[1:]), strict=True))
    measured = {name: (measure.total(told), measure.count(told)) for name, measure in MEASURES.items()}
    measured |= _rated(connection, [row[0] for row in rows])
    insert = "INSERT INTO histories (user, name, total, count) VALUES (?, ?, ?, ?)"
    kept = [(user, name, stored(total), count) for name, (total, count) in measured.items() if count]
    connection.executemany(insert, kept)


def _rated(connection: sqlite3.Connection, users: list[int]) -> dict[str, tuple[int, int]]:
    rated: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for user in users:
        rows = connection.execute("SELECT metric, total, count FROM ratings WHERE user = ?", (user,))
        for metric, total, count in rows.fetchall():
            before = rated[metric]
            rated[metric] = before[0] + int(total), before[1] + count
    return rated
