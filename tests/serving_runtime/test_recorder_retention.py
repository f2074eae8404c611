"""What is too old goes, sums stay; a look says how fresh they are; an earlier release's file is taken over."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving_runtime.recorder import migration
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.definition import Definition, Range
from serving_runtime.recorder.feedback import Outcome, Said, Told
from serving_runtime.recorder.line import Exposure
from serving_runtime.recorder.retention import shortage
from serving_runtime.recorder.schema import VERSION, connect
from serving_runtime.recorder.statistics import statistics
from serving_runtime.recorder.sums import scaled

_DAY = 86400.0
_EARLIER = """
CREATE TABLE exposures (
    id TEXT PRIMARY KEY, experiment TEXT NOT NULL, variant TEXT NOT NULL, user TEXT NOT NULL, at REAL NOT NULL,
    status INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX exposures_by_user ON exposures (experiment, variant, user);
CREATE TABLE feedback (
    exposure TEXT NOT NULL, metric TEXT NOT NULL, value REAL NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (exposure, metric)
) WITHOUT ROWID;
CREATE TABLE answers (exposure TEXT PRIMARY KEY, outcome TEXT, first REAL, last REAL) WITHOUT ROWID;
CREATE TABLE files (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
"""
"""The tables of the release before the sums."""

Clock = Callable[[float], None]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the time, in days from the test's start."""
    start = time.time()

    def set_to(days: float) -> None:
        monkeypatch.setattr(time, "time", lambda: start + days * _DAY)

    set_to(0)
    return set_to


def _answer(number: int, user: str = "u", variant: str | None = "a", **fields: Any) -> dict[str, Any]:
    line = {"exposure": f"{number:032x}", "experiment": "e", "variant": variant, "user": user, "model": "m"}
    return Exposure.model_validate(line | {"at": time.time(), "status": 200} | fields).model_dump()


def _counts(path: Path, *tables: str) -> dict[str, int]:
    connection = sqlite3.connect(path)
    found = {name: len(connection.execute(f"SELECT 1 FROM {name}").fetchall()) for name in tables}  # noqa: S608
    connection.close()
    return found


def _say(database: Database, number: int, value: float) -> list[Told]:
    return database.record_feedback([Said("rating", scaled(value), f"{number:032x}")])


def test_old_answers_go_and_what_they_added_stays(database: Database, tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "recorder.sqlite"
    database.record_exposures("s", 1, [_answer(1, completion="their-1")])
    _say(database, 1, 4.0)
    clock(20)
    database.record_exposures("s", 2, [_answer(2)])
    clock(31)
    before = database.statistics("e", "rating")
    database.prune()
    assert _counts(path, "answered", "said", "users", "ratings") == {"answered": 1, "said": 0, "users": 1, "ratings": 1}
    assert database.statistics("e", "rating") == before
    database.prune(lambda: True)
    assert _say(database, 2, 2.0) == [Outcome.RECORDED]
    assert database.statistics("e", "rating")["variants"]["a"]["metric"]["mean"] == 3.0


def test_the_rows_of_an_experiment_that_is_long_silent_become_its_residual(
    database: Database, tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "recorder.sqlite"
    database.record_exposures("s", 1, [_answer(1), _answer(2, "v", "b"), _answer(3, "v", "a")])
    database.record_exposures("s", 2, [_answer(4, experiment="other")])
    _say(database, 1, 4.0)
    before = database.statistics("e", "rating")
    clock(29)
    database.record_exposures("s", 3, [_answer(5, experiment="other")])
    clock(31)
    database.prune()
    assert _counts(path, "users", "ratings", "said") == {"users": 1, "ratings": 0, "said": 0}
    found = database.statistics("e", "rating")
    assert (found["variants"], found["moved_users"]) == (before["variants"], 1)


def test_days_outside_experiments_are_kept_for_thirty(database: Database, tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "recorder.sqlite"
    for day, number in ((0, 1), (25, 2), (33, 3)):
        clock(day)
        database.record_exposures("s", number, [_answer(number, experiment=None, variant=None)])
    database.prune()
    assert _counts(path, "users", "scopes") == {"users": 2, "scopes": 2}


def test_where_room_is_short_days_outside_experiments_are_kept_for_two_weeks(
    database: Database, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "recorder.sqlite"
    for day, number in ((0, 1), (10, 2), (20, 3)):
        clock(day)
        outside = _answer(number, experiment=None, variant=None)
        database.record_exposures("s", number, [outside, _answer(number + 10)])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=1 << 30, free=400 << 20))
    database.prune()
    assert _counts(path, "users", "scopes", "answered") == {"users": 3, "scopes": 3, "answered": 6}
    assert _say(database, 1, 4.0) == [Outcome.UNKNOWN]
    database.record_exposures("other", 1, [_answer(1, experiment=None, variant=None)])
    assert _counts(path, "users") == {"users": 3}, "a replay counts no day anew"


def test_more_than_a_chunk_goes_too(database: Database, tmp_path: Path, clock: Clock) -> None:
    database.record_exposures("s", 1, [_answer(number, f"u{number}") for number in range(4500)])
    before = database.statistics("e", "rating")["variants"]
    clock(31)
    database.prune()
    assert _counts(tmp_path / "recorder.sqlite", "answered", "users") == {"answered": 0, "users": 0}
    assert database.statistics("e", "rating")["variants"] == before


def test_a_look_says_how_fresh_it_is(database: Database, clock: Clock) -> None:
    assert {database.statistics("e", "rating")[key] for key in ("newest", "reported")} == {None}
    database.record_exposures("s", 1, [_answer(1, at=70.0), _answer(2, at=60.0)])
    clock(1)
    database.record_exposures("s", 2, [])
    told = database.statistics("e", "rating")
    assert (told["newest"], told["reported"]) == (70.0, time.time())


def test_a_look_waits_for_no_writer(database: Database, tmp_path: Path) -> None:
    database.record_exposures("s", 1, [_answer(1)])
    other = sqlite3.connect(tmp_path / "recorder.sqlite")
    other.execute("BEGIN IMMEDIATE")
    assert database.statistics("e", "rating")["variants"]["a"]["users"] == 1
    other.close()


def test_a_look_reads_no_row_of_an_answer_or_a_user(tmp_path: Path) -> None:
    """Whatever it asks is found by a key; only what waits, which is bounded, and dead letters are read as a whole."""
    connection = connect(tmp_path / "recorder.sqlite")
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    statistics(connection, "e", "rating")
    connection.set_trace_callback(None)
    assert len(asked) == 1
    plan = [step[3].split() for step in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    connection.close()
    assert {name for how, name, *_ in plan if how == "SEARCH"} == {
        *("scopes", "arms", "arm_metrics", "ranges", "sources", "sums", "cells")
    }
    scanned = {name for how, name, *_ in plan if how == "SCAN"}
    assert scanned - {"CONSTANT", "scope"} == {"waiting", "dead_letters"}


def _earlier(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(_EARLIER)
    for number in range(10):
        row = (f"{number:032x}", "e", "ab"[number % 2], f"u{number % 4}", float(number), 200)
        connection.execute("INSERT INTO exposures VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.execute("INSERT INTO feedback VALUES (?, 'rating', ?, 1)", (f"{number:032x}", number % 5))
    connection.execute("INSERT INTO answers VALUES (?, 'broken', NULL, NULL)", (f"{3:032x}",))
    connection.execute("INSERT INTO feedback VALUES (?, 'rating', 5, 1)", (f"{77:032x}",))
    connection.execute("INSERT INTO files VALUES ('20260301T10-1.jsonl', 512)")
    connection.commit()
    connection.close()


def _is_taken_over(database: Database) -> None:
    told = database.statistics("e", "rating")
    arms = {name: (arm["users"], arm["requests"], arm["failures"]) for name, arm in told["variants"].items()}
    assert arms == {"a": (2, 5, 0), "b": (2, 5, 1)}
    metric = told["variants"]["a"]["metric"]
    assert (metric["users"], metric["mean"], metric["squares"]) == (2, pytest.approx(23 / 12), pytest.approx(25 / 72))
    assert told["feedback"] == {"waiting": 1, "dead": {}}
    assert database.position("20260301T10-1.jsonl") == 512


def test_an_earlier_release_s_file_is_taken_over_and_again_if_that_release_came_back(tmp_path: Path) -> None:
    path = tmp_path / "recorder.sqlite"
    _earlier(path)
    for _ in range(2):
        database = Database(path)
        _is_taken_over(database)
        database.close()
    _earlier(path)
    database = Database(path)
    _is_taken_over(database)
    database.close()
    assert "exposures" not in {
        row[0] for row in sqlite3.connect(path).execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }


def test_users_of_an_earlier_release_whose_window_is_over_are_left_out_of_closed_values(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "recorder.sqlite"
    _earlier(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE exposures SET at = ? WHERE user = 'u1'", (time.time(),))
    connection.execute("UPDATE exposures SET at = ? WHERE user != 'u1'", (time.time() - 5 * _DAY,))
    connection.commit()
    connection.close()
    database = Database(path)
    database.define("e", Definition(control="a", ranges={"rating": Range(min=0, max=5)}))
    clock(10)
    database.close_windows()
    days = [lists for arm in database.sums("e", "rating")["variants"].values() for lists in arm["days"].values()]
    assert sum(lists["users"]["exposed"] for lists in days) == 4
    closed = [lists for lists in days if "closed" in lists]
    assert [lists["closed"] for lists in closed] == [{"users": 1}]
    assert "value rating" in closed[0]
    database.close()


@pytest.mark.parametrize("broken_at", [1, 2, 5, 9, 14])
def test_taking_over_that_was_broken_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_at: int
) -> None:
    path = tmp_path / "recorder.sqlite"
    _earlier(path)
    monkeypatch.setattr(migration, "_CHUNK", 1)
    calls = 0

    def break_off(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == broken_at:
            raise sqlite3.OperationalError("disk I/O error")
        return shortage(*arguments)

    monkeypatch.setattr("serving_runtime.recorder.database.shortage", break_off)
    with pytest.raises(sqlite3.OperationalError):
        Database(path)
    database = Database(path)
    _is_taken_over(database)
    database.close()


def test_a_later_release_s_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "recorder.sqlite"
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {VERSION + 1}")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="format 3, and this release knows 2 at most"):
        Database(path)
    assert path.read_bytes() == before
