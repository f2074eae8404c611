"""How a version stands that is an adapter: on the engine that it asks for, or on the one that it had until now."""

from dataclasses import dataclass, field, replace

from anneal_operator.api.model_version import ANSWERING, LoadedOn, ModelVersionSpec, ModelVersionStatus
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.serving_engine import Engine
from anneal_operator.decide.shared_base import SharedVersion, Standing, is_ready, stands
from anneal_operator.desired.keys import Keys
from anneal_operator.desired.routing import ROUTER
from anneal_operator.desired.shared_base import (
    SHARED_BASE_LABEL,
    SHARED_BASES,
    SHARED_BASES_LABEL,
    engine_name,
    engine_of,
    shared_selector,
)

from .context import Context
from .engine_seen import engine_seen
from .kind import Item

__all__ = ["SharedView", "shared_pods", "shared_view"]

_OLD_SECONDS = 120.0
"""What pods told so lately holds: the namespace's shared engines are asked more often than that (shared_base.py)."""


@dataclass(frozen=True)
class SharedView:
    """The engine that a version's clients are to be sent to."""

    selector: str
    engine: Engine | None = None
    pods: list[Manifest] = field(default_factory=list)
    loaded_on: list[LoadedOn] = field(default_factory=list)
    problem: str = ""
    waits: str = ""
    sharers: int = 1
    """How many versions the pods are for."""


async def shared_pods(reader: Reader, namespace: str) -> dict[str, list[Manifest]]:
    """Return the pods of a namespace's shared engines, by engine."""
    found: dict[str, list[Manifest]] = {}
    for pod in await reader.list("Pod", namespace, f"{SHARED_BASES_LABEL}={SHARED_BASES}"):
        found.setdefault(pod["metadata"]["labels"].get(SHARED_BASE_LABEL, ""), []).append(pod)
    return found


async def shared_view(
    context: Context, reader: Reader, item: Item[ModelVersionSpec, ModelVersionStatus], keys: Keys, build: str
) -> SharedView:
    """Return how a version stands; until the engine that it asks for has it, on the one where it answers."""
    asks_for, is_on = engine_name(item.spec), engine_of(item.status.selector)
    version = SharedVersion(item.name, item.spec.digest, asks_for, is_on, item.status.replicas)
    pods, standing = await shared_pods(reader, item.namespace), {}
    table = await reader.get("ConfigMap", item.namespace, ROUTER)
    routed_to = context.acknowledgements.of(item.namespace).read(table).services.get(item.name, "")
    had = {one.pod: one for one in item.status.loaded_on or ()}
    for name in {asks_for, is_on} - {""}:
        made = await reader.get("Deployment", item.namespace, name)
        is_ours = made is not None and made["metadata"].get("annotations", {}).get(OWNER_ANNOTATION) == SHARED_BASES
        ready = [pod for pod in pods.get(name, ()) if is_ready(pod)]
        told = await context.adapter_reports.ask(
            context.routers, keys.engine, item.namespace, ready, context.now(), _OLD_SECONDS
        )
        engine = engine_seen(made) if made is not None and is_ours else None
        is_open = name == routed_to or (name == is_on and item.status.phase in ANSWERING)
        silent = context.adapter_reports.unheard(item.namespace, ready)
        before = {uid: had.get(pod) for uid, pod in silent.items()}
        standing[name] = stands(version, engine, pods.get(name, ()), told, is_open=is_open, before=before)
    name = _chosen(asks_for, is_on, standing)
    if not name:
        return SharedView("")
    problem, stands_there = context.shared_problems.get(item.namespace), standing[name]
    waits = [problem.message] if problem else []
    if asks_for and name != asks_for:
        waits.append(f"its settings have changed: it moves to {asks_for} once that answers with it")
        waits += [standing[asks_for].problem] if standing[asks_for].problem else []
    return SharedView(
        selector=shared_selector(name),
        engine=replace(stands_there.engine, build=build) if stands_there.engine else None,
        pods=pods.get(name, []),
        loaded_on=stands_there.loaded_on,
        problem=stands_there.problem,
        waits="; ".join(waits),
        sharers=1 + await _others_on(reader, item, name),
    )


def _chosen(asks_for: str, is_on: str, standing: dict[str, Standing]) -> str:
    if not asks_for or not is_on or asks_for == is_on:
        return asks_for or is_on
    next_one = standing[asks_for].engine
    return is_on if standing[is_on].may_answer and not (next_one and next_one.ready) else asks_for


async def _others_on(reader: Reader, item: Item[ModelVersionSpec, ModelVersionStatus], engine: str) -> int:
    """How many other versions have an engine's pods, by what their statuses say."""
    told = [
        v.get("status") or {}
        for v in await reader.list("ModelVersion", item.namespace)
        if v["metadata"]["name"] != item.name
    ]
    return sum(bool(one.get("replicas")) and engine_of(str(one.get("selector") or "")) == engine for one in told)
