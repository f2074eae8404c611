"""How the container stands that brings an engine's weights, as far as Kubernetes says it."""

from anneal_operator.api.resources import Manifest
from serving_runtime.plan import WEIGHTS_CONTAINER

__all__ = ["brings_since", "weights_container"]


def weights_container(pod: Manifest) -> Manifest:
    """Return its status; empty where there is none. A mesh may have put others before the engine."""
    found: list[Manifest] = pod.get("status", {}).get("initContainerStatuses") or []
    return next((status for status in found if status.get("name") == WEIGHTS_CONTAINER), {})


def brings_since(pod: Manifest) -> str:
    """Return when it began, while it runs; else nothing."""
    running = weights_container(pod).get("state", {}).get("running") or {}
    return str(running.get("startedAt", ""))
