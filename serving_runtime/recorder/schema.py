"""The recorder's tables in SQLite.

A `scope` is an experiment, or a model's day for those whom no experiment counts. A user has a row in each: what they
asked and got, by whole numbers, and in `ratings` how often they gave a metric a value, and the sum of these. `arms` and
`arm_metrics` are the sums of these rows, kept as the rows change, so that a look at an experiment reads a few rows
however many answers there were; `residual` is the part of them whose rows are gone. `answered` has one row per answer,
by which feedback finds its user and a replay is known; `said` one per value.

What later analyses need is in `sums`, by variant and the day on which users were enrolled: lists of whole numbers that
are added (parts.py), and in `cells`, histograms. What of a user's row their window held stands in `windows` once the
row holds more than that, and what they were like before the experiment in `histories`. `ranges` says between what
values a metric lies. `versions` has what each version answered, whoever asked, and `shadows` what came of copies of
requests (shadows.py); `scorings` what came of scoring answers (scorings.py).

A later file is refused: what a release does not know it would not keep up. An earlier one is taken over (upgrade.py).
"""

import sqlite3
from pathlib import Path

from .columns import ARM, COUNTS, WINDOWED
from .scorings import SCORINGS
from .shadows import SHADOWS
from .upgrade import upgrade

__all__ = ["VERSION", "connect", "look"]

VERSION = 2

_COUNTED = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in COUNTS)
_ARM = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in ARM)
_MOMENTS = "metric TEXT NOT NULL, users INTEGER NOT NULL, total NOT NULL, squares NOT NULL"
# Columns without a type hold whole numbers of any size: as text where SQLite's 64 bits do not.
_TABLES = f"""
CREATE TABLE scopes (
    id INTEGER PRIMARY KEY, experiment TEXT UNIQUE, model TEXT, day INTEGER, newest REAL, recorded REAL,
    control TEXT, thresholds TEXT, UNIQUE (model, day)
);
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, scope INTEGER NOT NULL, variant TEXT, first REAL NOT NULL,
    moved INTEGER NOT NULL DEFAULT 0, {_COUNTED}, state INTEGER NOT NULL DEFAULT 0, split INTEGER NOT NULL DEFAULT 0,
    quick BLOB, UNIQUE (user, scope)
);
CREATE INDEX users_by_scope ON users (scope);
CREATE TABLE ratings (
    user INTEGER NOT NULL, metric TEXT NOT NULL, count INTEGER NOT NULL, total NOT NULL,
    window_count INTEGER NOT NULL DEFAULT 0, window_total NOT NULL DEFAULT 0, late INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user, metric)
) WITHOUT ROWID;
CREATE TABLE arms (scope INTEGER NOT NULL, variant TEXT NOT NULL, {_ARM}, PRIMARY KEY (scope, variant)) WITHOUT ROWID;
CREATE TABLE arm_metrics (
    scope INTEGER NOT NULL, variant TEXT NOT NULL, {_MOMENTS}, PRIMARY KEY (scope, variant, metric)
) WITHOUT ROWID;
CREATE TABLE residual (
    scope INTEGER NOT NULL, variant TEXT NOT NULL, {_ARM}, PRIMARY KEY (scope, variant)
) WITHOUT ROWID;
CREATE TABLE residual_metrics (
    scope INTEGER NOT NULL, variant TEXT NOT NULL, {_MOMENTS}, PRIMARY KEY (scope, variant, metric)
) WITHOUT ROWID;
CREATE TABLE answered (
    number INTEGER PRIMARY KEY, id NOT NULL UNIQUE, user INTEGER NOT NULL, recorded REAL NOT NULL, completion TEXT
);
CREATE INDEX answered_by_completion ON answered (completion) WHERE completion IS NOT NULL;
CREATE TABLE said (
    user INTEGER NOT NULL, answer INTEGER NOT NULL, metric TEXT NOT NULL, event TEXT NOT NULL, value NOT NULL,
    in_window, late INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (user, answer, metric, event)
) WITHOUT ROWID;
CREATE TABLE waiting (
    exposure NOT NULL, completion TEXT NOT NULL, metric TEXT NOT NULL, event TEXT NOT NULL, value NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (exposure, completion, metric, event)
) WITHOUT ROWID;
CREATE INDEX waiting_by_completion ON waiting (completion);
CREATE TABLE dead_letters (reason TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sources (name TEXT PRIMARY KEY, position INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX sources_by_time ON sources (at);
"""
_LISTS = "scope INTEGER NOT NULL, variant TEXT NOT NULL, day INTEGER NOT NULL, name TEXT NOT NULL, parts TEXT NOT NULL"
_CELLS = "scope INTEGER NOT NULL, variant TEXT NOT NULL, name TEXT NOT NULL, cell INTEGER NOT NULL, count INTEGER"
_WINDOWED = ", ".join(f"{name} INTEGER NOT NULL" for name in WINDOWED)
_ANALYSED = f"""
CREATE INDEX users_open ON users (first) WHERE state = 0 AND variant IS NOT NULL;
CREATE TABLE windows (user INTEGER PRIMARY KEY, {_WINDOWED});
CREATE TABLE histories (
    user INTEGER NOT NULL, name TEXT NOT NULL, total NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (user, name)
) WITHOUT ROWID;
CREATE TABLE ranges (
    scope INTEGER NOT NULL, metric TEXT NOT NULL, low NOT NULL, high NOT NULL, PRIMARY KEY (scope, metric)
) WITHOUT ROWID;
CREATE TABLE sums ({_LISTS}, PRIMARY KEY (scope, variant, day, name)) WITHOUT ROWID;
CREATE TABLE residual_sums ({_LISTS}, PRIMARY KEY (scope, variant, day, name)) WITHOUT ROWID;
CREATE TABLE cells ({_CELLS}, PRIMARY KEY (scope, variant, name, cell)) WITHOUT ROWID;
CREATE TABLE residual_cells ({_CELLS}, PRIMARY KEY (scope, variant, name, cell)) WITHOUT ROWID;
"""
_VERSIONS = """
CREATE TABLE IF NOT EXISTS versions (
    name TEXT PRIMARY KEY, requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL
) WITHOUT ROWID
"""
# No other table depends on it, nor on `shadows` or `scorings`, and who does not know them loses nothing but counts: so
# they have no format of their own.
_CACHE_KIB = 64 << 10


def connect(path: Path) -> sqlite3.Connection:
    """Open the file for writing, with its tables made; several threads may use it in turn.

    Raise ValueError where a later release has written it.
    """
    connection = sqlite3.connect(path, check_same_thread=False)
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        connection.close()
        raise ValueError(
            f"{path.name} has format {version}, and this release knows {VERSION} at most: a later one wrote it; run"
            " that one, or restore a copy from before the upgrade"
        )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    if version == 0:
        connection.executescript(f"BEGIN; {_TABLES} {_ANALYSED} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version < VERSION:
        upgrade(connection, _ANALYSED, VERSION)
    connection.execute(_VERSIONS)
    connection.execute(SHADOWS)
    connection.execute(SCORINGS)
    return connection


def look(path: Path) -> sqlite3.Connection:
    """Open it for reading, beside the writer and never held up by it."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA query_only=1")
    return connection
