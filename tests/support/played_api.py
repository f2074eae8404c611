"""A real HTTP server that plays the Kubernetes API for those who list and watch one kind of object."""

import asyncio
import json
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from serving_runtime.router.api_server import ApiServer

__all__ = ["Asked", "PlayedApi"]

Events = list[dict[str, Any]]


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    path: str
    query: dict[str, str]
    authorization: str

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query


class PlayedApi:
    """Answers each listing, and each watch, with the next of its own; a number is a status that refuses.

    The last list is given for all that follow. The last watch stays open, and one that is None, which is silent.
    """

    def __init__(self, watches: Sequence[Events | int | None] = (), lists: Sequence[list[Any] | int] = ([],)) -> None:
        self._watches, self._lists = [*watches], [*lists]
        self.asked: list[Asked] = []

    @property
    def watched(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.is_watch]

    @property
    def listed(self) -> list[Asked]:
        return [asked for asked in self.asked if not asked.is_watch]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.asked.append(Asked(request.path, dict(request.query), request.headers.get("Authorization", "")))
        return await (self._watch(request) if self.asked[-1].is_watch else self._list())

    async def _list(self) -> web.Response:
        told = self._lists.pop(0) if len(self._lists) > 1 else self._lists[0]
        if isinstance(told, int):
            return web.json_response({"message": "no"}, status=told)
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": told})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        told = self._watches.pop(0) if self._watches else []
        if isinstance(told, int):
            return web.json_response({"message": "no"}, status=told)
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        for event in told or ():
            await answer.write(json.dumps(event).encode() + b"\n")
        if not self._watches or told is None:
            await asyncio.Event().wait()
        return answer

    def serve(
        self,
        follow: Callable[[ApiServer], Coroutine[Any, Any, None]],
        until: Callable[[], bool],
        *,
        token: Path | None = None,
        authority: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Have somebody follow what it tells until the condition holds; by `tls` it is known."""

        async def run() -> None:
            app = web.Application()
            app.router.add_get("/{path:.*}", self.answer)
            served = TestServer(app)
            await served.start_server(ssl=tls)
            following = asyncio.create_task(follow(ApiServer("127.0.0.1", served.port or 0, token, authority)))
            try:
                async with asyncio.timeout(20):
                    while not until():  # noqa: ASYNC110 - the condition is a file's
                        await asyncio.sleep(0.005)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await served.close()

        asyncio.run(run())
