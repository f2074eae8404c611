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

from .definition import Ranges, ranges_of
from .rating import Rater, Value, rate, rater_of, value_of
from .recent import Recent
from .sums import stored
from .totals import Totals

__all__ = ["Desk", "Outcome", "Outside", "Said", "Told", "expire", "key_of"]

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


@dataclass(frozen=True, slots=True)
class Outside:
    """It lies outside the metric's range in the answer's experiment (scaled, sums.py)."""

    low: int
    high: int


Told = Outcome | Outside


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
        self._totals = Totals(connection)
        self._ranges: dict[int, Ranges] = {}
        waiting = int(connection.execute("SELECT COUNT(*) FROM waiting").fetchone()[0])
        self._any_waits = waiting > 0
        self._room = MOST_WAITING - waiting if may_wait else 0

    def take(self, said: Said) -> Told:
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
        rater = rater_of(self._connection, user)
        return self._count(number, rater, said, self._now) if rater else Outcome.UNKNOWN

    def close(self) -> None:
        """Write the sums."""
        self._totals.write()

    def waits(self, answer: Mapping[str, Any]) -> bool:
        """Say whether something waits for an answer."""
        if not self._any_waits:
            return False
        return bool(self._connection.execute(f"SELECT 1 {_FOR_ANSWER}", _names(answer)).fetchone())

    def resolve(self, answer: Mapping[str, Any], number: int, user: int) -> None:
        """Count what waited for an answer, in the order in which it was said, as much as an answer may have."""
        columns = "metric, value, event, at"
        rows = self._connection.execute(f"SELECT {columns} {_FOR_ANSWER} ORDER BY at", _names(answer)).fetchall()
        if rows and (rater := rater_of(self._connection, user)):
            for metric, value, event, at in rows:
                told = self._count(number, rater, Said(metric, int(value), event=event), at)
                if told is not Outcome.RECORDED:
                    _bury(self._connection, "out of range" if isinstance(told, Outside) else told, 1)
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
        key = (_exposure_of(said), said.completion, said.metric, said.event)
        known = "exposure = ? AND completion = ? AND metric = ? AND event = ?"
        if not self._connection.execute(f"SELECT 1 FROM waiting WHERE {known}", key).fetchone():  # noqa: S608
            if (refused := self._refused(*key[:2])) is not None:
                return refused
            self._room -= 1
        self._connection.execute(
            "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?, ?, ?)", (*key, stored(said.value), self._now)
        )
        return Outcome.HELD

    def _refused(self, exposure: bytes | str, completion: str) -> Outcome | None:
        """Why one more value may not wait for an answer."""
        where, name = ("exposure = ?", exposure) if exposure else ("exposure = '' AND completion = ?", completion)
        held = self._connection.execute(f"SELECT COUNT(*) FROM waiting WHERE {where}", (name,)).fetchone()  # noqa: S608
        if held[0] >= MOST_OF_AN_ANSWER:
            return Outcome.TOO_MANY
        return Outcome.FULL if self._room <= 0 else None

    def _count(self, number: int, user: Rater, said: Said, at: float) -> Told:
        value = Value(number, said.metric, said.event, said.value)
        if (limits := self._range(user, said.metric)) and not limits[0] <= said.value <= limits[1]:
            return Outside(*limits)
        if self._is_full(user.id, value):
            return Outcome.TOO_MANY
        rate(self._connection, self._totals, user, value, at)
        return Outcome.RECORDED

    def _range(self, user: Rater, metric: str) -> tuple[int, int] | None:
        if user.arm is None:
            return None
        if user.scope not in self._ranges:
            self._ranges[user.scope] = ranges_of(self._connection, user.scope)
        return self._ranges[user.scope].get(metric)

    def _is_full(self, user: int, said: Value) -> bool:
        select = "SELECT COUNT(*) FROM said WHERE user = ? AND answer = ?"
        count = self._connection.execute(select, (user, said.answer)).fetchone()[0]
        return count >= MOST_OF_AN_ANSWER and value_of(self._connection, user, said) is None


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


def _bury(connection: sqlite3.Connection, reason: str, count: int) -> None:
    insert = "INSERT INTO dead_letters VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
    connection.execute(insert, (str(reason), count))
