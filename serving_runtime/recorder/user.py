"""A user's row in an experiment, or in a model's day, as a transaction changes it."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .columns import COUNTS, WINDOW_SECONDS, WINDOWED, State
from .parts import open_parts
from .quantiles import THRESHOLDS, packed, quicker, unpacked

__all__ = ["Added", "User", "added_by", "find", "insert", "update"]

_DAY_SECONDS = 86400
_COLUMNS = ("variant", "first", "moved", "state", "split", "quick", *COUNTS)
_FIND = f"SELECT id, {', '.join(_COLUMNS)} FROM users WHERE user = ? AND scope = ?"  # noqa: S608
_SELECT = f"SELECT scope, id, {', '.join(_COLUMNS)} FROM users WHERE id = ?"  # noqa: S608
_CHANGED = ("moved", "split", "quick", *COUNTS)
_UPDATE = f"UPDATE users SET {', '.join(f'{name} = ?' for name in _CHANGED)} WHERE id = ?"  # noqa: S608
_INSERT = "INSERT INTO users (user, scope, variant, first) VALUES (?, ?, ?, ?)"
_KEEP = (
    f"INSERT OR REPLACE INTO windows (user, {', '.join(WINDOWED)})"  # noqa: S608
    f" VALUES ({', '.join('?' * (1 + len(WINDOWED)))})"
)
_HELD = [COUNTS.index(name) for name in WINDOWED]


@dataclass(slots=True)
class User:
    """`window` is what their window held, where the row holds more and it is not over."""

    id: int
    variant: str | None
    first: float
    moved: int = 0
    state: int = State.OPEN
    split: int = 0
    quick: list[int] | None = None
    counts: list[int] = field(default_factory=lambda: [0] * len(COUNTS))
    window: list[int] | None = None
    is_earlier: bool = False
    """Whether an earlier answer than was known came."""
    model: str | None = None
    before: "Added | None" = None

    @property
    def day(self) -> int:
        """When they were enrolled."""
        return int(self.first // _DAY_SECONDS)

    def added(self) -> "Added":
        """Return what the row adds now."""
        arm = [1, self.moved, *self.counts]
        return Added(self.variant, self.day, arm, open_parts(self.counts, self.quick) if self.variant else {})

    def count(self, variant: str | None, at: float, parts: Mapping[str, int]) -> None:
        """Add an answer; of two at the same time the variant that comes first in the alphabet is the first."""
        self.moved |= int(variant != self.variant)
        is_open = self.state == State.OPEN
        if is_open and (at, variant or "") < (self.first, self.variant or ""):
            self.variant, self.first, self.is_earlier = variant, at, True
        is_within = is_open and at <= self.first + WINDOW_SECONDS
        if not is_within and not self.split:
            self.window, self.split = [self.counts[place] for place in _HELD], 1
        elif is_within and self.window is not None:
            self.window = [old + parts.get(name, 0) for name, old in zip(WINDOWED, self.window, strict=True)]
        self.counts = [old + parts.get(name, 0) for name, old in zip(COUNTS, self.counts, strict=True)]

    def time(self, thresholds: Sequence[int], seconds: float | None) -> None:
        """Count how quick an answer was; None is a failure."""
        self.quick = self.quick or [0] * (THRESHOLDS + 1)
        quicker(self.quick, thresholds, seconds)


@dataclass(frozen=True, slots=True)
class Added:
    """What a user's row adds: to which variant and day, to the arm's counts, and to its lists."""

    variant: str | None
    day: int
    arm: list[int]
    lists: dict[str, list[int]]


def find(connection: sqlite3.Connection, name: str, scope: int) -> User | None:
    """Return a user's row, if there is one."""
    row = connection.execute(_FIND, (name, scope)).fetchone()
    if row is None:
        return None
    user = _of(row)
    user.before = user.added()
    if user.split and user.state == State.OPEN:
        select = f"SELECT {', '.join(WINDOWED)} FROM windows WHERE user = ?"  # noqa: S608
        user.window = list(connection.execute(select, (user.id,)).fetchone())
    return user


def added_by(connection: sqlite3.Connection, number: int) -> tuple[int, Added]:
    """Return the scope of the row of this number, and what it adds."""
    scope, *row = connection.execute(_SELECT, (number,)).fetchone()
    return scope, _of(row).added()


def insert(connection: sqlite3.Connection, name: str, scope: int, variant: str | None, at: float) -> User:
    """Make a row."""
    return User(int(connection.execute(_INSERT, (name, scope, variant, at)).lastrowid or 0), variant, at)


def update(connection: sqlite3.Connection, users: Sequence[User]) -> None:
    """Write what has changed of rows; variant and first answer seldom do, and are in an index."""
    rows = [(user.moved, user.split, packed(user.quick), *user.counts, user.id) for user in users]
    connection.executemany(_UPDATE, rows)
    moved = [(user.variant, user.first, user.id) for user in users if user.is_earlier]
    connection.executemany("UPDATE users SET variant = ?, first = ? WHERE id = ?", moved)
    connection.executemany(_KEEP, [(user.id, *user.window) for user in users if user.window is not None])


def _of(row: Sequence[object]) -> User:
    number, variant, first, moved, state, split, quick, *counts = row
    return User(number, variant, first, moved, state, split, unpacked(quick) if quick else None, counts)  # type: ignore[arg-type] # the columns are
