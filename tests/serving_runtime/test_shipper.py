"""What nginx writes reaches the recorder once, whatever becomes of either side meanwhile."""

import fcntl
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from serving_runtime.plan import ADMIN_KEY_VARIABLE
from serving_runtime.records import LARGEST_BATCH, LOCK
from serving_runtime.router import recorder as client
from serving_runtime.router import shipper as shipping
from serving_runtime.router.recorder import Recorder
from serving_runtime.router.shipper import Shipper
from serving_runtime.router.spool import Spool
from tests.support.http_server import serving
from tests.support.recorder import KEY, counted, line, recorder
from tests.support.recorder_process import free_port, recorder_process
from toolbox.polling import poll

FILE = "20260301T1000-0123456789abcdef.jsonl"
LATER = "20260301T1001-0123456789abcdef.jsonl"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Where nginx writes; the recorder's address is beside it, and its database above."""
    made = tmp_path / "records"
    made.mkdir()
    return made


def _shipper(records: Path, address: str = "") -> Shipper:
    """A new one, as after a start; where no address is given, it stays what it was."""
    place = records / "address"
    if address:
        place.write_text(address)
    return Shipper(Spool(records, "pod"), Recorder(place, KEY), records / "delivered")


def _append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def _stored(folder: Path) -> int:
    with sqlite3.connect(folder / "recorder.sqlite") as database:
        (count,) = database.execute("SELECT COUNT(*) FROM answered").fetchone()
    database.close()
    return int(count)


def test_what_is_appended_is_stored_once(records: Path, tmp_path: Path) -> None:
    with recorder(tmp_path) as address:
        shipper = _shipper(records, address)
        assert shipper.ship()
        _append(records / FILE, line(1) + line(2))
        _append(records / FILE.replace("0123", "4567"), line(3))
        assert shipper.ship()
        assert shipper.ship()
        _append(records / FILE, "\n" + line(4))
        assert shipper.ship()
        assert counted(address) == {"a": (1, 4)}


def test_it_is_told_up_to_when_all_is_stored(records: Path, tmp_path: Path) -> None:
    port = free_port()
    shipper = _shipper(records, f"127.0.0.1:{port}")
    _append(records / FILE, line(1))
    assert not shipper.ship()
    assert not (records / "delivered").exists()
    with recorder(tmp_path, port):
        began = time.time()
        assert shipper.ship()
        assert float((records / "delivered").read_text()) == pytest.approx(began, abs=2)


def test_half_a_line_is_sent_when_it_is_whole(records: Path, tmp_path: Path) -> None:
    with recorder(tmp_path) as address:
        shipper = _shipper(records, address)
        for text, stored in ((line(1)[:20], {}), (line(1)[20:] + line(2)[:20], {"a": (1, 1)}), (line(2)[20:], None)):
            _append(records / FILE, text)
            assert shipper.ship()
            assert counted(address) == (stored if stored is not None else {"a": (1, 2)})


def test_one_that_starts_anew_goes_on_where_the_last_one_ended(records: Path, tmp_path: Path) -> None:
    with recorder(tmp_path) as address:
        for number in range(1, 4):
            _append(records / FILE, line(number))
            assert _shipper(records, address).ship()
        assert counted(address) == {"a": (1, 3)}
    with sqlite3.connect(tmp_path / "recorder.sqlite") as database:
        assert list(database.execute("SELECT position FROM sources")) == [(len(line(1)) * 3,)]
    database.close()


def test_records_wait_while_the_recorder_is_away_and_it_is_asked_less_and_less_often(
    records: Path, tmp_path: Path, caplog: Any
) -> None:
    port = free_port()
    shipper = _shipper(records, f"127.0.0.1:{port}")
    waits = []
    for number in range(1, 11):
        _append(records / FILE, line(number))
        assert not shipper.ship()
        waits.append(shipper._wait)  # noqa: SLF001
    assert waits == sorted(waits)
    assert waits[-1] == shipping._LONGEST_WAIT_SECONDS  # noqa: SLF001
    with recorder(tmp_path, port) as address:
        assert shipper.ship()
        assert counted(address) == {"a": (1, 10)}
    assert shipper._wait == shipping._PERIOD_SECONDS  # noqa: SLF001
    told = [re.sub(":.*", "", record.getMessage()) for record in caplog.records if record.name == "shipper"]
    assert told == ["the recorder takes nothing, records wait", "the recorder takes records again"]


