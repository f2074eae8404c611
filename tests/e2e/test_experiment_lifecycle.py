"""What people want of an experiment that runs, on the real API server, with the real operator killed on the way.

Engines, MLflow, routers and what is counted live by a script.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from serving_runtime.plan import bucket
from tests.api.specs import GOOD
from toolbox.polling import poll

from .conftest import Cluster
from .scripted_pods import at_home
from .stand import Manifest, Stand, stand

pytestmark = [pytest.mark.timeout(900)]
_ARMS = ("stable", "tuned")
_USERS = [f"user-{number}" for number in range(2000)]


@pytest.fixture(scope="module")
def scene(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """An operator at work; nothing is counted yet."""
    with stand(running, tmp_path_factory.mktemp("lifecycle"), "lifecycle", volumes=1) as made:
        made.lead()
        yield made


def _variants(scene: Stand, name: str) -> list[Manifest]:
    """Two versions that answer, the first in production."""
    for arm in _ARMS:
        spec = {**GOOD["ModelVersion"], "modelName": name, "aliases": [], "serving": {"rollbackWindow": "0s"}}
        scene.submit("ModelVersion", f"{name}-{arm}", at_home("ModelVersion", spec))
        scene.wait("ModelVersion", f"{name}-{arm}", lambda status: status.get("phase") == "Ready")
    return [{"name": arm, "modelVersionRef": {"name": f"{name}-{arm}"}, "weight": 50} for arm in _ARMS]


def _begin(scene: Stand, name: str, **changes: Any) -> None:
    """An experiment that runs on two versions of its own."""
    scene.router.counted = {}
    variants = _variants(scene, name)
    stopping = {"minUsersPerVariant": 10, "minDuration": "0s"}
    decision = {"scaleDownDelay": "0s"} | changes.pop("decision", {})
    spec = {**GOOD["ABExperiment"], "modelName": name, "variants": variants, "stopping": stopping, "decision": decision}
    scene.submit("ABExperiment", name, {**spec, **changes})
    _wait(scene, name, "Running")


def _wait(scene: Stand, name: str, phase: str) -> Manifest:
    return scene.wait("ABExperiment", name, lambda status: status.get("phase") == phase)


def _change(scene: Stand, name: str, **spec: Any) -> None:
    scene.cluster.kubectl("patch", "abx", name, "--type=merge", "-p", json.dumps({"spec": spec}))


def _route(scene: Stand, name: str) -> Manifest:
    table = scene.cluster.api.object("ConfigMap", "anneal-router")
    assert table is not None
    route: Manifest = json.loads(table["data"]["routes.json"])["models"][name]
    return route


def _who_answers(scene: Stand, name: str) -> dict[str, str]:
    """The version that each user gets."""
    route = _route(scene, name)
    split = route["experiment"] or {"salt": "", "variants": [{"target": route["default"], "up_to": 10_000}]}
    return {
        user: next(arm["target"] for arm in split["variants"] if bucket(split["salt"], user) < arm["up_to"])
        for user in _USERS
    }


def _wait_for_pods(scene: Stand, name: str, **phases: str) -> None:
    def found() -> dict[str, Any]:
        return {arm: scene.status("ModelVersion", f"{name}-{arm}").get("phase") for arm in phases}

    assert poll(lambda: found() == phases, 60, every=0.25), found()


def _kill(scene: Stand) -> None:
    scene.operator.kill()
    assert poll(lambda: not scene.operator.is_alive(), 10, every=0.1)
    scene.lead()


def test_an_experiment_rests_and_goes_on_with_everybody_where_they_were(scene: Stand) -> None:
    _begin(scene, "rests")
    before = _who_answers(scene, "rests")
    assert set(before.values()) == {"rests-stable", "rests-tuned"}
    _change(scene, "rests", suspend=True)
    _wait(scene, "rests", "Paused")
    assert poll(lambda: set(_who_answers(scene, "rests").values()) == {"rests-stable"}, 20, every=0.25)
    scene.router.count(stable=3.0, tuned=4.0)
    _kill(scene)
    scene.wait_until_quiet()
    status = scene.status("ABExperiment", "rests")
    assert (status["phase"], "decision" in status) == ("Paused", False)
    scene.router.counted = {}
    _change(scene, "rests", suspend=False)
    _wait(scene, "rests", "Running")
    assert poll(lambda: _who_answers(scene, "rests") == before, 20, every=0.25)
    scene.router.count(stable=3.0, tuned=4.0)
    _wait(scene, "rests", "Promoted")


def test_an_experiment_that_is_aborted_leaves_production_and_frees_the_challenger(scene: Stand) -> None:
    _begin(scene, "aborted")
    _change(scene, "aborted", abort=True)
    status = _wait(scene, "aborted", "Aborted")
    assert status["decision"]["outcome"] == "Aborted"
    _wait_for_pods(scene, "aborted", stable="Ready", tuned="Idle")
    assert scene.mlflow.aliases["aborted", "production"] == "1"
    assert set(_who_answers(scene, "aborted").values()) == {"aborted-stable"}
    scene.cluster.kubectl("delete", "abexperiment", "aborted")
    scene.wait_until_quiet()
    assert scene.status("ModelVersion", "aborted-tuned")["phase"] == "Idle", "a finished one may be deleted"


def test_a_winner_bakes_and_then_has_production(scene: Stand) -> None:
    _begin(scene, "bakes", decision={"bake": "20s"})
    before = _who_answers(scene, "bakes")
    scene.router.count(stable=3.0, tuned=4.0)
    _wait(scene, "bakes", "Baking")
    scene.wait("ABExperiment", "bakes", lambda status: "bakingSince" in status)
    held = {user for user, version in _who_answers(scene, "bakes").items() if version == "bakes-stable"}
    assert 0.05 < len(held) / len(_USERS) < 0.15
    assert {before[user] for user in held} == {"bakes-stable"}, "nobody was moved back"
    assert scene.mlflow.aliases["bakes", "production"] == "1"
    _kill(scene)
    _wait(scene, "bakes", "Promoted")
    assert poll(lambda: scene.mlflow.aliases["bakes", "production"] == "2", 30, every=0.25)
    _wait_for_pods(scene, "bakes", stable="Idle", tuned="Ready")
    assert set(_who_answers(scene, "bakes").values()) == {"bakes-tuned"}


def test_whoever_aborts_while_a_winner_bakes_returns_everybody(scene: Stand) -> None:
    _begin(scene, "returns", decision={"bake": "1h"})
    scene.router.count(stable=3.0, tuned=4.0)
    _wait(scene, "returns", "Baking")
    scene.wait("ABExperiment", "returns", lambda status: "bakingSince" in status)
    _change(scene, "returns", abort=True)
    _wait(scene, "returns", "Aborted")
    assert poll(lambda: set(_who_answers(scene, "returns").values()) == {"returns-stable"}, 20, every=0.25)
    _kill(scene)
    _wait_for_pods(scene, "returns", stable="Ready", tuned="Idle")
    status = scene.status("ABExperiment", "returns")
    assert (status["phase"], status["decision"]["winner"]) == ("Aborted", "tuned")
    assert scene.mlflow.aliases["returns", "production"] == "1"


def test_a_winner_waits_for_a_person_to_approve_it(scene: Stand) -> None:
    _begin(scene, "asks", decision={"mode": "Recommend"})
    before = _who_answers(scene, "asks")
    scene.router.count(stable=3.0, tuned=4.0)
    scene.wait("ABExperiment", "asks", lambda status: status.get("recommended") == "tuned")
    _kill(scene)
    scene.wait_until_quiet()
    assert (scene.status("ABExperiment", "asks")["phase"], _who_answers(scene, "asks")) == ("Running", before)
    _change(scene, "asks", decision={"approve": "tuned"})
    _wait(scene, "asks", "Promoted")
    assert poll(lambda: scene.mlflow.aliases["asks", "production"] == "2", 30, every=0.25)


def test_a_version_beside_itself_is_judged_and_nothing_follows(scene: Stand) -> None:
    variants = [{"name": name, "modelVersionRef": {"name": "same-stable"}, "weight": 50} for name in ("stable", "same")]
    _begin(scene, "same", type="AA", decision={"mode": "Observe"}, variants=variants)
    route = _route(scene, "same")
    assert {arm["target"] for arm in route["experiment"]["variants"]} == {"same-stable"}
    scene.router.count(stable=3.0, same=3.0)
    status = _wait(scene, "same", "Observed")
    assert (status["reason"], status["decision"]["outcome"], status["decision"].get("winner")) == (
        "Sound",
        "Sound",
        None,
    )
    assert poll(lambda: _route(scene, "same")["experiment"] is None, 20, every=0.25)
    scene.wait_until_quiet()
    assert scene.mlflow.aliases["same", "production"] == "1"
    _wait_for_pods(scene, "same", stable="Ready", tuned="Ready")


def test_a_shadow_ends_with_numbers_alone(scene: Stand) -> None:
    """That routers copy, tests/router shows."""
    spec: dict[str, Any] = {"type": "Shadow", "modelName": "shadowed", "control": "stable"}
    spec |= {"variants": _variants(scene, "shadowed"), "shadow": {"percent": 50, "comparisons": 50}}
    spec |= {"decision": {"mode": "Observe"}, "stopping": {"minDuration": "0s"}}
    scene.submit("ABExperiment", "shadowed", spec)
    _wait(scene, "shadowed", "Running")
    (split,) = _route(scene, "shadowed")["experiments"]
    assert (split["covered"], split["shadow"]["percent"]) == (0, 50), "nobody gets a challenger's answer"
    told = {"requests": 60, "failures": 3, "compared": 55, "equal": 11, "similarity": 44_000_000}
    scene.router.copies = {"tuned": told}
    status = _wait(scene, "shadowed", "Observed")
    assert (status["decision"]["outcome"], status["decision"]["rule"]) == ("Observed", "shadow-comparisons")
    shown = status["variants"][1]["shadow"]
    assert (shown["compared"], shown["identical"], shown["similarity"]) == (55, 0.2, 0.8)
    assert scene.mlflow.aliases["shadowed", "production"] == "1"

    def is_left() -> bool:
        route = _route(scene, "shadowed")
        return not route.get("experiments") and not route.get("experiment")

    assert poll(is_left, 20, every=0.25)
