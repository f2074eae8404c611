"""Latency of requests that come when they are due, however long those before them take."""

import select
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import islice

from .messages import chats, connected, is_whole, large_body, status

__all__ = ["Large", "large_bodies", "latencies", "percentile"]

_MOST_WAITING = 900
_PATIENCE_SECONDS = 60.0


@dataclass
class _Asked:
    due: float
    request: bytes
    answer: bytes = b""
    is_again: bool = False


@dataclass
class _Clients:
    """As many connections as requests wait; `waiting` holds those with an open request, `idle` the others."""

    port: int
    waiting: dict[socket.socket, _Asked] = field(default_factory=dict)
    idle: list[socket.socket] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def ask(self, request: bytes, due: float) -> None:
        """Send on a connection that is free, or on a new one."""
        if len(self.waiting) >= _MOST_WAITING:
            raise TimeoutError(f"{_MOST_WAITING} requests wait: it cannot keep up at this rate")
        connection = self.idle.pop() if self.idle else connected(self.port)
        self._send(connection, _Asked(due, request))

    def _send(self, connection: socket.socket, asked: _Asked) -> None:
        self.waiting[connection] = asked
        with suppress(ConnectionError):  # what comes of it tells
            connection.sendall(asked.request)

    def take(self, patience: float) -> None:
        """Take what has come, or comes within `patience` seconds."""
        ready, _, _ = select.select([*self.waiting, *self.idle], [], [], max(0.0, patience))
        for connection in ready:
            piece = _received(connection)
            now = time.perf_counter()
            asked = self.waiting.get(connection)
            if asked is None:  # the server has closed what it found idle
                self.idle.remove(connection)
                connection.close()
                continue
            asked.answer += piece
            if is_whole(asked.answer):
                self._finish(connection, asked, now)
            elif not piece:
                self._ask_again(connection, asked)

    def _ask_again(self, connection: socket.socket, asked: _Asked) -> None:
        """On a new connection, as clients do: the server closed what it found idle while it was being used."""
        if asked.answer or asked.is_again:
            raise ConnectionError(f"an answer ended early: {asked.answer!r}")
        del self.waiting[connection]
        connection.close()
        asked.is_again = True
        self._send(connected(self.port), asked)

    def _finish(self, connection: socket.socket, asked: _Asked, now: float) -> None:
        if status(asked.answer) != 200:
            raise ConnectionError(f"not answered: {asked.answer!r}")
        self.seconds.append(now - asked.due)
        del self.waiting[connection]
        self.idle.append(connection)

    def close(self) -> None:
        for connection in [*self.waiting, *self.idle]:
            connection.close()


def _received(connection: socket.socket) -> bytes:
    """Return what has come; nothing where it was closed, or reset."""
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def latencies(port: int, rate: float, seconds: float) -> list[float]:
    """Return how long after it was due each answer was whole, in seconds."""
    clients = _Clients(port)
    begins = time.perf_counter() + 0.1
    try:
        for number, request in enumerate(islice(chats(), int(rate * seconds))):
            due = begins + number / rate
            while (left := due - time.perf_counter()) > 0:
                clients.take(left)
            clients.ask(request, due)
        gives_up = time.perf_counter() + _PATIENCE_SECONDS
        while clients.waiting:
            if (left := gives_up - time.perf_counter()) <= 0:
                raise TimeoutError(f"{len(clients.waiting)} requests were not answered")
            clients.take(left)
    finally:
        clients.close()
    return clients.seconds


def percentile(seconds: list[float], percent: int) -> float:
    """Return that percentile in milliseconds."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000


@dataclass
class Large:
    """How many large bodies were answered, and in how many seconds."""

    answered: int = 0
    seconds: float = 0.0


@contextmanager
def large_bodies(port: int) -> Iterator[Large]:
    """Let one client send large bodies, one after the other, meanwhile."""
    body, large, ends = large_body(), Large(), threading.Event()

    def send() -> None:
        began = time.perf_counter()
        client = HTTPConnection("127.0.0.1", port, timeout=60)
        while not ends.is_set():
            client.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            answer = client.getresponse()
            if answer.read() and answer.status != 200:
                raise ConnectionError(f"a large body is answered with {answer.status}")
            large.answered += 1
        client.close()
        large.seconds = time.perf_counter() - began

    with ThreadPoolExecutor(1) as thread:
        sent = thread.submit(send)
        try:
            yield large
        finally:
            ends.set()
        sent.result()
