"""What brings a version's weights to its claim before its pods have a node, and whether anything may, as it is read."""

from collections.abc import Sequence

from anneal_operator.api.model_version import ModelVersionSpec, ModelVersionStatus
from anneal_operator.cluster.children import owned_by
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.fetching import Fetching, wait_for_nodes
from anneal_operator.decide.verdict import Deletion
from anneal_operator.desired.fetching import CLAIM_ANNOTATION, FETCH_LABEL, fetch_name
from anneal_operator.desired.serving import BUILD_ANNOTATION, WISH_ANNOTATION

from .kind import Item

__all__ = ["fetching_of", "may_fetch"]

_BY_ALL_NODES = "ReadWriteMany"


async def fetching_of(reader: Reader, item: Item[ModelVersionSpec, ModelVersionStatus]) -> Fetching | None:
    """Return the version's Job, also where it is to have none any more; a backend never had any."""
    if item.spec.backend:
        return None
    name = fetch_name(item.name)
    made = await reader.get("Job", item.namespace, name)
    if made is None or not owned_by(made, item.uid):
        return None
    metadata, told = made["metadata"], made.get("status", {}).get("conditions", ())
    annotations = metadata.get("annotations", {})
    return Fetching(
        Deletion("Job", name, metadata["uid"]),
        annotations.get(CLAIM_ANNOTATION, ""),
        is_leaving="deletionTimestamp" in metadata,
        is_complete=any(found["type"] == "Complete" and found["status"] == "True" for found in told),
        pods=await reader.list("Pod", item.namespace, f"{FETCH_LABEL}={item.name}"),
        build=annotations.get(BUILD_ANNOTATION, ""),
        wish=annotations.get(WISH_ANNOTATION, ""),
    )


async def may_fetch(reader: Reader, item: Item[ModelVersionSpec, ModelVersionStatus], pods: Sequence[Manifest]) -> bool:
    """Return whether no pod has a node, and any node can write to their claim meanwhile.

    One that a single node can would be kept from theirs, and one that is not bound yet might be bound to another zone.
    """
    serving = item.spec.serving
    if serving is None or serving.cache is None or not _keeps_weights(item.spec) or not wait_for_nodes(pods):
        return False
    claim = await reader.get("PersistentVolumeClaim", item.namespace, serving.cache.claim_name)
    status = (claim or {}).get("status", {})
    return status.get("phase") == "Bound" and _BY_ALL_NODES in status.get("accessModes", ())


def _keeps_weights(spec: ModelVersionSpec) -> bool:
    return spec.has_pods_of_its_own and spec.serving is not None and spec.serving.cache is not None
