"""Ask the namespace's router, as any client does: so experiments, exposures, keys and limits hold of tasks, too.

Over asyncio and h11, which the router's image has. Each request has a connection of its own: one that the router closed
meanwhile would be asked in vain, and it is beside us.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h11

from serving_runtime.plan import TASKS_KEY_HEADER

__all__ = ["Headers", "RouterAnswer", "RouterClient", "UnansweredError"]

Headers = Sequence[tuple[bytes, bytes]]
_PIECE = 1 << 16
_CONNECT_SECONDS, _ANSWER_SECONDS = 5.0, 660.0
"""An answer takes no longer than a router lets it."""
_OK = 200


class UnansweredError(Exception):
    """The router is not there, or broke off; nothing is wrong with the request."""


@dataclass(frozen=True)
class RouterAnswer:
    """What it said."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    content: bytes

    @property
    def is_ok(self) -> bool:
        """Whether it is an answer, and no error."""
        return self.status == _OK

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON holds anything
        """What it holds; raise UnansweredError where that is none."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise UnansweredError("the model's server answered what is no JSON") from error

    @property
    def version(self) -> str:
        """The version that answered."""
        return self.headers.get("x-anneal-version", "")


class RouterClient:
    """A router's Service, and the key by which it knows what is part of an answer of ours."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self._host, self._port, self._key = host, port, key

    async def get(self, path: str) -> RouterAnswer:
        """Ask what the router itself tells."""
        return await self._ask("GET", path, b"", [(TASKS_KEY_HEADER.encode(), self._key.encode())])

    async def part(self, path: str, body: Mapping[str, Any], headers: Headers = ()) -> RouterAnswer:
        """Ask a model for a part of an answer, which is counted with that alone."""
        return await self.post(path, body, [*headers, (TASKS_KEY_HEADER.encode(), self._key.encode())])

    async def post(self, path: str, body: Mapping[str, Any], headers: Headers) -> RouterAnswer:
        """Ask a model, as whoever has these headers."""
        return await self._ask("POST", path, json.dumps(body, ensure_ascii=False).encode(), headers)

    async def _ask(self, method: str, path: str, body: bytes, headers: Headers) -> RouterAnswer:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._answer(method, path, body, headers)
        except (OSError, h11.RemoteProtocolError) as error:
            raise UnansweredError("the router does not answer; try again") from error

    async def _answer(self, method: str, path: str, body: bytes, headers: Headers) -> RouterAnswer:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            http = h11.Connection(h11.CLIENT)
            own = [(b"Host", f"{self._host}:{self._port}".encode()), (b"Connection", b"close")]
            own += [(b"Content-Type", b"application/json"), (b"Content-Length", str(len(body)).encode())]
            asked = h11.Request(method=method, target=path, headers=[*own, *headers])
            writer.write((http.send(asked) or b"") + (http.send(h11.Data(data=body)) or b""))
            writer.write(http.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            return await _whole(http, reader)
        finally:
            writer.transport.abort()


async def _whole(http: h11.Connection, reader: asyncio.StreamReader) -> RouterAnswer:
    while not isinstance(answer := await _next(http, reader), h11.Response):
        pass
    pieces = []
    while isinstance(event := await _next(http, reader), h11.Data):
        pieces.append(bytes(event.data))
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
    return RouterAnswer(answer.status_code, headers, b"".join(pieces))


async def _next(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Event:
    """The next that comes; h11 raises an error where an answer ends early."""
    while not isinstance(event := http.next_event(), h11.Event):
        http.receive_data(await reader.read(_PIECE))
    return event
