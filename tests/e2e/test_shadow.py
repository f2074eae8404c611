"""An experiment of type Shadow on the real API server, with the real operator killed on the way.

Engines, MLflow, routers and what is counted live by a script; that routers copy, tests/router shows.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.specs import GOOD
from toolbox.polling import poll

from .conftest import Cluster
from .scripted_pods import at_home
from .stand import Manifest, Stand, stand

pytestmark = [pytest.mark.timeout(300)]
_NAME = "shadowed"
_TOLD = {"requests": 60, "failures": 3, "compared": 55, "equal": 11, "similarity": 44_000_000}


@pytest.fixture(scope="module")
def scene(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """An operator at work, and two versions, the first in production."""
    with stand(running, tmp_path_factory.mktemp("shadow"), "shadow", volumes=1) as made:
        made.lead()
        for arm in ("stable", "tuned"):
            spec = {**GOOD["ModelVersion"], "modelName": _NAME, "aliases": [], "serving": {"rollbackWindow": "0s"}}
            made.submit("ModelVersion", f"{_NAME}-{arm}", at_home("ModelVersion", spec))
            made.wait("ModelVersion", f"{_NAME}-{arm}", lambda status: status.get("phase") == "Ready")
        yield made


def _wait(scene: Stand, phase: str) -> Manifest:
    return scene.wait("ABExperiment", _NAME, lambda status: status.get("phase") == phase)


def _route(scene: Stand) -> Manifest:
    table = scene.cluster.api.object("ConfigMap", "anneal-router")
    assert table is not None
    route: Manifest = json.loads(table["data"]["routes.json"])["models"][_NAME]
    return route


def test_a_shadow_runs_survives_its_operator_and_ends_with_numbers_alone(scene: Stand) -> None:
    variants = [
        {"name": arm, "modelVersionRef": {"name": f"{_NAME}-{arm}"}, "weight": 1} for arm in ("stable", "tuned")
    ]
    spec: dict[str, Any] = {"type": "Shadow", "modelName": _NAME, "control": "stable", "variants": variants}
    spec |= {"shadow": {"percent": 50, "comparisons": 50}, "decision": {"mode": "Observe"}}
    scene.submit("ABExperiment", _NAME, {**spec, "stopping": {"minDuration": "0s"}})
    _wait(scene, "Running")
    (split,) = _route(scene)["experiments"]
    assert (split["covered"], split["shadow"]["percent"]) == (0, 50)
    scene.operator.kill()
    assert poll(lambda: not scene.operator.is_alive(), 10, every=0.1)
    scene.lead()
    scene.router.copies = {"tuned": _TOLD}
    status = _wait(scene, "Observed")
    assert (status["decision"]["outcome"], status["decision"]["rule"]) == ("Observed", "shadow-comparisons")
    told = status["variants"][1]["shadow"]
    assert (told["compared"], told["identical"], told["similarity"]) == (55, 0.2, 0.8)
    assert scene.mlflow.aliases[_NAME, "production"] == "1"
    assert poll(lambda: not _route(scene).get("experiments") and not _route(scene).get("experiment"), 20, every=0.25)
    scene.cluster.kubectl("delete", "abexperiment", _NAME)
    scene.wait_until_quiet()
    assert scene.status("ModelVersion", f"{_NAME}-stable")["phase"] == "Ready"
