"""What the whole process does before it can work."""

import asyncio
import base64
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import aiohttp
import pytest
from kubernetes.aio.client import Configuration
from typing_extensions import override

from anneal_operator import __main__ as module
from anneal_operator.cluster.client import KubernetesClient
from anneal_operator.endpoints.certificate import certificate_secret
from anneal_operator.settings import Settings
from tests.reconcile.world import NAMESPACE, FakeApi, Manifest

SETTINGS = Settings(
    namespace="system",
    trainer_image="trainer:1",
    server_image="server:1",
    router_image="router:1",
    mlflow_url="http://mlflow:5000",
    progress_host="operator",
)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _beside_the_operator(ask: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
    async def run() -> None:
        operator = asyncio.create_task(module.run(SETTINGS))
        try:
            async with aiohttp.ClientSession() as session, asyncio.timeout(20):
                await ask(session)
        finally:
            operator.cancel()
            await asyncio.gather(operator, return_exceptions=True)

    asyncio.run(run())


def test_without_an_api_server_it_is_alive_and_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    port, nobody = _free_port(), _free_port()

    async def client() -> KubernetesClient:
        return KubernetesClient(Configuration(host=f"http://127.0.0.1:{nobody}"))

    monkeypatch.setattr(KubernetesClient, "from_environment", client)
    monkeypatch.setattr(module, "_STATUS_PORT", port)

    async def ask(session: aiohttp.ClientSession) -> None:
        url, healthy = f"http://127.0.0.1:{port}", 0
        while healthy != 200:
            try:
                async with session.get(f"{url}/healthz") as answer:
                    healthy = answer.status
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.005)
        async with session.get(f"{url}/readyz") as answer:
            assert answer.status == 503

    _beside_the_operator(ask)


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
