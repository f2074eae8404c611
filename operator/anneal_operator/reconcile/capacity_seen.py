"""What a version's pods are to the clients that it is to get: whether there are enough, and how soon there is one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from anneal_operator.api.model_version import ColdStart, ModelVersionSpec, ModelVersionStatus
from anneal_operator.api.serving import Serving
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.acknowledgement import Awaited
from anneal_operator.decide.autoscaling import replicas_to_take_over
from anneal_operator.decide.cold_start import expected_start
from anneal_operator.decide.routing import Capacity, Version
from anneal_operator.decide.startup import startup_seconds
from anneal_operator.desired.routing import KnownRoute
from anneal_operator.desired.shared_base import engine_of
from anneal_operator.reasons import ConditionType

from .context import Context
from .workload_seen import own_engine, own_workload

__all__ = ["pods_to_take_over", "wait_told", "wakes_after", "with_capacity"]


def wait_told(version: Version, item: Manifest, now: datetime) -> Awaited | None:
    """Return what clients wait for by the version's own status: since when, another operator may have known."""
    try:
        told = ModelVersionStatus.parse(item.get("status") or {}).condition(ConditionType.CAPACITY_READY)
    except ValueError:
        return None
    if version.capacity is None or told is None or told.status != "False":
        return None
    since, patience = datetime.fromisoformat(told.last_transition_time), version.capacity.patience_seconds
    until = min(since, now) + timedelta(seconds=patience)
    return Awaited(version.name, version.capacity.ready, version.capacity.needed, until)


def wakes_after(version: Manifest) -> int | None:
    """Return in how many seconds a request wakes it; None of one that always has pods, or cannot be parsed."""
    try:
        serving = Serving.parse(version["spec"]["serving"])
        known = (version.get("status") or {}).get("coldStart")
        return expected_start(ColdStart.parse(known) if known else None) if serving.wakes else None
    except ValueError:
        return None


async def with_capacity(
    context: Context,
    reader: Reader,
    version: Version,
    item: Manifest,
    versions: Sequence[Manifest],
    routes: Mapping[str, KnownRoute],
) -> Version:
    """Return the same with its pods, where they are its own, and its model's clients get another."""
    namespace, route = item["metadata"]["namespace"], routes.get(version.model)
    default = route.default if route else None
    if not version.is_served or default in {None, version.name}:
        return version
    try:
        spec = ModelVersionSpec.parse(item["spec"])
    except ValueError:
        return version
    engine = await own_engine(reader, item)
    if spec.serving is None or engine is None or default is None:
        return version
    needed = await pods_to_take_over(context, reader, namespace, spec.serving, version.name, default, versions)
    return replace(version, capacity=Capacity(engine.ready, needed, startup_seconds(spec.serving, spec.weights)))


async def pods_to_take_over(
    context: Context,
    reader: Reader,
    namespace: str,
    serving: Serving,
    version: str,
    default: str,
    versions: Sequence[Manifest],
) -> int:
    """Return how many pods a version needs for all clients of its model, who get the `default` now."""
    before = await _replicas_of(reader, namespace, versions, default)
    samples = context.traffic.samples(namespace, default, [version])
    return replicas_to_take_over(serving, before, samples, context.now())


async def _replicas_of(reader: Reader, namespace: str, versions: Sequence[Manifest], name: str) -> int:
    """How many pods a version is to have, those that it shares included."""
    found = next((version for version in versions if version["metadata"]["name"] == name), None)
    if not found:
        return 0
    shared = engine_of(str((found.get("status") or {}).get("selector") or ""))
    made = await reader.get("Deployment", namespace, shared) if shared else await own_workload(reader, found)
    return int(made["spec"].get("replicas", 0)) if made else 0
