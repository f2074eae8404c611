"""Who may ask an engine and a recorder, on a real server."""

import asyncio
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from serving_runtime.engine_key import EngineKey
from serving_runtime.keys import Keyed, Message, Receive, Send
from serving_runtime.plan import ADMIN_KEY_VARIABLE, ENGINE_KEY_VARIABLE
from toolbox.polling import poll

KEY = {"Authorization": "Bearer engine-key"}
WRONG: tuple[Mapping[str, str], ...] = (
    {},
    {"Authorization": ""},
    {"Authorization": "engine-key"},
    {"Authorization": "Basic engine-key"},
    {"Authorization": "Bearer "},
    {"Authorization": "Bearer engine-ke"},
    {"Authorization": "Bearer engine-key2"},
    {"Authorization": "Bearer \u00e9"},
    {"X-Api-Key": "engine-key"},
)
CLOSED = (
    *("/v1/chat/completions", "/tokenize", "/adapters", "/invocations", "/docs", "/metrics/x", "/health/", "/ping"),
    *("/-/traffic", "/-/", "/-/alive/"),
)
HIDDEN = ("/health/../tokenize", "/v1/..//tokenize", "/tokenize?/health", "/tokenize#/health", "/%74okenize")


@pytest.fixture(scope="module")
def engine() -> Iterator[int]:
    """A server that has every path, as vLLM's is wrapped; gives its port."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)

    @app.api_route("/{path:path}", methods=["GET", "POST", "OPTIONS"])
    def answer(path: str) -> str:
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENGINE_KEY_VARIABLE, "engine-key\n")
        app.add_middleware(EngineKey)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        assert poll(lambda: server.started, 20, every=0.02)
    yield int(listener.getsockname()[1])
    server.should_exit = True
    thread.join()
    listener.close()


def _status(port: int, path: str, headers: Mapping[str, str], method: str = "POST") -> int:
    body = b"{}" if method == "POST" else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("path", [*CLOSED, *HIDDEN])
def test_every_path_but_those_of_the_cluster_s_own_demands_the_key(engine: int, path: str) -> None:
    assert [_status(engine, path, headers) for headers in WRONG] == [401] * len(WRONG)
    assert _status(engine, path, KEY) == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
def test_no_method_leads_around_it(engine: int, method: str) -> None:
    assert _status(engine, "/tokenize", {}, method) == 401


@pytest.mark.parametrize("path", ["/health", "/metrics", "/health?verbose", "/-/alive"])
def test_the_kubelet_and_prometheus_have_no_key(engine: int, path: str) -> None:
    assert _status(engine, path, {}, "GET") == 200


def test_nobody_without_the_key_makes_an_engine_leave(engine: int) -> None:
    assert [_status(engine, "/-/leave", headers) for headers in WRONG] == [401] * len(WRONG)
    assert _status(engine, "/tokenize", KEY) == 200


def test_a_refusal_says_whom_to_ask(engine: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{engine}/v1/models", timeout=10)
    with refused.value as answer:
        assert (answer.headers["WWW-Authenticate"], answer.headers["Content-Type"]) == ("Bearer", "application/json")
        assert b"ask the router, at port 8080" in answer.read()


def _asked(scope: Message) -> list[Message]:
    """What an application behind a key answers."""
    sent: list[Message] = []

    async def app(_: Message, __: Receive, send: Send) -> None:
        await send({"type": "let in"})

    async def take(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    asyncio.run(Keyed(app, "k", {"/health"})(scope, receive, take))
    return sent


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ({"type": "lifespan"}, "let in"),
        ({"type": "websocket", "path": "/v1/realtime", "headers": []}, "websocket.close"),
        ({"type": "websocket", "path": "/health", "headers": []}, "websocket.close"),
        ({"type": "websocket", "path": "/x", "headers": [(b"authorization", b"Bearer k")]}, "let in"),
        ({"type": "http", "path": "/x", "headers": [(b"authorization", b"Bearer k")] * 2}, "http.response.start"),
        ({"type": "http", "path": "/sub/health", "root_path": "/sub", "headers": []}, "let in"),
        ({"type": "http", "path": "/sub/health", "headers": []}, "http.response.start"),
    ],
)
def test_what_is_no_plain_request_is_judged_alike(scope: dict[str, Any], told: str) -> None:
    assert _asked(scope)[0]["type"] == told


def test_an_engine_does_not_start_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINE_KEY_VARIABLE, " ")
    with pytest.raises(ValueError, match="ANNEAL_ENGINE_KEY is not set: the namespace's Secret `anneal-router`"):
        EngineKey(FastAPI())


def test_a_recorder_tells_its_statistics_and_erases_for_the_operator_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    command = [sys.executable, "-m", "serving_runtime.recorder", "--port", str(port), "--folder", str(tmp_path)]
    counted = "/experiments/e/statistics?metric=rating"
    with subprocess.Popen(command, env={ADMIN_KEY_VARIABLE: "admin-key"}) as process:
        try:
            assert poll(lambda: _answers(port), 30, every=0.1)
            assert _status(port, counted, {}, "GET") == 401
            assert _status(port, "/records", {}) == 401
            assert _status(port, "/openapi.json", KEY, "GET") == 401
            assert _status(port, "/users/someone", {}, "DELETE") == 401
            assert _status(port, counted, {"Authorization": "Bearer admin-key"}, "GET") == 200
            assert _status(port, "/v1/feedback", {"Content-Type": "application/json"}) == 422
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        return _status(port, "/health", {}, "GET") == 200
    except OSError:
        return False
