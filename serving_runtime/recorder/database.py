"""The recorder's database: each call is one transaction, on disk when it returns (`synchronous=FULL`).

One process writes, from several threads in turn; a look at statistics has a connection of its own and waits for none.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import statistics
from .feedback import Desk, Outcome, Said, key_of
from .ledger import Ledger
from .line import is_counted
from .migration import migrate
from .recent import Recent
from .retention import RETENTION_DAYS, Shortage, erase, prune, shortage
from .schema import connect, look

__all__ = ["Database"]

_DAY_SECONDS = 86400


class Database:
    """Answers, feedback, sums of both, and how far each source of answers was recorded."""

    def __init__(self, path: Path, retention_days: float = RETENTION_DAYS) -> None:
        self._folder = path.parent
        self._days = retention_days
        self._lock = threading.Lock()
        self._uncounted = Recent()
        self._connection = connect(path)
        migrate(self._connection, self._count, self._take, time.time())
        self._looking = threading.Lock()
        self._look = look(path)

    def position(self, source: str) -> int:
        """How far a source was recorded."""
        with self._lock:
            row = self._connection.execute("SELECT position FROM sources WHERE name = ?", (source,)).fetchone()
        return int(row[0]) if row else 0

    def record_exposures(self, source: str, position: int, exposures: Sequence[Mapping[str, Any]]) -> None:
        """Count answers, as `Exposure` has them, together with the position they reach to, so each counts once."""
        with self._lock, self._connection:
            self._count(exposures)
            self._connection.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", (source, position, time.time()))

    def record_feedback(self, said: Sequence[Said]) -> list[Outcome]:
        """Count what users said, in this order; what is recorded or held stays so."""
        with self._lock, self._connection:
            return self._take(said)

    def statistics(self, experiment: str, metric: str) -> dict[str, Any]:
        """Return what `statistics.statistics` says."""
        with self._looking:
            return statistics.statistics(self._look, experiment, metric)

    def erase(self, user: str) -> int:
        """Forget a user, by their hash; return how many rows that were. What they added to sums stays, unnamed.

        What is deleted is overwritten, and leaves the log of changes, too.
        """
        with self._lock:
            self._connection.execute("PRAGMA secure_delete=1")
            with self._connection:
                rows = erase(self._connection, user)
            self._connection.execute("PRAGMA secure_delete=0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return rows

    def prune(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Delete what is too old, a little at a time, unless it is over."""
        more = True
        while more and not is_over():
            with self._lock, self._connection:
                more = prune(self._connection, time.time(), self._days)

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._looking:
            self._connection.close()
            self._look.close()

    def _count(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Count those that are not known yet; see retention.py for which of them leave a row."""
        now, short = time.time(), shortage(self._connection, self._folder)
        ledger, desk = Ledger(self._connection, now), self._desk(now, short)
        waited = []
        for answer in answers:
            if not is_counted(answer):
                desk.pass_over(answer)
                continue
            key = key_of(answer["exposure"])
            if self._connection.execute("SELECT 1 FROM answered WHERE id = ?", (key,)).fetchone():
                continue
            user, waits = ledger.count(answer), desk.waits(answer)
            if waits or short is Shortage.NONE or (short is Shortage.SOME and answer["experiment"]):
                number = self._keep(answer, key, user, now)
                waited += [(answer, number, user)] if waits else []
            else:
                desk.pass_over(answer)
        ledger.close()
        for answer, number, user in waited:
            desk.resolve(answer, number, user)

    def _keep(self, answer: Mapping[str, Any], key: bytes | str, user: int, now: float) -> int:
        completion = answer.get("completion")
        if completion and answer["exposure"] in completion:
            completion = None  # it is found by the exposure's id
        insert = "INSERT INTO answered (id, user, recorded, completion) VALUES (?, ?, ?, ?)"
        return int(self._connection.execute(insert, (key, user, now, completion)).lastrowid or 0)

    def _take(self, said: Sequence[Said]) -> list[Outcome]:
        now = time.time()
        desk = self._desk(now, shortage(self._connection, self._folder))
        return [desk.take(each) for each in said]

    def _desk(self, now: float, short: Shortage) -> Desk:
        oldest = now - self._days * _DAY_SECONDS
        return Desk(self._connection, now, self._uncounted, oldest=oldest, may_wait=short is not Shortage.SEVERE)
