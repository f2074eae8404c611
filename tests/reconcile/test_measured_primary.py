"""An experiment whose verdict is by what is measured of answers, from its start to the promotion."""

import asyncio
import json
from typing import Any

import pytest

from anneal_operator.decide.statistics.recomputed import recomputed
from anneal_operator.outside.registry import Registration
from tests.support.counted import answers_told, metric_told

from .world import NAMESPACE, World

SPEC: dict[str, Any] = {
    "modelName": "spam",
    "control": "a",
    "variants": [
        {"name": "a", "modelVersionRef": {"name": "one"}, "weight": 50},
        {"name": "b", "modelVersionRef": {"name": "two"}, "weight": 50},
    ],
    "metrics": {"primary": {"name": "failures", "source": "Errors", "minimumDetectableEffect": 0.02}},
    "stopping": {"minUsersPerVariant": 100, "minDuration": "1h"},
}


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
    _count(made, a=(0, 0), b=(0, 0))
    made.reconcile("ABExperiment", "x", 2)
    return made


def _count(world: World, **arms: tuple[int, int]) -> None:
    """Somebody posts feedback by the metric's name, too: that is not what was asked for."""
    variants = {
        name: {"users": n, "requests": n, "fallbacks": 0, "metric": metric_told(n, 3.0 + (name == "a"), float(n))}
        for name, (n, _) in arms.items()
        if n
    }
    world.routers.counted = {"variants": variants, "moved_users": 0, "open": answers_told(**arms), "control": "a"}


def _status(world: World) -> dict[str, Any]:
    return world.api.status("ABExperiment", "x")


def _record(world: World) -> dict[str, Any]:
    return next(made for (kind, name), made in world.api.objects.items() if kind == "ConfigMap" and "record" in name)


def _sample(world: World) -> tuple[str, str]:
    found = next(one for one in _status(world)["conditions"] if one["type"] == "SampleSufficient")
    return found["reason"], found["message"]


def test_who_fails_less_often_is_promoted_and_the_record_makes_the_verdict_again() -> None:
    world = _begun()
    _count(world, a=(400, 80), b=(400, 8))
    world.later(3700)
    world.reconcile("ABExperiment", "x", 4)
    decision = _status(world)["decision"]
    assert (decision["outcome"], decision["winner"], decision["rule"]) == ("Winner", "b", "sequence-0.95")
    assert decision["reason"].startswith("b is better than a: failures -18 points [")
    told = _status(world)["variants"][1]["metrics"]
    assert [(one["name"], one["users"], one["mean"], one["lift"]) for one in told] == [("failures", 400, 0.02, -0.18)]
    assert "stddev" not in told[0]
    text, agrees = recomputed(json.dumps(_record(world)))
    assert agrees, text


def test_the_start_freezes_what_is_measured_by_a_rule_that_earlier_builds_do_not_know() -> None:
    terms = json.loads(_record(_begun())["data"]["start.json"])["terms"]
    assert (terms["source"], terms["increases"], terms["effect"]) == ("Errors", False, 0.02)
    assert terms["rule"] not in {1, 2}
    limit = {"name": "slow", "source": "Latency", "max": 5}
    guarded = _begun(metrics={**SPEC["metrics"], "guardrails": [limit]})
    kept = json.loads(_record(guarded)["data"]["start.json"])["terms"]
    assert (kept["rule"], [one["name"] for one in kept["guardrails"]]) == (terms["rule"], ["slow"])


def test_before_the_sample_is_there_users_are_those_who_asked() -> None:
    world = _begun()
    _count(world, a=(60, 6), b=(50, 5))
    world.later(5)
    world.reconcile("ABExperiment", "x")
    assert _sample(world) == ("Collecting", "the smallest variant has 50 of 100 users with failures")


def test_a_fixed_horizon_tells_no_mean_before_its_look() -> None:
    world = _begun(stopping={**SPEC["stopping"], "method": "FixedHorizon", "minUsersPerVariant": 5000})
    _count(world, a=(400, 80), b=(400, 8))
    world.later(3700)
    world.reconcile("ABExperiment", "x")
    assert [variant["metrics"] for variant in _status(world)["variants"]] == [[{"name": "failures", "users": 400}]] * 2


@pytest.mark.parametrize("lost", ["open", "measure"])
def test_a_recorder_that_does_not_tell_it_is_named(lost: str) -> None:
    world = _begun()
    _count(world, a=(400, 80), b=(400, 8))
    assert world.routers.counted is not None
    if lost == "open":
        del world.routers.counted["open"]
    else:
        world.routers.counted["open"]["parts"] = {}
    world.later(3700)
    world.reconcile("ABExperiment", "x", 3)
    assert (_status(world)["phase"], "decision" in _status(world)) == ("Running", False)
    reason, message = _sample(world)
    assert reason == "Collecting"
    assert message.startswith("the recorder does not tell Errors of answers, so nothing is decided")
