"""A value that a user gave, added to their row of the metric, and to the sums over these.

A value counts at once in `arm_metrics`, whenever it comes. What is analysed of it, once the user's window is over, is
what was said within that: a later value is counted as late, and leaves what was said before it as it is.
"""

import sqlite3
from dataclasses import dataclass

from .columns import WINDOW_SECONDS, State
from .ledger import add_moments
from .parts import list_of
from .sums import Moments, stored
from .totals import Arm, Totals

__all__ = ["Rater", "Value", "rate", "rater_of", "value_of"]

_DAY_SECONDS = 86400
_KEY = "user = ? AND answer = ? AND metric = ? AND event = ?"
_SAY = "INSERT OR REPLACE INTO said (user, answer, metric, event, value, in_window, late) VALUES (?, ?, ?, ?, ?, ?, ?)"
_RATE = (
    "INSERT OR REPLACE INTO ratings (user, metric, count, total, window_count, window_total, late)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Rater:
    """A user's row, as far as a value depends on it."""

    id: int
    scope: int
    variant: str | None
    first: float
    state: int

    @property
    def arm(self) -> Arm | None:
        """Where they count; None outside experiments."""
        return (self.scope, self.variant) if self.variant is not None else None

    def is_late(self, at: float) -> bool:
        """Whether what they say now comes after their window."""
        return self.arm is not None and (self.state != State.OPEN or at > self.first + WINDOW_SECONDS)


@dataclass(frozen=True, slots=True)
class Value:
    """What was said of an answer under an event's id."""

    answer: int
    metric: str
    event: str
    value: int


def rater_of(connection: sqlite3.Connection, user: int) -> Rater | None:
    """Return a user's row; None where it was erased."""
    row = connection.execute("SELECT id, scope, variant, first, state FROM users WHERE id = ?", (user,)).fetchone()
    return Rater(*row) if row else None


def value_of(connection: sqlite3.Connection, user: int, said: Value) -> tuple[int, int | None, int] | None:
    """Return what was said before: the value, that within the window, and whether it was changed after that."""
    key = (user, said.answer, said.metric, said.event)
    row = connection.execute(f"SELECT value, in_window, late FROM said WHERE {_KEY}", key).fetchone()  # noqa: S608
    return (int(row[0]), None if row[1] is None else int(row[1]), row[2]) if row else None


def rate(connection: sqlite3.Connection, totals: Totals, user: Rater, said: Value, at: float) -> None:
    """Count a value, instead of what the same event said before."""
    old, old_within, was_late = value_of(connection, user.id, said) or (None, None, 0)
    is_late = user.is_late(at)
    if old == said.value and (is_late or old_within == said.value):
        return
    within, late = (old_within, 1) if is_late else (said.value, was_late)
    key = (user.id, said.answer, said.metric, said.event)
    connection.execute(_SAY, (*key, stored(said.value), None if within is None else stored(within), late))
    select = "SELECT count, total, window_count, window_total, late FROM ratings WHERE user = ? AND metric = ?"
    row = connection.execute(select, (user.id, said.metric)).fetchone() or (0, 0, 0, 0, 0)
    count, total, window_count, window_total, lates = map(int, row)
    now_count, now_total = count + (old is None), total - (old or 0) + said.value
    window_count += (old_within is None) and (within is not None)
    window_total += (within or 0) - (old_within or 0)
    new = (now_count, stored(now_total), window_count, stored(window_total), lates + late - was_late)
    connection.execute(_RATE, (user.id, said.metric, *new))
    if user.arm:
        change = Moments.of_user(now_count, now_total) - Moments.of_user(count, total)
        add_moments(connection, "arm_metrics", user.arm, said.metric, change)
        totals.add(user.arm, int(user.first // _DAY_SECONDS), {list_of("late", said.metric): [late - was_late]})
