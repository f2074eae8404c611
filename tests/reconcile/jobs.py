"""One FineTuneJob in the small world, and the steps that bring it along."""

import asyncio
from typing import Any

from anneal_operator.outside.registry import Registration
from tests.decide.test_fine_tune_job import RESULTS

from .world import NAMESPACE, World

__all__ = ["change", "job_world", "look", "register_base", "result", "status", "until"]

SPEC: dict[str, Any] = {
    "base": {"uri": "models:/spam@base"},
    "dataset": {"sources": [{"uri": "configmap://data/rows.jsonl"}], "template": "Messages"},
    "output": {"modelName": "spam"},
}
PUBLISHED = {"uri": "mlflow-artifacts:/1/r/artifacts/model", "digest": "sha256:" + "0" * 64}


def register_base(world: World) -> None:
    uri = "mlflow-artifacts:/1/b/artifacts/model"
    asyncio.run(world.registry.register(Registration(NAMESPACE, "spam-base", "u", "spam", uri, "sha256:b", "r")))
    world.registry.aliases["spam", "base"] = "1"


def look(world: World) -> float | None:
    return world.reconcile("FineTuneJob", "job")


def status(world: World) -> dict[str, Any]:
    return world.api.status("FineTuneJob", "job")


def result(stage: Any) -> dict[str, Any]:
    result: dict[str, Any] = RESULTS[stage].model_dump(mode="json")
    return result | (PUBLISHED if stage == "publish" else {})


def job_world() -> World:
    """A job whose data is there, and whose base is not registered yet."""
    made = World()
    made.api.put("FineTuneJob", "job", spec=SPEC, metadata={"creationTimestamp": "2026-03-01T12:00:00Z"})
    made.api.put("ConfigMap", "data", data={"rows.jsonl": ""})
    return made


def change(world: World, **spec: Any) -> None:
    world.api.edit("FineTuneJob", "job", spec={**world.api.objects["FineTuneJob", "job"]["spec"], **spec})


def until(world: World, stage: str) -> None:
    """Look until the stage's Job is there."""
    register_base(world)
    look(world)
    for earlier in ("prepare", "train", "evaluate", "publish"):
        look(world)
        if earlier == stage:
            break
        world.finish("job", earlier, result(earlier))
    name = f"job-{stage}-1" if stage == "train" else f"job-{stage}"
    assert ("Job", name) in world.api.objects
    world.writes()
