"""Measure how soon routers tell of new weights: `python -m benchmarks.router.acknowledged`.

Ten routers from their real files, each with its agent, and the operator's own questions in its own rhythm, beside one
API server, which is played: what is measured is from its word of a change to the last router's. All of them share two
cores, as ten pods would not.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from serving_runtime.plan import BUCKETS, RouteTable, Stamp

from .anneal import KEY, followed_router, two_arms
from .machine import facts

__all__ = ["main"]

_LINEAGE = "2026-03-01T12:00:00Z"
_PATIENCE_SECONDS = 60.0
_PERIOD_SECONDS = 0.25
"""After which the operator asks those again that have not told yet (decide/acknowledgement.py)."""


def main() -> int:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.router.acknowledged")
    parser.add_argument("--routers", type=int, default=10)
    parser.add_argument("--changes", type=int, default=30)
    options = parser.parse_args()
    seconds = asyncio.run(_measured(options.routers, options.changes))
    median, most = statistics.median(seconds), max(seconds)
    print(f"{facts()}. {options.changes} changes of weights, {options.routers} routers.")
    print(f"acknowledged by all after {median:.2f} s (median), {min(seconds):.2f} s (least), {most:.2f} s (greatest)")
    return 0


async def _measured(routers: int, changes: int) -> list[float]:
    api = _Api()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        await api.start()
        ports = [stack.enter_context(_router(Path(name) / str(number), api)) for number in range(routers)]
        async with aiohttp.ClientSession() as session:
            await _all_tell(session, ports, await api.publish(1))
            seconds = []
            for generation in range(2, changes + 2):
                await asyncio.sleep(0.5 + generation % 7 / 20)  # at any moment between two looks of a worker
                began = time.perf_counter()
                await _all_tell(session, ports, await api.publish(generation))
                seconds.append(time.perf_counter() - began)
        await api.stop()
    return seconds


@contextmanager
def _router(folder: Path, api: "_Api") -> Iterator[int]:
    folder.mkdir()
    with followed_router(folder, _table(1), api.port) as admin_port:
        yield admin_port


async def _all_tell(session: aiohttp.ClientSession, ports: list[int], stamp: Stamp) -> None:
    """Ask as the operator does: those that have not told yet."""
    left, deadline = ports, time.monotonic() + _PATIENCE_SECONDS
    while left:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(left)} routers do not tell of generation {stamp.generation}")
        told = await asyncio.gather(*(_generation(session, port) for port in left))
        left = [port for port, found in zip(left, told, strict=True) if found != stamp.generation]
        await asyncio.sleep(_PERIOD_SECONDS if left else 0)


async def _generation(session: aiohttp.ClientSession, port: int) -> int | None:
    """Return what all workers of a router have applied; None where it does not say."""
    headers, url = {"Authorization": f"Bearer {KEY}"}, f"http://127.0.0.1:{port}/-/routes"
    try:
        async with session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(1.0)) as answer:
            told: dict[str, int] = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError):
        return None
    return told.get("generation")


def _table(generation: int) -> RouteTable:
    """The arms' weights differ from one generation to the next."""
    return two_arms(9, 9, BUCKETS // 2 + generation % 100)


class _Api:
    """The API server of the agents: one ConfigMap that changes, and no EndpointSlice."""

    def __init__(self) -> None:
        self.port = 0
        self._table: dict[str, Any] = {}
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def publish(self, generation: int) -> Stamp:
        """Change the weights."""
        table = _table(generation)
        stamp = table.stamped(_LINEAGE, generation)
        metadata = {"name": "routes", "resourceVersion": str(generation)}
        self._table = {"metadata": metadata, "data": {"routes.json": json.dumps(table.document(stamp))}}
        async with self._changed:
            self._changed.notify_all()
        return stamp

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        is_table = "configmaps" in request.path
        if "watch" not in request.query:
            listed = [self._table] if is_table and self._table else []
            return web.json_response({"metadata": {"resourceVersion": "0"}, "items": listed})
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        told = request.query.get("resourceVersion", "0")
        while True:
            async with self._changed:
                while not is_table or self._version() == told:
                    await self._changed.wait()
            told = self._version()
            await answer.write(json.dumps({"type": "MODIFIED", "object": self._table}).encode() + b"\n")

    def _version(self) -> str:
        return str(self._table.get("metadata", {}).get("resourceVersion", "0"))


if __name__ == "__main__":
    sys.exit(main())
