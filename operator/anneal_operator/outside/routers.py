"""Asking a namespace's routers what each has applied and has under way, and its recorder what it has counted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
from pydantic import ValidationError

from anneal_operator.errors import RouterError
from serving_runtime.plan import Stamp

__all__ = ["HttpRouters", "Routers"]

_TIMEOUT_SECONDS, _ACKNOWLEDGED_SECONDS = 5.0, 1.0
_LARGEST_BYTES = 8 * 1024 * 1024


class Routers(Protocol):
    """What the reconcilers need of routers; all methods raise RouterError where it does not answer.

    `key` is what it demands of the operator; empty while there is none.
    """

    async def applied(self, url: str, key: str) -> Stamp:
        """Return the newest table that all workers of one router have applied."""

    async def under_way(self, url: str, key: str) -> dict[str, int]:
        """Return how many requests one router has under way, by ModelVersion."""

    async def statistics(self, url: str, key: str, experiment_uid: str, metric: str) -> dict[str, Any]:
        """Return what a recorder counted for an experiment."""

    async def define(self, url: str, key: str, experiment_uid: str, definition: Mapping[str, Any]) -> None:
        """Tell a recorder what an experiment measures."""


@dataclass(frozen=True)
class HttpRouters:
    """Routers over HTTP."""

    session: aiohttp.ClientSession

    async def applied(self, url: str, key: str) -> Stamp:
        """Return the newest table that all workers of one router have applied; one that is slow has not."""
        found = await self._get(f"{url}/-/routes", key, {}, _ACKNOWLEDGED_SECONDS)
        try:
            return Stamp(**{name: found[name] for name in Stamp.model_fields})
        except (KeyError, ValidationError) as error:
            raise RouterError(f"{url} tells of no table") from error

    async def under_way(self, url: str, key: str) -> dict[str, int]:
        """Return how many requests one router has under way, by ModelVersion."""
        found = await self._get(f"{url}/-/requests", key, {}, _ACKNOWLEDGED_SECONDS)
        try:
            return {str(version): max(0, int(requests)) for version, requests in found["under_way"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RouterError(f"{url} does not tell how many requests are under way") from error

    async def statistics(self, url: str, key: str, experiment_uid: str, metric: str) -> dict[str, Any]:
        """Return what a recorder counted for an experiment."""
        counted = f"{url}/experiments/{experiment_uid}/statistics"
        return await self._get(counted, key, {"metric": metric}, _TIMEOUT_SECONDS)

    async def define(self, url: str, key: str, experiment_uid: str, definition: Mapping[str, Any]) -> None:
        """Tell a recorder what an experiment measures."""
        await self._ask("PUT", f"{url}/experiments/{experiment_uid}", key, _TIMEOUT_SECONDS, json=definition)

    async def _get(self, url: str, key: str, query: dict[str, str], seconds: float) -> dict[str, Any]:
        return await self._ask("GET", url, key, seconds, params=query)

    async def _ask(self, method: str, url: str, key: str, seconds: float, **told: Mapping[str, Any]) -> dict[str, Any]:
        """Ask something in a user's namespace: what answers there is not trusted to be ours."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = aiohttp.ClientTimeout(total=seconds)
        options: dict[str, Any] = {**told, "headers": headers, "timeout": timeout, "allow_redirects": False}
        try:
            async with self.session.request(method, url, **options) as response:
                if response.status != 200:
                    raise RouterError(f"{url} answered {response.status}")
                found = json.loads(await _body(response))
        except TimeoutError as error:
            raise RouterError(f"{url} did not answer within {seconds:g} s") from error
        except aiohttp.ClientError as error:
            raise RouterError(f"{url} is not reachable") from error
        except ValueError as error:
            raise RouterError(f"{url} returned invalid JSON") from error
        if not isinstance(found, dict):
            raise RouterError(f"{url} returned JSON that is not an object")
        return found


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LARGEST_BYTES:
            raise RouterError(f"{response.url} answered with more than {_LARGEST_BYTES} bytes")
    return bytes(body)
