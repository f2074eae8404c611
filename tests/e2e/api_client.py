"""Custom resources over plain HTTP, many at once, with what the API server answers: for whom kubectl is too slow."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp

from anneal_operator.api.resources import CUSTOM_RESOURCES, GROUP, VERSION
from local_cluster.layout import Layout
from local_cluster.pki import administrator_tls

__all__ = ["Answer", "CustomResourceClient"]

_PLURALS = {resource.kind: resource.plural for resource in CUSTOM_RESOURCES}
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
    """As the administrator, in one namespace."""

    layout: Layout
    namespace: str

    async def __aenter__(self) -> "CustomResourceClient":
        connector = aiohttp.TCPConnector(ssl=administrator_tls(self.layout), limit=8)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def create(self, kind: str, name: str, spec: Any) -> Answer:
        """Create an object."""
        manifest = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": name}, "spec": spec}
        return await self._call("POST", self._path(kind), manifest)

    async def change(self, kind: str, name: str, spec: Any) -> Answer:
        """Give an object another spec, as it is now: its status changes meanwhile."""
        for _ in range(_TRIES):
            found = await self._call("GET", self._path(kind, name))
            answer = await self._call("PUT", self._path(kind, name), {**found.body, "spec": spec})
            if answer.code != _CONFLICT:
                return answer
        return answer

    async def delete(self, kind: str, name: str) -> Answer:
        """Delete an object."""
        return await self._call("DELETE", self._path(kind, name))

    async def list(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        found: list[dict[str, Any]] = (await self._call("GET", self._path(kind))).body["items"]
        return found

    def _path(self, kind: str, name: str = "") -> str:
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{_PLURALS[kind]}"
        return f"{path}/{name}" if name else path

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        async with self._session.request(method, f"{self.layout.api_url}{path}", json=body) as response:
            return Answer(response.status, await response.json(content_type=None))
