"""An API server as far as kopf asks one: which kinds there are, lists, and watches that tell what the test says."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

__all__ = ["ApiServer"]

_KINDS = {
    "anneal.dev/v1alpha1": {
        "finetunejobs": "FineTuneJob",
        "modelversions": "ModelVersion",
        "abexperiments": "ABExperiment",
    },
    "apiextensions.k8s.io/v1": {"customresourcedefinitions": "CustomResourceDefinition"},
}
_VERBS = ["get", "list", "watch", "patch"]


class ApiServer:
    """Every list is empty but for what the test puts into it, and stays as it is whatever is told."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        """The plurals, one for each watch that began."""
        self.listed: dict[str, list[dict[str, Any]]] = {}
        """By plural."""
        self._end = asyncio.Event()
        self._open: dict[str, list[web.StreamResponse]] = defaultdict(list)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen; gives the address."""
        app = web.Application()
        app.router.add_get("/apis", self._groups)
        app.router.add_get("/api", self._core_versions)
        app.router.add_get("/api/v1", self._core_resources)
        app.router.add_get("/apis/{group}/{version}", self._resources)
        app.router.add_get("/apis/{group}/{version}/{plural}", self._list_or_watch)
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")
            self._end.set()

    async def tell(self, plural: str, event: str, thing: dict[str, Any]) -> None:
        """Tell everybody who watches this kind."""
        for answer in self._open[plural]:
            with suppress(ConnectionResetError):  # a watch of a life that ended
                await answer.write(json.dumps({"type": event, "object": thing}).encode() + b"\n")

    async def _groups(self, _: web.Request) -> web.Response:
        groups = []
        for name in _KINDS:
            version = {"groupVersion": name, "version": name.partition("/")[2]}
            groups.append({"name": name.partition("/")[0], "versions": [version], "preferredVersion": version})
        return web.json_response({"groups": groups})

    async def _core_versions(self, _: web.Request) -> web.Response:
        return web.json_response({"versions": ["v1"]})

    async def _core_resources(self, _: web.Request) -> web.Response:
        return web.json_response({"resources": [_resource("namespaces", "Namespace")]})

    async def _resources(self, request: web.Request) -> web.Response:
        kinds = _KINDS["{group}/{version}".format(**request.match_info)]
        return web.json_response({"resources": [_resource(plural, kind) for plural, kind in kinds.items()]})

    async def _list_or_watch(self, request: web.Request) -> web.StreamResponse:
        plural = request.match_info["plural"]
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": self.listed.get(plural, [])})
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        self._open[plural].append(answer)
        self.watched.append(plural)
        await self._end.wait()
        return answer


def _resource(plural: str, kind: str) -> dict[str, Any]:
    namespaced = kind not in {"CustomResourceDefinition", "Namespace"}
    return {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced, "verbs": _VERBS}
