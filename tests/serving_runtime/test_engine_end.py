"""An engine ends without a lost request, and only because it was asked to. Real processes; vLLM alone is played."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from serving_runtime.leave import leave
from serving_runtime.plan import ENGINE_KEY_VARIABLE
from serving_runtime.supervise import ENDED_BY_ITSELF
from toolbox.polling import poll

from .played_engine import PIECES

KEY = "engine-key"
WHOLE = "".join(f"{piece} " for piece in range(PIECES)) + "end"
CHAT = "/v1/chat/completions"
QUIET = 0.5


def _supervised(*arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, ENGINE_KEY_VARIABLE: KEY}
    command = [sys.executable, "-m", "serving_runtime.supervise", *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def engine(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[str]"]:
    """One that has started, under its container's first process."""
    monkeypatch.setenv(ENGINE_KEY_VARIABLE, KEY)
    with _supervised("-m", "tests.serving_runtime.played_engine", str(port)) as process:
        try:
            assert poll(lambda: _is_started(port), 30, every=0.05)
            yield process
        finally:
            process.kill()


def _ask(port: int, path: str = CHAT) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, b"{}", {"Authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def _is_started(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/-/started")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _exit_code(process: "subprocess.Popen[str]") -> int:
    process.communicate(timeout=30)
    return process.returncode


def test_streams_end_whole_and_nothing_new_is_lost(engine: "subprocess.Popen[str]", port: int) -> None:
    with ThreadPoolExecutor() as threads:
        streams = [threads.submit(_ask, port) for _ in range(3)]
        left = threads.submit(leave, port, 60, QUIET)
        asked: list[tuple[int, str]] = []
        while not left.done():
            asked.append(_ask(port, "/v1/completions"))
            if asked[-1][0] == 200:
                threading.Event().wait(0.05 if len(asked) < 4 else QUIET * 2)
        left.result()
    assert [stream.result() for stream in streams] == [(200, WHOLE)] * 3
    assert {status for status, _ in asked} == {200, 503}, "an engine that is to leave goes on, then sends elsewhere"
    assert asked == sorted(asked, key=lambda one: one[0])
    engine.send_signal(signal.SIGTERM)
    with suppress(OSError):  # it was gone by then: a router asks another one, too
        assert _ask(port, "/v1/completions")[0] == 503
    assert _exit_code(engine) == 0


@pytest.mark.usefixtures("engine")
def test_it_waits_for_answers_under_way_for_so_long_and_no_longer(port: int) -> None:
    with ThreadPoolExecutor() as threads:
        stream = threads.submit(_ask, port)
        leave(port, 0.5, 0.2)
        assert not stream.done()
        assert stream.result() == (200, WHOLE)


def test_one_that_cannot_be_asked_has_nothing_to_wait_for(port: int) -> None:
    leave(port, 60)


def test_one_that_answers_nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving_runtime.leave._TIMEOUT", 0.05)
    monkeypatch.setattr("serving_runtime.leave.LEFT_BY_ALL_SECONDS", 0.2)
    asked: list[socket.socket] = []

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                asked.append(listener.accept()[0])
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=[listener], daemon=True)
        thread.start()
        leave(int(listener.getsockname()[1]), 0.2)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection in asked:
        connection.close()
    assert len(asked) > 2


def test_an_engine_that_ends_by_itself_has_failed(engine: "subprocess.Popen[str]", port: int) -> None:
    with pytest.raises(OSError, match="closed connection"):
        _ask(port, "/die")
    _, said = engine.communicate(timeout=30)
    assert engine.returncode == ENDED_BY_ITSELF
    assert said == "error: the engine ended by itself, though nobody asked it to\n"


ENDS = "import os, signal, sys; "
SLEEPS = "import time; print('up', file=sys.stderr, flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("sys.exit(77)", 77),
        ("sys.exit(1)", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
        # those that it left behind are nobody's to wait for
        ("os.fork() and sys.exit(3)", 3),
    ],
)
def test_how_it_ended_is_told(script: str, code: int) -> None:
    with _supervised("-c", ENDS + script) as process:
        assert _exit_code(process) == code


@pytest.mark.parametrize(
    ("begins", "ending", "code"),
    [
        ("", signal.SIGTERM, 0),
        ("", signal.SIGINT, 0),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); ", signal.SIGTERM, 0),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); ", signal.SIGTERM, 5),
        ("signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), 9)); ", signal.SIGTERM, 137),
    ],
)
def test_one_that_was_asked_to_end_did_as_it_was_told(begins: str, ending: int, code: int) -> None:
    with _supervised("-c", ENDS + begins + SLEEPS) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "up\n"
        process.send_signal(ending)
        assert _exit_code(process) == code
