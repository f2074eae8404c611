"""What serves a version, as it is read: a Deployment, or a LeaderWorkerSet where several nodes share an engine.

Of the latter the leaders' pods tell, and not its status, of which no watch tells and which says nothing of generations.
"""

from collections.abc import Sequence
from typing import Any

from anneal_operator.api.model_version import ModelVersionSpec, ModelVersionStatus
from anneal_operator.cluster.children import owned_by
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.failures import is_deleted
from anneal_operator.decide.serving_engine import Engine
from anneal_operator.decide.verdict import Deletion
from anneal_operator.desired.groups import workload_kind, workload_name
from anneal_operator.desired.keys import KEYS_ANNOTATION
from anneal_operator.desired.serving import (
    BUILD_ANNOTATION,
    VERSION_LABEL,
    WISH_ANNOTATION,
    server_name,
)

from .engine_seen import engine_seen
from .kind import Item

__all__ = ["kind_of", "name_of", "own_engine", "own_workload", "scaled_object_of", "server_to_end"]

VersionItem = Item[ModelVersionSpec, ModelVersionStatus]
_MADE_OF = (BUILD_ANNOTATION, WISH_ANNOTATION, KEYS_ANNOTATION)


def kind_of(version: Manifest) -> str:
    """Return the kind of what serves a ModelVersion, which may be none that can be parsed."""
    return workload_kind(_nodes(version))


def name_of(version: Manifest) -> str:
    """Return what that is called."""
    return workload_name(version["metadata"]["name"], _nodes(version))


def _nodes(version: Manifest) -> int:
    serving: Any = (version.get("spec") or {}).get("serving")
    nodes = serving.get("nodes", 1) if isinstance(serving, dict) else 1
    return nodes if isinstance(nodes, int) else 1


async def own_workload(reader: Reader, version: Manifest) -> Manifest | None:
    """Return what serves a version, where it is its own."""
    metadata = version["metadata"]
    made = await reader.get(kind_of(version), metadata["namespace"], name_of(version))
    return made if made is not None and owned_by(made, metadata["uid"]) else None


async def own_engine(reader: Reader, version: Manifest) -> Engine | None:
    """Return how it stands; one that ends is none."""
    made = await own_workload(reader, version)
    if made is None or kind_of(version) == "Deployment":
        return engine_seen(made) if made else None
    if made["metadata"].get("deletionTimestamp"):
        return None
    metadata = version["metadata"]
    leaders = await reader.list("Pod", metadata["namespace"], f"{VERSION_LABEL}={metadata['name']}")
    return _grouped(made, leaders, is_scaled_by_keda=_has_triggers(version))


def _has_triggers(version: Manifest) -> bool:
    serving: Any = (version.get("spec") or {}).get("serving")
    scaling = serving.get("autoscaling") if isinstance(serving, dict) else None
    return bool(scaling.get("triggers")) if isinstance(scaling, dict) else False


def _grouped(made: Manifest, leaders: Sequence[Manifest], *, is_scaled_by_keda: bool) -> Engine:
    """What KEDA made of the number of engines no watch tells: as many as there are leaders."""
    annotations, staying = made["metadata"].get("annotations", {}), [pod for pod in leaders if not is_deleted(pod)]
    wanted = [annotations.get(name) for name in _MADE_OF]
    newest = [
        pod for pod in staying if [pod["metadata"].get("annotations", {}).get(name) for name in _MADE_OF] == wanted
    ]
    ready = sum(map(_is_ready, staying))
    replicas = len(staying) if is_scaled_by_keda else int(made["spec"].get("replicas", 1))
    is_rolling = sum(map(_is_ready, newest)) < replicas or len(staying) > len(newest)
    return Engine(
        ready,
        annotations.get(BUILD_ANNOTATION, ""),
        replicas,
        is_rolling=is_rolling,
        demands_key=KEYS_ANNOTATION in annotations,
        wish=annotations.get(WISH_ANNOTATION, ""),
        is_complete=not is_rolling,
    )


def _is_ready(pod: Manifest) -> bool:
    told = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in told)


async def scaled_object_of(reader: Reader, item: VersionItem) -> tuple[Deletion, ...]:
    """Return what has KEDA scale it, where that is to."""
    if item.spec.serving is None or not item.spec.serving.triggers:
        return ()
    made = await reader.get("ScaledObject", item.namespace, server_name(item.name))
    if made is None or not owned_by(made, item.uid):
        return ()
    return (Deletion("ScaledObject", made["metadata"]["name"], made["metadata"]["uid"]),)


async def server_to_end(reader: Reader, item: VersionItem, made: Manifest | None) -> tuple[Deletion, ...]:
    """Return what is left of a server that is not asked for any more, or may retire: nothing of one that is Idle and
    has no Deployment.

    The Service goes first: while the Deployment is there, it is still looked for.
    """
    may_retire = item.spec.serving is None or item.spec.serving.retire_after is not None
    if not may_retire or (made is None and item.status.phase in {"Idle", "Retired"}):
        return ()
    name = server_name(item.name)
    found = {"Service": await reader.get("Service", item.namespace, name), kind_of(item.manifest): made}
    own = {kind: manifest for kind, manifest in found.items() if manifest and owned_by(manifest, item.uid)}
    return tuple(
        Deletion(kind, manifest["metadata"]["name"], manifest["metadata"]["uid"]) for kind, manifest in own.items()
    )
