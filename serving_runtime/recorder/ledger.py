"""Users' rows and the arms' sums over them, changed together: a sum changes by what a row says now less what it said.

A user belongs to the variant of their first answer, by the router's clock and not by arrival, and all that they ask
counts there: with the rows' sums this makes the result the same in every order. The caller holds the transaction.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .schema import ARM, COUNTS
from .sums import Moments, log_of, stored

__all__ = ["Ledger", "add_arms", "add_moments", "moments_of", "part_of"]

_DAY_SECONDS = 86400
_OUTCOMES = {"complete": "complete", "broken": "broken", "left": "departed", "error": "errors"}
_SELECT_USER = f"SELECT id, variant, first, moved, {', '.join(COUNTS)} FROM users WHERE user = ? AND scope = ?"  # noqa: S608
_UPDATE_USER = (
    f"UPDATE users SET variant = ?, first = ?, moved = ?, {', '.join(f'{n} = ?' for n in COUNTS)} WHERE id = ?"  # noqa: S608
)
_ARM_SUMS = (
    f"({', '.join(('scope', 'variant', *ARM))}) VALUES ({', '.join('?' * (len(ARM) + 2))})"
    f" ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in ARM)}"
)

Arm = tuple[int, str]
"""A scope and a variant."""


@dataclass(slots=True)
class _User:
    id: int
    variant: str | None
    first: float
    moved: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * len(COUNTS))
    before: tuple[str | None, list[int]] | None = None

    def part(self) -> list[int]:
        return [1, self.moved, *self.counts]

    def count(self, variant: str | None, at: float, parts: Mapping[str, int]) -> None:
        """Add an answer; of two at the same time the variant that comes first in the alphabet is the first."""
        self.moved |= int(variant != self.variant)
        if (at, variant or "") < (self.first, self.variant or ""):
            self.variant = variant
        self.first = min(self.first, at)
        self.counts = [old + parts.get(name, 0) for name, old in zip(COUNTS, self.counts, strict=True)]


class Ledger:
    """What one transaction changes of users and arms; `close` writes it."""

    def __init__(self, connection: sqlite3.Connection, now: float, *, may_grow: bool = True) -> None:
        """`may_grow` says whether there is room for users outside experiments of whom the day has no row yet."""
        self._connection = connection
        self._now = now
        self._may_grow = may_grow
        self._scopes: dict[tuple[Any, ...], int] = {}
        self._users: dict[tuple[int, str], _User] = {}
        self._newest: dict[int, float] = {}

    def count(self, answer: Mapping[str, Any]) -> int | None:
        """Count an answer for its user, and return the user's row; None where there is no room for one."""
        scope, at = self._scope(answer), float(answer["at"])
        variant = answer["variant"] if answer["experiment"] else None
        user = self._user(scope, answer["user"], variant, at)
        if user is None:
            return None
        user.count(variant, at, _parts(answer))
        self._newest[scope] = max(at, self._newest.get(scope, at))
        return user.id

    def close(self) -> None:
        """Write rows and sums."""
        changes: dict[Arm, list[int]] = defaultdict(lambda: [0] * len(ARM))
        for (scope, _), user in self._users.items():
            if user.before and user.before[0] != user.variant:
                self._move(user, scope)
            for sign, told in ((-1, user.before), (1, (user.variant, user.part()))):
                if told and told[0] is not None:
                    arm = (scope, told[0])
                    changes[arm] = [old + sign * new for old, new in zip(changes[arm], told[1], strict=True)]
        rows = [(user.variant, user.first, user.moved, *user.counts, user.id) for user in self._users.values()]
        self._connection.executemany(_UPDATE_USER, rows)
        add_arms(self._connection, "arms", changes)
        self._connection.executemany(
            "UPDATE scopes SET newest = MAX(COALESCE(newest, 0), ?), recorded = ? WHERE id = ?",
            [(newest, self._now, scope) for scope, newest in self._newest.items()],
        )

    def _scope(self, answer: Mapping[str, Any]) -> int:
        if answer["experiment"]:
            key: tuple[Any, ...] = (answer["experiment"], None, None)
        else:
            key = (None, answer["model"], int(answer["at"] // _DAY_SECONDS))
        if key not in self._scopes:
            where = "experiment IS ? AND model IS ? AND day IS ?"
            found = self._connection.execute(f"SELECT id FROM scopes WHERE {where}", key).fetchone()  # noqa: S608
            insert = "INSERT INTO scopes (experiment, model, day) VALUES (?, ?, ?)"
            self._scopes[key] = int(found[0] if found else self._connection.execute(insert, key).lastrowid or 0)
        return self._scopes[key]

    def _user(self, scope: int, name: str, variant: str | None, at: float) -> _User | None:
        if (known := self._users.get((scope, name))) is not None:
            return known
        row = self._connection.execute(_SELECT_USER, (name, scope)).fetchone()
        if row:
            user = _User(row[0], row[1], row[2], row[3], list(row[4:]))
            user.before = (user.variant, user.part())
        elif variant is None and not self._may_grow:
            return None
        else:
            insert = "INSERT INTO users (user, scope, variant, first) VALUES (?, ?, ?, ?)"
            made = self._connection.execute(insert, (name, scope, variant, at))
            user = _User(int(made.lastrowid or 0), variant, at)
        self._users[scope, name] = user
        return user

    def _move(self, user: _User, scope: int) -> None:
        """An earlier answer came late: what the user said counts in its variant, not where it was taken for."""
        for metric, moments in moments_of(self._connection, user.id):
            if user.before and user.before[0] is not None:
                add_moments(self._connection, "arm_metrics", (scope, user.before[0]), metric, Moments() - moments)
            if user.variant is not None:
                add_moments(self._connection, "arm_metrics", (scope, user.variant), metric, moments)


def _parts(answer: Mapping[str, Any]) -> dict[str, int]:
    """Return what an answer adds. A failure is the variant's fault: a server's error, or an answer that broke off."""
    outcome, last = answer["outcome"], answer["last"]
    parts = {
        "requests": 1,
        "failures": int(outcome == "broken" or answer["status"] >= 500),
        "fallbacks": int(bool(answer.get("fallback"))),
        "prompt_tokens": int(answer.get("prompt_tokens") or 0),
        "completion_tokens": int(answer.get("completion_tokens") or 0),
    }
    if outcome in _OUTCOMES:
        parts[_OUTCOMES[outcome]] = 1
    if outcome == "complete" and last is not None:
        parts |= {"latencies": 1, "ln_latency": log_of(last)}
    return parts


def part_of(connection: sqlite3.Connection, user: int) -> tuple[Arm | None, list[int]]:
    """Return the arm that a user's row is counted in, if any, and what it adds there."""
    columns = f"scope, variant, 1, moved, {', '.join(COUNTS)}"
    scope, variant, *part = connection.execute(f"SELECT {columns} FROM users WHERE id = ?", (user,)).fetchone()  # noqa: S608
    return (scope, variant) if variant is not None else None, part


def moments_of(connection: sqlite3.Connection, user: int) -> Iterable[tuple[str, Moments]]:
    """Return what a user adds to each metric."""
    rows = connection.execute("SELECT metric, count, total FROM ratings WHERE user = ?", (user,)).fetchall()
    return [(metric, Moments.of_user(count, int(total))) for metric, count, total in rows]


def add_arms(connection: sqlite3.Connection, table: str, changes: Mapping[Arm, list[int]]) -> None:
    """Add to the sums of arms in a table."""
    rows = [(*arm, *change) for arm, change in changes.items()]
    connection.executemany(f"INSERT INTO {table} {_ARM_SUMS}", rows)


def add_moments(connection: sqlite3.Connection, table: str, arm: Arm, metric: str, change: Moments) -> None:
    """Add to a metric's sums of an arm in a table."""
    where = f"SELECT users, total, squares FROM {table} WHERE scope = ? AND variant = ? AND metric = ?"  # noqa: S608
    row = connection.execute(where, (*arm, metric)).fetchone()
    new = change + Moments(*map(int, row or ()))
    values = (*arm, metric, new.users, stored(new.total), stored(new.squares))
    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?, ?)", values)  # noqa: S608
