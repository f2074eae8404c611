"""A client that writes its own bytes, and reads the answers one by one from the connection that it keeps."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from socket import SHUT_WR, socket
from typing import BinaryIO

from .stand import Answer, Stand

__all__ = ["Wire", "chunked", "is_error", "post", "wired"]

_MARKS = count()


@dataclass
class Wire:
    """One connection to the router."""

    connection: socket
    file: BinaryIO

    def send(self, content: bytes, *, is_last: bool = False) -> None:
        """Send it, as far as the router takes it."""
        with suppress(ConnectionError):
            self.connection.sendall(content)
            if is_last:
                self.connection.shutdown(SHUT_WR)

    def answer(self, method: str = "POST") -> Answer:
        """The next answer."""
        answer = self._next(method)
        assert answer is not None, "the router has closed"
        return answer

    def answers(self) -> list[Answer]:
        """All answers, until the router closes."""
        return list(iter(self._next, None))

    def _next(self, method: str = "POST") -> Answer | None:
        start = self._line().split(b" ", 2)
        if start == [b""]:
            return None
        assert start[0] == b"HTTP/1.1", start
        lines = [line.partition(b":") for line in self._lines()]
        headers = {name.decode().lower(): value.strip().decode("latin-1") for name, _, value in lines}
        if start[1] == b"100":
            return self._next(method)
        is_empty = method == "HEAD" or start[1] in {b"204", b"304"}
        return Answer(int(start[1]), headers, b"" if is_empty else self._content(headers))

    def assert_sound(self) -> None:
        """An ordinary request has its own answer, from the engine."""
        body = b'{"model":"known","mark":%d}' % next(_MARKS)
        self.send(post(body))
        answer = self.answer()
        assert (answer.status, answer.echoed.encode()) == (200, body), answer

    def _line(self) -> bytes:
        try:
            return self.file.readline()
        except ConnectionResetError:
            return b""

    def _lines(self) -> Iterator[bytes]:
        """Up to the empty one."""
        while (line := self._line()) != b"\r\n":
            assert line, "the router has closed in the middle of a head"
            yield line

    def _content(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            pieces = b""
            while size := int(self.file.readline(), 16):
                pieces += self.file.read(size)
                assert self.file.readline() == b"\r\n"
            assert self.file.readline() == b"\r\n"
            return pieces
        return self.file.read(int(headers["content-length"]) if "content-length" in headers else -1)


@contextmanager
def wired(router: Stand) -> Iterator[Wire]:
    """Connect; once it is over, an ordinary request on a new connection has its own answer."""
    with router.connect() as connection, connection.makefile("rb") as file:
        yield Wire(connection, file)
    with router.connect() as connection, connection.makefile("rb") as file:
        Wire(connection, file).assert_sound()


def post(
    body: bytes, path: str = "/v1/chat/completions", *lines: bytes, method: str = "POST", told: bool = True
) -> bytes:
    """A request with these further lines in its head; without a length, where that is not to be told."""
    head = [f"{method} {path} HTTP/1.1".encode(), b"Host: x", *lines]
    return b"\r\n".join([*head, *([b"Content-Length: %d" % len(body)] if told else []), b"", body])


def chunked(body: bytes, sizes: list[int]) -> bytes:
    """The body in pieces of these sizes, over and over."""
    pieces, start, number = [], 0, 0
    while start < len(body):
        size = sizes[number % len(sizes)]
        piece = body[start : start + size]
        pieces.append(b"%x\r\n%s\r\n" % (len(piece), piece))
        start, number = start + size, number + 1
    return b"".join(pieces) + b"0\r\n\r\n"


def is_error(answer: Answer) -> bool:
    """Whether it is an error in OpenAI's shape, which says what is wrong."""
    error = json.loads(answer.content)["error"]
    return bool(answer.error) and error["type"] == ("server_error" if answer.status >= 500 else "invalid_request_error")
