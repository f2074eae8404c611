"""The recorder's database: each call is one transaction, on disk when it returns (`synchronous=FULL`).

One process writes, from several threads in turn; a look at statistics has a connection of its own and waits for none.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import analysis, scorings, shadows, statistics, versions
from .closing import Flow, close_windows
from .definition import Definition, define
from .feedback import Desk, Said, Told, key_of
from .ledger import Ledger
from .line import is_counted
from .migration import migrate
from .recent import Recent
from .retention import RETENTION_DAYS, Shortage, erase, prune, shortage
from .schema import connect, look

__all__ = ["Database"]

_DAY_SECONDS = 86400
_TOLD = {
    Shortage.NONE: "the volume has room again",
    Shortage.SOME: "the volume has little room: outside experiments only users of whom the day has a row are counted",
    Shortage.SEVERE: "the volume is nearly full: answers are counted, and feedback about them is not taken",
}
log = logging.getLogger("recorder")


class Database:
    """Answers, feedback, sums of both, and how far each source of answers was recorded."""

    def __init__(self, path: Path, retention_days: float = RETENTION_DAYS) -> None:
        self._folder = path.parent
        self._days = retention_days
        self._lock = threading.Lock()
        self._uncounted = Recent()
        self._short = Shortage.NONE
        self._connection = connect(path)
        migrate(self._connection, self._count, self._take, time.time())
        self._flow = Flow(self._connection.execute("SELECT MAX(at) FROM sources").fetchone()[0], time.time())
        self._looking = threading.Lock()
        self._look = look(path)

    def position(self, source: str) -> int:
        """How far a source was recorded."""
        with self._lock:
            row = self._connection.execute("SELECT position FROM sources WHERE name = ?", (source,)).fetchone()
        return int(row[0]) if row else 0

    def record_exposures(
        self, source: str, position: int, exposures: Sequence[Mapping[str, Any]], copies: Sequence[shadows.Copy] = ()
    ) -> None:
        """Count answers, as `Exposure` has them, and copies together with the position they reach to, so each counts
        once.
        """
        with self._lock, self._connection:
            now = time.time()
            self._count(exposures)
            versions.add(self._connection, exposures)
            shadows.add(self._connection, copies)
            self._connection.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", (source, position, now))
            self._flow.heard(now)

    def record_feedback(self, said: Sequence[Said]) -> list[Told]:
        """Count what users said, in this order; what is recorded or held stays so."""
        with self._lock, self._connection:
            return self._take(said)

    def define(self, experiment: str, definition: Definition) -> bool:
        """Keep what an experiment measures; return whether it was not said otherwise before."""
        with self._lock, self._connection:
            return define(self._connection, experiment, definition)

    def sums(self, experiment: str, metric: str) -> dict[str, Any]:
        """Return what `analysis.sums` says."""
        with self._looking:
            return analysis.sums(self._look, experiment, metric)

    def statistics(self, experiment: str, metric: str) -> dict[str, Any]:
        """Return what `statistics.statistics` says, and `scorings.scoring` of the same metric."""
        with self._looking:
            told = statistics.statistics(self._look, experiment, metric)
            return told | {"scoring": scorings.scoring(self._look, experiment, metric)}

    def shadowed(self, experiment: str) -> dict[str, Any]:
        """Return what `shadows.shadowed` says."""
        with self._looking:
            return shadows.shadowed(self._look, experiment)

    def report_scoring(self, experiment: str, report: scorings.Report) -> None:
        """Add up what a scorer reports."""
        with self._lock, self._connection:
            scorings.add(self._connection, experiment, report)

    def answered(self, version: str) -> dict[str, int]:
        """Return what `versions.answered` says."""
        with self._looking:
            return versions.answered(self._look, version)

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

    def close_windows(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Have users whose window is over enter the sums, a few at a time, unless it is over."""
        more = True
        while more and not is_over():
            with self._lock, self._connection:
                more = close_windows(self._connection, self._flow.due(time.time()))

    def prune(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Delete what is too old, a little at a time, unless it is over."""
        more = True
        while more and not is_over():
            with self._lock, self._connection:
                is_short = self._shortage() is not Shortage.NONE
                more = prune(self._connection, time.time(), self._days, is_short=is_short)

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._looking:
            self._connection.close()
            self._look.close()

    def _count(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Count those that are not known yet; see retention.py for which of them leave a row."""
        now, short = time.time(), self._shortage()
        ledger = Ledger(self._connection, now, may_grow=short is Shortage.NONE)
        desk = self._desk(now, short)
        waited = []
        for answer in answers:
            if not is_counted(answer):
                desk.pass_over(answer)
                continue
            key = key_of(answer["exposure"])
            if self._connection.execute("SELECT 1 FROM answered WHERE id = ?", (key,)).fetchone():
                continue
            user, waits = ledger.count(answer), desk.waits(answer)
            has_room = short is Shortage.NONE or (short is Shortage.SOME and answer["experiment"])
            if user is None or not (waits or has_room):
                desk.pass_over(answer)
                continue
            number = self._keep(answer, key, user, now)
            waited += [(answer, number, user)] if waits else []
        ledger.close()
        for answer, number, user in waited:
            desk.resolve(answer, number, user)
        desk.close()

    def _keep(self, answer: Mapping[str, Any], key: bytes | str, user: int, now: float) -> int:
        completion = answer.get("completion")
        if completion and answer["exposure"] in completion:
            completion = None  # it is found by the exposure's id
        insert = "INSERT INTO answered (id, user, recorded, completion) VALUES (?, ?, ?, ?)"
        return int(self._connection.execute(insert, (key, user, now, completion)).lastrowid or 0)

    def _take(self, said: Sequence[Said]) -> list[Told]:
        now = time.time()
        desk = self._desk(now, self._shortage())
        told = [desk.take(each) for each in said]
        desk.close()
        return told

    def _shortage(self) -> Shortage:
        found = shortage(self._connection, self._folder)
        if found is not self._short:
            log.warning("%s", _TOLD[found])
        self._short = found
        return found

    def _desk(self, now: float, short: Shortage) -> Desk:
        oldest = now - self._days * _DAY_SECONDS
        return Desk(self._connection, now, self._uncounted, oldest=oldest, may_wait=short is not Shortage.SEVERE)
