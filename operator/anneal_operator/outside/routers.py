"""Asking a namespace's router what it has applied, and its recorder what it has counted."""

from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from anneal_operator.errors import RouterError

__all__ = ["HttpRouters", "Routers"]

_TIMEOUT = aiohttp.ClientTimeout(total=5)


class Routers(Protocol):
    """What the reconcilers need of routers; both methods raise RouterError where it does not answer."""

    async def routes(self, url: str) -> dict[str, Any]:
        """Return the route table that a router has applied."""

    async def statistics(self, url: str, experiment_uid: str, metric: str) -> dict[str, Any]:
        """Return what a recorder counted for an experiment."""


@dataclass(frozen=True)
class HttpRouters:
    """Routers over HTTP."""

    session: aiohttp.ClientSession

    async def routes(self, url: str) -> dict[str, Any]:
        """Return the route table that a router has applied."""
        return await self._get(f"{url}/-/routes", {})

    async def statistics(self, url: str, experiment_uid: str, metric: str) -> dict[str, Any]:
        """Return what a recorder counted for an experiment."""
        return await self._get(f"{url}/experiments/{experiment_uid}/statistics", {"metric": metric})

    async def _get(self, url: str, query: dict[str, str]) -> dict[str, Any]:
        try:
            async with self.session.get(url, params=query, timeout=_TIMEOUT) as response:
                if response.status != 200:
                    raise RouterError(f"{url} answered {response.status}")
                found: dict[str, Any] = await response.json(content_type=None)
                return found
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise RouterError(f"{url} did not answer: {error}") from error
