"""Asking a namespace's routers what each has applied, has under way, and finds of backends; its recorder what it has
counted, its engines what they have loaded, and a pod that is to serve how far its weights are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
from pydantic import ValidationError

from anneal_operator.api.model_version import Answered
from anneal_operator.errors import RouterError
from serving_runtime.plan import (
    ADAPTERS_PATH,
    BACKENDS_PATH,
    DOWNLOAD_PATH,
    AdapterReport,
    BackendReports,
    Downloaded,
    Stamp,
)

__all__ = ["HttpRouters", "RouterTraffic", "Routers"]

_TIMEOUT_SECONDS, _ACKNOWLEDGED_SECONDS = 5.0, 1.0
_LARGEST_BYTES = 8 * 1024 * 1024
_MOST = 10**8
"""What is believed of a number of requests or seconds."""
_MOST_COUNTED = 10**15
"""What is believed of one that grows for years."""


@dataclass(frozen=True)
class RouterTraffic:
    """What one router has under way."""

    requests: Mapping[str, int]
    """By ModelVersion."""
    recorder_lag_seconds: float | None = None
    """For how long the recorder has not had all of its records."""
    asked_seconds_ago: Mapping[str, float] | None = None
    """When each version was asked last, or was answering; None of a router of an earlier build, which does not say."""


class Routers(Protocol):
    """What the reconcilers need of a namespace's pods; each method raises RouterError where one does not answer.

    `key` is what it demands of the operator; empty while there is none.
    """

    async def applied(self, url: str, key: str) -> Stamp:
        """Return the newest table that all workers of one router have applied."""

    async def newest_format(self, url: str, key: str) -> int:
        """Return the newest format of tables that one router reads."""

    async def traffic(self, url: str, key: str) -> RouterTraffic:
        """Return what one router has under way."""

    async def statistics(self, url: str, key: str, experiment_uid: str, metric: str) -> dict[str, Any]:
        """Return what a recorder counted for an experiment."""

    async def shadowed(self, url: str, key: str, experiment_uid: str) -> dict[str, Any]:
        """Return what a recorder counted of an experiment's copies."""

    async def answered(self, url: str, key: str, version: str) -> Answered:
        """Return what a recorder has of a version."""

    async def downloaded(self, url: str) -> Downloaded:
        """Return how far a pod's download of its weights is."""

    async def adapters(self, url: str, key: str) -> AdapterReport:
        """Return what an engine of several versions has loaded."""

    async def backends(self, url: str, key: str) -> BackendReports:
        """Return how one router found the backends that it asks in place of engines."""

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

    async def newest_format(self, url: str, key: str) -> int:
        """Return the newest format of tables that one router reads."""
        found = await self._get(f"{url}/-/routes", key, {}, _ACKNOWLEDGED_SECONDS)
        try:
            return int(found["format"])
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise RouterError(f"{url} does not tell which tables it reads") from error

    async def traffic(self, url: str, key: str) -> RouterTraffic:
        """Return what one router has under way."""
        found = await self._get(f"{url}/-/requests", key, {}, _ACKNOWLEDGED_SECONDS)
        try:
            told = found["under_way"].items()
            requests = {str(version): min(max(0, int(count)), _MOST) for version, count in told}
            lag = found.get("recorder_lag_seconds")
            ago = found.get("asked_seconds_ago")
            asked = None if ago is None else {str(name): min(max(0.0, float(age)), _MOST) for name, age in ago.items()}
            return RouterTraffic(requests, None if lag is None else min(max(0.0, float(lag)), _MOST), asked)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise RouterError(f"{url} does not tell how many requests are under way") from error

    async def statistics(self, url: str, key: str, experiment_uid: str, metric: str) -> dict[str, Any]:
        """Return what a recorder counted for an experiment."""
        counted = f"{url}/experiments/{experiment_uid}/statistics"
        return await self._get(counted, key, {"metric": metric}, _TIMEOUT_SECONDS)

    async def shadowed(self, url: str, key: str, experiment_uid: str) -> dict[str, Any]:
        """Return what a recorder counted of an experiment's copies; a recorder of an earlier build counts none."""
        return await self._get(f"{url}/experiments/{experiment_uid}/shadow", key, {}, _TIMEOUT_SECONDS)

    async def answered(self, url: str, key: str, version: str) -> Answered:
        """Return what a recorder has of a version; a recorder of an earlier build counts none."""
        found = await self._get(f"{url}/versions/{version}", key, {}, _ACKNOWLEDGED_SECONDS)
        try:
            requests, *tokens = (
                min(max(0, int(found[name])), _MOST_COUNTED)
                for name in ("requests", "prompt_tokens", "completion_tokens")
            )
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise RouterError(f"{url} does not tell what {version} answered") from error
        return Answered(requests=requests, tokens=sum(tokens))

    async def downloaded(self, url: str) -> Downloaded:
        """Return how far a pod's download of its weights is, which it tells anybody."""
        try:
            return Downloaded.model_validate(await self._get(f"{url}{DOWNLOAD_PATH}", "", {}, _ACKNOWLEDGED_SECONDS))
        except ValidationError as error:
            raise RouterError(f"{url} tells of no download") from error

    async def adapters(self, url: str, key: str) -> AdapterReport:
        """Return what an engine of several versions has loaded."""
        try:
            return AdapterReport.model_validate(await self._get(f"{url}{ADAPTERS_PATH}", key, {}, _TIMEOUT_SECONDS))
        except ValidationError as error:
            raise RouterError(f"{url} tells of no adapters") from error

    async def backends(self, url: str, key: str) -> BackendReports:
        """Return how one router found the backends that it asks in place of engines."""
        try:
            found = await self._get(f"{url}{BACKENDS_PATH}", key, {}, _ACKNOWLEDGED_SECONDS)
            return BackendReports.model_validate(found)
        except ValidationError as error:
            raise RouterError(f"{url} tells of no backends") from error

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
