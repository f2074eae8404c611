"""What clients saw beside what the recorder counted: each attempt is another user's, so each has a row of its own."""

import base64
import hmac
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .load import Attempt

__all__ = ["Account", "Row", "account", "hashed", "rows_in"]

_OUTCOMES = ("complete", "broken", "departed", "errors")
_TOLD = {"complete": {"complete"}, "broken": {"broken"}, "error": {"errors"}, "unanswered": {*_OUTCOMES}}
"""What the record may say of an attempt, by what its client saw: of what had no answer, whatever the router thinks."""


@dataclass(frozen=True)
class Row:
    """What the recorder counted for a user of the experiment."""

    variant: str
    requests: int
    outcomes: frozenset[str]
    exposure: str | None
    """None where the recorder keeps sums alone, as its volume is nearly full."""


@dataclass
class Account:
    """What follows from comparing them."""

    seconds: float = 0.0
    counted: Counter[str] = field(default_factory=Counter)
    failed: list[Attempt] = field(default_factory=list)
    """The last attempts at requests that never came to a complete answer."""
    refused: list[Attempt] = field(default_factory=list)
    """Attempts that an answer told an error."""
    truncated: list[Attempt] = field(default_factory=list)
    """Answers whose end is missing without a sign."""
    missing: list[Attempt] = field(default_factory=list)
    """Answered, and without a record."""
    repeated: list[Attempt] = field(default_factory=list)
    """Recorded more than once."""
    otherwise: list[tuple[Attempt, Row]] = field(default_factory=list)
    """Recorded as what the client did not see."""
    strangers: int = 0
    """Recorded, and asked by nobody."""

    def line(self, name: str) -> str:
        """Return all that is counted, for people."""
        lists = {"failed": self.failed, "missing": self.missing, "recorded twice": self.repeated}
        told = {**self.counted, **{what: len(found) for what, found in lists.items()}, "strangers": self.strangers}
        seconds = f"{name}, {self.seconds:.0f} s: "
        return seconds + ", ".join(f"{count} {what}" for what, count in told.items())


def account(attempts: Sequence[Attempt], rows: Mapping[str, Row], key: str, known: Iterable[str]) -> Account:
    """Compare attempts with the rows, by users' hashes; the rows of `known` were there before."""
    last = {attempt.request: attempt for attempt in sorted(attempts, key=lambda one: one.began)}
    found = Account(failed=[attempt for attempt in last.values() if attempt.outcome != "complete"])
    found.seconds = max(one.ended for one in attempts) - min(one.began for one in attempts)
    found.counted.update({"short": sum(one.kind == "short" for one in last.values())})
    found.counted.update({"streams": len(last) - found.counted["short"], "asked again": len(attempts) - len(last)})
    found.refused = [attempt for attempt in attempts if attempt.outcome == "error"]
    found.truncated = [attempt for attempt in attempts if attempt.outcome == "truncated"]
    hashes = {hashed(key, attempt.user): attempt for attempt in attempts}
    for user, attempt in hashes.items():
        found.counted[attempt.outcome] += 1
        row = rows.get(user)
        if row is None:
            found.missing += [attempt] if attempt.status is not None else []
            continue
        found.counted["recorded"] += row.requests
        found.repeated += [attempt] if row.requests != 1 else []
        found.counted["in sums alone"] += row.exposure is None
        if not _is_of(row, attempt):
            found.otherwise.append((attempt, row))
    found.strangers = len(rows.keys() - hashes.keys() - set(known))
    return found


def _is_of(row: Row, attempt: Attempt) -> bool:
    is_told = row.outcomes <= _TOLD.get(attempt.outcome, set())
    is_same = None in {row.exposure, attempt.exposure} or row.exposure == attempt.exposure
    return is_told and is_same and attempt.variant in {None, row.variant}


def hashed(key: str, user: str) -> str:
    """Return a user as the records know them (keys.lua)."""
    return base64.b64encode(hmac.digest(key.encode(), user.encode(), "sha1")).decode()


def rows_in(database: Path, experiment: str) -> dict[str, Row]:
    """Return the users of an experiment in a recorder's database, which it may be writing."""
    columns = f"users.user, users.id, variant, requests, {', '.join(_OUTCOMES)}"
    select = f"SELECT {columns} FROM users JOIN scopes ON scopes.id = users.scope WHERE experiment = ?"  # noqa: S608
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)
    try:
        rows = connection.execute(select, (experiment,)).fetchall()
        exposures = dict(connection.execute("SELECT user, lower(hex(id)) FROM answered"))
    finally:
        connection.close()
    return {user: _row(exposures.get(number), *counted) for user, number, *counted in rows}


def _row(exposure: str | None, variant: str, requests: int, *counts: int) -> Row:
    outcomes = frozenset(name for name, count in zip(_OUTCOMES, counts, strict=True) if count)
    return Row(variant, requests, outcomes, exposure)
