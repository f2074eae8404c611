"""A challenger that breaks a guardrail: its users get the control's answers before anybody else is asked."""

import asyncio
import json
from typing import Any

import pytest

from anneal_operator.decide.statistics.guarded import Guards, Ratio
from anneal_operator.decide.statistics.recomputed import recomputed
from anneal_operator.outside.registry import Registration
from anneal_operator.reconcile.guards_seen import guards_in
from anneal_operator.reconcile.queue import Key
from tests.support.counted import answers_told, failures, metric_told

from .world import NAMESPACE, World

VARIANTS = [
    {"name": name, "modelVersionRef": {"name": version}, "weight": 50}
    for name, version in (("a", "one"), ("b", "two"), ("c", "three"))
]
SPEC: dict[str, Any] = {
    "modelName": "spam",
    "control": "a",
    "variants": VARIANTS[:2],
    "metrics": {
        "primary": {"name": "rating"},
        "guardrails": [{"name": "errors", "source": "Errors", "max": 0.05}],
    },
    "stopping": {"minUsersPerVariant": 100},
}


def _begun(**changes: Any) -> World:
    made = World()
    made.api.put("ABExperiment", "x", spec=SPEC | changes, metadata={"uid": "uid-x"})
    for number, name in enumerate(("one", "two", "three"), 1):
        artifact = {"uri": "mlflow-artifacts:/1/r", "format": "Full", "digest": "sha256:" + "0" * 64}
        status = {"phase": "Ready", "registry": {"version": str(number), "url": "u"}}
        made.api.put("ModelVersion", name, spec={"modelName": "spam", "artifact": artifact}, status=status)
        asyncio.run(made.registry.register(Registration(NAMESPACE, name, name, "spam", "u", "d", "r")))
    made.registry.aliases["spam", "production"] = "1"
    made.reconcile("ABExperiment", "x")
    made.programme(split_by="uid-x")
    _count(made, a=(0, 0), b=(0, 0), c=(0, 0))
    made.reconcile("ABExperiment", "x", 2)
    return made


def _count(world: World, **arms: tuple[int, int]) -> None:
    variants = {
        name: {"users": n, "requests": n, "fallbacks": 0, "metric": metric_told(n, 3.0, float(n))}
        for name, (n, _) in arms.items()
        if n
    }
    world.routers.counted = {"variants": variants, "moved_users": 0, "open": answers_told(**arms), "control": "a"}


def _status(world: World) -> dict[str, Any]:
    return world.api.status("ABExperiment", "x")


def _record(world: World) -> dict[str, Any]:
    return next(made for (kind, name), made in world.api.objects.items() if kind == "ConfigMap" and "record" in name)


def _condition(world: World) -> tuple[str, str]:
    found = next(one for one in _status(world)["conditions"] if one["type"] == "GuardrailsHealthy")
    return found["status"], found["reason"]


def test_users_return_before_the_minimum_duration_and_while_mlflow_is_away() -> None:
    world = _begun()
    assert _status(world)["phase"] == "Running"
    world.registry.down = True
    _count(world, a=(20, 0), b=(20, 20))
    world.later(5)
    world.woken.clear()
    world.reconcile("ABExperiment", "x", 3)
    assert (_status(world)["phase"], _status(world)["dropped"]) == ("RolledBack", ["b"])
    decision = json.loads(_record(world)["data"]["decision.json"])
    assert (decision["outcome"], decision["winner"]) == ("GuardrailBreach", "a")
    assert json.loads(_record(world)["data"]["latches.json"]) == ["harm:errors:1"]
    assert Key("Router", NAMESPACE, "anneal-router") in world.woken
    told, agrees = recomputed(json.dumps(_record(world)))
    assert agrees, told
    assert world.registry.aliases["spam", "production"] == "1"


def test_the_start_freezes_the_guardrails() -> None:
    terms = json.loads(_record(_begun())["data"]["start.json"])["terms"]
    assert terms["guardrails"] == [{"name": "errors", "source": "Errors", "most": 0.05}]
    assert terms["rule"] == 2, "another build that does not know them is to judge nothing"


def test_a_recorder_of_an_earlier_build_holds_up_a_promotion_and_no_more() -> None:
    world = _begun()
    _count(world, a=(200, 0), b=(200, 0))
    assert world.routers.counted is not None
    del world.routers.counted["open"]
    world.later(5)
    world.reconcile("ABExperiment", "x")
    assert (_status(world)["phase"], _condition(world)) == ("Running", ("Unknown", "GuardrailsUnknown"))


