"""Exposures and feedback count once, whatever is repeated, late or cut off; statistics are by user."""

import fcntl
import json
import math
import os
import socket
import sqlite3
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from serving_runtime.lock import LOCK
from serving_runtime.recorder.app import create_app
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.exposures import forget_what_is_gone, record_new_exposures
from serving_runtime.recorder.feedback import Outcome, Said
from serving_runtime.recorder.sums import scaled
from toolbox.polling import poll

TOLD = ("outcome", "first", "last")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    made = Database(tmp_path / "recorder.sqlite")
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where nginx writes."""
    made = tmp_path / "exposures"
    made.mkdir()
    return made


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The recorder as it runs in its pod; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(folder, folder / "records"), log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _post(address: str, body: dict[str, Any]) -> int:
    """Return the status that feedback is answered with."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/v1/feedback", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def _counted(told: dict[str, Any]) -> dict[str, Any]:
    """What the operator reads of it."""
    wanted = ("users", "requests", "metric")
    return {name: {key: arm[key] for key in wanted if key in arm} for name, arm in told["variants"].items()}


def _line(number: int, user: str, variant: str = "a", experiment: str = "e") -> str:
    exposure = {"exposure": f"{number:032x}", "experiment": experiment, "variant": variant, "user": user}
    return json.dumps(exposure | {"at": 1.0, "status": 200}) + "\n"


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_what_is_appended_is_recorded_once(folder: Path, database: Database) -> None:
    file = folder / "20260301T10.jsonl"
    _append(file, _line(1, "u1") + _line(2, "u2"))
    assert record_new_exposures(folder, database) == 2
    assert record_new_exposures(folder, database) == 0
    _append(file, _line(3, "u2") + _line(3, "u2"))
    assert record_new_exposures(folder, database) == 2
    assert _counted(database.statistics("e", "rating")) == {"a": {"users": 2, "requests": 3}}


def test_half_a_line_is_read_when_it_is_whole(folder: Path, database: Database) -> None:
    file, line = folder / "20260301T10.jsonl", _line(1, "u1")
    _append(file, line[:20])
    assert record_new_exposures(folder, database) == 0
    _append(file, line[20:])
    assert record_new_exposures(folder, database) == 1


@pytest.mark.parametrize(
    "line",
    [
        '{"half',
        "[]",
        "5",
        _line(2, "u1").replace('"at": 1.0', '"at": "now"'),
        _line(2, "u1").replace('"at": 1.0', '"at": -1'),
        _line(2, "u1").replace('"at": 1.0', '"at": 1e300'),
        _line(2, "u1").replace('"status": 200', '"status": 1e400'),
        _line(2, "u1").replace('"status": 200', '"status": 99999999999999999999'),
        _line(2, "u1").replace('"exposure"', '"other"'),
        _line(2, "u" * 1000),
    ],
)
def test_a_line_that_tells_no_answer_is_left_out_and_told(
    folder: Path, database: Database, caplog: Any, line: str
) -> None:
    _append(folder / "20260301T10-1.jsonl", line.strip() + "\n" + _line(1, "u1"))
    assert record_new_exposures(folder, database) == 1
    assert "does not tell an answer" in caplog.text


def test_an_answer_of_nobody_is_passed_over(folder: Path, database: Database, caplog: Any) -> None:
    plain = {"exposure": "1", "at": 1.0, "status": 200, "outcome": "complete", "kind": "chat"}
    _append(folder / "20260301T10-1.jsonl", json.dumps(plain) + "\n\n" + _line(1, "u1"))
    assert record_new_exposures(folder, database) == 1
    assert not caplog.text


def test_what_became_of_answers_is_counted_by_arm(folder: Path, database: Database) -> None:
    told: list[dict[str, Any]] = [
        {
            "outcome": "complete",
            "first": 0.1,
            "last": 2.0,
            "promptTokens": 7,
            "completionTokens": 3,
            "counted": "usage",
        },
        {"outcome": "complete", "last": 8.0, "promptTokens": 5, "completionTokens": 4, "fallback": True},
        {"outcome": "broken", "last": 2.5, "kind": "chat"},
        {"outcome": "error", "status": 504},
        {"outcome": "error", "status": 400},
        {"outcome": "left", "status": 499},
        {},
        {"status": 502},
    ]
    lines = [json.dumps(json.loads(_line(number, "u1")) | fields) for number, fields in enumerate(told)]
    _append(folder / "20260301T10-1.jsonl", "\n".join(lines) + "\n")
    assert record_new_exposures(folder, database) == len(told)
    arm = database.statistics("e", "rating")["variants"]["a"]
    assert arm.pop("latency") == {"answers": 2, "mean_ln_ms": pytest.approx(math.log(4000), abs=1e-6)}
    assert arm == {
        "users": 1,
        "requests": 8,
        "failures": 3,
        "fallbacks": 1,
        "outcomes": {"complete": 2, "broken": 1, "left": 1, "error": 2},
        "tokens": {"prompt": 12, "completion": 7},
    }


