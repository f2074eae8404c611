"""A model's server, played, that says what the test gave it to say, in its own time, and counts what it has at once."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from typing_extensions import override

from tests.support.http_server import playing

__all__ = ["Answerer", "answerer"]

_USAGE = {"prompt_tokens": 4, "completion_tokens": 3}


@dataclass
class Answerer:
    """`says` is its answer; with `hangs` it takes requests and answers none until that is taken back."""

    port: int = 0
    says: str = "a plain answer"
    status: int = 200
    hangs: bool = False
    is_chunked: bool = False
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    under_way: int = 0
    go_on: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, change: int) -> None:
        """One more is under way, or one less."""
        with self.lock:
            self.under_way += change
            self.most_at_once = max(self.most_at_once, self.under_way)


class _Handler(BaseHTTPRequestHandler):
    state: Answerer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.state.enter(1)
        try:
            self.state.bodies.append(body)
            self.state.headers.append(dict(self.headers.items()))
            if self.state.hangs:
                self.state.go_on.wait(30)
            with suppress(ConnectionError):
                self._answer(body)
        finally:
            self.state.enter(-1)

    def _answer(self, body: dict[str, Any]) -> None:
        if body.get("stream"):
            self._send(_stream(self.state.says), "text/event-stream", is_chunked=True)
            return
        message = {"role": "assistant", "content": self.state.says}
        told = {"id": "1", "choices": [{"message": message, "finish_reason": "stop"}], "usage": _USAGE}
        self._send([json.dumps(told)], "application/json", is_chunked=self.state.is_chunked)

    def _send(self, pieces: list[str], kind: str, *, is_chunked: bool) -> None:
        self.send_response(self.state.status)
        self.send_header("Content-Type", kind)
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len("".join(pieces).encode())))
        self.end_headers()
        for piece in pieces:
            content = piece.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content) if is_chunked else content)
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _stream(says: str) -> list[str]:
    words = [{"choices": [{"delta": {"content": f"{word} "}, "finish_reason": None}]} for word in says.split()]
    last = [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": _USAGE}]
    return [*(f"data: {json.dumps(one)}\n\n" for one in [*words, *last]), "data: [DONE]\n\n"]


@contextmanager
def answerer() -> Iterator[Answerer]:
    """Serve it; what hangs is let go at the end."""
    with playing(Answerer(), _Handler) as state:
        try:
            yield state
        finally:
            state.go_on.set()