@pytest.mark.parametrize(
    "spoilt",
    [
        {"failed": 21},
        {"failed": -1},
        {"failed": "many"},
        {"left": 21},
        {"exposed": 10**50},
        {"ratios": {"answers.errors": {"n": 20, "m": 21, "d": 20, "mm": 23, "dd": 20, "md": 21}}},
        {"ratios": {"answers.errors": {"n": 20, "m": 20, "d": 20, "mm": 1, "dd": 20, "md": 20}}},
        {"ratios": {"answers.errors": {"n": 21, "m": 0, "d": 21, "mm": 0, "dd": 21, "md": 0}}},
        {"ratios": []},
    ],
)
def test_impossible_numbers_are_as_if_it_had_not_answered(spoilt: dict[str, Any]) -> None:
    world = _begun()
    _count(world, a=(20, 0), b=(20, 20))
    assert world.routers.counted is not None
    variants = world.routers.counted["open"]["variants"]
    variants["a"]["left"] = variants["b"]["left"] = 0
    variants["b"] |= spoilt
    world.later(5)
    world.reconcile("ABExperiment", "x", 3)
    assert _status(world)["phase"] == "Running"
    assert next(one for one in _status(world)["conditions"] if one["type"] == "DataFresh")["reason"] == "RecorderSilent"


STARS: dict[str, Any] = {"name": "stars", "source": "Feedback", "range": {"min": 1, "max": 5}}
_SAID = {**SPEC["metrics"], "guardrails": [{**STARS, "maxRegressionPercent": 10}]}
_HOUR = {"minUsersPerVariant": 100, "minDuration": "1h"}


def _say(world: World, *said: tuple[int, float], users: int = 1000, seconds: int = 5) -> None:
    """So many users of each variant rated it so; by what decides the challenger is better."""
    _count(world, a=(users, 0), b=(users, 0))
    assert world.routers.counted is not None
    world.routers.counted["variants"]["b"]["metric"] = metric_told(users, 4.0, float(users))
    stars = (metric_told(n, mean, float(n)) for n, mean in said)
    variants = {name: {"metric": metric} for name, metric in zip("ab", stars, strict=True)}
    world.routers.counted_of = {"stars": {"variants": variants, "control": "a"}}
    world.later(seconds)
    world.reconcile("ABExperiment", "x", 3)


def test_users_return_from_a_challenger_that_they_rate_worse_though_it_would_win() -> None:
    world = _begun(metrics=_SAID)
    terms = json.loads(_record(world)["data"]["start.json"])["terms"]
    assert terms["guardrails"] == [
        {"name": "stars", "source": "Feedback", "increases": True, "regression": 0.1, "low": 1.0, "high": 5.0}
    ]
    assert terms["rule"] == 4, "another build that does not know them is to judge nothing"
    _say(world, (400, 4.0), (400, 3.0))
    assert (_status(world)["phase"], _status(world)["dropped"]) == ("RolledBack", ["b"])
    decision = json.loads(_record(world)["data"]["decision.json"])
    assert (decision["outcome"], decision["winner"]) == ("GuardrailBreach", "a")
    limit = "Feedback 3, the control's 4, where at least 0.9 times the control's is allowed"
    assert decision["reason"] == f"b was shown to be beyond stars: {limit}"
    assert json.loads(_record(world)["data"]["latches.json"]) == ["harm:stars:1"]
    told, agrees = recomputed(json.dumps(_record(world)))
    assert agrees, told


def test_a_challenger_that_they_rate_as_well_is_promoted_and_the_record_makes_the_verdict_again() -> None:
    world = _begun(metrics=_SAID, stopping=_HOUR)
    _say(world, (50, 4.0), (50, 4.0), seconds=3700)
    assert (_status(world)["phase"], _condition(world)) == ("Running", ("Unknown", "GuardrailsNotShown"))
    _say(world, (800, 4.0), (800, 4.0))
    decision = json.loads(_record(world)["data"]["decision.json"])
    assert (decision["outcome"], decision["winner"]) == ("Winner", "b")
    (stood,) = _status(world)["variants"][1]["guardrails"]
    assert (stood["state"], stood["value"], stood["ratio"]) == ("Kept", 4.0, 1.0)
    assert 0.9 < stood["bound"] < 1
    told, agrees = recomputed(json.dumps(_record(world)))
    assert agrees, told
    spoilt = json.loads(decision["snapshot"])
    spoilt["counts"]["guards"]["said"]["stars"]["sums"][1][1] -= 10**7
    decision["snapshot"] = json.dumps(spoilt)
    assert not recomputed(json.dumps(decision))[1], "the verdict rests on them"


