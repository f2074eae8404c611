"""A metric has a range, a user a window, and an experiment thresholds; a file of the format before is taken over."""

import json
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.recorder import app, quantiles
from serving_runtime.recorder.closing import GRACE_SECONDS, Flow
from serving_runtime.recorder.columns import WINDOW_SECONDS
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.definition import Definition, Range
from serving_runtime.recorder.feedback import Outcome, Outside, Said
from serving_runtime.recorder.line import Exposure
from serving_runtime.recorder.measures import log_cell, milliseconds
from serving_runtime.recorder.sums import scaled
from tests.support.recorder import KEY, at, line, recorder, send

HOUR, DAY = 3600.0, 86400.0
START = 20_000 * DAY
RATED = Definition(control="a", ranges={"rating": Range(min=1, max=5)})

Clock = Callable[[float], None]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the time, in seconds from the start."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: START + seconds)

    set_to(0)
    return set_to


def _answer(number: int, user: str = "u", seconds: float = 0, **fields: Any) -> dict[str, Any]:
    told = {"exposure": f"{number:032x}", "experiment": "e", "variant": "a", "user": user, "at": START + seconds}
    return Exposure.model_validate(told | {"status": 200, "outcome": "complete"} | fields).model_dump()


def _say(database: Database, number: int, value: float, event: str = "") -> Any:
    return database.record_feedback([Said("rating", scaled(value), f"{number:032x}", event=event)])[0]


def _lists(database: Database) -> dict[str, Any]:
    """Of the first day's users of variant a."""
    found: dict[str, Any] = database.sums("e", "rating")["variants"]["a"]["days"][20_000]
    return found


def _put(address: str, uid: str, body: dict[str, Any]) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    url = f"http://{address}/experiments/{uid}"
    return _answered(urllib.request.Request(url, json.dumps(body).encode(), headers, method="PUT"))


