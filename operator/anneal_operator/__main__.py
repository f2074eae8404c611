"""Start everything: `python -m anneal_operator`; with `verdict record.json` it makes a decision again, and ends.

The order matters: the API client, the work queue on it, the endpoints, then the lease, and under it kopf, whose watches
wake the queue.
"""

import asyncio
import contextlib
import gc
import logging
import random
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import aiohttp
from prometheus_client import REGISTRY

from .api.resources import AB_EXPERIMENT
from .cluster.child_watches import watch_children
from .cluster.client import KubernetesApi, KubernetesClient
from .cluster.inputs import Inputs
from .cluster.leader_label import LeaderLabel
from .cluster.lease import Lease
from .cluster.reading import Readers
from .cluster.store import Store
from .decide.statistics.recomputed import recomputed
from .desired.training_names import progress_audience
from .endpoints.certificate import SECRET_NAME, certificate_secret, serving_context
from .endpoints.experiments import add_experiments
from .endpoints.progress import ProgressBook, progress_app, start_server
from .endpoints.reviews import TokenReviews
from .endpoints.status import status_app
from .errors import ApiError
from .handlers.supervising import watch_forever
from .handlers.watching import OWNERS, build_registry, children
from .logs import configure
from .outside.models import Models
from .outside.registry import MlflowRegistry
from .outside.routers import HttpRouters
from .reconcile.ab_experiment import ABExperimentKind
from .reconcile.context import Context
from .reconcile.costs import CostCollector
from .reconcile.experiment_reports import ExperimentReports, report_of
from .reconcile.fine_tune_job import FineTuneJobKind
from .reconcile.harness import Harness
from .reconcile.left_runs import LeftRuns, installation
from .reconcile.model_version import ModelVersionKind
from .reconcile.neighbours import ROUTER_KIND, SHARED_BASE_KIND, of_model
from .reconcile.queue import Key, WorkQueue
from .reconcile.routing import RouterKind
from .reconcile.shared_base import SharedBaseKind
from .settings import Settings

__all__ = ["ensure_certificate", "main", "run", "verdict"]

_STATUS_PORT = 9090
_PAUSE_SECONDS = 2.0
_COLLECT_AFTER = (10_000, 10, 10)
log = logging.getLogger("anneal")


def main() -> None:
    """Run until the process is told to end; or make a decision again, and end."""
    if len(sys.argv) > 1:
        sys.exit(verdict(sys.argv[1:]))
    configure()
    gc.freeze()  # the modules never go; each full collection walked over them, for a quarter of all processor time
    gc.set_threshold(*_COLLECT_AFTER)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(run(Settings()))


def verdict(arguments: Sequence[str]) -> int:
    """Print a record's decision as it is kept, and as it follows from its numbers; return 1 where they differ."""
    if len(arguments) != 2 or arguments[0] != "verdict":
        print("usage: python -m anneal_operator [verdict RECORD.json]", file=sys.stderr)
        return 2
    try:
        told, agrees = recomputed(Path(arguments[1]).read_text())
    except (OSError, ValueError) as error:
        print(f"{arguments[1]} cannot be recomputed: {error}", file=sys.stderr)
        return 2
    print(told)
    return 0 if agrees else 1


async def run(settings: Settings) -> None:
    """Run until cancelled; the kubelet is answered before there is an API server to work with."""
    watching = asyncio.Event()
    client, lease_client = await KubernetesClient.from_environment(), await KubernetesClient.from_environment()
    lease = Lease(lease_client, settings.namespace, settings.identity)

    def standing() -> str | None:
        if watching.is_set() and lease.is_held():
            return "leading"
        return "waiting for the lease" if lease.is_awaited() else None

    status = await start_server(status_app(standing), _STATUS_PORT)
    label = LeaderLabel(lease_client, settings.namespace, settings.identity, lease.is_held)
    labelling = asyncio.create_task(label.keep())
    try:
        await _operate(settings, client, lease, watching)
    finally:
        labelling.cancel()
        await asyncio.gather(labelling, return_exceptions=True)
        await status.cleanup()
        await client.close()
        await lease_client.close()


