"""From an adapter that is applied to its first token, on a base that answers with others already.

Its weights are on no pod yet: they are registered, downloaded, verified, loaded, compared with training and routed.
"""

import time
from functools import partial

from .figures import Figure
from .scene import Scene, answers

__all__ = ["measure_adapter"]

_ROUNDS, _PATIENCE = 5, 60.0


def measure_adapter(scene: Scene) -> list[Figure]:
    """Apply one after the other; each is asked for, by its number, all the while."""
    seconds = [_until_it_answers(scene, f"adapter-{number}") for number in range(_ROUNDS)]
    return [Figure("adapter applied, until its first token, on a warm base", seconds, "s", at_most=2.0)]


def _until_it_answers(scene: Scene, name: str) -> float:
    spec, router = scene.published(name), scene.router
    began = time.monotonic()
    scene.submit(name, spec)
    scene.wait(partial(_answers, scene, router, name, spec["modelName"]), f"{name} answers", _PATIENCE)
    return time.monotonic() - began


def _answers(scene: Scene, router: str, name: str, model: str) -> bool:
    number = scene.number(name)
    return number != "" and answers(router, f"{model}@{number}")
