"""A variant that fails loses its users within a minute, while the experiment is young and nobody has rated anything.

Router and recorder are played: what the operator reads is counted by the test, and nobody routes by its table.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.specs import GOOD
from toolbox.polling import poll

from .conftest import Cluster
from .scripted_pods import at_home
from .stand import Stand, stand

pytestmark = [pytest.mark.timeout(600)]
_SECONDS = 60.0
_NAMES = ("stable", "tuned", "other")


@pytest.fixture
def scene(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Three versions that answer, and the operator at work."""
    with stand(running, tmp_path_factory.mktemp("guardrails"), "guardrails", volumes=1) as made:
        made.lead()
        for variant in _NAMES:
            aliases = ["production"] if variant == "stable" else []
            spec = {**GOOD["ModelVersion"], "modelName": "spam", "aliases": aliases, "serving": {}}
            made.submit("ModelVersion", f"spam-{variant}", at_home("ModelVersion", spec))
            made.wait("ModelVersion", f"spam-{variant}", lambda status: status.get("phase") == "Ready")
        yield made


def _begin(scene: Stand, *names: str, **changes: Any) -> None:
    variants = [{"name": name, "modelVersionRef": {"name": f"spam-{name}"}, "weight": 10} for name in names]
    metrics = {**GOOD["ABExperiment"]["metrics"], "guardrails": [{"name": "errors", "source": "Errors", "max": 0.05}]}
    scene.router.count(**dict.fromkeys(names, 3.0))
    scene.router.fail(**dict.fromkeys(names, 0))
    changed = {"modelName": "spam", "variants": variants, "metrics": metrics, "stopping": {"minDuration": "24h"}}
    scene.submit("ABExperiment", "x", {**GOOD["ABExperiment"], **changed, **changes})
    scene.wait("ABExperiment", "x", lambda status: status.get("phase") == "Running")


def _route(scene: Stand) -> dict[str, Any]:
    (table,) = (
        item for item in scene.cluster.get("configmaps")["items"] if item["metadata"]["name"] == "anneal-router"
    )
    route: dict[str, Any] = json.loads(table["data"]["routes.json"])["models"]["spam"]
    return route


def _targets(scene: Stand) -> dict[str, str]:
    split = _route(scene).get("experiment")
    return {variant["name"]: variant["target"] for variant in split["variants"]} if split else {}


def test_an_erring_variant_is_rolled_back_within_60_s(scene: Stand) -> None:
    _begin(scene, "stable", "tuned")
    scene.router.fail(stable=0, tuned=60)
    began = time.monotonic()
    status = scene.wait("ABExperiment", "x", lambda status: status.get("phase") == "RolledBack", _SECONDS)
    assert poll(lambda: not _targets(scene), began + _SECONDS - time.monotonic())
    assert (status["decision"]["outcome"], status["decision"]["winner"]) == ("GuardrailBreach", "stable")
    assert status["dropped"] == ["tuned"]
    assert (_targets(scene), _route(scene)["default"]) == ({}, "spam-stable")


def test_of_several_variants_the_erring_one_alone_loses_its_users(scene: Stand) -> None:
    _begin(scene, *_NAMES)
    assert _targets(scene) == {name: f"spam-{name}" for name in _NAMES}
    scene.router.fail(stable=0, tuned=60, other=0)
    wanted = {"stable": "spam-stable", "tuned": "spam-stable", "other": "spam-other"}
    assert poll(lambda: _targets(scene) == wanted, _SECONDS), _targets(scene)
    status = scene.status("ABExperiment", "x")
    assert (status["phase"], status["dropped"]) == ("Running", ["tuned"])


def test_a_winner_that_errs_while_it_bakes_returns_everybody_within_60_s(scene: Stand) -> None:
    _begin(
        scene,
        "stable",
        "tuned",
        stopping={"minUsersPerVariant": 100, "minDuration": "1s"},
        decision={"bake": "1h", "bakeHoldbackPercent": 50},
    )
    scene.router.count(stable=3.0, tuned=4.0)
    scene.wait("ABExperiment", "x", lambda status: "bakingSince" in status)
    assert _route(scene)["default"] == "spam-tuned"
    scene.router.fail(stable=0, tuned=60)
    began = time.monotonic()
    status = scene.wait("ABExperiment", "x", lambda status: status.get("phase") == "RolledBack", _SECONDS)
    assert poll(lambda: _route(scene)["default"] == "spam-stable", began + _SECONDS - time.monotonic())
    assert (status["reason"], status["decision"]["winner"]) == ("GuardrailBreach", "tuned")
    assert _targets(scene) == {}