def test_a_file_goes_once_a_later_minute_began_and_nothing_is_written_to_it(folder: Path, database: Database) -> None:
    first, second = folder / "20260301T1000-1.jsonl", folder / "20260301T1001-1.jsonl"
    _append(first, _line(1, "u1"))
    _append(folder / "20260301T1000-2.jsonl", _line(4, "u4"))
    record_new_exposures(folder, database)
    os.utime(first, (1, 1))
    record_new_exposures(folder, database)
    assert first.exists()
    _append(first, _line(2, "u2"))
    _append(second, _line(3, "u3"))
    assert record_new_exposures(folder, database) == 2
    assert first.exists()
    os.utime(first, (1, 1))
    record_new_exposures(folder, database)
    assert sorted(folder.iterdir()) == [folder / "20260301T1000-2.jsonl", second]
    assert database.statistics("e", "rating")["variants"]["a"]["users"] == 4


def test_a_file_of_a_pod_that_is_gone_is_forgotten(folder: Path, database: Database, tmp_path: Path) -> None:
    gone, there = folder / "20260301T10-1.jsonl", folder / "20260301T10-2.jsonl"
    for number, file in enumerate((gone, there)):
        _append(file, _line(number, "u1"))
    record_new_exposures(folder, database)
    gone.unlink()
    forget_what_is_gone([folder, tmp_path / "never"], database)
    assert database.files() == {there.name}


def test_a_user_s_value_is_the_mean_of_theirs(folder: Path, database: Database) -> None:
    lines = [_line(1, "u1"), _line(2, "u1"), _line(3, "u2"), _line(4, "u3", "b"), _line(5, "u4", "b")]
    _append(folder / "20260301T10.jsonl", "".join(lines))
    record_new_exposures(folder, database)
    for number, value in ((1, 1.0), (2, 3.0), (3, 4.0), (4, 5.0)):
        database.record_feedback([Said("rating", scaled(value), f"{number:032x}")])
    variants = _counted(database.statistics("e", "rating"))
    assert variants["a"] == {"users": 2, "requests": 3, "metric": {"users": 2, "mean": 3.0, "squares": 2.0}}
    assert variants["b"] == {"users": 2, "requests": 2, "metric": {"users": 1, "mean": 5.0, "squares": 0.0}}


def test_feedback_before_its_exposure_counts_when_that_arrives(folder: Path, database: Database) -> None:
    assert database.record_feedback([Said("rating", scaled(5.0), f"{1:032x}")]) == [Outcome.HELD]
    assert database.statistics("e", "rating")["variants"] == {}
    _append(folder / "20260301T10.jsonl", _line(1, "u1"))
    record_new_exposures(folder, database)
    assert database.statistics("e", "rating")["variants"]["a"]["metric"]["users"] == 1


def test_feedback_said_again_replaces(folder: Path, database: Database) -> None:
    _append(folder / "20260301T10.jsonl", _line(1, "u1"))
    record_new_exposures(folder, database)
    for value in (5.0, 5.0, 2.0):
        database.record_feedback([Said("rating", scaled(value), f"{1:032x}")])
    assert database.statistics("e", "rating")["variants"]["a"]["metric"]["mean"] == 2.0


def test_a_user_in_two_variants_is_noticed(folder: Path, database: Database) -> None:
    _append(folder / "20260301T10.jsonl", _line(1, "u1", "a") + _line(2, "u1", "b") + _line(3, "u2", "b"))
    record_new_exposures(folder, database)
    assert database.statistics("e", "rating")["moved_users"] == 1