def test_a_recorder_whose_address_is_not_known_yet_is_away(records: Path, tmp_path: Path) -> None:
    _append(records / FILE, line(1))
    shipper = _shipper(records)
    assert not shipper.ship()
    with recorder(tmp_path) as address:
        (records / "address").write_text(f"{address}\n")
        assert shipper.ship()
        assert counted(address) == {"a": (1, 1)}


def test_a_recorder_at_another_address_with_the_same_volume_goes_on(records: Path, tmp_path: Path) -> None:
    shipper = _shipper(records)
    for number in (1, 2):
        _append(records / FILE, line(number))
        with recorder(tmp_path) as address:
            (records / "address").write_text(address)
            assert shipper.ship()
    assert _stored(tmp_path) == 2


def test_a_recorder_that_lost_its_database_gets_all_that_is_there(records: Path, tmp_path: Path) -> None:
    shipper = _shipper(records)
    for number, name in ((1, "one"), (2, "other")):
        (tmp_path / name).mkdir()
        _append(records / FILE, line(number))
        with recorder(tmp_path / name) as address:
            (records / "address").write_text(address)
            assert poll(shipper.ship, 5)
    assert _stored(tmp_path / "other") == 2


def test_what_a_recorder_stored_that_was_killed_before_it_answered_counts_once(records: Path, tmp_path: Path) -> None:
    port = free_port()
    shipper = _shipper(records, f"127.0.0.1:{port}")
    _append(records / FILE, line(1) + line(2))
    with recorder_process(tmp_path, port, ("record_exposures", 1)) as dying:
        assert poll(lambda: not shipper.ship() and not dying.is_alive(), 60)
        assert dying.exitcode == -signal.SIGKILL
    assert _stored(tmp_path) == 2
    _append(records / FILE, line(3))
    with recorder(tmp_path, port) as address:
        assert shipper.ship()
        assert counted(address) == {"a": (1, 3)}
    with sqlite3.connect(tmp_path / "recorder.sqlite") as database:
        assert list(database.execute("SELECT position FROM sources")) == [(len(line(1)) * 3,)]
    database.close()


def test_a_full_disk_of_the_recorder_is_waited_for(records: Path, tmp_path: Path) -> None:
    _append(records / FILE, line(1))
    with recorder(tmp_path) as address:
        other = sqlite3.connect(tmp_path / "recorder.sqlite")
        other.execute("CREATE TRIGGER full BEFORE INSERT ON answered BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        shipper = _shipper(records, address)
        assert not shipper.ship()
        other.execute("DROP TRIGGER full")
        other.close()
        assert shipper.ship()
        assert counted(address) == {"a": (1, 1)}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"[]"),
        (200, b"no"),
        (200, b'{"position": 0}'),
        (200, b'{"position": -5}'),
        (503, b""),
        (0, b""),
    ],
)
def test_whoever_does_not_say_that_it_stored_them_is_not_believed(
    records: Path, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes
) -> None:
    """A status of 0 is no answer at all."""
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.2)
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if not status:
                ended.wait(10)
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    _append(records / FILE, line(1))
    os.utime(records / FILE, (1, 1))
    with serving(Handler, 0.05) as server:
        shipper = _shipper(records, f"127.0.0.1:{server.server_port}")
        for _ in range(3):
            assert not shipper.ship()
        ended.set()
    assert (records / FILE).exists()


def test_a_file_goes_once_it_is_stored_its_minute_is_over_and_nothing_is_written_to_it(
    records: Path, tmp_path: Path
) -> None:
    now = time.strftime("%Y%m%dT%H%M", time.gmtime())
    current = records / FILE.replace("20260301T1000", now)
    for number, file in enumerate((records / FILE, records / LATER, current)):
        _append(file, line(number))
    os.utime(current, (1, 1))
    _append(records / LATER, '{"half a li')
    with recorder(tmp_path) as address:
        shipper = _shipper(records, address)
        assert shipper.ship()
        assert (records / FILE).exists()
        for file in (records / FILE, records / LATER):
            os.utime(file, (1, 1))
        assert shipper.ship()
        assert sorted(records.glob("*.jsonl")) == [current]
        assert counted(address) == {"a": (1, 3)}


