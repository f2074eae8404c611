"""A hosted API, played: over TLS, for those who have its key."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from typing_extensions import override

from tests.support.http_server import playing

from .engine import Engine, Handler

__all__ = ["OF_ITS_OWN", "Hosted", "hosted"]


OF_ITS_OWN = (
    "Alt-Svc",
    "Clear-Site-Data",
    "NEL",
    "OpenAI-Organization",
    "OpenAI-Project",
    "Report-To",
    "Reporting-Endpoints",
    "Set-Cookie",
    "Strict-Transport-Security",
)
"""Headers that hold of a host, or of whoever has its key, alone."""


@dataclass
class Hosted(Engine):
    """`names` are those that it was asked for in TLS, `keys` the headers `Authorization` of all requests.

    Without a `key` it takes everybody; its list of models has the status `lists_with`.
    """

    context: ssl.SSLContext | None = None
    key: str = ""
    models: list[str] = field(default_factory=lambda: ["large-2"])
    lists_with: int = 200
    names: list[str | None] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


class _Handler(Handler):
    state: Hosted

    @override
    def setup(self) -> None:
        if self.state.context:
            self.request = self.state.context.wrap_socket(self.request, server_side=True)
        super().setup()

    @override
    def finish(self) -> None:
        super().finish()
        self.request.close()

    def do_GET(self) -> None:  # noqa: N802 - as the server has it
        self._note()
        if self.state.key and self.headers["Authorization"] != f"Bearer {self.state.key}":
            self._answer(b'{"error":{"message":"the key hosted-k*** is wrong"}}', 401)
            return
        listed = {"object": "list", "data": [{"id": name} for name in self.state.models]}
        self._answer(json.dumps(listed).encode(), self.state.lists_with)

    @override
    def do_POST(self) -> None:
        self._note()
        if self.state.key and self.headers["Authorization"] != f"Bearer {self.state.key}":
            self._answer(b'{"error":{"message":"the key hosted-k*** is wrong"}}', 401)
            return
        super().do_POST()

    def _note(self) -> None:
        self.state.keys.append(self.headers["Authorization"])
        self.state.paths.append(self.path)

    def _elsewhere(self, _: bytes) -> None:
        self.send_response(307)
        self.send_header("Location", "https://elsewhere.example.com/v1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _of_its_own(self, _: bytes) -> None:
        """What holds of this host alone."""
        self.send_response(200)
        for name in OF_ITS_OWN:
            self.send_header(name, "hosted")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


@contextmanager
def hosted(context: ssl.SSLContext | None = None, key: str = "hosted-key") -> Iterator[Hosted]:
    """Serve it."""
    state = Hosted(context=context, key=key)
    if context:
        context.sni_callback = lambda _, name, __: state.names.append(name)
    with playing(state, _Handler) as served:
        yield served
