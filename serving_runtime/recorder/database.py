"""The recorder's tables in SQLite, and the statistics read from them.

What became of an answer has a table of its own: an earlier release's recorder, that knows only the others, works on the
same file. One process writes, from several threads in turn. Every call returns after the data is on disk
(`synchronous=FULL`).
"""

import math
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Database"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS exposures (
    id TEXT PRIMARY KEY, experiment TEXT NOT NULL, variant TEXT NOT NULL, user TEXT NOT NULL, at REAL NOT NULL,
    status INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS exposures_by_user ON exposures (experiment, variant, user);
CREATE TABLE IF NOT EXISTS feedback (
    exposure TEXT NOT NULL, metric TEXT NOT NULL, value REAL NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (exposure, metric)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    exposure TEXT PRIMARY KEY, outcome TEXT, first REAL, last REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
"""


class Database:
    """Exposures, feedback, and how far each file of exposures was read."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(_SCHEMA)

    def position(self, file: str) -> int:
        """How many bytes of a file were recorded."""
        with self._lock:
            row = self._connection.execute("SELECT position FROM files WHERE name = ?", (file,)).fetchone()
        return int(row[0]) if row else 0

    def files(self) -> set[str]:
        """The files that were recorded in part or whole."""
        with self._lock:
            return {str(row[0]) for row in self._connection.execute("SELECT name FROM files")}

    def record_exposures(self, file: str, position: int, exposures: Sequence[Mapping[str, Any]]) -> None:
        """Store exposures together with the position they reach to, so that each counts once."""
        with self._lock, self._connection:
            self._connection.executemany(
                "INSERT OR IGNORE INTO exposures VALUES (:exposure, :experiment, :variant, :user, :at, :status)",
                exposures,
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO answers VALUES (:exposure, :outcome, :first, :last)", exposures
            )
            self._connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (file, position))

    def forget_file(self, file: str) -> None:
        """Drop the position of a file that is gone."""
        with self._lock, self._connection:
            self._connection.execute("DELETE FROM files WHERE name = ?", (file,))

    def record_feedback(self, exposure: str, metric: str, value: float) -> None:
        """Store what a user said; said again about the same answer, the last word holds."""
        with self._lock, self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?)", (exposure, metric, value, time.time())
            )

    def statistics(self, experiment: str, metric: str) -> dict[str, Any]:
        """Return per variant its users, requests, and the count, mean and squared deviations of users' mean values.

        `moved_users` counts users who were given more than one variant: 0 unless assignment is broken.
        """
        with self._lock:
            return {"variants": self._variants(experiment, metric), "moved_users": self._moved_users(experiment)}

    def _variants(self, experiment: str, metric: str) -> dict[str, dict[str, Any]]:
        counted = self._connection.execute(
            "SELECT variant, COUNT(DISTINCT user), COUNT(*) FROM exposures WHERE experiment = ? GROUP BY variant",
            (experiment,),
        )
        variants: dict[str, dict[str, Any]] = {
            name: {"users": users, "requests": requests} for name, users, requests in counted
        }
        for name, values in self._user_means(experiment, metric).items():
            mean = math.fsum(values) / len(values)
            squares = math.fsum((value - mean) ** 2 for value in values)
            variants[name]["metric"] = {"users": len(values), "mean": mean, "squares": squares}
        return variants

    def _user_means(self, experiment: str, metric: str) -> dict[str, list[float]]:
        rows = self._connection.execute(
            "SELECT variant, AVG(value) FROM exposures JOIN feedback ON exposure = id"
            " WHERE experiment = ? AND metric = ? GROUP BY variant, user",
            (experiment, metric),
        )
        means: dict[str, list[float]] = defaultdict(list)
        for variant, value in rows:
            means[variant].append(value)
        return means

    def _moved_users(self, experiment: str) -> int:
        row = self._connection.execute(
            "SELECT COUNT(*) FROM (SELECT 1 FROM exposures WHERE experiment = ?"
            " GROUP BY user HAVING COUNT(DISTINCT variant) > 1)",
            (experiment,),
        ).fetchone()
        return int(row[0])
