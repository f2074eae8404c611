"""How long users of a challenger that fails keep getting it: from when the recorder shows a breach until every router
has told that it leads nobody there any more.

The operator's own queue, looks and waits, by real clocks; API server, MLflow, recorder and routers are played in this
process. What a router takes to apply a table, and a recorder to have what routers counted, is measured elsewhere.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Readers
from anneal_operator.desired.routing import ROUTER, known_routes, stamp_of
from anneal_operator.handlers.watching import children
from anneal_operator.outside.models import Models
from anneal_operator.outside.routers import Routers
from anneal_operator.reconcile.ab_experiment import ABExperimentKind
from anneal_operator.reconcile.context import Context
from anneal_operator.reconcile.harness import Harness
from anneal_operator.reconcile.model_version import ModelVersionKind
from anneal_operator.reconcile.neighbours import neighbours, of_model
from anneal_operator.reconcile.queue import Key, WorkQueue
from anneal_operator.reconcile.routing import RouterKind
from serving_runtime.plan import Stamp
from tests.reconcile.world import NAMESPACE, FakeRouters, World
from tests.support.counted import answers_told, metric_told

__all__ = ["breaches"]

_AT_ONCE = 10
_LOOK_SECONDS = 5.0
_APPLIES_SECONDS = 0.3
"""What a played router takes to apply a table, as real ones did at most."""
_PATIENCE_SECONDS = 120.0
_SPEC: dict[str, Any] = {
    "modelName": "spam",
    "control": "a",
    "variants": [
        {"name": "a", "modelVersionRef": {"name": "one"}, "weight": 50},
        {"name": "b", "modelVersionRef": {"name": "two"}, "weight": 50},
    ],
    "metrics": {
        "primary": {"name": "user_rating"},
        "guardrails": [{"name": "errors", "source": "Errors", "max": 0.05}],
    },
}


@dataclass
class _LateRouters(FakeRouters):
    """Each has a table a while after it was written."""

    known: dict[str, Stamp] = field(default_factory=dict)
    due: dict[str, tuple[Stamp, float]] = field(default_factory=dict)

    @override
    async def applied(self, url: str, key: str) -> Stamp:
        newest, now = await super().applied(url, key), time.monotonic()
        if url not in self.due or self.due[url][0] != newest:
            self.due[url] = newest, now + _APPLIES_SECONDS
        if now >= self.due[url][1]:
            self.known[url] = newest
        return self.known.setdefault(url, newest)


async def breaches(runs: int) -> list[float]:
    """Return the seconds of so many, a few at once, each in a world of its own."""
    free, rng = asyncio.Semaphore(_AT_ONCE), random.Random(3)  # noqa: S311 - reproducible

    async def one(waits: float) -> float:
        async with free:
            return await _returned(waits)

    return list(await asyncio.gather(*(one(rng.uniform(0, _LOOK_SECONDS)) for _ in range(runs))))


async def _returned(waits: float) -> float:
    """Have the challenger fail so many seconds after its users were its own."""
    world = _world()
    context, queue = _at_work(world)
    asking = asyncio.create_task(context.models.ask_forever())
    try:
        for version in ("one", "two"):
            queue.wake(Key("ModelVersion", NAMESPACE, version))
        await _reached(lambda: world.api.status("ModelVersion", "two").get("phase") == "Ready")
        world.api.put("ABExperiment", "x", spec=_SPEC, metadata={"uid": "uid-x"})
        await _reached(lambda: _is_led(world, context) and _phase(world) == "Running")
        await asyncio.sleep(waits)
        _count(world, failed=20)
        began = time.monotonic()
        await _reached(lambda: not _is_split(world) and _has_arrived(world, context))
        if _phase(world) != "RolledBack":
            raise RuntimeError(f"nobody gets the challenger, and it stands so: {world.api.status('ABExperiment', 'x')}")
        return time.monotonic() - began
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await queue.stop()


def _world() -> World:
    """Two versions that have just been made, the first to have production, and nobody who failed."""
    world = World()
    for number, name in enumerate(("one", "two"), 1):
        artifact = {"uri": f"mlflow-artifacts:/{name}", "format": "Full", "digest": f"sha256:{number:064}"}
        aliases = ["production"] if name == "one" else []
        spec = {"modelName": "spam", "artifact": artifact, "aliases": aliases, "serving": {}}
        world.api.put("ModelVersion", name, spec=spec)
    world.routers = _LateRouters(world.api)
    _count(world, failed=0)
    return world


def _at_work(world: World) -> tuple[Context, WorkQueue]:
    """The operator as it works in an installation: watches wake the queue, and clocks go."""

    def wake_model(model: str) -> None:
        for key in of_model(world.store, model):
            queue.wake(key)

    models = Models(world.registry, wake_model, lambda model: bool(of_model(world.store, model)))
    routers: Routers = world.routers
    context = replace(
        world.context,
        readers=Readers(world.api, world.store),
        models=models,
        routers=routers,
        wake=lambda key: queue.wake(key),
        now=lambda: datetime.now(UTC),
    )
    reconcilers: dict[str, Callable[[Key], Awaitable[float | None]]] = {
        "ModelVersion": Harness(ModelVersionKind(context), context).reconcile,
        "ABExperiment": Harness(ABExperimentKind(context), context).reconcile,
        "Router": Harness(RouterKind(context), context).reconcile,
    }
    queue = WorkQueue(lambda key: reconcilers[key.kind](key))
    world.api.tell = _watch(world, queue, reconcilers)
    return context, queue


def _watch(world: World, queue: WorkQueue, kinds: Collection[str]) -> Callable[..., None]:
    """Return what watches do with news, as the handlers have it."""
    tells = children(queue.wake, world.store)

    def told(manifest: Manifest, *, deleted: bool = False) -> None:
        kind, metadata = manifest["kind"], manifest["metadata"]
        if kind in kinds and world.store.observe(manifest, deleted=deleted):
            for key in [Key(kind, NAMESPACE, metadata["name"]), *neighbours(world.store, manifest)]:
                queue.wake(key)
        for child, label, tell in tells:
            if child == kind and label in metadata.get("labels", {}):
                tell(manifest, deleted)
        if kind == "Deployment" and not deleted:
            _answer(world, manifest)

    return told


def _answer(world: World, deployment: Manifest) -> None:
    """Its pods are there as soon as they are asked for."""
    metadata, replicas = deployment["metadata"], deployment["spec"]["replicas"]
    status = {
        "observedGeneration": metadata["generation"],
        "readyReplicas": replicas,
        "updatedReplicas": replicas,
    }
    if deployment.get("status") != status:
        asyncio.get_running_loop().call_soon(lambda: world.api.edit("Deployment", metadata["name"], status=status))


def _count(world: World, failed: int) -> None:
    """Twenty users of each variant, of whom so many of the challenger's have had nothing but failures."""
    arms = {name: {"users": 20, "requests": 20, "fallbacks": 0, "metric": metric_told(20, 3.0, 20.0)} for name in "ab"}
    opened = answers_told(a=(20, 0), b=(20, failed))
    world.routers.counted = {"variants": arms, "moved_users": 0, "open": opened, "control": "a"}


def _phase(world: World) -> str:
    return str(world.api.status("ABExperiment", "x").get("phase"))


def _is_split(world: World) -> bool:
    routes = known_routes(world.api.objects.get(("ConfigMap", ROUTER)))
    return "spam" not in routes or bool(routes["spam"].experiments)


def _has_arrived(world: World, context: Context) -> bool:
    arrival = context.acknowledgements.of(NAMESPACE).arrival
    return (
        arrival is not None
        and arrival.is_complete
        and arrival.stamp == stamp_of(world.api.objects.get(("ConfigMap", ROUTER)))
    )


def _is_led(world: World, context: Context) -> bool:
    return _is_split(world) and _has_arrived(world, context)


async def _reached(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
