"""What a recorder has acknowledged survives its SIGKILL, and what is sent again counts once."""

import json
import signal
import sqlite3
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.recorder.database import Database
from serving_runtime.recorder.line import Exposure
from tests.support.recorder import KEY
from tests.support.recorder_process import begun, free_port, record_batches, recorder_process
from toolbox.polling import poll


@contextmanager
def _recorder(folder: Path, dying: tuple[str, int] | None = None) -> Iterator[tuple[BaseProcess, str]]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with recorder_process(folder, port, dying) as process:
        assert poll(lambda: not process.is_alive() or _status(f"{address}/health") == 200, 60, every=0.01)
        yield process, address


def _status(url: str, body: dict[str, Any] | None = None, timeout: float = 20) -> int:
    """Return the status of an answer; 0 where there is none."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, urllib.error.URLError):
        return 0


def _erase(url: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"}, method="DELETE")
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def _said(number: int, value: int) -> dict[str, Any]:
    return {"exposureId": f"{number:032x}", "metric": "rating", "value": value, "eventId": f"event {number}"}


def _answers(numbers: range) -> list[dict[str, Any]]:
    line = {"experiment": "e", "variant": "a", "at": 1.0, "status": 200, "outcome": "complete", "last": 1.0}
    told = [line | {"exposure": f"{number:032x}", "user": f"u{number % 7}"} for number in numbers]
    return [Exposure.model_validate(one).model_dump() for one in told]


def _record(folder: Path, answers: list[dict[str, Any]]) -> None:
    """Record answers while no recorder runs."""
    database = Database(folder / "recorder.sqlite")
    database.record_exposures("router", 1, answers)
    database.close()


def _told(folder: Path) -> dict[str, Any]:
    database = Database(folder / "recorder.sqlite")
    try:
        return database.statistics("e", "rating")
    finally:
        database.close()


@pytest.mark.parametrize("is_known", [True, False])
def test_killed_after_the_commit_and_before_the_answer_feedback_counts_once(tmp_path: Path, is_known: bool) -> None:
    if is_known:
        _record(tmp_path, _answers(range(10)))
    with _recorder(tmp_path, ("record_feedback", 3)) as (process, address):
        told = [_status(f"{address}/v1/feedback", _said(number, number + 1)) for number in range(3)]
        assert told == ([200, 200, 0] if is_known else [202, 202, 0])
        process.join(20)
        assert process.exitcode == -signal.SIGKILL
    _record(tmp_path, _answers(range(10)))
    assert _told(tmp_path)["variants"]["a"]["metric"]["users"] == 3
    with _recorder(tmp_path) as (_, address):
        assert _status(f"{address}/v1/feedback", _said(2, 3)) == 200
    metric = _told(tmp_path)["variants"]["a"]["metric"]
    assert (metric["users"], metric["mean"], metric["squares"]) == (3, 2.0, 2.0)


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_killed_after_answers_were_committed_each_counts_once(tmp_path: Path, commits: int) -> None:
    batches = [_answers(range(50)), _answers(range(25, 60)), _answers(range(60, 70))]
    for calls, status in ((commits, -signal.SIGKILL), (0, 0)):
        process = begun(record_batches, tmp_path, batches, calls)
        process.join(60)
        assert process.exitcode == status
    told = _told(tmp_path)["variants"]["a"]
    assert (told["users"], told["requests"], told["latency"]["answers"]) == (7, 70, 70)


def test_killed_at_any_time_nothing_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    _record(tmp_path, _answers(range(1000)))
    numbers, acknowledged = iter(range(2000)), set()
    for life in range(4):
        with _recorder(tmp_path) as (process, address):
            killer = threading.Timer(0.1 + 0.17 * life, process.kill)
            killer.start()
            for number in numbers:
                if _status(f"{address}/v1/feedback", _said(number * 7 % 2000, 3)) in (200, 202):
                    acknowledged.add(number * 7 % 2000)
                elif not process.is_alive():
                    break
            killer.join()
    assert acknowledged
    _record(tmp_path, _answers(range(2000)))
    connection = sqlite3.connect(tmp_path / "recorder.sqlite")
    events = {row[0] for row in connection.execute("SELECT event FROM said")}
    assert {f"event {number}" for number in acknowledged} <= events
    assert connection.execute("SELECT SUM(count) FROM ratings").fetchone() == (len(events),)
    connection.close()


def test_one_user_is_erased_by_their_hash(tmp_path: Path) -> None:
    answers = [one | {"user": "qUqP5cyxm6/cTAhz05Hph+gvu9M="} for one in _answers(range(3))]
    _record(tmp_path, answers + _answers(range(3, 5)))
    before = _told(tmp_path)
    with _recorder(tmp_path) as (_, address):
        erased = [_erase(f"{address}/users/qUqP5cyxm6%2FcTAhz05Hph%2Bgvu9M%3D") for _ in range(2)]
        assert not [file for file in tmp_path.glob("recorder.sqlite*") if b"qUqP5cyxm6" in file.read_bytes()]
    assert erased == [{"rows": 1}, {"rows": 0}]
    now = _told(tmp_path)
    for arm in now["variants"].values():
        arm.pop("closed", None)  # their windows are long over, and may be closed by now
    assert now["variants"] == before["variants"]
