"""What routers send the recorder counts once, whatever is repeated or wrong of it."""

import json
import socket
import sqlite3
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from serving_runtime.recorder import ingest
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.ingest import Ingest
from serving_runtime.recorder.shadows import Copy
from serving_runtime.records import LARGEST_BATCH, POSITION, SOURCE
from tests.support.recorder import KEY, at, counted, line, recorder, send

ONE, TWO, THREE = (line(number, f"u{number}").encode() for number in (1, 2, 3))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """An empty recorder's address."""
    with recorder(tmp_path) as address:
        yield address


def test_lines_are_stored_with_the_position_that_they_reach_to(served: str) -> None:
    assert send(served, ONE, **at(0)) == (200, {"position": len(ONE)})
    assert send(served, TWO + THREE, **at(len(ONE))) == (200, {"position": len(ONE + TWO + THREE)})
    assert counted(served) == {"a": (3, 3)}


def test_what_is_sent_again_or_begins_elsewhere_is_not_stored_and_told_where_to_go_on(served: str) -> None:
    send(served, ONE, **at(0))
    assert send(served, ONE + TWO, **at(0)) == (200, {"position": len(ONE)})
    assert send(served, THREE, **at(len(ONE + TWO))) == (200, {"position": len(ONE)})
    assert counted(served) == {"a": (1, 1)}
    other = "other/20260301T1000-0123456789abcdef-01234567"
    assert send(served, TWO, **at(0, other)) == (200, {"position": len(TWO)})


def test_the_same_sent_by_several_at_once_is_stored_once(tmp_path: Path) -> None:
    """Whatever the database would make of it."""
    stored = []

    class Telling(Database):
        @override
        def record_exposures(
            self, source: str, position: int, exposures: Sequence[Mapping[str, Any]], copies: Sequence[Copy] = ()
        ) -> None:
            stored.append(position)
            super().record_exposures(source, position, exposures, copies)

    taking, together = Ingest(Telling(tmp_path / "recorder.sqlite")), threading.Barrier(4)

    def take(_: int) -> int:
        together.wait()
        return taking.take("source", 0, ONE)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(take, range(4))) == [len(ONE)] * 4
    assert stored == [len(ONE)]


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"half',
        b"[]",
        b"5",
        b"\xff\xfe",
        ONE.replace(b'"at": 1.0', b'"at": "now"'),
        ONE.replace(b'"at": 1.0', b'"at": -1'),
        ONE.replace(b'"status": 200', b'"status": 1e400'),
        ONE.replace(b'"status": 200', b'"status": 99999999999999999999'),
        ONE.replace(b'"exposure"', b'"other"'),
        ONE.replace(b'"u1"', b'"' + b"u" * 1000 + b'"'),
        ONE.replace(b'"at"', b'"more": "' + b"x" * 9000 + b'", "at"'),
        ONE.replace(b'"at"', b'"completionTokens": -1, "at"'),
    ],
)
def test_what_tells_no_answer_is_left_out_and_told_once_and_holds_up_nothing(
    served: str, caplog: Any, wrong: bytes
) -> None:
    lines = wrong.strip() + b"\n" + TWO + b'{"half\n'
    assert send(served, lines, **at(0)) == (200, {"position": len(lines)})
    assert counted(served) == {"a": (1, 1)}
    assert ["2 lines of pod/" in record.getMessage() for record in caplog.records if record.name == "recorder"] == [
        True
    ]


def test_an_answer_of_nobody_is_not_counted_and_no_error(served: str, caplog: Any) -> None:
    plain = {"exposure": "1", "at": 1.0, "status": 200, "outcome": "complete", "kind": "chat"}
    lines = json.dumps(plain).encode() + b"\n\n" + ONE
    assert send(served, lines, **at(0)) == (200, {"position": len(lines)})
    assert counted(served) == {"a": (1, 1)}
    assert not [record for record in caplog.records if record.name == "recorder"]


@pytest.mark.parametrize(
    ("headers", "size", "status"),
    [
        (at(0), LARGEST_BATCH, 200),
        (at(0), LARGEST_BATCH + 1, 413),
        ({SOURCE: at(0)[SOURCE]}, 10, 422),
        ({POSITION: "0"}, 10, 422),
        (at(-1), 10, 422),
        (at(1 << 60), 10, 422),
        (at(0, "../20260301T1000-0123456789abcdef"), 10, 422),
        (at(0, "pod/" + "x" * 1000), 10, 422),
    ],
)
def test_what_is_no_router_s_is_refused(served: str, headers: dict[str, str], size: int, status: int) -> None:
    assert send(served, b"\n" * size, **headers)[0] == status


def test_a_database_that_refuses_is_told_and_what_it_refused_is_stored_later(
    served: str, tmp_path: Path, caplog: Any
) -> None:
    other = sqlite3.connect(tmp_path / "recorder.sqlite")
    other.execute("CREATE TRIGGER full BEFORE INSERT ON answered BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    status, told = send(served, ONE, **at(0))
    assert (status, "disk full" in str(told), "cannot be stored now: disk full" in caplog.text) == (503, True, True)
    other.execute("DROP TRIGGER full")
    other.close()
    assert send(served, ONE, **at(0)) == (200, {"position": len(ONE)})
    assert counted(served) == {"a": (1, 1)}


def test_lines_that_do_not_come_are_not_waited_for(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_PATIENCE_SECONDS", 0.1)
    host, _, port = served.partition(":")
    named = "".join(f"{name}: {value}\r\n" for name, value in {**at(0), "Authorization": f"Bearer {KEY}"}.items())
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(f"POST /records HTTP/1.1\r\nHost: x\r\n{named}Content-Length: 100\r\n\r\nx".encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 408")


def test_the_recorder_is_healthy_while_the_disk_holds_it_up(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(*_: Any) -> int:
        begun.set()
        return int(go_on.wait(20))

    monkeypatch.setattr(Ingest, "take", wait)
    sender = threading.Thread(target=send, args=(served, ONE), kwargs=at(0))
    sender.start()
    try:
        assert begun.wait(10)
        with urllib.request.urlopen(f"http://{served}/health", timeout=10) as answer:
            assert answer.status == 200
    finally:
        go_on.set()
        sender.join()
