"""Ask the Kubernetes API what a pod may read, over asyncio and h11.

The official client takes more memory than all else in a router's pod. This knows GET alone, of one connection each,
and nothing of kubeconfigs: whoever runs it is a pod, or says where the API server is.
"""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import h11

__all__ = ["ApiServer", "ApiServerError", "content", "in_cluster", "next_event"]

_CONNECT_SECONDS = 5.0
_PIECE = 1 << 16
_LONGEST_REASON = 300
_OK = 200


class ApiServerError(Exception):
    """It refused, or failed."""


@dataclass(frozen=True)
class ApiServer:
    """Where it is, and the files by which either side knows the other; both are read for each request, as they rotate.

    Without `authority`, which holds the certificates of its issuers, it is asked in plain HTTP.
    """

    host: str
    port: int
    token: Path | None = None
    authority: Path | None = None

    async def get(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the object that it answers."""
        async with aclosing(self.lines(path, query)) as lines:
            answer: Mapping[str, Any] = json.loads(b"".join([line async for line in lines]))
        return answer

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
        """Give each line of its answer as soon as it is there; raise ApiServerError where the answer is no."""
        async with self._asked(f"{path}?{urlencode(query)}") as (status, pieces):
            if status != _OK:
                reason = b"".join([piece async for piece in pieces])[:_LONGEST_REASON]
                raise ApiServerError(f"it answered {status}: {reason.decode(errors='replace')}")
            rest = b""
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield line
            if rest:
                yield rest

    @asynccontextmanager
    async def _asked(self, target: str) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """The answer's status, and its content as it comes."""
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self._tls())
        try:
            http = h11.Connection(h11.CLIENT)
            asked = h11.Request(method="GET", target=target, headers=self._headers())
            writer.write((http.send(asked) or b"") + (http.send(h11.EndOfMessage()) or b""))
            while not isinstance(answer := await next_event(http, reader), h11.Response):
                pass
            yield answer.status_code, content(http, reader)
        finally:
            writer.transport.abort()  # at once: a server that is gone would not take leave

    def _headers(self) -> list[tuple[str, str]]:
        told = [("Host", "kubernetes.default.svc"), ("Accept", "application/json"), ("User-Agent", "anneal-router")]
        if self.token:
            told.append(("Authorization", f"Bearer {self.token.read_text().strip()}"))
        return [*told, ("Connection", "close")]

    def _tls(self) -> ssl.SSLContext | None:
        if not self.authority:
            return None
        context = ssl.create_default_context(cafile=self.authority)
        # From Python 3.13 on, certificates are refused whose issuer left an extension out, as many a cluster's own did.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def in_cluster(account: Path) -> ApiServer:
    """The API server as a pod's environment and the folder of its service account say."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    return ApiServer(host, port, token=account / "token", authority=account / "ca.crt")


async def content(http: h11.Connection, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Give an answer's pieces as they come."""
    while isinstance(event := await next_event(http, reader), h11.Data):
        yield bytes(event.data)


async def next_event(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Event:
    """The next that comes; h11 raises an error where an answer ends early."""
    while not isinstance(event := http.next_event(), h11.Event):
        http.receive_data(await reader.read(_PIECE))
    return event
