"""An engine ends without a lost request, and only because it was asked to. Real processes; vLLM alone is played."""

import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from serving_runtime.leave import leave
from serving_runtime.plan import ENGINE_KEY_VARIABLE, SILENCE_VARIABLE
from serving_runtime.supervise import ENDED_BY_ITSELF
from toolbox.polling import poll

from .played_engine import ENGINE_KEY, WHOLE, Played, played, supervised

COMPLETIONS = "/v1/completions"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    monkeypatch.setenv(ENGINE_KEY_VARIABLE, ENGINE_KEY)
    with played() as made:
        yield made


def test_streams_end_whole_and_nothing_new_is_lost(engine: Played) -> None:
    with ThreadPoolExecutor() as threads:
        streams = [threads.submit(engine.ask) for _ in range(3)]
        left = threads.submit(leave, engine.port, 60, 0.6)
        asked = [engine.ask(COMPLETIONS)[0] for _ in range(3)]
        assert asked == [200] * 3, "it goes on as long as it is asked"
        assert not left.done()
        assert poll(lambda: engine.ask(COMPLETIONS)[0] == 503, 10, every=0.8), "nobody asked for long enough"
        assert not left.done(), "it does not end while it answers"
        left.result()
    assert [stream.result() for stream in streams] == [(200, WHOLE)] * 3
    engine.process.send_signal(signal.SIGTERM)
    with suppress(OSError):  # it was gone by then: a router asks another one, too
        assert engine.ask(COMPLETIONS)[0] == 503
    assert engine.process.wait(30) == 0


def test_it_waits_for_answers_under_way_for_so_long_and_no_longer(engine: Played) -> None:
    with ThreadPoolExecutor() as threads:
        stream = threads.submit(engine.ask)
        leave(engine.port, 0.5, 0.2)
        assert not stream.done()
        assert stream.result() == (200, WHOLE)


def test_nobody_waits_for_the_answers_of_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet asks a pod that is to end no more whether it lives."""
    monkeypatch.setenv(ENGINE_KEY_VARIABLE, ENGINE_KEY)
    monkeypatch.setenv(SILENCE_VARIABLE, "0.1")
    with played() as engine, ThreadPoolExecutor() as threads:
        stream = threads.submit(engine.ask)
        leave(engine.port, 60, 0.2)
        assert not stream.done()
        assert stream.result() == (200, WHOLE)


def test_one_that_cannot_be_asked_has_nothing_to_wait_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    leave(port, 60)


def test_one_that_answers_nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving_runtime.leave._TIMEOUT_SECONDS", 0.05)
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


def test_an_engine_that_ends_by_itself_has_failed(engine: Played) -> None:
    with pytest.raises(OSError, match=r"closed connection|reset by peer"):
        engine.ask("/die")
    _, said = engine.process.communicate(timeout=30)
    assert engine.process.returncode == ENDED_BY_ITSELF
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
    with supervised("-c", ENDS + script) as process:
        assert process.wait(30) == code


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
    with supervised("-c", ENDS + begins + SLEEPS) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "up\n"
        process.send_signal(ending)
        assert process.wait(30) == code