def test_nobody_is_promoted_where_users_of_one_variant_rate_more_often() -> None:
    world = _begun(metrics=_SAID, stopping=_HOUR)
    _say(world, (600, 4.0), (900, 4.0), seconds=3700)
    assert (_status(world)["phase"], _condition(world)) == ("Running", ("Unknown", "ResponseDiffers"))
    assert json.loads(_record(world)["data"]["latches.json"]) == ["response:stars"]
    assert _status(world)["variants"][1]["guardrails"][0]["state"] == "NotShown"
    _say(world, (900, 4.0), (900, 4.0))
    assert (_status(world)["phase"], _condition(world)) == ("Running", ("Unknown", "ResponseDiffers"))


def test_variants_that_are_the_same_are_unsound_where_users_of_one_rate_more_often() -> None:
    world = _begun(
        metrics=_SAID, type="AA", decision={"mode": "Observe"}, variants=[VARIANTS[0], {**VARIANTS[0], "name": "b"}]
    )
    _say(world, (600, 4.0), (900, 4.0))
    assert _status(world)["decision"]["outcome"] == "Unsound"
    assert "users of one variant give stars more often than those of another" in _status(world)["decision"]["reason"]


@pytest.mark.parametrize(
    "spoilt", [None, {}, {"n": -1}, {"n": 2, "y": 9, "yy": 1}, {"n": 2, "y": "x"}, {"n": 1, "yy": 10**41}]
)
def test_where_a_recorder_does_not_tell_what_users_say_nothing_is_promoted(spoilt: dict[str, Any] | None) -> None:
    world = _begun(metrics=_SAID, stopping=_HOUR)
    if spoilt is None:
        world.routers.untold = {"stars"}
    _say(world, (800, 4.0), (800, 4.0))
    broken = {"sums": spoilt} if spoilt else 3
    world.routers.counted_of["stars"]["variants"]["b"] = {"metric": broken}
    world.later(3700)
    world.reconcile("ABExperiment", "x", 3)
    assert (_status(world)["phase"], _condition(world)) == ("Running", ("Unknown", "GuardrailsUnknown"))
    fresh = next(one for one in _status(world)["conditions"] if one["type"] == "DataFresh")
    assert fresh["status"] == "True", "what decides is known"


def test_the_recorder_is_told_between_what_values_it_lies() -> None:
    world = _begun(metrics={**_SAID, "primary": {"name": "rating", "range": {"min": 0, "max": 10}}})
    assert world.routers.counted is not None
    world.routers.counted["control"] = None
    world.reconcile("ABExperiment", "x")
    ranges = {"rating": {"min": 0, "max": 10}, "stars": {"min": 1, "max": 5}}
    assert world.routers.defined["uid-x"] == {"control": "a", "ranges": ranges}


def test_what_a_recorder_tells_is_read_in_the_order_of_the_variants() -> None:
    told = {"open": answers_told(b=(20, 3), a=(10, 0))}
    assert guards_in(told, ["a", "b"], ["Errors"]) == failures((10, 0), (20, 3))
    left = {"open": answers_told(a=(10, 0), b=(20, 3))}
    left["open"]["variants"]["a"]["left"] = 1
    assert guards_in(left, ["a", "b"], ["Errors"]) == failures((10, 0), (20, 3)), "one arm's alone says nothing"
    left["open"]["variants"]["b"]["left"] = 2
    found = guards_in(left, ["a", "b"], ["Errors"])
    assert found is not None
    assert found.left == (1, 2)
    assert Guards.read(found.told()) == found
    assert guards_in(told, ["a", "c"], ["Errors"]) == Guards(
        (0, 0), {"Errors": (Ratio(10, 0, 10, 0, 10, 0), Ratio())}, {"Errors": 1}
    )
    assert guards_in(told, ["a", "b"], ["Errors", "Latency"]) == failures((10, 0), (20, 3)), "it measures no latency"
    assert guards_in(told, ["a", "b"], []) is None
    assert guards_in({}, ["a", "b"], ["Errors"]) is None