def _answered(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_value_beyond_the_range_is_refused_with_field_and_range(tmp_path: Path) -> None:
    with recorder(tmp_path) as address:
        body = {"control": "a", "ranges": {"rating": {"min": 1, "max": 5}}}
        assert _put(address, "e", body)[0] == 200
        send(address, line(1).encode() + line(2, experiment="other").encode(), **at(0))
        headers = {"Content-Type": "application/json"}
        told = []
        for number, metric, value in ((1, "rating", 7), (1, "rating", 5), (1, "speed", 7), (2, "rating", 7)):
            said = {"exposureId": f"{number:032x}", "metric": metric, "value": value}
            posted = urllib.request.Request(f"http://{address}/v1/feedback", json.dumps(said).encode(), headers)
            told.append(_answered(posted))
    assert [status for status, _ in told] == [422, 200, 200, 200]
    error = told[0][1]["error"]
    assert (error["param"], error["type"]) == ("value", "invalid_request_error")
    assert error["message"] == "`value`: 7 is outside 1 to 5, the `range` of `rating` in the experiment"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"control": "a", "ranges": {}}, 200),
        ({"control": "a"}, 200),
        ({"control": "b"}, 409),
        ({"control": "a", "ranges": {"rating": {"min": 1, "max": 5}}}, 409),
        ({"control": "a", "ranges": {"rating": {"min": 1, "max": 1}}}, 422),
        ({"control": "a", "ranges": {"rating": {"min": 1}}}, 422),
        ({"control": "a", "ranges": {"Rating": {"min": 1, "max": 5}}}, 422),
        ({"control": "a", "more": 1}, 422),
        ({}, 422),
    ],
)
def test_what_an_experiment_measures_is_said_once_and_never_changes(
    tmp_path: Path, body: dict[str, Any], status: int
) -> None:
    with recorder(tmp_path) as address:
        assert _put(address, "e", {"control": "a"})[0] == 200
        assert _put(address, "e", body)[0] == status
        url = f"http://{address}/experiments/e/statistics?metric=rating"
        told = _answered(urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"}))[1]
        assert (told["control"], told["range"]) == ("a", None)
        unkeyed = urllib.request.Request(f"http://{address}/experiments/e", b'{"control": "b"}', method="PUT")
        assert _answered(unkeyed)[0] == 401


def test_what_waits_for_its_answer_and_is_beyond_the_range_is_given_up_and_counted(database: Database) -> None:
    database.define("e", RATED)
    assert _say(database, 1, 9.0) is Outcome.HELD
    database.record_exposures("s", 1, [_answer(1)])
    assert database.statistics("e", "rating")["feedback"] == {"waiting": 0, "dead": {"out of range": 1}}
    assert _say(database, 1, 0.5) == Outside(scaled(1.0), scaled(5.0))
    assert "metric" not in database.statistics("e", "rating")["variants"]["a"]


def test_a_user_s_value_is_what_they_said_within_their_window_and_enters_once(database: Database, clock: Clock) -> None:
    database.define("e", RATED)
    database.record_exposures("s", 1, [_answer(1), _answer(2, seconds=HOUR), _answer(3, seconds=25 * HOUR)])
    for hours, number, value, event in ((1, 1, 1.0, "x"), (23, 2, 2.0, "y"), (25, 1, 5.0, "x"), (25, 3, 5.0, "z")):
        clock(hours * HOUR)
        assert _say(database, number, value, event) is Outcome.RECORDED
    database.close_windows()
    assert "closed" not in _lists(database)
    assert _lists(database)["late rating"] == {"values": 2}
    clock(51 * HOUR)
    for _ in range(2):
        database.close_windows()
        assert _say(database, 1, 4.0, "after") is Outcome.RECORDED
        database.record_exposures("other", 1, [_answer(4, seconds=-HOUR, variant="b")])
    y = round(0.125 * 1_048_320)
    entered = {"n": 1, "y": y, "yy": y * y, "h": 0, "yh": 0, "x": 0, "xx": 0, "xy": 0}
    lists = _lists(database)
    assert (lists["closed"], lists["value rating"], lists["late rating"]) == ({"users": 1}, entered, {"values": 3})
    assert lists["value answers.errors"]["n"] == 1
    assert lists["ratio answers.errors"]["d"] == 4
    assert database.sums("e", "rating")["variants"]["a"]["cells"]["rating"] == {"1260": 1}
    assert database.statistics("e", "rating")["variants"]["a"]["metric"]["mean"] == 4.0, "the open value goes on"


def test_without_a_range_a_metric_of_feedback_has_no_closed_values(database: Database, clock: Clock) -> None:
    database.record_exposures("s", 1, [_answer(1)])
    _say(database, 1, 4.0)
    clock(100 * HOUR)
    database.close_windows()
    assert {"closed", "value answers.tokens"} <= set(_lists(database)) - {"value rating"}
    assert database.define("e", RATED)
    assert _lists(database)["value rating"]["n"] == 1


def test_a_metric_that_is_called_latency_has_cells_of_its_own(database: Database, clock: Clock) -> None:
    database.define("e", Definition(control="a", ranges={"latency": Range(min=1, max=5)}))
    database.record_exposures("s", 1, [_answer(1, last=2.0), _answer(2, "v", status=503, outcome="error")])
    database.record_feedback([Said("latency", scaled(2.0), f"{1:032x}")])
    clock(60 * HOUR)
    database.close_windows()
    cells = database.sums("e", "latency")["variants"]["a"]["cells"]
    assert cells["latency"] == {"2520": 1}
    assert cells["answers.all"] == {str(log_cell(2.0)): 1, "inf": 1}


def test_windows_are_closed_after_a_grace_and_later_where_records_may_be_under_way() -> None:
    over, later = WINDOW_SECONDS + GRACE_SECONDS, 2 * WINDOW_SECONDS + GRACE_SECONDS
    assert Flow(1000.0, 1500.0).due(1500.0) == 1500.0 - over
    assert Flow(None, 1500.0).due(1500.0) == 1500.0 - later
    flow = Flow(1000.0, 2000.0)
    assert flow.due(2000.0) == 2000.0 - later, "it was away"
    flow.heard(2001.0)
    assert flow.due(2001.0) == 2001.0 - later
    now = 2001.0
    while now < 2001.0 + GRACE_SECONDS:
        now += 60.0
        flow.heard(now)
    assert flow.due(now) == now - over
    assert flow.due(now + 601.0) == now + 601.0 - later, "no router was heard of"
    flow.heard(now + 602.0)
    assert flow.due(now + 602.0) == now + 602.0 - later


def test_records_that_came_in_the_future_do_not_count_as_heard_of() -> None:
    later = 2 * WINDOW_SECONDS + GRACE_SECONDS
    flow = Flow(1000.0 + 30 * DAY, 1000.0)
    assert flow.due(1000.0 + 20 * DAY) == 1000.0 + 20 * DAY - later, "the clock was set back, and no router reports"
    flow.heard(2000.0 + 30 * DAY)
    flow.heard(2000.0)
    assert flow.due(2000.0) == 2000.0 - later
    assert Flow(1000.0, 1000.0).due(999.0) == 999.0 - WINDOW_SECONDS - GRACE_SECONDS, "a clock may be put right"


def test_windows_are_closed_while_the_recorder_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(Database, "close_windows", lambda *_: closed.append(True))
    with recorder(tmp_path) as address:
        assert _put(address, "e", {"control": "a"})[0] == 200
    assert closed


def test_windows_are_closed_again_after_an_unexpected_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []
    again = threading.Event()

    def close(*_: Any) -> None:
        tries.append(len(tries))
        if len(tries) == 1:
            raise KeyError("a cell")
        again.set()

    monkeypatch.setattr(app, "_CLOSE_SECONDS", 0.001)
    monkeypatch.setattr(Database, "close_windows", close)
    with recorder(tmp_path):
        assert again.wait(10)
    assert "windows cannot be closed" in caplog.text


def test_thresholds_lie_around_the_control_s_quantile_and_are_set_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantiles, "_USERS", 20)
    users = [_answer(number, f"u{number}", last=(number + 1) / 10) for number in range(20)]
    database.record_exposures("s", 1, users)
    assert database.sums("e", "rating")["thresholds"] is None, "nobody said which variant is the control"
    database.define("e", RATED)
    database.record_exposures("s", 2, [_answer(100, "w", last=90.0, variant="b"), _answer(101, "v", last=1.0)])
    thresholds = database.sums("e", "rating")["thresholds"]
    assert len(thresholds) == 33
    assert thresholds[16] / 1e6 == pytest.approx(1.9, rel=0.02)
    assert thresholds[17] / thresholds[16] == pytest.approx(1.05, rel=1e-4)
    assert "quick" not in _lists(database)
    later = [_answer(200, "v", last=1.0), _answer(201, "v", status=502, outcome="error"), _answer(202, "v", last=9.0)]
    database.record_exposures("s", 4, later)
    quick = _lists(database)["quick"]
    assert (quick["n"], quick["d"], quick["dd"], quick["c0"], quick["c16"], quick["cc16"], quick["cd16"]) == (
        *(1, 3, 9),
        *(0, 1, 1, 3),
    )
    assert database.sums("e", "rating")["thresholds"] == thresholds


