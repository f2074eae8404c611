"""Writing children: only what is missing or differs is written, so that a second reconcile writes nothing.

An object of the same name that is not ours, or is being deleted, is never adopted or changed.
"""

import hashlib
import json

from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.errors import ConflictError, NameTakenError

from .client import KubernetesApi
from .drift import has_drifted
from .kinds import Manifest

__all__ = ["ensure_applied", "ensure_created", "is_applied", "owned_by"]

_APPLIED = "anneal.dev/applied"


async def ensure_applied(api: KubernetesApi, manifest: Manifest) -> Manifest:
    """Apply a manifest unless the object is like that already; return the object.

    Raises NameTakenError where the object is not ours.
    """
    metadata = manifest["metadata"]
    current = await api.get(manifest["kind"], metadata["namespace"], metadata["name"])
    if current and is_applied(manifest, current) and not has_drifted(manifest, current):
        return current
    annotations = {**metadata.get("annotations", {}), _APPLIED: _digest(manifest)}
    return await api.apply({**manifest, "metadata": {**metadata, "annotations": annotations}})


def is_applied(manifest: Manifest, current: Manifest) -> bool:
    """Whether exactly this manifest was applied last; raise NameTakenError where the object is not ours.

    What others changed since is not seen here: `current` may be all that a watch told.
    """
    _refuse_foreign(manifest, current)
    return bool(current["metadata"].get("annotations", {}).get(_APPLIED) == _digest(manifest))


async def ensure_created(api: KubernetesApi, manifest: Manifest) -> Manifest:
    """Create an object that never changes, unless it is there; return what is there.

    Raises NameTakenError where the object is not ours.
    """
    metadata = manifest["metadata"]
    try:
        return await api.create(manifest)
    except ConflictError:
        current = await api.get(manifest["kind"], metadata["namespace"], metadata["name"])
        if current is None:
            raise
        _refuse_foreign(manifest, current)
        return current


def owned_by(child: Manifest, uid: str) -> bool:
    """Whether an object's owners include this uid."""
    return any(owner["uid"] == uid for owner in child["metadata"].get("ownerReferences", ()))


def _refuse_foreign(manifest: Manifest, current: Manifest) -> None:
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    if current["metadata"].get("deletionTimestamp"):
        raise NameTakenError(f"{name} of an earlier object is still being deleted; waiting for its end")
    if not _is_ours(manifest, current):
        raise NameTakenError(f"{name} exists and is not ours: delete it, or give this object another name")


def _is_ours(manifest: Manifest, current: Manifest) -> bool:
    """By the annotation where the manifest has one, else by its owners; what names neither is anybody's."""
    mark = manifest["metadata"].get("annotations", {}).get(OWNER_ANNOTATION)
    if mark is not None:
        return bool(current["metadata"].get("annotations", {}).get(OWNER_ANNOTATION) == mark)
    owners = manifest["metadata"].get("ownerReferences", ())
    return not owners or any(owned_by(current, owner["uid"]) for owner in owners)


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
