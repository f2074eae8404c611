"""Writing children: only what is missing or differs is written, so that a second reconcile writes nothing."""

import hashlib
import json

from anneal_operator.errors import ConflictError

from .client import KubernetesApi
from .kinds import Manifest

__all__ = ["ensure_applied", "ensure_created", "owned_by"]

_APPLIED = "anneal.dev/applied"


async def ensure_applied(api: KubernetesApi, manifest: Manifest) -> Manifest:
    """Apply a manifest unless exactly it was applied last; return the object.

    What others changed since in fields of ours is not seen here: it is put right when our manifest next changes.
    """
    metadata = manifest["metadata"]
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
    current = await api.get(manifest["kind"], metadata["namespace"], metadata["name"])
    if current and current["metadata"].get("annotations", {}).get(_APPLIED) == digest:
        return current
    annotations = {**metadata.get("annotations", {}), _APPLIED: digest}
    return await api.apply({**manifest, "metadata": {**metadata, "annotations": annotations}})


async def ensure_created(api: KubernetesApi, manifest: Manifest) -> Manifest:
    """Create an object that never changes, unless it is there; return what is there."""
    metadata = manifest["metadata"]
    try:
        return await api.create(manifest)
    except ConflictError:
        return await api.get(manifest["kind"], metadata["namespace"], metadata["name"]) or manifest


def owned_by(child: Manifest, uid: str) -> bool:
    """Whether an object's owners include this uid."""
    return any(owner["uid"] == uid for owner in child["metadata"].get("ownerReferences", ()))
