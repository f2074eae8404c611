"""Asking routers what each has applied, a recorder what it has counted, engines what they have loaded."""

import json
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
from pydantic import ValidationError

from anneal_operator.errors import RouterError
from serving_runtime.plan import ADAPTERS_PATH, AdapterReport, Stamp

__all__ = ["HttpRouters", "Routers"]

_TIMEOUT_SECONDS, _ACKNOWLEDGED_SECONDS = 5.0, 1.0
_LARGEST_BYTES = 8 * 1024 * 1024


class Routers(Protocol):
    """What the reconcilers need of routers; all methods raise RouterError where one does not answer.

    `key` is what it demands of the operator; empty while there is none.
    """

    async def applied(self, url: str, key: str) -> Stamp:
        """Return the newest table that all workers of one router have applied."""

    async def statistics(self, url: str, key: str, experiment_uid: str, metric: str) -> dict[str, Any]:
        """Return what a recorder counted for an experiment."""

    async def adapters(self, url: str, key: str) -> AdapterReport:
        """Return what an engine of several versions has loaded."""


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

    async def statistics(self, url: str, key: str, experiment_uid: str, metric: str) -> dict[str, Any]:
        """Return what a recorder counted for an experiment."""
        counted = f"{url}/experiments/{experiment_uid}/statistics"
        return await self._get(counted, key, {"metric": metric}, _TIMEOUT_SECONDS)

    async def adapters(self, url: str, key: str) -> AdapterReport:
        """Return what an engine of several versions has loaded."""
        try:
            return AdapterReport.model_validate(await self._get(f"{url}{ADAPTERS_PATH}", key, {}, _TIMEOUT_SECONDS))
        except ValidationError as error:
            raise RouterError(f"{url} tells of no adapters") from error

    async def _get(self, url: str, key: str, query: dict[str, str], seconds: float) -> dict[str, Any]:
        """Ask something in a user's namespace: what answers there is not trusted to be ours."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = aiohttp.ClientTimeout(total=seconds)
        options: dict[str, Any] = {"params": query, "headers": headers, "timeout": timeout, "allow_redirects": False}
        try:
            async with self.session.get(url, **options) as response:
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
