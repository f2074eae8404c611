"""What the whole process does before it can work."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration
from typing_extensions import override

from anneal_operator import __main__ as module
from anneal_operator.cluster.client import KubernetesClient
from anneal_operator.cluster.leader_label import LEADER_LABEL
from anneal_operator.endpoints.certificate import certificate_secret
from tests.reconcile.world import NAMESPACE, SETTINGS, FakeApi, Manifest


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class _Operator:
    """The whole process, with this API server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, api_server: str) -> None:
        self._url = f"http://127.0.0.1:{(port := _free_port())}"

        async def client() -> KubernetesClient:
            return KubernetesClient(Configuration(host=api_server))

        monkeypatch.setattr(KubernetesClient, "from_environment", client)
        monkeypatch.setattr(module, "_STATUS_PORT", port)

    async def beside(self, ask: Callable[[], Awaitable[None]]) -> None:
        settings = SETTINGS.model_copy(update={"progress_port": _free_port(), "identity": "one"})
        operator = asyncio.create_task(module.run(settings))
        try:
            async with asyncio.timeout(20):
                await ask()
        finally:
            operator.cancel()
            await asyncio.gather(operator, return_exceptions=True)

    async def until(self, path: str, status: int) -> str:
        """Ask until it answers so; return what it says."""
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientConnectorError):
                    async with session.get(f"{self._url}{path}") as answer:
                        if answer.status == status:
                            return await answer.text()
                await asyncio.sleep(0.005)


async def _namespaces(_: web.Request) -> web.Response:
    return web.json_response({"metadata": {}, "items": [{"metadata": {"uid": "cluster"}}]})


def test_without_an_api_server_it_is_alive_and_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = _Operator(monkeypatch, f"http://127.0.0.1:{_free_port()}")

    async def ask() -> None:
        await operator.until("/healthz", 200)
        await operator.until("/readyz", 503)

    asyncio.run(operator.beside(ask))


def test_one_that_waits_for_anothers_lease_is_ready_and_drops_the_leaders_label(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patched: dict[str, Manifest] = {}
    lease = {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "two"}}
    pods = [{"metadata": {"name": name, "labels": {LEADER_LABEL: "true"}}} for name in ("one", "two")]

    async def answer(request: web.Request) -> web.Response:
        kind, name = request.path.split("/namespaces/system/")[1].partition("/")[::2]
        if request.method == "PATCH":
            patched[f"{kind}/{name}"] = await request.json()
        if request.method == "POST":
            return web.json_response(await request.json())
        if kind == "secrets":
            return web.json_response({"message": "not found"}, status=404)
        return web.json_response(lease if kind == "leases" else {"metadata": {}, "items": pods})

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces", _namespaces)
        app.router.add_route("*", "/{path:.*}", answer)
        async with TestServer(app) as server:
            operator = _Operator(monkeypatch, str(server.make_url("")).rstrip("/"))

            async def ask() -> None:
                assert await operator.until("/readyz", 200) == "ready: waiting for the lease"
                while not patched:  # noqa: ASYNC110 - the condition is the server's
                    await asyncio.sleep(0.005)

            await operator.beside(ask)

    asyncio.run(run())
    assert patched == {"pods/one": {"metadata": {"labels": {LEADER_LABEL: None}}}}


class _Raced(FakeApi):
    """An API server at which another replica is faster once."""

    def __init__(self) -> None:
        super().__init__()
        self.faster: Callable[[], object] | None = None

    @override
    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        found = await super().get(kind, namespace, name)
        faster, self.faster = self.faster, None
        if faster:
            faster()
        return found


def _certified(api: FakeApi, host: str = "operator") -> str:
    """Start with this API server; return the authority that pods are told to trust."""
    settings = SETTINGS.model_copy(update={"namespace": NAMESPACE, "progress_host": host})
    return asyncio.run(module.ensure_certificate(api, settings, lambda: datetime.now(UTC)))[1]


def test_replicas_and_restarts_share_one_certificate() -> None:
    api = FakeApi()
    first = _certified(api)
    assert _certified(api) == first
    assert api.writes == ["Secret/anneal-progress-tls"]


def test_another_host_name_takes_a_new_certificate_of_the_same_authority() -> None:
    api = FakeApi()
    first = _certified(api)
    assert _certified(api, "elsewhere") == first
    assert api.writes == ["Secret/anneal-progress-tls", "Secret/anneal-progress-tls/patch"]


@pytest.mark.parametrize("is_there", [False, True])
def test_of_two_replicas_that_start_at_once_one_makes_the_certificate(
    is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    api = _Raced()
    if is_there:
        _certified(api, "elsewhere")
    made = certificate_secret(NAMESPACE, "operator", None, datetime.now(UTC))

    def other() -> None:
        api.put("Secret", "anneal-progress-tls", data=made["data"])

    api.faster = other
    assert _certified(api) == base64.b64decode(made["data"]["ca.crt"]).decode()
    assert api.objects["Secret", "anneal-progress-tls"]["data"] == made["data"]
