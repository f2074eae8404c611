"""Paced streams: how many chunks come through for a second of processor time."""

import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from socket import socket

from .messages import chats, connected, status

__all__ = ["STREAMS", "Counter", "stream_chunks"]

STREAMS = 64
_MARK = b"data: {"
_WARM_UP_SECONDS = 1.0


@dataclass
class Counter:
    """Counts the chunks of one stream after the other on a connection, however they are cut."""

    chunks: int = 0
    _end: bytes = b""
    _started: bool = False

    def feed(self, piece: bytes) -> bool:
        """Take a piece; whether a stream has ended with it."""
        if not piece:
            raise ConnectionError("a stream was cut")
        if not self._started and status(piece) != 200:
            raise ConnectionError(f"no stream: {piece!r}")
        self._started = True
        text = self._end + piece
        self.chunks += text.count(_MARK)
        self._end = text[-len(_MARK) + 1 :]
        if not text.endswith(b"0\r\n\r\n"):
            return False
        self._end, self._started = b"", False
        return True


def stream_chunks(port: int, seconds: float, cpu_seconds: Callable[[], float]) -> float:
    """Read as many streams at once as STREAMS says; return the chunks per second of processor time."""
    asked = chats(streams=True)
    with selectors.DefaultSelector() as selector:
        for _ in range(STREAMS):
            connection = connected(port)
            selector.register(connection, selectors.EVENT_READ, Counter())
            connection.sendall(next(asked))
        counters: list[Counter] = [key.data for key in selector.get_map().values()]

        def read(until: float) -> int:
            before = sum(counter.chunks for counter in counters)
            while time.perf_counter() < until:
                for key, _ in selector.select(0.1):
                    if isinstance(key.fileobj, socket) and key.data.feed(key.fileobj.recv(65536)):
                        key.fileobj.sendall(next(asked))
            return sum(counter.chunks for counter in counters) - before

        try:
            read(time.perf_counter() + _WARM_UP_SECONDS)
            cpu = cpu_seconds()
            chunks = read(time.perf_counter() + seconds)
            return chunks / (cpu_seconds() - cpu)
        finally:
            for key in list(selector.get_map().values()):
                if isinstance(key.fileobj, socket):
                    key.fileobj.close()
