"""How far a download is, told over HTTP to whoever asks: nothing in it is a secret."""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from typing_extensions import override

from serving_runtime.plan import DOWNLOAD_PATH, Downloaded

__all__ = ["Progress", "told_at"]

_WINDOW_SECONDS = 30.0


class Progress:
    """Counts bytes, from any thread; the speed is that of the last half minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._here = self._total = 0
        self._seen: deque[tuple[float, int]] = deque()

    def begin(self, here: int, total: int) -> None:
        """So many bytes of so many are here, from an earlier time."""
        with self._lock:
            self._here, self._total = here, total
            self._seen = deque([(self._clock(), here)])

    def add(self, count: int) -> None:
        """So many more came; a number below 0 takes some back."""
        with self._lock:
            self._here += count
            now = self._clock()
            if not self._seen or now - self._seen[-1][0] >= 1:
                self._seen.append((now, self._here))
            while len(self._seen) > 1 and now - self._seen[1][0] >= _WINDOW_SECONDS:
                self._seen.popleft()

    def told(self) -> Downloaded:
        """Return how far it is."""
        with self._lock:
            since, before = self._seen[0] if self._seen else (self._clock(), self._here)
            passed = self._clock() - since
            speed = max(0, round((self._here - before) / passed)) if passed > 0 else 0
            return Downloaded(bytes=self._here, total_bytes=self._total, bytes_per_second=speed)


@contextmanager
def told_at(port: int, progress: Progress) -> Iterator[int]:
    """Answer at a port while the block runs; give the port. Where nobody can be told it runs, too: it matters more."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.path == DOWNLOAD_PATH
            body = progress.told().model_dump_json().encode() if is_known else json.dumps({}).encode()
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, *_: object) -> None:
            """Nothing: it is asked all the time."""

    try:
        server = _server(port, Handler)
    except OSError as error:
        print(f"nobody is told how far the download is: port {port}: {error.strerror}", flush=True)
        yield 0
        return
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _OfBothFamilies(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    @override
    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _server(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """For IPv6 and IPv4, as the pod may have either; IPv4 alone where the kernel has no other."""
    try:
        return _OfBothFamilies(("::", port), handler)
    except OSError:
        return ThreadingHTTPServer(("", port), handler)
