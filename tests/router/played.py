"""What stands around a namespace's routers, played in one event loop: the API server that their agents watch, and the
pods of engines with their Services."""

import asyncio
import itertools
import json
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from anneal_operator.desired.serving import server_name

__all__ = ["ApiServer", "Pod", "Service"]

Manifest = dict[str, Any]
_NUMBERS = itertools.count(1)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class ApiServer:
    """Objects by kind and name. Its watches tell how an object stands, not each change that led there."""

    def __init__(self) -> None:
        self.port = 0
        self._kinds: dict[str, dict[str, tuple[int, Manifest, bool]]] = {"configmaps": {}, "endpointslices": {}}
        self._late: dict[str, Manifest | None] | None = None
        self._version = 1
        self._changed = asyncio.Condition()
        self._is_away = False
        self._open: set[asyncio.Transport] = set()
        self._runner: web.AppRunner

    async def start(self) -> None:
        """Serve, until it is stopped."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Leave no connection open."""
        self.leave(is_away=True)
        await self._runner.cleanup()

    def get(self, kind: str, name: str) -> Manifest | None:
        """Return what is there."""
        _, found, is_deleted = self._kinds[kind].get(name, (0, {}, True))
        return None if is_deleted else found

    async def put(self, kind: str, name: str, made: Manifest | None) -> None:
        """Make an object, change it, or delete it."""
        if kind == "endpointslices" and self._late is not None:
            self._late[name] = made
            return
        objects = self._kinds[kind]
        if made is None and name not in objects:
            return
        self._version += 1
        objects[name] = (self._version, made or objects[name][1], made is None)
        objects[name][1]["metadata"]["resourceVersion"] = str(self._version)
        async with self._changed:
            self._changed.notify_all()

    def forget(self) -> None:
        """Tell of nothing any more that was deleted long ago."""
        for objects in self._kinds.values():
            for name, (version, _, is_deleted) in tuple(objects.items()):
                if is_deleted and version < self._version - 1000:
                    del objects[name]

    async def delay_endpoints(self, *, is_late: bool) -> None:
        """Tell of no change of endpoints, or of all that there were meanwhile."""
        if is_late:
            self._late = {} if self._late is None else self._late
        else:
            late, self._late = self._late or {}, None
            for name, made in late.items():
                await self.put("endpointslices", name, made)

    def leave(self, *, is_away: bool) -> None:
        """Break all connections, and each new one, until it is back."""
        self._is_away = is_away
        for transport in tuple(self._open) if is_away else ():
            transport.abort()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if self._is_away or not isinstance(transport, asyncio.Transport):
            if transport:
                transport.close()
            raise web.HTTPServiceUnavailable
        objects = self._kinds[request.path.rpartition("/")[2]]
        if "watch" not in request.query:
            items = [found for _, found, is_deleted in objects.values() if not is_deleted]
            return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})
        self._open.add(transport)
        try:
            return await self._watch(request, objects)
        finally:
            self._open.discard(transport)

    async def _watch(self, request: web.Request, objects: dict[str, tuple[int, Manifest, bool]]) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        told = int(request.query.get("resourceVersion") or 0)
        while True:
            for version, found, is_deleted in sorted(objects.values(), key=lambda one: one[0]):
                if version > told:
                    kind = "DELETED" if is_deleted else "MODIFIED"
                    await answer.write(json.dumps({"type": kind, "object": found}).encode() + b"\n")
            told = self._version
            async with self._changed:
                while self._version == told:
                    await self._changed.wait()


class _Listener:
    """An address that is its own for as long as it is not closed, whether or not anybody listens there."""

    def __init__(self, answer: Callable[[Manifest], Any]) -> None:
        number = next(_NUMBERS)
        self.address = f"127.{number // 62500 % 50 + 100}.{number // 250 % 250}.{number % 250 + 1}"
        self._answer = answer
        self._held = self._bound(0)
        self.port = int(self._held.getsockname()[1])
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def listen(self) -> None:
        """Take connections."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=self._bound(self.port))

    async def refuse(self) -> None:
        """Break all connections, and refuse new ones."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        ended = [task for task in self._open.values() if task]
        for writer, task in self._open.items():
            writer.transport.abort()
            if task:
                task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)

    async def close(self) -> None:
        """Give the address up."""
        await self.refuse()
        self._held.close()

    def _bound(self, port: int) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((self.address, port))
        return made

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    found = _LENGTH.search(head)
                    body = json.loads(await reader.readexactly(int(found[1]) if found else 0))
                    said = json.dumps(await self._answer(body)).encode()
                    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                    writer.write(answer % (len(said), said))
        finally:
            del self._open[writer]
            writer.close()


@dataclass
class Pod:
    """An engine: `is_ready` is what Kubernetes says, `is_alive` whether it takes connections."""

    version: str
    name: str
    is_ready: bool = False
    is_alive: bool = True
    asked: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    listener: _Listener = field(init=False)

    def __post_init__(self) -> None:
        self.listener = _Listener(self.answer)
        self.go_on.set()

    async def answer(self, body: Manifest) -> Manifest:
        """Say who answers; what may wait does until it may go on."""
        self.asked += 1
        if body.get("waits"):
            await self.go_on.wait()
        return {"pod": self.name, "version": self.version, "choices": [{"finish_reason": "stop"}]}

    async def live(self, *, is_alive: bool) -> None:
        """Begin, or die."""
        self.is_alive = is_alive
        await (self.listener.listen() if is_alive else self.listener.refuse())

    def endpoint_slice(self) -> Manifest:
        """One for each pod, as each has a port of its own here."""
        conditions = {"ready": self.is_ready, "serving": self.is_ready, "terminating": False}
        pod = {"kind": "Pod", "name": self.name, "uid": f"uid-{self.name}"}
        return {
            "metadata": {"name": self.name, "labels": {"kubernetes.io/service-name": server_name(self.version)}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [self.listener.address], "conditions": conditions, "targetRef": pod}],
            "ports": [{"name": "http", "port": self.listener.port}],
        }


@dataclass
class Service:
    """A version's own address: it leads to pods that are Ready and there, and refuses where there are none."""

    pods: list[Pod]
    listener: _Listener = field(init=False)

    def __post_init__(self) -> None:
        self.listener = _Listener(self._answer)

    async def _answer(self, body: Manifest) -> Manifest:
        for pod in self.pods:
            if pod.is_ready and pod.is_alive:
                return await pod.answer(body)
        raise ConnectionResetError

    async def follow(self) -> None:
        """Take connections where a pod does."""
        leads = any(pod.is_ready and pod.is_alive for pod in self.pods)
        await (self.listener.listen() if leads else self.listener.refuse())
