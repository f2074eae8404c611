"""The routers and recorders of all namespaces, played: each has its newest table and nothing under way, and
counted what the test says.
"""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import override

from serving_runtime.plan import FORMAT
from tests.support.counted import answers_told, metric_told
from tests.support.http_server import serving

__all__ = ["ScriptedRouter", "scripted_router"]


@dataclass
class ScriptedRouter:
    """`address` is where it answers; `counted` is what is counted of every experiment, by variant."""

    address: str = ""
    counted: dict[str, Any] = field(default_factory=dict)
    copies: dict[str, Any] = field(default_factory=dict)
    """What is counted of copies of every experiment, by challenger."""
    opened: dict[str, Any] | None = None
    """What is told of them that guardrails are judged by; a recorder of an earlier build tells nothing."""
    asked_of: set[str] = field(default_factory=set)
    """The uids of the experiments whose statistics were asked for."""

    def fail(self, **failed: int) -> None:
        """Have so many of a hundred users of each variant had a failure."""
        self.opened = answers_told(**{name: (100, users) for name, users in failed.items()})

    def count(self, **means: float) -> None:
        """Have a hundred users of each variant, whose values have these means."""
        self.counted = {
            name: {"users": 100, "requests": 100, "fallbacks": 0, "metric": metric_told(100, mean, 1.0)}
            for name, mean in means.items()
        }


@contextmanager
def scripted_router(api: str) -> Iterator[ScriptedRouter]:
    """Serve them; `api` is where the API server is reached."""
    state = ScriptedRouter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/-/routes":
                namespace = self.headers["Host"].split(".")[1]
                url = f"{api}/api/v1/namespaces/{namespace}/configmaps/anneal-router"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    table = json.loads(json.load(answer)["data"]["routes.json"])
                page = json.dumps({**table, "format": FORMAT})  # the newest that it reads
            elif path == "/-/requests":
                page = json.dumps({"under_way": {}, "recorder_lag_seconds": 0.0})
            elif path.endswith("/shadow"):
                page = json.dumps({"variants": state.copies, "parts": {"similarity": 10**6, "logarithm": 1 << 20}})
            else:
                state.asked_of.add(self.path.split("/")[2])
                page = json.dumps({"variants": state.counted, "open": state.opened, "moved_users": 0})
            self.send_response(200)
            self.send_header("Content-Length", str(len(page.encode())))
            self.end_headers()
            self.wfile.write(page.encode())

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler, 0.05) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # no table yet: it does not answer
        state.address = f"127.0.0.1:{server.server_port}"
        yield state
