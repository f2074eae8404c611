"""The Kubernetes API as the reconcilers use it: a few verbs on plain manifests.

The generated client gives transport, credentials and their renewal; its models are not used, as every object here is
either ours or compared with a manifest we built. Nothing is cached here: what a reconcile may take from the watches is
the concern of `reading`. Its answers also tell the time, so that deadlines hang on the clock that stamped the objects,
not on this node's.
"""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, ApiException, Configuration
from kubernetes.aio.client.rest import RESTResponse

from anneal_operator.api.resources import GROUP
from anneal_operator.errors import ApiError, ConflictError
from anneal_operator.metrics import API_WRITES

from .kinds import KINDS, Kind, Manifest

__all__ = ["FIELD_MANAGER", "KubernetesApi", "KubernetesClient"]

FIELD_MANAGER = "anneal"
_TIMEOUT_SECONDS = 20.0
_CONNECTIONS = 32
"""Requests at once; a thousand jobs that come together would each open a connection of their own."""
_PAGE = 500
_FIRST_NAMESPACE = "kube-system"
_TOLERATED = timedelta(seconds=2)
"""So much the API server's clock may seem to be behind: its answers tell whole seconds, and took a while to come."""
_NOT_FOUND, _CONFLICT = 404, 409
_NO_SUCH_KIND = "404 page not found"
"""All that the API server says of a kind that it does not know."""


