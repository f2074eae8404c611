"""A proxy between an operator and the API server: it counts writes, ends the operator at one of them, and plays faults.

Plain HTTP on loopback to the operator, the administrator's certificate to the API server. Renewals of the operator's
lease are passed on and not counted, as they come by the clock.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

import aiohttp
from aiohttp import web

from local_cluster.layout import Layout
from local_cluster.pki import administrator_tls

__all__ = ["ApiProxy", "Fault"]

Fault = Literal["refused", "500", "403", "429", "slow", "410"]
_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "host"}
_ANSWERS = {"500": 500, "403": 403, "429": 429}
_LATENCY_SECONDS = 2.0


@dataclass
class Kill:
    """At which write, counted from 1, to end the operator, and whether the API server gets to see the write."""

    at: int
    after: bool
    end: Callable[[], None]


@dataclass
class ApiProxy:
    """`url` is what the operator is given; the rest is for the test to read and to set while it runs."""

    layout: Layout
    url: str = ""
    fault: Fault | None = None
    kill: Kill | None = None
    writes: list[str] = field(default_factory=list)
    requests: int = 0
    server_errors: list[str] = field(default_factory=list)
    """What the API server itself answered with 5xx."""
    _gone: set[str] = field(default_factory=set)
    _streams: set[asyncio.Task[None]] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __enter__(self) -> "ApiProxy":
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def play(self, fault: Fault | None) -> None:
        """Begin a fault, or end it; the watches that are open break at either."""
        self._loop.call_soon_threadsafe(self._switch, fault)

    def _switch(self, fault: Fault | None) -> None:
        self.fault = fault
        self._gone = set()
        for stream in self._streams:
            stream.cancel()

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=administrator_tls(self.layout), limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        self._switch(None)
        await self._runner.cleanup()
        await self._session.close()
        await asyncio.sleep(0.1)  # TLS connections are closed a few turns of the loop later, and would be complained of

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        faulty = await self._faulty(request)
        if faulty:
            return faulty
        if request.method == "GET" or "/leases" in request.path or "tokenreviews" in request.path:
            return await self._pass_on(request)
        self.writes.append(f"{request.method} {request.path}")
        if self.kill and len(self.writes) == self.kill.at:
            if self.kill.after:
                await self._pass_on(request)
            self.kill.end()
            return _aborted(request)
        return await self._pass_on(request)

    async def _faulty(self, request: web.Request) -> web.Response | None:
        """What the fault that is being played answers instead of the API server."""
        if self.fault == "refused":
            return _aborted(request)
        if self.fault == "slow":
            await asyncio.sleep(_LATENCY_SECONDS)
        if self.fault == "410" and "watch" in request.query and request.path not in self._gone:
            self._gone.add(request.path)
            return web.json_response(_status(410, "the resourceVersion is too old"), status=410)
        code = _ANSWERS.get(self.fault or "")
        headers = {"Retry-After": "1"} if code == 429 else {}
        return web.json_response(_status(code, "a fault"), status=code, headers=headers) if code else None

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        target = f"https://{self.layout.address}:6443{request.raw_path}"
        body = await request.read()
        async with self._session.request(request.method, target, headers=headers, data=body or None) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            if answer.status >= 500:
                self.server_errors.append(f"{request.method} {request.path}: {answer.status}")
            if "watch" not in request.query:
                return web.Response(status=answer.status, headers=kept, body=await answer.read())
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            stream = asyncio.ensure_future(_copy(answer, response))
            self._streams.add(stream)
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, aiohttp.ClientError):
                await stream
            self._streams.discard(stream)
            return response


def _aborted(request: web.Request) -> web.Response:
    """What is answered arrives nowhere any more."""
    if request.transport:
        request.transport.abort()
    return web.Response()


async def _copy(answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    async for chunk in answer.content.iter_any():
        await response.write(chunk)


def _status(code: int | None, message: str) -> dict[str, object]:
    reasons = {410: "Expired", 403: "Forbidden", 429: "TooManyRequests"}
    reason = reasons.get(code or 0, "InternalError")
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
