"""What users say about answers: values, each counted once for the user who got the answer.

A value belongs to its event: said again under the same event id it takes the place of what was said, so that a client
may repeat what it is not sure of; other events about the same answer count beside it. Without an event id there is one
value per answer and metric, the last.

An answer may be recorded after its user has spoken. What is said of an unknown one waits, durably, and is counted in
the transaction that records the answer; what waits too long becomes a dead letter, of which the number alone is kept.

Of answers that count nowhere the last are known, in memory alone, as there may be millions a day. Feedback about one is
told so, and what waited for one is given up when its line comes. About earlier ones, or after a restart, it waits in
vain.
"""

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .ledger import add_moments, part_of
from .recent import Recent
from .sums import Moments, stored

__all__ = ["Desk", "Outcome", "Said", "expire", "key_of"]

HOLD_SECONDS = 86400.0
"""How long an answer may be behind what is said of it: a router spools for a recorder that is away, hours at most."""
MOST_WAITING = 100_000
"""About 20 MB. Whoever makes up ids fills this, and then only what comes before its answer is put off."""
MOST_OF_AN_ANSWER = 64
"""Values of one answer, over all metrics: rows are stored for each."""
_FOR_ANSWER = "FROM waiting WHERE exposure = ? OR completion != '' AND completion = ?"
_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Said:
    """One value (scaled, sums.py) about the answer that the exposure's id or the completion's names."""

    metric: str
    value: int
    exposure: str = ""
    completion: str = ""
    event: str = ""


class Outcome(StrEnum):
    """What became of it; the first two are promises."""

    RECORDED = "recorded"
    HELD = "held"
    NOT_COUNTED = "not counted"
    """The answer counts nowhere, so neither does this."""
    LATE = "late"
    """The answer is older than what is kept."""
    UNKNOWN = "unknown"
    """The answer's user was erased."""
    AMBIGUOUS = "ambiguous"
    """Several answers have this completion's id."""
    TOO_MANY = "too many"
    FULL = "full"
    """It would have to wait, and there is no room for that."""


def key_of(exposure: str) -> bytes | str:
    """Return an exposure's id as it is stored: the router's own take half the room."""
    return bytes.fromhex(exposure) if _HEX.fullmatch(exposure) else exposure


class Desk:
    """Takes what is said within one transaction, which the caller holds."""

    def __init__(
        self, connection: sqlite3.Connection, now: float, uncounted: Recent, *, oldest: float, may_wait: bool
    ) -> None:
        """`uncounted`: names of answers that count nowhere.

        `oldest`: when an answer was recorded at the earliest for feedback to count.
        """
        self._connection = connection
        self._now = now
        self._uncounted = uncounted
        self._oldest = oldest
        waiting = int(connection.execute("SELECT COUNT(*) FROM waiting").fetchone()[0])
        self._any_waits = waiting > 0
        self._room = MOST_WAITING - waiting if may_wait else 0

    def take(self, said: Said) -> Outcome:
        """Count a value, or let it wait."""
        found = self._find(said)
        if not found:
            return Outcome.NOT_COUNTED if self._is_uncounted(said) else self._hold(said)
        if len(found) > 1:
            return Outcome.AMBIGUOUS
        number, user, recorded = found[0]
        if recorded < self._oldest:
            _bury(self._connection, Outcome.LATE, 1)
            return Outcome.LATE
        if self._connection.execute("SELECT 1 FROM users WHERE id = ?", (user,)).fetchone() is None:
            return Outcome.UNKNOWN
        if self._is_full(number, user, said):
            return Outcome.TOO_MANY
        _apply(self._connection, number, user, said)
        return Outcome.RECORDED

    def waits(self, answer: Mapping[str, Any]) -> bool:
        """Say whether something waits for an answer."""
        if not self._any_waits:
            return False
        return bool(self._connection.execute(f"SELECT 1 {_FOR_ANSWER}", _names(answer)).fetchone())

    def resolve(self, answer: Mapping[str, Any], number: int, user: int) -> None:
        """Count what waited for an answer, in the order in which it was said, as much as an answer may have."""
        columns = "metric, value, event"
        rows = self._connection.execute(f"SELECT {columns} {_FOR_ANSWER} ORDER BY at", _names(answer)).fetchall()
        for metric, value, event in rows:
            said = Said(metric, int(value), event=event)
            if self._is_full(number, user, said):
                _bury(self._connection, Outcome.TOO_MANY, 1)
            else:
                _apply(self._connection, number, user, said)
        if rows:
            self._connection.execute(f"DELETE {_FOR_ANSWER}", _names(answer))

    def pass_over(self, answer: Mapping[str, Any]) -> None:
        """Know an answer as one that counts nowhere, and give up what waits for it."""
        exposure, completion = _names(answer)
        self._uncounted.add(exposure)
        if completion and answer["exposure"] not in completion:
            self._uncounted.add(completion)
        if self._any_waits:
            gone = self._connection.execute(f"DELETE {_FOR_ANSWER}", (exposure, completion)).rowcount
            if gone:
                _bury(self._connection, Outcome.NOT_COUNTED, gone)

    def _is_uncounted(self, said: Said) -> bool:
        return said.completion in self._uncounted or _exposure_of(said) in self._uncounted

    def _find(self, said: Said) -> list[tuple[int, int, float]]:
        select = "SELECT number, user, recorded FROM answered WHERE"
        if said.completion:
            found = self._connection.execute(f"{select} completion = ? LIMIT 2", (said.completion,)).fetchall()
            if found:
                return found
        return self._connection.execute(f"{select} id = ?", (_exposure_of(said),)).fetchall()

    def _hold(self, said: Said) -> Outcome:
        key = (_exposure_of(said), said.completion)
        where, name = ("exposure = ?", key[0]) if key[0] else ("exposure = '' AND completion = ?", key[1])
        held = self._connection.execute(f"SELECT COUNT(*) FROM waiting WHERE {where}", (name,)).fetchone()  # noqa: S608
        if held[0] >= MOST_OF_AN_ANSWER:
            return Outcome.TOO_MANY
        if self._room <= 0:
            return Outcome.FULL
        self._room -= 1
        row = (*key, said.metric, said.event, stored(said.value), self._now)
        self._connection.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?, ?, ?)", row)
        return Outcome.HELD

    def _is_full(self, number: int, user: int, said: Said) -> bool:
        where = "user = ? AND answer = ?"
        count = self._connection.execute(f"SELECT COUNT(*) FROM said WHERE {where}", (user, number)).fetchone()[0]  # noqa: S608
        return count >= MOST_OF_AN_ANSWER and _value(self._connection, number, user, said) is None