class KubernetesApi(Protocol):
    """What the reconcilers need of the API server; tests give a small one in memory."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the object, or None where there is none."""

    async def list(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        """Return the objects with these labels."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the object; raise ConflictError where it exists."""

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply, taking over fields that others set."""

    async def patch(self, kind: str, namespace: str, name: str, changes: Manifest) -> None:
        """Merge changes into an object; raise ConflictError where a resourceVersion among them is not the newest."""

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Have exactly this object deleted, its children after it; one that is gone is as good."""

    async def write_status(self, kind: str, current: Manifest, status: Manifest) -> Manifest:
        """Replace the status, return the object; raise ConflictError where it changed since `current` was read."""

    async def review_token(self, token: str, audience: str) -> str | None:
        """Return the name of the user that a token for this audience belongs to, or None."""


class KubernetesClient:
    """KubernetesApi on a real API server."""

    def __init__(self, configuration: Configuration) -> None:
        configuration.connection_pool_maxsize = _CONNECTIONS
        # Otherwise each request asks two threads, for a netrc file and for proxies; kubectl knows no netrc either.
        configuration.client_session_kwargs = {"trust_env": False}
        self._client = ApiClient(configuration)
        self._seconds_left: Callable[[], float] = lambda: math.inf
        self._told: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """Return the time by the API server's clock, as its answers told; by this machine's before the first."""
        if self._told is None:
            return datetime.now(UTC)
        told, at = self._told
        return told + timedelta(seconds=time.monotonic() - at)

    def _learn_time(self, date: str | None) -> None:
        """Set the clock by an answer's Date, unless it is right already, so that it runs evenly between two answers."""
        with contextlib.suppress(ValueError):
            told = parsedate_to_datetime(date or "").astimezone(UTC)
            if self._told is None or not timedelta(0) <= self.now() - told <= _TOLERATED:
                self._told = told, time.monotonic()

    def fence(self, seconds_left: Callable[[], float]) -> None:
        """Refuse writes from now on when no seconds are left, and give up one under way when the last has passed.

        A leader that was paused wakes in mid-sentence, and what it sent may arrive after another has begun.
        """
        self._seconds_left = seconds_left

    @classmethod
    async def from_environment(cls) -> "KubernetesClient":
        """Use the pod's own service account, or outside a cluster the kubeconfig."""
        configuration = Configuration()
        try:
            config.load_incluster_config(configuration)
        except config.ConfigException:
            return await cls.from_kubeconfig(None)
        return cls(configuration)

    @classmethod
    async def from_kubeconfig(cls, path: str | None) -> "KubernetesClient":
        """Use this kubeconfig, or the one that kubectl would use."""
        configuration = Configuration()
        await config.load_kube_config(config_file=path, client_configuration=configuration)
        return cls(configuration)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the object, or None where there is none."""
        try:
            return await self._call("GET", KINDS[kind].path(namespace, name))
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def list(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        """Return the objects with these labels."""
        return [item async for page in self._pages(KINDS[kind].path(namespace), selector) for item in page["items"]]

    async def pages(self, kind: str, selector: str) -> AsyncIterator[Manifest]:
        """Yield the objects with these labels in all namespaces, some at a time, as the API server lists them."""
        async for page in self._pages(KINDS[kind].path_everywhere, selector):
            yield page

    async def watch(self, kind: str, selector: str, since: str, seconds: int) -> AsyncIterator[Manifest]:
        """Yield the events of these objects after a resourceVersion, for so many seconds.

        Raises ApiError where the API server does not answer, breaks off, or no longer knows that resourceVersion (410).
        """
        query = {"labelSelector": selector, "watch": "true", "resourceVersion": since, "timeoutSeconds": str(seconds)}
        limit = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_SECONDS, sock_read=seconds + _TIMEOUT_SECONDS)
        response = await self._open("GET", KINDS[kind].path_everywhere, query, limit=limit)
        try:
            async for line in response.response.content:
                event: Manifest = json.loads(line)
                if event["type"] == "ERROR":
                    raise _converted(event["object"].get("code", 0), json.dumps(event["object"]))
                yield event
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:  # half a line is no JSON
            raise ApiError(0, f"a watch broke off: {error}") from error
        finally:
            response.response.close()

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create the object, or only ask whether it would be accepted; raise ConflictError where it exists."""
        kind = KINDS[manifest["kind"]]
        path, query = kind.path(manifest["metadata"]["namespace"]), {"fieldManager": FIELD_MANAGER}
        if dry_run:
            return await self._call("POST", path, {**query, "dryRun": "All"}, manifest)
        return await self._write(kind, "POST", path, manifest, query)

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply, taking over fields that others set."""
        kind = KINDS[manifest["kind"]]
        path = kind.path(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._write(kind, "PATCH", path, manifest, query, "application/apply-patch+yaml")

    async def patch(self, kind: str, namespace: str, name: str, changes: Manifest) -> None:
        """Merge changes into an object; raise ConflictError where a resourceVersion among them is not the newest."""
        path, query = KINDS[kind].path(namespace, name), {"fieldManager": FIELD_MANAGER}
        await self._write(KINDS[kind], "PATCH", path, changes, query, "application/merge-patch+json")

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Have exactly this object deleted, its children after it; one that is gone is as good.

        A Job stays until its pods have ended, so that whoever waits for it to be gone waits for them.
        """
        policy = "Foreground" if kind == "Job" else "Background"
        options = {"preconditions": {"uid": uid}, "propagationPolicy": policy}
        try:
            await self._write(KINDS[kind], "DELETE", KINDS[kind].path(namespace, name), options)
        except ApiError as error:
            if error.status not in {_NOT_FOUND, _CONFLICT}:
                raise

    async def write_status(self, kind: str, current: Manifest, status: Manifest) -> Manifest:
        """Replace the status, return the object; raise ConflictError where it changed since `current` was read."""
        metadata = current["metadata"]
        path = KINDS[kind].path(metadata["namespace"], metadata["name"]) + "/status"
        return await self._write(
            KINDS[kind], "PUT", path, {**current, "status": status}, {"fieldManager": FIELD_MANAGER}
        )

    async def review_token(self, token: str, audience: str) -> str | None:
        """Return the name of the user that a token for this audience belongs to, or None."""
        user = await self._user_of(token, audience)
        return str(user["username"]) if user else None

    async def may_get(self, token: str, audience: str, namespace: str, resource: str) -> bool:
        """Whether the user that a token for this audience belongs to may get what is ours, by its plural, there."""
        user = await self._user_of(token, audience)
        if user is None:
            return False
        known: Manifest = {name: user[name] for name in ("groups", "uid", "extra") if name in user}
        wanted = {"group": GROUP, "resource": resource, "namespace": namespace, "verb": "get"}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {**known, "user": user["username"], "resourceAttributes": wanted},
        }
        answer = await self._call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=review)
        return bool(answer["status"].get("allowed"))

    async def _user_of(self, token: str, audience: str) -> Manifest | None:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        status = (await self._call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=review))["status"]
        valid = status.get("authenticated") and audience in status.get("audiences", [])
        user: Manifest | None = status["user"] if valid else None
        return user

    async def cluster_uid(self) -> str:
        """Return what tells this cluster from every other, also from one that holds a copy of its objects."""
        selector = f"kubernetes.io/metadata.name={_FIRST_NAMESPACE}"
        async for page in self._pages("/api/v1/namespaces", selector):
            for namespace in page["items"]:
                return str(namespace["metadata"]["uid"])
        raise ApiError(_NOT_FOUND, f"no namespace has the label {selector}, by whose uid a cluster is known")

    async def _pages(self, path: str, selector: str) -> AsyncIterator[Manifest]:
        query = {"limit": str(_PAGE), **({"labelSelector": selector} if selector else {})}
        while True:
            page = await self._call("GET", path, query)
            yield page
            if not page["metadata"].get("continue"):
                return
            query["continue"] = page["metadata"]["continue"]

    async def _write(
        self,
        kind: Kind,
        method: str,
        path: str,
        body: Manifest,
        query: dict[str, str] | None = None,
        content: str = "application/json",
    ) -> Manifest:
        try:
            result = await self._while_it_leads(lambda: self._call(method, path, query, body, content))
        except ApiError as error:
            if error.status == _NOT_FOUND and _NO_SUCH_KIND in str(error):
                raise ApiError(
                    _NOT_FOUND, f"this cluster has no {kind.name} ({kind.api_version}): install it"
                ) from error
            raise
        API_WRITES.labels(method.lower(), kind.name).inc()  # a DELETE is answered with a Status
        return result

    async def _while_it_leads(self, call: Callable[[], Coroutine[Any, Any, Manifest]]) -> Manifest:
        """Wait for an answer as long as the lease is renewed meanwhile; the API server ends what nobody waits for."""
        if (left := self._seconds_left()) <= 0:
            raise ApiError(0, "another operator may lead by now, so this one writes nothing")
        writing = asyncio.create_task(call())
        try:
            while left > 0:
                if (await asyncio.wait({writing}, timeout=min(left, _TIMEOUT_SECONDS)))[0]:
                    return writing.result()
                left = self._seconds_left()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        raise ApiError(0, "another operator may lead by now, so this one gave up a write without an answer")

    async def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content: str = "application/json",
    ) -> Manifest:
        response = await self._open(method, path, query, body, content)
        try:
            result: Manifest = json.loads(await response.read())
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:  # a proxy's page is no JSON
            raise _unanswered(error) from error
        return result

    async def _open(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None,
        body: Manifest | None = None,
        content: str = "application/json",
        limit: aiohttp.ClientTimeout | None = None,
    ) -> RESTResponse:
        """Send a request; its body is still to be read. Raises ApiError for every answer that is not 2xx."""
        headers: dict[str, Any] = {"Accept": "application/json", "Content-Type": content}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._client.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        limit = limit or aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        try:
            response = await self._client.call_api(method, url, headers, body, _request_timeout=limit)
            self._learn_time(response.headers.get("Date"))
            if response.status >= 300:
                raise _converted(response.status, (await response.read()).decode(errors="replace"))
        except ApiException as error:
            raise _converted(error.status or 0, error.body or str(error)) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _unanswered(error) from error
        return response


def _unanswered(error: Exception) -> ApiError:
    return ApiError(0, f"the API server did not answer: {str(error) or f'nothing came within {_TIMEOUT_SECONDS:g} s'}")


def _converted(status: int, body: str) -> ApiError:
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body[:300]
    return (ConflictError if status == _CONFLICT else ApiError)(status, message)
