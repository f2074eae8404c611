"""Whose reconcile reads whose object: versions, the experiments that name them, and the namespace's router.

Read from raw manifests, so that an object that cannot be parsed concerns itself alone.
"""

from collections.abc import Iterable
from typing import Any

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.store import Store
from anneal_operator.desired.routing import ROUTER
from anneal_operator.desired.shared_base import SHARED_BASES, engine_of

from .queue import Key

__all__ = [
    "ROUTER_KIND",
    "SHARED_BASE_KIND",
    "experiments_on",
    "is_answered",
    "may_share_base",
    "neighbours",
    "of_model",
]

ROUTER_KIND, SHARED_BASE_KIND = "Router", "SharedBase"


def experiments_on(experiments: Iterable[Manifest], version: str) -> list[Manifest]:
    """Return the experiments that name this ModelVersion."""
    return [experiment for experiment in experiments if version in _versions(experiment)]


def neighbours(store: Store, manifest: Manifest) -> list[Key]:
    """Return what reads this ModelVersion or ABExperiment; nobody reads a FineTuneJob."""
    if manifest["kind"] == "FineTuneJob":
        return []
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    keys = [Key(ROUTER_KIND, namespace, ROUTER)]
    experiments = store.list("ABExperiment", namespace)
    if manifest["kind"] == "ModelVersion":
        keys += [Key(SHARED_BASE_KIND, namespace, SHARED_BASES)] if may_share_base(manifest) else []
        return keys + [_key(found) for found in experiments_on(experiments, name)]
    keys += [Key("ModelVersion", namespace, version) for version in sorted(_versions(manifest))]
    same = [other for other in experiments if _model(other) == _model(manifest) and other["metadata"]["name"] != name]
    return keys + [_key(other) for other in same]


def may_share_base(version: Manifest) -> bool:
    """Whether a ModelVersion is served as an adapter, or was until now."""
    serving = (version.get("spec") or {}).get("serving") or {}
    is_shared = isinstance(serving, dict) and serving.get("sharing") == "SharedBase"
    return is_shared or bool(engine_of(str((version.get("status") or {}).get("selector") or "")))


def is_answered(version: Manifest) -> bool:
    """Whether its clients are answered: by an engine of ours, or by a backend."""
    spec = version.get("spec") or {}
    return "serving" in spec or "backend" in spec


def of_model(store: Store, model: str) -> list[Key]:
    """Return the versions and experiments of a registered model, in all namespaces."""
    kinds = ("ModelVersion", "ABExperiment")
    return [_key(found) for kind in kinds for found in store.everywhere(kind) if _model(found) == model]


def _key(manifest: Manifest) -> Key:
    return Key(manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"])


def _model(manifest: Manifest) -> Any:  # noqa: ANN401 - whatever was written there
    return (manifest.get("spec") or {}).get("modelName")


def _versions(experiment: Manifest) -> set[str]:
    variants = (experiment.get("spec") or {}).get("variants") or ()
    return {
        str((variant.get("modelVersionRef") or {}).get("name")) for variant in variants if isinstance(variant, dict)
    }
