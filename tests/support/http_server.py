"""A small HTTP server of this machine, for as long as a test needs it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol, TypeVar

__all__ = ["playing", "serving"]


class _HasPort(Protocol):
    port: int


State = TypeVar("State", bound=_HasPort)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], poll_seconds: float) -> Iterator[ThreadingHTTPServer]:
    """Serve on a free port; its `server_port` says which. `poll_seconds` bounds how long the end takes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": poll_seconds})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def playing(state: State, handler: type[BaseHTTPRequestHandler]) -> Iterator[State]:
    """Serve what a handler answers by its `state`; who leaves in the middle is no problem of the server's."""
    with serving(type("Handler", (handler,), {"state": state}), 0.02) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # who asked has left
        state.port = server.server_port
        yield state
