"""The router and its recorder: what is answered reaches it once, and whether it is there concerns no model."""

import json
import os
import signal
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from serving_runtime.plan import bucket
from tests.support.recorder import at, counted, erase, recorder, send, shipping
from toolbox.polling import poll

from .stand import SALT, UNHURRIED, Answer, Stand, standing

BUDGET_SECONDS = 0.2
"""What a router that is killed may take with it."""
ARM = "stable" if bucket(SALT, "u1") < 5000 else "tuned"


def _said(answer: Answer, value: int = 4) -> dict[str, object]:
    return {"exposureId": answer.headers["x-exposure-id"], "metric": "rating", "value": value}


def _is_recorded(router: Stand, said: dict[str, object]) -> bool:
    return router.ask("/v1/feedback", said, Content_Type="application/json").status == 200


def test_every_answer_reaches_the_recorder_once_and_what_users_say_of_it(tmp_path: Path) -> None:
    with standing(tmp_path) as router, recorder(tmp_path) as address, shipping(tmp_path):
        (tmp_path / "address").write_text(address)
        answers = [router.chat("split", X_User_Id="u1") for _ in range(20)]
        assert poll(lambda: counted(address, "uid") == {ARM: (1, 20)}, 60, every=0.1)
        said = _said(answers[0])
        assert poll(partial(_is_recorded, router, said), 10)
        refused = router.ask("/v1/feedback", {**said, "value": "x"}, Content_Type="application/json")
        assert (refused.status, refused.json["error"]["param"]) == (422, "value")


def _days(folder: Path) -> dict[str, tuple[int, ...]]:
    """What is kept outside experiments, by model: users, requests, failures, latencies, values and their sum."""
    sums = "COUNT(*), SUM(requests), SUM(failures), SUM(latencies), SUM(count), SUM(total) / 1000000000"
    tables = "users JOIN scopes ON scope = scopes.id LEFT JOIN ratings ON ratings.user = users.id"
    database = sqlite3.connect(folder / "recorder.sqlite")
    select = f"SELECT model, {sums} FROM {tables} WHERE experiment IS NULL GROUP BY model"  # noqa: S608
    found = {model: tuple(row) for model, *row in database.execute(select)}
    database.close()
    return found


def _by_version(folder: Path) -> dict[str, int]:
    """How many requests it counted of each version."""
    database = sqlite3.connect(folder / "recorder.sqlite")
    found = dict(database.execute("SELECT name, requests FROM versions"))
    database.close()
    return found


def test_outside_experiments_users_have_sums_of_their_day_until_they_are_erased(tmp_path: Path) -> None:
    with standing(tmp_path) as router, recorder(tmp_path) as address, shipping(tmp_path):
        (tmp_path / "address").write_text(address)
        answers = [router.chat("plain", X_User_Id=user) for user in ("u1", "u1", "u2")]
        router.chat("down", X_User_Id="u1")
        router.chat("plain")
        assert poll(lambda: len(_stored(tmp_path)) == 4, 60, every=0.1)
        assert poll(lambda: _by_version(tmp_path) == {"one": 4, "gone": 1}, 60, every=0.1), "whoever asked"
        for answer, value in zip(answers, (4, 2, 5), strict=True):
            assert poll(partial(_is_recorded, router, _said(answer, value)), 10)
        expected = {"plain": (2, 3, 0, 3, 3, 11), "down": (1, 1, 1, 0, None, None)}
        assert _days(tmp_path) == expected
        replayed = [line for line in router.records() if "user" in line]
        send(address, "".join(json.dumps(line) + "\n" for line in replayed).encode(), **at(0))
        assert (len(replayed), _days(tmp_path)) == (4, expected)
        (first,) = {line["user"] for line in replayed if line["exposure"] == answers[0].headers["x-exposure-id"]}
        assert erase(address, first) == 2
        assert _days(tmp_path) == {"plain": (1, 1, 0, 1, 1, 5)}
        assert router.ask("/v1/feedback", _said(answers[0]), Content_Type="application/json").status == 404