def expire(connection: sqlite3.Connection, now: float) -> None:
    """Give up what waits too long."""
    gone = connection.execute("DELETE FROM waiting WHERE at < ?", (now - HOLD_SECONDS,)).rowcount
    if gone:
        _bury(connection, Outcome.UNKNOWN, gone)


def _exposure_of(said: Said) -> bytes | str:
    """An engine of ours puts the exposure's id into the completion's, as it gets it as the request's."""
    if said.exposure:
        return key_of(said.exposure)
    found = _HEX.search(said.completion)
    return key_of(found[0]) if found else ""


def _names(answer: Mapping[str, Any]) -> tuple[bytes | str, str]:
    return key_of(answer["exposure"]), answer.get("completion") or ""


def _value(connection: sqlite3.Connection, number: int, user: int, said: Said) -> int | None:
    where = "user = ? AND answer = ? AND metric = ? AND event = ?"
    key = (user, number, said.metric, said.event)
    row = connection.execute(f"SELECT value FROM said WHERE {where}", key).fetchone()  # noqa: S608
    return int(row[0]) if row else None


def _apply(connection: sqlite3.Connection, number: int, user: int, said: Said) -> None:
    old = _value(connection, number, user, said)
    if old == said.value:
        return
    row = (user, number, said.metric, said.event, stored(said.value))
    connection.execute("INSERT OR REPLACE INTO said VALUES (?, ?, ?, ?, ?)", row)
    select = "SELECT count, total FROM ratings WHERE user = ? AND metric = ?"
    count, total = map(int, connection.execute(select, (user, said.metric)).fetchone() or (0, 0))
    now_count, now_total = count + (old is None), total - (old or 0) + said.value
    row_of_user = (user, said.metric, now_count, stored(now_total))
    connection.execute("INSERT OR REPLACE INTO ratings VALUES (?, ?, ?, ?)", row_of_user)
    arm, _ = part_of(connection, user)
    if arm:
        change = Moments.of_user(now_count, now_total) - Moments.of_user(count, total)
        add_moments(connection, "arm_metrics", arm, said.metric, change)


def _bury(connection: sqlite3.Connection, reason: Outcome, count: int) -> None:
    insert = "INSERT INTO dead_letters VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
    connection.execute(insert, (str(reason), count))