def test_experiments_and_metrics_are_apart(folder: Path, database: Database) -> None:
    _append(folder / "20260301T10.jsonl", _line(1, "u1") + _line(2, "u1", experiment="other"))
    record_new_exposures(folder, database)
    database.record_feedback([Said("speed", scaled(5.0), f"{1:032x}")])
    told = database.statistics("e", "rating")
    assert (_counted(told), told["moved_users"]) == ({"a": {"users": 1, "requests": 1}}, 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"exposureId": "0" * 32, "metric": "user_rating", "value": 4}, 202),
        ({"exposureId": "0" * 32, "metric": "user_rating", "value": 4, "eventId": "e-1"}, 202),
        ({"completionId": "chatcmpl-1", "metric": "user_rating", "value": 4.5}, 202),
        ({"completionId": "", "metric": "user_rating", "value": 4.5}, 422),
        ({"completionId": "c", "exposureId": "0" * 32, "metric": "user_rating", "value": 4}, 422),
        ({"metric": "user_rating", "value": 4}, 422),
        ({"exposureId": "0" * 32, "metric": "user_rating", "value": 4, "eventId": ""}, 422),
        ({"exposureId": "0" * 32, "metric": "user_rating", "value": "4"}, 422),
        ({"exposureId": "0" * 32, "metric": "user_rating", "value": True}, 422),
        ({"exposureId": "0" * 31, "metric": "user_rating", "value": 4}, 422),
        ({"exposureId": "0" * 32, "metric": "User Rating", "value": 4}, 422),
        ({"exposureId": "0" * 32, "metric": "user_rating", "value": "good"}, 422),
        ({"exposureId": "0" * 32, "metric": "user_rating", "value": 1e300}, 422),
        ({"exposureId": "0" * 32, "metric": "user_rating"}, 422),
        ({"exposureId": "0" * 32, "metric": "user_rating", "value": 4, "variant": "tuned"}, 422),
    ],
)
def test_feedback_is_checked(tmp_path: Path, body: dict[str, Any], status: int) -> None:
    with _served(tmp_path) as address:
        assert _post(address, body) == status


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"5", None),
        (b'{"metric":"a","value":1}', None),
        (b'{"exposureId":"' + b"0" * 32 + b'","metric":"a","value":"x"}', "value"),
        (b'{"exposureId":"' + b"0" * 32 + b'","metric":"a","value":1,"comment":"Kim, 010-1234-5678"}', "comment"),
    ],
)
def test_feedback_that_is_refused_is_told_why_in_openai_s_shape(tmp_path: Path, body: bytes, param: str | None) -> None:
    with _served(tmp_path) as address:
        request = urllib.request.Request(f"{address}/v1/feedback", body, {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        with refused.value as answer:
            error = json.load(answer)["error"]
    assert error.pop("message")
    assert error == {"type": "invalid_request_error", "param": param, "code": 422}


@pytest.mark.parametrize("busy", ["app.record_new_exposures", "database.Database.record_feedback"])
def test_the_recorder_is_healthy_while_the_disk_holds_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(*_: Any) -> list[Outcome]:
        begun.set()
        go_on.wait(20)
        return [Outcome.RECORDED]

    monkeypatch.setattr(f"serving_runtime.recorder.{busy}", wait)
    with _served(tmp_path) as address:
        said = {"exposureId": f"{1:032x}", "metric": "rating", "value": 4}
        sender = threading.Thread(target=_post, args=(address, said))
        sender.start()
        try:
            assert begun.wait(10)
            assert _get(f"{address}/health") == {"status": "ok"}
        finally:
            go_on.set()
            sender.join()


def test_threads_take_turns_at_the_database(database: Database) -> None:
    """Two at once would be one transaction, and either would end the other's."""

    def say(start: int) -> None:
        for number in range(start, start + 20):
            database.record_feedback([Said("rating", scaled(1.0), f"{number:032x}")])
            database.record_exposures("f", number, [json.loads(_line(number, "u")) | dict.fromkeys(TOLD)])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(say, range(0, 80, 20)))
    told = database.statistics("e", "rating")["variants"]["a"]
    assert (told["requests"], told["metric"]["mean"]) == (80, 1.0)


def test_the_follower_goes_on_after_the_database_refused(tmp_path: Path, caplog: Any) -> None:
    full = "CREATE TRIGGER full BEFORE INSERT ON answered BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    with _served(tmp_path) as address:
        other = sqlite3.connect(tmp_path / "recorder.sqlite")
        other.execute(full)
        _append(tmp_path / "records/20260301T10-1.jsonl", _line(1, "u1"))
        assert poll(lambda: "cannot be recorded now: disk full" in caplog.text, 5)
        other.execute("DROP TRIGGER full")
        other.close()
        url = f"{address}/experiments/e/statistics?metric=rating"
        assert poll(lambda: _counted(_get(url)) == {"a": {"users": 1, "requests": 1}}, 5)


def test_what_is_written_while_it_ends_is_recorded_and_what_an_earlier_router_wrote(tmp_path: Path) -> None:
    (tmp_path / "exposures").mkdir()
    _append(tmp_path / "exposures/20260301T10.jsonl", _line(1, "u1"))
    with _served(tmp_path):
        pass
    _append(tmp_path / "records/20260301T10-1.jsonl", _line(2, "u2"))
    with (tmp_path / "records" / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        def end() -> None:
            _append(tmp_path / "records/20260301T10-1.jsonl", _line(3, "u3"))
            held.close()

        ending = threading.Timer(1.5, end)
        with _served(tmp_path):
            ending.start()
    ending.join()
    assert Database(tmp_path / "recorder.sqlite").statistics("e", "rating")["variants"]["a"]["users"] == 3


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    with _served(tmp_path) as address:
        assert _post(address, {"exposureId": f"{1:032x}", "metric": "rating", "value": 4}) == 202
    _append(tmp_path / "records/20260301T10-1.jsonl", _line(1, "u1"))
    database = Database(tmp_path / "recorder.sqlite")
    record_new_exposures(tmp_path / "records", database)
    assert database.statistics("e", "rating")["variants"]["a"]["metric"]["mean"] == 4.0
