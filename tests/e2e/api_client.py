"""Custom resources written over plain HTTP, many at once, with what the API server answers: kubectl is too slow for it.

What is only read is read by `tests.support.api_reader`.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp

from anneal_operator.cluster.kinds import KINDS
from local_cluster.pki import administrator_tls
from tests.support.api_reader import ApiReader

__all__ = ["Answer", "CustomResourceClient"]

_TRIES = 20
_CONFLICT = 409


@dataclass(frozen=True)
class Answer:
    """A status code and the object, or what was complained of."""

    code: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        """What was complained of; empty for an object."""
        return str(self.body.get("message", ""))


@dataclass
class CustomResourceClient:
    """As the administrator, in the namespace of a reader."""

    reader: ApiReader

    async def __aenter__(self) -> "CustomResourceClient":
        connector = aiohttp.TCPConnector(ssl=administrator_tls(self.reader.layout), limit=8)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def create(self, kind: str, name: str, spec: Any) -> Answer:
        """Create an object."""
        manifest = {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        return await self._call("POST", self._path(kind), manifest)

    async def change(self, kind: str, name: str, spec: Any) -> Answer:
        """Give an object another spec, as it is now: its status changes meanwhile."""
        for _ in range(_TRIES):
            found = await asyncio.to_thread(self.reader.object, kind, name)
            answer = await self._call("PUT", self._path(kind, name), {**found, "spec": spec})
            if answer.code != _CONFLICT:
                return answer
        return answer

    async def delete(self, kind: str, name: str) -> Answer:
        """Delete an object."""
        return await self._call("DELETE", self._path(kind, name))

    def _path(self, kind: str, name: str = "") -> str:
        return KINDS[kind].path(self.reader.namespace, name)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        async with self._session.request(method, f"{self.reader.layout.api_url}{path}", json=body) as response:
            return Answer(response.status, await response.json(content_type=None))
