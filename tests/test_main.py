"""What the whole process does before it can work."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from kubernetes.aio.client import Configuration

from anneal_operator import __main__ as module
from anneal_operator.cluster.client import KubernetesClient
from anneal_operator.settings import Settings

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
