"""Exposures and feedback count once, whatever is repeated, late or cut off; statistics are by user."""

import json
import math
import socket
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

from serving_runtime.recorder.app import create_app
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.feedback import Outcome, Said
from serving_runtime.recorder.ingest import Ingest
from serving_runtime.recorder.sums import LOG_PARTS, scaled

TOLD = ("outcome", "first", "last")


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
    server = uvicorn.Server(uvicorn.Config(create_app(folder), log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One for tests that need not know what it has; gives its address."""
    with _served(tmp_path_factory.mktemp("recorder")) as address:
        yield address


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


def record_new_exposures(folder: Path, database: Database) -> None:
    """Hand all lines to the recorder."""
    for file in sorted(folder.glob("*.jsonl")):
        content, position = file.read_bytes(), database.position(file.name)
        Ingest(database).take(file.name, position, content[position:])


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


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
    record_new_exposures(folder, database)
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


def test_what_guardrails_need_is_told_of_all_users_whenever_they_came(folder: Path, database: Database) -> None:
    day, fates = 86400.0, [{"outcome": "complete", "last": 2.0, "completionTokens": 3}, {"outcome": "broken"}]
    fates.append({"outcome": "left", "completionTokens": 9})
    asked = [("u1", "a", 0, 0.0), ("u1", "a", 1, 0.0), ("u2", "a", 0, day), ("u3", "b", 1, 0.0), ("u4", "b", 1, day)]
    asked += [("u5", "c", 2, 0.0), ("u5", "c", 2, day), ("u6", "c", 0, day)]
    lines = [
        json.dumps(json.loads(_line(number, user, variant)) | fates[fate] | {"at": at})
        for number, (user, variant, fate, at) in enumerate(asked)
    ]
    _append(folder / "20260301T10-1.jsonl", "\n".join(lines) + "\n")
    record_new_exposures(folder, database)
    told = database.statistics("e", "rating")["open"]
    assert told["parts"] == {
        "answers.errors": 1,
        "answers.latency": LOG_PARTS,
        "answers.first": LOG_PARTS,
        "answers.pace": 1_000_000,
        "answers.tokens": 1,
    }
    a, b = told["variants"]["a"], told["variants"]["b"]
    assert (a["exposed"], a["failed"], b["exposed"], b["failed"]) == (2, 1, 2, 2)
    assert [one["left"] for one in told["variants"].values()] == [0, 0, 1]
    assert a["ratios"]["answers.errors"] == {"n": 2, "m": 1, "d": 3, "mm": 1, "dd": 5, "md": 2}
    assert b["ratios"]["answers.errors"] == {"n": 2, "m": 2, "d": 2, "mm": 2, "dd": 2, "md": 2}
    assert a["ratios"]["answers.tokens"] == {"n": 2, "m": 6, "d": 3, "mm": 18, "dd": 5, "md": 9}
    latency = a["ratios"]["answers.latency"]
    assert latency["m"] == 2 * round(math.log(2000) * LOG_PARTS) + round(math.log(600_000) * LOG_PARTS)
    assert "answers.first" not in a["ratios"], "nobody streamed"


def test_a_user_s_value_is_the_mean_of_theirs(folder: Path, database: Database) -> None:
    lines = [_line(1, "u1"), _line(2, "u1"), _line(3, "u2"), _line(4, "u3", "b"), _line(5, "u4", "b")]
    _append(folder / "20260301T10.jsonl", "".join(lines))
    record_new_exposures(folder, database)
    for number, value in ((1, 1.0), (2, 3.0), (3, 4.0), (4, 5.0)):
        database.record_feedback([Said("rating", scaled(value), f"{number:032x}")])
    variants = _counted(database.statistics("e", "rating"))
    one = 2520 * 10**9
    whole = [{"n": 2, "y": 6 * one, "yy": 20 * one**2}, {"n": 1, "y": 5 * one, "yy": 25 * one**2}]
    told = [
        {"users": 2, "mean": 3.0, "squares": 2.0, "sums": whole[0], "parts": one},
        {"users": 1, "mean": 5.0, "squares": 0.0, "sums": whole[1], "parts": one},
    ]
    assert variants["a"] == {"users": 2, "requests": 3, "metric": told[0]}
    assert variants["b"] == {"users": 2, "requests": 2, "metric": told[1]}


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
def test_feedback_is_checked(served: str, body: dict[str, Any], status: int) -> None:
    assert _post(served, body) == status


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
def test_feedback_that_is_refused_is_told_why_in_openai_s_shape(served: str, body: bytes, param: str | None) -> None:
    request = urllib.request.Request(f"{served}/v1/feedback", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as answer:
        error = json.load(answer)["error"]
    assert error.pop("message")
    assert error == {"type": "invalid_request_error", "param": param, "code": 422}


def test_the_recorder_is_healthy_while_the_disk_holds_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(*_: Any) -> list[Outcome]:
        begun.set()
        go_on.wait(20)
        return [Outcome.RECORDED]

    monkeypatch.setattr(Database, "record_feedback", wait)
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


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    with _served(tmp_path) as address:
        assert _post(address, {"exposureId": f"{1:032x}", "metric": "rating", "value": 4}) == 202
    _append(tmp_path / "20260301T10-1.jsonl", _line(1, "u1"))
    database = Database(tmp_path / "recorder.sqlite")
    record_new_exposures(tmp_path, database)
    assert database.statistics("e", "rating")["variants"]["a"]["metric"]["mean"] == 4.0
