"""How soon all clients are answered by the version that `production` is moved to in MLflow, between two warm ones."""

from functools import partial

from anneal_operator.api.model_version import PRODUCTION
from demo.installation import SYSTEM
from tests.e2e.adapters import MODEL
from tests.e2e.served import ask_mlflow

from .figures import Figure
from .moving import Moved, answered_by, move_alias
from .scene import FIRST, Scene

__all__ = ["measure_alias"]

_SECOND = "other"
_ROUNDS, _CLIENTS, _PATIENCE = 3, 8, 60.0


def measure_alias(scene: Scene) -> list[Figure]:
    """Move it there and back."""
    scene.submit(_SECOND, scene.published(_SECOND))
    scene.wait(lambda: scene.status(_SECOND).get("phase") == "Ready", f"{_SECOND} is Ready", _PATIENCE)
    _move(scene, FIRST)
    scene.wait(lambda: answered_by(scene.router, MODEL) == FIRST, f"{FIRST} has production", _PATIENCE)
    found = [_moved(scene, FIRST if number % 2 else _SECOND) for number in range(_ROUNDS)]
    seconds = [one.seconds for one in found]
    failed = sum(one.failed for one in found)
    return [
        Figure("alias moved, until the last request that another version answers", seconds, "s", at_most=10.0),
        Figure("requests meanwhile", [float(sum(one.requests for one in found))]),
        Figure("of these not answered", [float(failed)], at_most=0.0),
    ]


def _moved(scene: Scene, name: str) -> Moved:
    return move_alias(scene.router, MODEL, name, _CLIENTS, partial(_move, scene, name))


def _move(scene: Scene, name: str) -> None:
    given = {"name": MODEL, "alias": PRODUCTION, "version": scene.number(name)}
    ask_mlflow(scene.bench.cluster, SYSTEM, "registered-models/alias", given)
