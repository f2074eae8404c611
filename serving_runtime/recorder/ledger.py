"""Users' rows and the arms' sums over them, changed together: a sum changes by what a row says now less what it said.

A user belongs to the variant of their first answer, by the router's clock and not by arrival, and all that they ask
counts there: with the rows' sums this makes the result the same in every order. Once their window is over and its
values have entered the sums, an earlier answer changes neither. The caller holds the transaction.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .columns import ARM
from .history import remember
from .measures import INFINITE, log_cell
from .parts import late_part
from .quantiles import LATENCY, set_thresholds
from .sums import Moments, log_of, stored
from .totals import Arm, Totals
from .user import Added, User, find, insert, update

__all__ = ["Ledger", "add_arms", "add_moments", "moments_of"]

_DAY_SECONDS = 86400
_OUTCOMES = {"complete": "complete", "broken": "broken", "left": "departed", "error": "errors"}
_ARM_SUMS = (
    f"({', '.join(('scope', 'variant', *ARM))}) VALUES ({', '.join('?' * (len(ARM) + 2))})"
    f" ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in ARM)}"
)


class Ledger:
    """What one transaction changes of users and arms; `close` writes it."""

    def __init__(self, connection: sqlite3.Connection, now: float, *, may_grow: bool = True) -> None:
        """`may_grow` says whether there is room for users outside experiments of whom the day has no row yet."""
        self._connection = connection
        self._now = now
        self._may_grow = may_grow
        self._totals = Totals(connection)
        self._scopes: dict[tuple[Any, ...], int] = {}
        self._thresholds: dict[int, list[int]] = {}
        self._users: dict[tuple[int, str], User] = {}
        self._newest: dict[int, float] = {}

    def count(self, answer: Mapping[str, Any]) -> int | None:
        """Count an answer for its user, and return the user's row; None where there is no room for one."""
        scope, at = self._scope(answer), float(answer["at"])
        variant = answer["variant"] if answer["experiment"] else None
        user = self._user(scope, answer["user"], variant, at)
        if user is None:
            return None
        parts = _parts(answer)
        user.count(variant, at, parts)
        user.model = answer.get("model")
        if variant is not None and (parts["failures"] or parts.get("latencies")):
            self._time(scope, variant, user, None if parts["failures"] else answer["last"])
        self._newest[scope] = max(at, self._newest.get(scope, at))
        return user.id

    def close(self) -> None:
        """Write rows and sums."""
        changes: dict[Arm, list[int]] = defaultdict(lambda: [0] * len(ARM))
        for (scope, name), user in self._users.items():
            self._change(scope, name, user, user.added(), changes)
        update(self._connection, list(self._users.values()))
        add_arms(self._connection, "arms", changes)
        self._totals.write()
        self._connection.executemany(
            "UPDATE scopes SET newest = MAX(COALESCE(newest, 0), ?), recorded = ? WHERE id = ?",
            [(newest, self._now, scope) for scope, newest in self._newest.items()],
        )
        for scope in {arm[0] for arm in changes}:
            set_thresholds(self._connection, scope)

    def _change(self, scope: int, name: str, user: User, now: Added, changes: dict[Arm, list[int]]) -> None:
        was = user.before
        for sign, told in ((-1, was), (1, now)):
            if told and told.variant is not None:
                arm = (scope, told.variant)
                changes[arm] = [old + sign * new for old, new in zip(changes[arm], told.arm, strict=True)]
                self._totals.add(arm, told.day, told.lists, sign)
        if was and (was.variant, was.day) != (now.variant, now.day):
            self._move(scope, user, was, now)
        if now.variant is not None and (was is None or was.day != now.day):
            remember(self._connection, user.id, name, user.model, user.first)

    def _scope(self, answer: Mapping[str, Any]) -> int:
        if answer["experiment"]:
            key: tuple[Any, ...] = (answer["experiment"], None, None)
        else:
            key = (None, answer["model"], int(answer["at"] // _DAY_SECONDS))
        if key not in self._scopes:
            where = "experiment IS ? AND model IS ? AND day IS ?"
            found = self._connection.execute(f"SELECT id, thresholds FROM scopes WHERE {where}", key).fetchone()  # noqa: S608
            make = "INSERT INTO scopes (experiment, model, day) VALUES (?, ?, ?)"
            self._scopes[key] = int(found[0] if found else self._connection.execute(make, key).lastrowid or 0)
            if found and found[1]:
                self._thresholds[self._scopes[key]] = json.loads(found[1])
        return self._scopes[key]

    def _user(self, scope: int, name: str, variant: str | None, at: float) -> User | None:
        if (known := self._users.get((scope, name))) is not None:
            return known
        user = find(self._connection, name, scope)
        if user is None and variant is None and not self._may_grow:
            return None
        user = user or insert(self._connection, name, scope, variant, at)
        self._users[scope, name] = user
        return user

    def _time(self, scope: int, variant: str, user: User, seconds: float | None) -> None:
        self._totals.count((scope, variant), LATENCY, INFINITE if seconds is None else log_cell(seconds))
        if thresholds := self._thresholds.get(scope):
            user.time(thresholds, seconds)

    def _move(self, scope: int, user: User, was: Added, now: Added) -> None:
        """An earlier answer came late: what the user said counts in its variant, not where it was taken for."""
        late = late_part(self._connection, user.id)
        said = moments_of(self._connection, user.id)
        for sign, told in ((-1, was), (1, now)):
            if told.variant is None:
                continue
            self._totals.add((scope, told.variant), told.day, late, sign)
            for metric, moments in said:
                change = moments if sign > 0 else Moments() - moments
                add_moments(self._connection, "arm_metrics", (scope, told.variant), metric, change)


def _parts(answer: Mapping[str, Any]) -> dict[str, int]:
    """Return what an answer adds. A failure is the variant's fault: a server's error, or an answer that broke off."""
    outcome, first, last = answer["outcome"], answer["first"], answer["last"]
    tokens = int(answer.get("completion_tokens") or 0)
    parts = {
        "requests": 1,
        "failures": int(outcome == "broken" or answer["status"] >= 500),
        "fallbacks": int(bool(answer.get("fallback"))),
        "prompt_tokens": int(answer.get("prompt_tokens") or 0),
        "completion_tokens": tokens,
    }
    if outcome in _OUTCOMES:
        parts[_OUTCOMES[outcome]] = 1
    if outcome == "complete" and last is not None:
        parts |= {"latencies": 1, "ln_latency": log_of(last)}
    if outcome == "complete" and answer.get("stream") and first is not None:
        parts |= {"firsts": 1, "ln_first": log_of(first)}
        if last is not None and last >= first and tokens > 1:
            parts |= {"paced": tokens - 1, "pace": round((last - first) * 1e6)}
    return parts


def moments_of(connection: sqlite3.Connection, user: int) -> Sequence[tuple[str, Moments]]:
    """Return what a user adds to each metric."""
    rows = connection.execute("SELECT metric, count, total FROM ratings WHERE user = ?", (user,)).fetchall()
    return [(metric, Moments.of_user(count, int(total))) for metric, count, total in rows]


def add_arms(connection: sqlite3.Connection, table: str, changes: Mapping[Arm, Iterable[int]]) -> None:
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