async def _operate(settings: Settings, client: KubernetesClient, lease: Lease, watching: asyncio.Event) -> None:
    async with aiohttp.ClientSession() as session:
        tls, certificate = await ensure_certificate(client, settings, client.now)
        name = installation(certificate, await _cluster(client))
        registry = MlflowRegistry(settings.mlflow_url, settings.mlflow_public_url, shared=settings.mlflow_shared)
        client.fence(lease.seconds_left)
        registry.fence(lease.is_held)
        progress = ProgressBook()
        store = Store(OWNERS)

        def wake_model(model: str) -> None:
            for key in of_model(store, model):
                queue.wake(key)

        models = Models(registry, wake_model, lambda model: bool(of_model(store, model)))
        context = Context(
            api=client,
            store=store,
            readers=Readers(client, store),
            inputs=Inputs(client),
            registry=registry,
            models=models,
            routers=HttpRouters(session),
            left_runs=LeftRuns(client, store, registry, name),
            progress=progress,
            settings=settings,
            progress_ca=certificate,
            wake=lambda key: queue.wake(key),
            now=client.now,
        )
        collector = CostCollector(context.costs, client.now)
        queue = WorkQueue(_dispatch(context))

        async def review(token: str, namespace: str, audience: str) -> bool:
            user = await client.review_token(token, audience)
            return user is not None and user.startswith(f"system:serviceaccount:{namespace}:")

        async def review_reader(token: str, namespace: str, audience: str) -> bool:
            return await client.may_get(token, audience, namespace, AB_EXPERIMENT.plural)

        def wake_job(namespace: str, job: str) -> None:
            if watching.is_set():
                queue.wake(Key("FineTuneJob", namespace, job))

        reports = progress_app(progress, TokenReviews(review), progress_audience, wake_job)
        add_experiments(reports, TokenReviews(review_reader), partial(report_of, client, client.now))
        endpoint = await start_server(reports, settings.progress_port, tls)
        REGISTRY.register(collector)
        try:
            await _lead_forever(lease, client, context, queue, watching)
        finally:
            REGISTRY.unregister(collector)
            await endpoint.cleanup()


async def _lead_forever(
    lease: Lease, client: KubernetesClient, context: Context, queue: WorkQueue, watching: asyncio.Event
) -> None:
    """Work whenever the lease is ours, until a signal; a leader that lost it begins anew, as one of those who wait."""

    async def work() -> None:
        context.progress.clear()  # of what jobs said while another led
        watches = [asyncio.create_task(watch_children(client, *told)) for told in children(queue.wake, context.store)]
        watches.append(asyncio.create_task(context.models.ask_forever()))
        watches.append(asyncio.create_task(context.left_runs.end_forever()))
        watches.append(asyncio.create_task(ExperimentReports(context).keep_forever()))
        try:
            await watch_forever(build_registry(queue.wake, context.store), watching)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await queue.stop()
            context.store.clear()
            context.readers.clear()
            context.models.clear()
            context.router_problems.clear()
            context.acknowledgements.clear()
            context.traffic.clear()
            context.backends.clear()
            context.costs.clear()
            context.adapter_reports.clear()
            context.leaving.clear()
            context.shared_problems.clear()
            context.drawn_keys.clear()

    ended = False
    while not ended:
        _end_at_sigterm()
        ended = await lease.lead(work)


def _end_at_sigterm() -> None:
    """End while waiting for the lease, too; kopf puts its own handler in this one's place, and leaves it there."""
    if waiting := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, waiting.cancel)


async def ensure_certificate(
    api: KubernetesApi, settings: Settings, now: Callable[[], datetime]
) -> tuple[ssl.SSLContext, str]:
    """Have the endpoint's certificate in its Secret, which all replicas share; whoever is first makes it."""
    while True:
        try:
            stored = await api.get("Secret", settings.namespace, SECRET_NAME)
            wanted = certificate_secret(settings.namespace, settings.progress_host, stored, now())
            if stored is None:
                await api.create(wanted)
            elif stored.get("data") != wanted["data"]:
                version = {"resourceVersion": stored["metadata"]["resourceVersion"]}
                changes = {"metadata": version, "data": wanted["data"]}
                await api.patch("Secret", settings.namespace, SECRET_NAME, changes)
                log.info("the progress endpoint has a new certificate")
            return serving_context(wanted)
        except ApiError as error:
            log.warning("the progress endpoint's certificate has to wait: %s", error)
            await asyncio.sleep(random.uniform(0.5, 1.5) * _PAUSE_SECONDS)  # noqa: S311 - jitter


async def _cluster(client: KubernetesClient) -> str:
    while True:
        try:
            return await client.cluster_uid()
        except ApiError as error:
            log.warning("the cluster's identity has to wait: %s", error)
            await asyncio.sleep(random.uniform(0.5, 1.5) * _PAUSE_SECONDS)  # noqa: S311 - jitter


def _dispatch(context: Context) -> Callable[[Key], Awaitable[float | None]]:
    reconcilers: dict[str, Callable[[Key], Awaitable[float | None]]] = {
        "FineTuneJob": Harness(FineTuneJobKind(context), context).reconcile,
        "ModelVersion": Harness(ModelVersionKind(context), context).reconcile,
        "ABExperiment": Harness(ABExperimentKind(context), context).reconcile,
        ROUTER_KIND: Harness(RouterKind(context), context).reconcile,
        SHARED_BASE_KIND: Harness(SharedBaseKind(context), context).reconcile,
    }
    return lambda key: reconcilers[key.kind](key)


if __name__ == "__main__":
    main()
