"""Two versions of one model in the small world, and an experiment on them."""

from typing import Any

from .world import World

__all__ = ["EXPERIMENT", "VERSION", "answer", "version_of"]

VERSION: dict[str, Any] = {
    "modelName": "spam",
    "artifact": {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64},
    "serving": {},
}
EXPERIMENT: dict[str, Any] = {
    "modelName": "spam",
    "control": "a",
    "variants": [
        {"name": "a", "modelVersionRef": {"name": "one"}, "weight": 50},
        {"name": "b", "modelVersionRef": {"name": "two"}, "weight": 50},
    ],
    "metrics": {"primary": {"name": "rating"}},
    "stopping": {"minUsersPerVariant": 100, "minDuration": "1s", "maxDuration": "1h"},
}


def version_of(name: str, **changes: Any) -> dict[str, Any]:
    """The spec of one whose artifact is its own."""
    return VERSION | {"artifact": VERSION["artifact"] | {"uri": f"mlflow-artifacts:/{name}"}} | changes


def answer(world: World, name: str) -> None:
    """Its pods are there, as its Deployment wants them now."""
    generation = world.api.objects["Deployment", f"{name}-server"]["metadata"]["generation"]
    status = {"observedGeneration": generation, "readyReplicas": 1, "updatedReplicas": 1}
    world.api.edit("Deployment", f"{name}-server", status=status)