def test_thresholds_wait_while_failures_alone_are_beyond_the_quantile(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantiles, "_USERS", 10)
    database.define("e", RATED)
    failed = [_answer(number, f"u{number}", status=503, outcome="error") for number in range(10)]
    database.record_exposures("s", 1, failed)
    assert database.sums("e", "rating")["thresholds"] is None
    database.record_exposures("s", 2, [_answer(100 + number, "v", last=1.0) for number in range(200)])
    assert database.sums("e", "rating")["thresholds"] is not None


def test_cells_of_latency_are_two_percent_wide() -> None:
    assert [log_cell(seconds) for seconds in (0.0, 0.001, 0.137, 1.0)] == [0, 0, 249, 349]
    assert all(milliseconds(log_cell(ms / 1000)) == pytest.approx(ms, rel=0.0101) for ms in (1, 7, 137, 5000, 60000))


def _of_format_1(path: Path) -> None:
    """Make the file what the release before would have made of it."""
    connection = sqlite3.connect(path)
    for table in ("windows", "histories", "ranges", "sums", "residual_sums", "cells", "residual_cells"):
        connection.execute(f"DROP TABLE {table}")
    connection.execute("DROP INDEX users_open")
    columns = {
        "users": ("firsts", "ln_first", "paced", "pace", "state", "split", "quick"),
        "arms": ("firsts", "ln_first", "paced", "pace"),
        "residual": ("firsts", "ln_first", "paced", "pace"),
        "ratings": ("window_count", "window_total", "late"),
        "said": ("in_window", "late"),
        "scopes": ("control", "thresholds"),
    }
    for table, names in columns.items():
        for name in names:
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()