def test_a_minute_that_comes_again_as_the_clock_was_set_back_is_stored_too(records: Path, tmp_path: Path) -> None:
    with recorder(tmp_path) as address:
        shipper = _shipper(records, address)
        for number in (1, 2):
            _append(records / FILE, line(number))
            os.utime(records / FILE, (1, 1))
            assert shipper.ship()
            assert not (records / FILE).exists()
        assert counted(address) == {"a": (1, 2)}


def test_more_than_is_sent_at_once_is_sent_in_pieces_and_a_line_without_an_end_holds_up_nothing(
    records: Path, tmp_path: Path
) -> None:
    lines = "".join(line(number) for number in range(10_000))
    assert len(lines) > LARGEST_BATCH
    _append(records / FILE, lines + "x" * (LARGEST_BATCH + 5) + "\n" + line(10_000))
    with recorder(tmp_path) as address:
        assert _shipper(records, address).ship()
        assert counted(address) == {"a": (1, 10_001)}


def test_when_too_many_wait_the_oldest_are_dropped_and_counted_and_the_others_stored(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(shipping, "_MOST_WAITING", 3 * len(line(1)))
    port = free_port()
    shipper = _shipper(records, f"127.0.0.1:{port}")
    _append(records / FILE, line(1) + line(2))
    _append(records / LATER, line(3))
    assert not shipper.ship()
    assert "are lost" not in caplog.text
    _append(records / LATER, line(4) + line(5))
    assert not shipper.ship()
    assert "2 records are lost, the oldest" in caplog.text
    _append(records / LATER, line(6))
    shipper.ship()
    assert "4 records are lost, the oldest" in caplog.text
    _append(records / LATER, line(7))  # nginx makes its file anew
    with recorder(tmp_path, port) as address:
        assert shipper.ship()
        assert counted(address) == {"a": (1, 1)}


def test_nothing_that_is_large_is_imported() -> None:
    """It rests in every router's pod."""
    script = "import sys, serving_runtime.router.shipper; print([n for n in sys.modules if '.' not in n])"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not {"aiohttp", "asyncio", "fastapi", "kubernetes", "pydantic", "uvicorn"} & set(
        json.loads(told.replace("'", '"'))
    )


def _started(records: Path, end_within: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "serving_runtime.router.shipper", "--records", str(records)]
    command += ["--recorder", str(records / "address"), "--end-within", str(end_within)]
    environment = {**os.environ, ADMIN_KEY_VARIABLE: KEY}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_what_nginx_writes_while_the_pod_ends_is_stored(records: Path, tmp_path: Path) -> None:
    with recorder(tmp_path) as address, (records / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (records / "address").write_text(address)
        _append(records / FILE, line(1))
        with _started(records, 60) as process:
            assert poll(lambda: counted(address) == {"a": (1, 1)}, 60, every=0.1)
            process.terminate()
            _append(records / FILE, line(2))
            assert poll(lambda: counted(address) == {"a": (1, 2)}, 60, every=0.1)
            assert process.poll() is None
            _append(records / FILE, line(3))
            held.close()
            assert process.wait(60) == 0
        assert counted(address) == {"a": (1, 3)}


def test_a_long_answer_is_waited_for_while_the_recorder_is_away(records: Path) -> None:
    (records / "address").write_text(f"127.0.0.1:{free_port()}")
    with (records / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _append(records / FILE, line(1))
        with _started(records, 0) as process:
            assert process.stderr is not None
            assert "records wait" in process.stderr.readline()
            process.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            _append(records / FILE, line(2))
            held.close()
            assert process.wait(60) == 0
            assert "2 records are lost with this pod" in process.stderr.read()


def test_a_pod_that_must_end_while_the_recorder_is_away_tells_what_is_lost(records: Path) -> None:
    (records / "address").write_text(f"127.0.0.1:{free_port()}")
    _append(records / FILE, line(1) + line(2) + '{"half')
    with _started(records, 0) as process:
        assert process.stderr is not None
        assert "records wait" in process.stderr.readline()
        process.terminate()
        assert process.wait(60) == 0
        assert "2 records are lost with this pod" in process.stderr.read()
