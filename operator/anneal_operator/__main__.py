"""Start everything: `python -m anneal_operator`.

The order matters: the API client, the work queue on it, the progress endpoint, and last kopf, whose watches wake the
queue. kopf ends on API errors that last; it is then started again, with all else still running.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import kopf

from .certificate import progress_certificate
from .cluster.client import KubernetesClient
from .desired.training import progress_audience
from .errors import ApiError
from .handlers.watching import build_registry
from .logs import configure
from .metrics import status_app
from .progress import ProgressBook, progress_app, remembered, start_server
from .reconcile.ab_experiment import ABExperimentReconciler
from .reconcile.context import Context
from .reconcile.fine_tune_job import FineTuneJobReconciler
from .reconcile.model_version import ModelVersionReconciler
from .reconcile.queue import Key, WorkQueue
from .reconcile.routing import RoutingReconciler
from .registry import MlflowRegistry
from .routers import HttpRouters
from .settings import Settings

__all__ = ["main"]

_LIVENESS = "http://0.0.0.0:8080/healthz"
_STATUS_PORT = 9090
log = logging.getLogger("anneal")


def main() -> None:
    """Run until the process is told to end."""
    configure()
    asyncio.run(_run(Settings()))


async def _run(settings: Settings) -> None:
    client = await KubernetesClient.from_environment()
    async with aiohttp.ClientSession() as session:
        tls, certificate = await _certificate(client, settings)
        progress = ProgressBook()
        context = Context(
            api=client,
            registry=MlflowRegistry(settings.mlflow_url, settings.mlflow_public_url),
            routers=HttpRouters(session),
            progress=progress,
            settings=settings,
            progress_ca=certificate,
            wake=lambda key: queue.wake(key),
        )
        queue = WorkQueue(_dispatch(context))

        async def review(token: str, namespace: str, job: str) -> bool:
            user = await client.review_token(token, progress_audience(namespace, job))
            return user is not None and user.startswith(f"system:serviceaccount:{namespace}:")

        app = progress_app(progress, remembered(review), lambda ns, job: queue.wake(Key("FineTuneJob", ns, job)))
        watching = asyncio.Event()
        servers = [
            await start_server(app, settings.progress_port, tls),
            await start_server(status_app(watching.is_set), _STATUS_PORT),
        ]
        try:
            await _watch_forever(queue, watching)
        finally:
            for server in servers:
                await server.cleanup()
            await queue.close()
            await client.close()


async def _certificate(client: KubernetesClient, settings: Settings) -> tuple[ssl.SSLContext, str]:
    while True:
        try:
            return await progress_certificate(client, settings.namespace, settings.progress_host)
        except ApiError as error:
            log.warning("the API server is not ready: %s", error)
            await asyncio.sleep(random.uniform(1, 3))  # noqa: S311 - jitter


def _dispatch(context: Context) -> Callable[[Key], Awaitable[float | None]]:
    reconcilers: dict[str, Callable[[Key], Awaitable[float | None]]] = {
        "FineTuneJob": FineTuneJobReconciler(context).reconcile,
        "ModelVersion": ModelVersionReconciler(context).reconcile,
        "ABExperiment": ABExperimentReconciler(context).reconcile,
        "Router": RoutingReconciler(context).reconcile,
    }
    return lambda key: reconcilers[key.kind](key)


class _Backoffs:
    """kopf's pauses between failing requests, without end: a list would end the process with its last."""

    def __iter__(self) -> Iterator[float]:
        pause = 1.0
        while True:
            yield random.uniform(pause / 2, pause)  # noqa: S311 - jitter
            pause = min(pause * 2, 30.0)


async def _watch_forever(queue: WorkQueue, watching: asyncio.Event) -> None:
    """Keep kopf running until a signal ends it; what happened while it was down, its first listing tells.

    `watching` is set while it runs.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.watching.chunk_size = 500
    settings.watching.client_timeout = 600
    settings.networking.error_backoffs = _Backoffs()
    while True:
        try:
            await kopf.operator(
                registry=build_registry(queue.wake),
                settings=settings,
                clusterwide=True,
                standalone=True,
                liveness_endpoint=_LIVENESS,
                ready_flag=watching,
            )
        except Exception:
            watching.clear()
            log.exception("the watches ended; starting them again")
            await asyncio.sleep(random.uniform(1, 5))  # noqa: S311 - jitter
        else:
            return


if __name__ == "__main__":
    main()
