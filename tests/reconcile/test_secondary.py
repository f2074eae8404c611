"""Secondary metrics: told beside the one that decides, whatever becomes of them."""

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from anneal_operator.outside.registry import Registration
from tests.support.counted import answers_told, metric_told, ratio_over

from .world import NAMESPACE, World

SPEC: dict[str, Any] = {
    "modelName": "spam",
    "control": "a",
    "variants": [
        {"name": "a", "modelVersionRef": {"name": "one"}, "weight": 50},
        {"name": "b", "modelVersionRef": {"name": "two"}, "weight": 50},
    ],
    "metrics": {
        "primary": {"name": "rating"},
        "secondary": [{"name": "solved"}, {"name": "failures", "source": "Errors"}],
    },
    "stopping": {"minUsersPerVariant": 100, "minDuration": "1h"},
}
Means = tuple[float, float]


def _begun(**changes: Any) -> World:
    made = World()
    made.api.put("ABExperiment", "x", spec=SPEC | changes, metadata={"uid": "uid-x"})
    for number, name in enumerate(("one", "two"), 1):
        artifact = {"uri": "mlflow-artifacts:/1/r", "format": "Full", "digest": "sha256:" + "0" * 64}
        status = {"phase": "Ready", "registry": {"version": str(number), "url": "u"}}
        made.api.put("ModelVersion", name, spec={"modelName": "spam", "artifact": artifact}, status=status)
        asyncio.run(made.registry.register(Registration(NAMESPACE, name, name, "spam", "u", "d", "r")))
    made.registry.aliases["spam", "production"] = "1"
    made.reconcile("ABExperiment", "x")
    made.programme(split_by="uid-x")
    made.routers.counted = _told(0, (3.0, 3.0), (0, 0))
    made.reconcile("ABExperiment", "x", 2)
    return made


def _told(users: int, means: Means, failed: tuple[int, int] = (40, 40), said: int | None = None) -> dict[str, Any]:
    """Of so many users of each variant; `said` how many gave a value, where not all did."""
    n = users if said is None else said
    metrics = [metric_told(n, mean, float(n)) for mean in means]
    variants = {
        name: {"users": users, "requests": users, "fallbacks": 0, "metric": metric}
        for name, metric in zip("ab", metrics, strict=True)
        if users
    }
    told = answers_told(a=(users, failed[0]), b=(users, failed[1]))
    return {"variants": variants, "moved_users": 0, "open": told, "control": "a"}


def _look(world: World, primary: dict[str, Any], solved: dict[str, Any], seconds: int = 5) -> None:
    world.routers.counted, world.routers.counted_of = primary, {"solved": solved}
    world.later(seconds)
    world.reconcile("ABExperiment", "x", 3)


def _status(world: World) -> dict[str, Any]:
    return world.api.status("ABExperiment", "x")


def _metrics(world: World) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in _status(world)["variants"][1]["metrics"]}


def test_each_is_told_with_an_interval_of_its_own() -> None:
    world = _begun()
    _look(world, _told(400, (3.0, 3.0), failed=(40, 80)), _told(400, (0.5, 0.75)))
    told = _metrics(world)
    assert list(told) == ["rating", "solved", "failures"]
    assert (told["solved"]["mean"], told["solved"]["lift"]) == (0.75, 0.25)
    assert told["solved"]["lower"] < 0.25 < told["solved"]["upper"]
    assert (told["failures"]["users"], told["failures"]["mean"], told["failures"]["lift"]) == (400, 0.2, 0.1)


