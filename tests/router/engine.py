"""A model's server, played: it repeats what it was asked, or fails in the way that the request's `scenario` names."""

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from typing_extensions import override

from tests.support.http_server import playing

__all__ = ["Engine", "Handler", "engine"]

_BIG = 1 << 20
_CONTENTS = {"204": b"", "304": b"", "404": b"", "500": b"Internal"}
_PAUSE = 0.06
_RESET = struct.pack("ii", 1, 0)


def _chunk(**choice: Any) -> str:
    return f"data: {json.dumps({'choices': [choice]}, separators=(',', ':'))}\n\n"


TEXT = _chunk(delta={"content": 'say "finish_reason":"stop"\ndata: {"error"\nevent: error'}, finish_reason=None)
STOP = _chunk(delta={}, finish_reason="stop")
DONE = "data: [DONE]\n\n"
FAILED = 'data: {"error":{"message":"engine died","code":500}}\n\n'
SAID = 'event: response.output_text.delta\ndata: {"delta":"say event: response.completed and event: error"}\n\n'
STREAMS = {
    "stream": [TEXT, TEXT, STOP, DONE],
    "stream-length": [TEXT, _chunk(delta={}, finish_reason="length").replace('":"', '": "'), DONE],
    "stream-halves": [TEXT, STOP[:50], STOP[50:], DONE],
    "stream-abort": [TEXT, _chunk(delta={}, finish_reason="abort"), DONE],
    "stream-error": [TEXT, FAILED, DONE],
    "stream-no-end": [TEXT, DONE],
    "responses": [SAID, "event: response.completed\ndata: {}\n\n"],
    "responses-halves": [SAID, "event: respo", "nse.completed\ndata: {}\n\n"],
    "responses-failed": [SAID, "event: response.failed\ndata: {}\n\n"],
    "responses-no-end": [SAID],
}
"""Answers in pieces; not all of them end well."""


@dataclass
class Engine:
    """`asked` counts the requests that arrived, by scenario; `left` is set when an endless stream's reader went.

    `go_on` lets a held stream end.
    """

    port: int = 0
    connections: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    left: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """What it does by scenario."""

    state: Engine
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @override
    def setup(self) -> None:
        super().setup()
        self.state.connections += 1

    def do_POST(self) -> None:
        body = self._body()
        scenario = _scenario(body)
        self.state.asked[scenario] += 1
        if scenario in STREAMS:
            self._stream(STREAMS[scenario])
        elif scenario.isdecimal():
            self._answer(_CONTENTS.get(scenario, b'{"error":{"message":"no"}}'), int(scenario))
        else:
            getattr(self, f"_{scenario.replace('-', '_')}", self._echo)(body)

    def _body(self) -> bytes:
        length = int(self.headers["Content-Length"])
        if length <= _BIG:
            return self.rfile.read(length)
        start = self.rfile.read(1024)
        for _ in range((length - 2048) // _BIG):
            self.rfile.read(_BIG)
        rest = length - 1024 - (length - 2048) // _BIG * _BIG
        return start + self.rfile.read(rest)[-1024:]

    def _echo(self, body: bytes) -> None:
        said: dict[str, Any] = {"path": self.path, "headers": dict(self.headers.items())}
        said |= {"length": self.headers["Content-Length"], "body": body.decode(errors="replace")}
        self._answer(json.dumps({**said, "choices": [{"finish_reason": "stop"}]}).encode(), 200)

    def _answer(self, content: bytes, status: int, kind: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind or ("application/json" if content[:1] == b"{" else "text/plain"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _stream(self, pieces: list[str], *, ends: bool = True) -> None:
        self._begin_stream()
        for piece in pieces:
            self.wfile.write(f"{len(piece):x}\r\n{piece}\r\n".encode())
        if ends:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = not ends

    def _play(self, body: bytes) -> None:
        """What the request says: a stream in pieces, with pauses, perhaps cut, or an answer whose length is told."""
        pieces: list[str] = json.loads(body)["play"]
        if pieces[0] in {"WHOLE", "SIZED"}:
            self._answer(pieces[1].encode(), 200, "text/event-stream" if pieces[0] == "SIZED" else "application/json")
            return
        self._begin_stream()
        for piece in pieces:
            if piece == "PAUSE":
                time.sleep(_PAUSE)
            elif piece != "CUT":
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece.encode()), piece.encode()))
        if "CUT" not in pieces:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = "CUT" in pieces

    def _locked(self, _: bytes) -> None:
        """An engine that demands another key than the router's."""
        content = b'{"error":{"message":"no"}}'
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _claim(self, _: bytes) -> None:
        """Claim what is the router's to say, and lead elsewhere."""
        self.send_response(200)
        for name in ("X-Exposure-Id", "X-Anneal-Variant", "X-Anneal-Version", "X-Anneal-Fallback"):
            self.send_header(name, "claimed")
        self.send_header("X-Accel-Redirect", "/v1/models")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _cut(self, _: bytes) -> None:
        self._stream([TEXT], ends=False)

    def _cut_at_once(self, _: bytes) -> None:
        self._stream([], ends=False)

    def _short(self, _: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b'{"choices":[{"finish_reason":"stop"}')
        self.close_connection = True

    def _reset(self, _: bytes) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close_connection = True

    def _busy_once(self, body: bytes) -> None:
        if self.state.asked["busy-once"] % 2:
            self._answer(b"{}", 503)
        else:
            self._echo(body)

    def _wait_until_left(self) -> None:
        self.connection.settimeout(10)
        with suppress(ConnectionError):
            assert self.connection.recv(1) == b""
        self.state.left.set()

    def _endless(self, _: bytes) -> None:
        self._stream([TEXT], ends=False)
        self._wait_until_left()

    def _nonsense(self, _: bytes) -> None:
        self.wfile.write(b"no HTTP at all")
        self.close_connection = True

    def _held(self, _: bytes) -> None:
        """A stream that ends when the test says so."""
        self._stream([TEXT], ends=False)
        self.state.go_on.wait(20)
        with suppress(OSError):
            self.wfile.write(f"{len(STOP):x}\r\n{STOP}\r\n0\r\n\r\n".encode())

    def _silent(self, _: bytes) -> None:
        self._wait_until_left()
        self.close_connection = True

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def engine() -> Iterator[Engine]:
    """Serve it."""
    with playing(Engine(), Handler) as state:
        yield state


def _scenario(body: bytes) -> str:
    start = body.find(b'"scenario":"')
    return body[start + 12 : body.index(b'"', start + 12)].decode() if start >= 0 else "echo"