def test_a_worker_that_is_killed_takes_no_more_with_it_than_its_last_answers(tmp_path: Path) -> None:
    """What it had written lies on the pod's disk, also while the shipper is not there yet."""
    answered: dict[str, float] = {}
    with standing(tmp_path, UNHURRIED) as router:
        (worker,) = router.workers()
        end = time.monotonic() + 0.75
        while time.monotonic() < end:
            answer = router.chat("split", X_User_Id="u1")
            answered[answer.headers["x-exposure-id"]] = time.monotonic()
        killed = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        assert poll(lambda: router.workers() not in ([], [worker]), 20)
        with recorder(tmp_path) as address, shipping(tmp_path):
            (tmp_path / "address").write_text(address)
            later = router.chat("split", X_User_Id="u1").headers["x-exposure-id"]
            assert poll(lambda: later in _stored(tmp_path), 60, every=0.1)
    stored = _stored(tmp_path)
    assert len(stored) == len(set(stored))
    assert {one for one, at in answered.items() if at < killed - BUDGET_SECONDS} - set(stored) == set()
    assert set(stored) <= {*answered, later}
    assert len(answered) > 10


def _stored(folder: Path) -> list[str]:
    database = sqlite3.connect(folder / "recorder.sqlite")
    found = [str(row[0]) for row in database.execute("SELECT lower(hex(id)) FROM answered")]
    database.close()
    return found


def test_a_recorder_that_hangs_is_told_of_soon_and_takes_nothing_from_the_models(tmp_path: Path) -> None:
    quick = {"limit_conn feedback 256;": "limit_conn feedback 4;", "proxy_read_timeout 5s;": "proxy_read_timeout 1s;"}
    with standing(tmp_path, quick) as router, socket.create_server(("127.0.0.1", 0)) as silent:
        (tmp_path / "address").write_text(f"127.0.0.1:{silent.getsockname()[1]}")
        silent.setblocking(False)
        answers: list[Answer] = []

        def ask() -> Answer:
            return router.ask("/v1/feedback", {"exposureId": "0" * 32, "metric": "rating", "value": 4})

        def knows_where_it_is() -> bool:
            answers.append(ask())
            return _asked(silent) == 1

        assert poll(knows_where_it_is, 20)
        with ThreadPoolExecutor(8) as clients:
            asked = [clients.submit(ask) for _ in range(8)]
            assert router.chat("split", X_User_Id="u1").status == 200
            answers += [one.result() for one in asked]
        assert _asked(silent) == 4, "those beyond the bound do not wait"
    assert {answer.status for answer in answers} == {503}
    assert all(answer.headers["retry-after"] == "5" for answer in answers)
    assert all("send this again" in answer.error for answer in answers)


def _asked(silent: socket.socket) -> int:
    """How many connections nobody has taken yet."""
    count = 0
    while True:
        try:
            silent.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_those_who_send_slowly_keep_nobody_s_feedback_away(tmp_path: Path) -> None:
    """A model's server stands for the recorder: it repeats what it was sent."""
    head = b"POST /v1/feedback HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with standing(tmp_path, {"limit_conn feedback 256;": "limit_conn feedback 4;"}) as router, ExitStack() as clients:
        (tmp_path / "address").write_text(f"127.0.0.1:{router.engine.port}")
        for _ in range(8):
            clients.enter_context(router.connect()).sendall(head)
        assert poll(lambda: router.ask("/v1/feedback", {"value": 4}).status == 200, 5)
        for said in ({"value": 4}, {"value": "x" * 60_000}):
            answer = router.ask("/v1/feedback", said)
            assert (answer.status, answer.json["path"], answer.echoed) == (200, "/v1/feedback", json.dumps(said))


def test_a_recorder_whose_address_is_not_known_yet_is_told_of(tmp_path: Path) -> None:
    with standing(tmp_path, {'feedback.start("/etc/anneal/recorder/address")': 'feedback.start("/nowhere")'}) as router:
        answer = router.ask("/v1/feedback", {"exposureId": "0" * 32, "metric": "rating", "value": 4})
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "send this again" in answer.error
        assert router.chat("split", X_User_Id="u1").status == 200