@pytest.mark.parametrize(
    ("source", "measure"),
    [
        ("Latency", "answers.latency"),
        ("TimeToFirstToken", "answers.first"),
        ("TimePerOutputToken", "answers.pace"),
        ("OutputTokens", "answers.tokens"),
    ],
)
def test_whatever_is_measured_of_answers_may_be_told(source: str, measure: str) -> None:
    """As a primary some take a guardrail of errors; what decides nothing takes none."""
    secondary = [{"name": "beside", "source": source}]
    world = _begun(metrics={"primary": {"name": "rating"}, "secondary": secondary})
    told = _told(400, (3.0, 3.0))
    for arm in told["open"]["variants"].values():
        arm["ratios"][measure] = dataclasses.asdict(ratio_over([1, 3] * 200, [1] * 400))
    told["open"]["parts"][measure] = 1
    _look(world, told, {})
    beside = _metrics(world)["beside"]
    assert (beside["users"], beside["lift"]) == (400, 0)


def test_the_recorder_is_asked_once_more_for_each_of_feedback_and_not_for_what_it_tells_anyway() -> None:
    world = _begun()
    world.routers.asked_of.clear()
    world.reconcile("ABExperiment", "x")
    assert world.routers.asked_of == ["uid-x"] * 2


def test_however_clear_they_are_nothing_is_decided_by_them() -> None:
    world = _begun()
    _look(world, _told(400, (3.0, 3.0), failed=(0, 400)), _told(400, (0.0, 9.0)), seconds=3700)
    assert (_status(world)["phase"], "decision" in _status(world)) == ("Running", False)
    kept = next(made for (kind, name), made in world.api.objects.items() if kind == "ConfigMap" and "record" in name)
    assert "latches.json" not in kept["data"]
    terms = json.loads(kept["data"]["start.json"])["terms"]
    assert (terms["rule"], "solved" in json.dumps(terms)) == (1, False), "an earlier build may go on with it"


def test_differences_are_told_of_a_sample_alone() -> None:
    world = _begun()
    _look(world, _told(400, (3.0, 3.0)), _told(400, (0.5, 0.75), said=99))
    told = _metrics(world)
    assert ("lift" in told["rating"], "lift" in told["solved"], told["solved"]["users"]) == (True, False, 99)


def test_each_tells_whether_users_of_one_variant_give_it_more_often() -> None:
    world, uneven = _begun(), _told(400, (0.5, 0.75))
    _look(world, _told(400, (3.0, 3.0)), _told(400, (0.5, 0.75)))
    assert _metrics(world)["solved"]["responsePValue"] == 1
    uneven["variants"]["b"]["metric"] = metric_told(150, 0.75, 150.0)
    _look(world, _told(400, (3.0, 3.0)), uneven)
    assert _metrics(world)["solved"]["responsePValue"] < 0.001
    assert "responsePValue" not in _status(world)["variants"][0]["metrics"][1]


def test_a_fixed_horizon_tells_of_them_with_its_look_and_not_before() -> None:
    world = _begun(stopping={**SPEC["stopping"], "method": "FixedHorizon", "minUsersPerVariant": 300})
    _look(world, _told(200, (3.0, 3.0)), _told(200, (0.5, 0.75)), seconds=3700)
    assert _metrics(world)["solved"] == {"name": "solved", "users": 200}
    assert _metrics(world)["failures"] == {"name": "failures", "users": 200}
    _look(world, _told(400, (3.0, 4.0)), _told(400, (0.5, 0.75)))
    assert _status(world)["decision"]["winner"] == "b"
    assert (_metrics(world)["solved"]["lift"], "pValue" in _metrics(world)["failures"]) == (0.25, True)


@pytest.mark.parametrize("spoilt", [{}, {"variants": {"a": {"metric": {"sums": {"n": -1}}}}, "moved_users": 0}, None])
def test_one_that_the_recorder_does_not_tell_holds_up_nothing(spoilt: dict[str, Any] | None) -> None:
    world = _begun()
    if spoilt is None:
        world.routers.untold = {"solved"}
    _look(world, _told(400, (3.0, 4.0)), spoilt or {}, seconds=3700)
    assert _status(world)["decision"]["winner"] == "b"
    assert list(_metrics(world)) == ["rating", "failures"]