def test_a_file_of_the_format_before_is_taken_over(tmp_path: Path, clock: Clock, database: Database) -> None:
    database.record_exposures("s", 1, [_answer(1, "old", seconds=-25 * HOUR, status=502), _answer(2, "new")])
    database.record_exposures("s", 2, [_answer(3, "gone"), _answer(4, "plain", experiment=None, model="m")])
    for number in (1, 2, 3, 4):
        _say(database, number, 4.0)
    database.erase("gone")
    before = database.statistics("e", "rating")
    assert before.pop("open")["variants"]["a"]["exposed"] == 3
    database.close()
    _of_format_1(tmp_path / "recorder.sqlite")
    clock(HOUR)
    for _ in range(2):
        again = Database(tmp_path / "recorder.sqlite")
        taken = again.statistics("e", "rating")
        opened = taken.pop("open")["variants"]["a"]
        assert taken == before
        assert (opened["exposed"], opened["failed"]) == (2, 1), "of erased users it had no such sums"
        again.close()
    again = Database(tmp_path / "recorder.sqlite")
    again.define("e", RATED)
    clock(100 * HOUR)
    again.close_windows()
    days = again.sums("e", "rating")["variants"]["a"]["days"]
    assert days[19_998]["users"] == {"exposed": 1, "failed": 1}
    assert "closed" not in days[19_998], "nobody knows when it was said"
    assert (days[20_000]["closed"], days[20_000]["value rating"]["n"]) == ({"users": 1}, 1)
    again.close()


def test_taking_over_writes_no_windows_of_users_outside_experiments_and_their_feedback_goes_on(
    tmp_path: Path, database: Database
) -> None:
    outside = [_answer(number, f"u{number}", experiment=None, model="m") for number in (1, 2)]
    database.record_exposures("s", 1, [*outside, _answer(3, "w")])
    for number in (1, 2, 3):
        _say(database, number, 4.0)
    database.close()
    path = tmp_path / "recorder.sqlite"
    _of_format_1(path)
    again = Database(path)
    connection = sqlite3.connect(path)
    said = "SELECT in_window IS NULL FROM said ORDER BY answer"
    assert connection.execute(said).fetchall() == [(1,), (1,), (0,)]
    for number, value in ((1, 4.0), (2, 2.0), (3, 4.0)):
        assert _say(again, number, value) is Outcome.RECORDED
    again.close()
    rated = connection.execute("SELECT count, total FROM ratings ORDER BY user").fetchall()
    assert rated == [(1, scaled(value)) for value in (4.0, 2.0, 4.0)]
    connection.close()


def test_thresholds_wait_for_as_many_answers_as_users_where_the_histogram_began_after_them(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantiles, "_USERS", 20)
    database.record_exposures("s", 1, [_answer(number, f"u{number}", last=1.0) for number in range(30)])
    database.close()
    _of_format_1(tmp_path / "recorder.sqlite")
    again = Database(tmp_path / "recorder.sqlite")
    again.define("e", RATED)
    again.record_exposures("s", 2, [_answer(100, "v", last=60.0)])
    assert again.sums("e", "rating")["thresholds"] is None, "one answer has no quantile"
    again.record_exposures("s", 3, [_answer(200 + number, f"u{number}", last=2.0) for number in range(19)])
    assert again.sums("e", "rating")["thresholds"][16] / 1e6 == pytest.approx(2.0, rel=0.02)
    again.close()


def test_taking_over_that_is_broken_off_leaves_the_file_as_it_was(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.record_exposures("s", 1, [_answer(1)])
    database.close()
    path = tmp_path / "recorder.sqlite"
    _of_format_1(path)

    def break_off(*_: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr("serving_runtime.recorder.upgrade.add_open_parts", break_off)
        with pytest.raises(sqlite3.OperationalError):
            Database(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()
    again = Database(path)
    assert _lists(again)["users"] == {"exposed": 1, "failed": 0}
    again.close()
