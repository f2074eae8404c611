"""What people want of an experiment that runs: it rests and goes on, ends, waits for them, bakes, has another ramp.

The routes are the operator's own, as the routers' objects have them.
"""

import asyncio
import json
from typing import Any

import pytest

from anneal_operator.desired.experiments import record_name, record_name_with_ramp
from anneal_operator.reconcile.experiment_reports import ExperimentReports
from tests.support.counted import answers_told, metric_told

from .experiments import EXPERIMENT, answer, version_of
from .world import Manifest, World

SPEC = EXPERIMENT | {"stopping": EXPERIMENT["stopping"] | {"maxDuration": "24h"}}


def _settle(world: World, rounds: int = 6) -> None:
    for _ in range(rounds):
        for name in ("one", "two"):
            world.reconcile("ModelVersion", name)
        world.reconcile("Router", "anneal-router")
        world.reconcile("ABExperiment", "x")


@pytest.fixture
def world() -> World:
    """Two versions that every router knows, the first in production."""
    made = World()
    for name in ("one", "two"):
        made.api.put("ModelVersion", name, spec=version_of(name, serving={"rollbackWindow": "0s"}))
        made.reconcile("ModelVersion", name, 2)
        answer(made, name)
        made.reconcile("ModelVersion", name, 2)
        made.reconcile("Router", "anneal-router", 2)
    return made


def _begin(world: World, **changes: Any) -> None:
    world.api.put("ABExperiment", "x", spec=SPEC | changes, metadata={"uid": "uid-x", "generation": 1})
    _settle(world)
    assert _status(world)["phase"] == "Running"


def _change(world: World, **changes: Any) -> None:
    found = world.api.objects["ABExperiment", "x"]
    metadata = {**found["metadata"], "generation": found["metadata"]["generation"] + 1}
    world.api.edit("ABExperiment", "x", spec={**found["spec"], **changes}, metadata=metadata)


def _count(world: World, a: float = 3.0, b: float = 4.0) -> None:
    told = {
        name: {"users": 400, "requests": 800, "fallbacks": 0, "metric": metric_told(400, mean, 400.0)}
        for name, mean in {"a": a, "b": b}.items()
    }
    world.routers.counted = {"variants": told, "moved_users": 0}
    world.later(5)


def _status(world: World) -> dict[str, Any]:
    return world.api.status("ABExperiment", "x")


def _route(world: World) -> tuple[str, list[tuple[str, int]]]:
    """Return who gets whoever is in no experiment, and the arms of the one that splits."""
    route = json.loads(world.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"])["models"]["spam"]
    told = route["experiments"] if "experiments" in route else [route["experiment"]]
    splits = [split for split in told if split]
    return route["default"], [(arm["name"], arm["up_to"]) for split in splits for arm in split["variants"]]


def _record(world: World) -> Manifest:
    return next(made for (kind, name), made in world.api.objects.items() if kind == "ConfigMap" and "-record-" in name)


def _pods(world: World, name: str) -> int:
    return int(world.api.objects["Deployment", f"{name}-server"]["spec"]["replicas"])


SPLIT = [("a", 5000), ("b", 10_000)]


def test_an_experiment_rests_and_goes_on_with_everybody_where_they_were(world: World) -> None:
    _begin(world)
    record = _record(world)["data"]
    _change(world, suspend=True)
    _count(world)
    _settle(world)
    assert (_status(world)["phase"], _route(world)) == ("Paused", ("one", []))
    assert (_pods(world, "two"), "decision" in _status(world)) == (1, False)
    world.later(3600)
    _change(world, suspend=False)
    world.routers.counted = None
    _settle(world)
    assert (_status(world)["phase"], _route(world)) == ("Running", ("one", SPLIT))
    assert (_record(world)["data"], _status(world)["pausedSeconds"]) == (record, 3600)
    _count(world)
    _settle(world)
    assert _status(world)["phase"] == "Promoted"


def test_an_experiment_that_is_aborted_frees_the_challenger_and_leaves_production(world: World) -> None:
    _begin(world, decision={"scaleDownDelay": "0s"})
    _change(world, abort=True)
    _count(world)
    _settle(world)
    world.later(60)
    _settle(world)
    assert (_status(world)["phase"], _route(world)) == ("Aborted", ("one", []))
    assert (_pods(world, "one"), _pods(world, "two")) == (1, 0)
    assert (world.registry.aliases["spam", "production"], _record(world)["immutable"]) == ("1", True)
    _forget(world)
    assert _status(world)["phase"] == "Aborted", "also where its status was lost"
    world.api.remove("ABExperiment", "x")
    _settle_versions(world)
    assert (_route(world), _pods(world, "two")) == (("one", []), 0), "and where it is deleted"


def _forget(world: World) -> None:
    world.api.edit("ABExperiment", "x", status={})
    _settle(world)


def _settle_versions(world: World) -> None:
    for _ in range(4):
        for name in ("one", "two"):
            world.reconcile("ModelVersion", name)
        world.reconcile("Router", "anneal-router")


@pytest.mark.parametrize(("means", "phase"), [((4.0, 3.0), "RolledBack"), ((3.0, 3.0), "Inconclusive")])
def test_where_nobody_better_was_found_the_challenger_is_freed_and_production_stays(
    world: World, means: tuple[float, float], phase: str
) -> None:
    _begin(world, stopping=SPEC["stopping"] | {"method": "FixedHorizon"}, decision={"scaleDownDelay": "0s"})
    _count(world, *means)
    _settle(world)
    world.later(60)
    _settle(world)
    assert (_status(world)["phase"], _route(world)) == (phase, ("one", []))
    assert (_pods(world, "one"), _pods(world, "two")) == (1, 0)
    assert world.registry.aliases["spam", "production"] == "1"
    world.api.remove("ABExperiment", "x")
    _settle_versions(world)
    assert (_route(world), _pods(world, "two")) == (("one", []), 0), "a finished one may be deleted"


def test_a_recommendation_outlives_status_and_record_and_follows_its_approval(world: World) -> None:
    _begin(world, decision={"mode": "Recommend"})
    _count(world)
    _settle(world)
    assert (_status(world)["phase"], _status(world)["recommended"], _route(world)) == ("Running", "b", ("one", SPLIT))
    assert world.api.events.count(("Recommended", _message(world, "AwaitingApproval"))) == 1
    advice = json.loads(_record(world)["data"]["recommendation.json"])
    world.api.remove("ConfigMap", _record(world)["metadata"]["name"])
    world.later(301)
    _count(world, 3.0, 3.0)
    _forget(world)
    assert _status(world)["recommended"] == "b"
    _change(world, decision={"mode": "Recommend", "approve": "b"})
    _settle(world)
    assert _status(world)["phase"] == "Promoted"
    assert _status(world)["decision"]["snapshot"] == advice["snapshot"]
    assert world.registry.aliases["spam", "production"] == "2"


def _message(world: World, kind: str) -> str:
    return str(next(found["message"] for found in _status(world)["conditions"] if found["type"] == kind))


BAKE = {"decision": {"bake": "1h", "scaleDownDelay": "0s"}}
HELD = [("a", 1000), ("b", 10_000)]


def test_a_winner_bakes_then_has_production_and_the_control_is_drained(world: World) -> None:
    _begin(world, **BAKE)
    _count(world)
    _settle(world)
    assert (_status(world)["phase"], _route(world)) == ("Baking", ("two", HELD))
    assert (world.registry.aliases["spam", "production"], _pods(world, "one")) == ("1", 1)
    world.later(3599)
    _settle(world)
    assert _status(world)["phase"] == "Baking"
    world.later(10)
    _settle(world, 12)
    assert (_status(world)["phase"], _route(world)) == ("Promoted", ("two", []))
    assert world.registry.aliases["spam", "production"] == "2"
    world.later(60)
    _settle(world)
    assert (_pods(world, "one"), _pods(world, "two"), _record(world)["immutable"]) == (0, 1, True)


def test_whoever_aborts_while_a_winner_bakes_returns_everybody(world: World) -> None:
    _begin(world, **BAKE)
    _count(world)
    _settle(world)
    _change(world, abort=True)
    _settle(world)
    assert (_status(world)["phase"], _route(world)) == ("Aborted", ("one", []))
    assert (world.registry.aliases["spam", "production"], _record(world)["immutable"]) == ("1", True)
    world.later(7200)
    _settle(world)
    assert (_pods(world, "one"), _pods(world, "two")) == (1, 0)
    _forget(world)
    assert (_status(world)["phase"], _route(world)) == ("Aborted", ("one", []))
    assert world.registry.aliases["spam", "production"] == "1"


ERRORS = {**SPEC["metrics"], "guardrails": [{"name": "errors", "source": "Errors", "max": 0.05}]}


def _begin_to_bake(world: World) -> None:
    """Nobody had a failure so far."""
    _begin(world, **BAKE, metrics=ERRORS)
    _count(world)
    assert world.routers.counted is not None
    world.routers.counted["open"] = answers_told(a=(400, 0), b=(400, 0))
    _settle(world)
    assert (_status(world)["phase"], _route(world)) == ("Baking", ("two", HELD))


def test_a_winner_that_fails_while_it_bakes_returns_everybody_without_mlflow(world: World) -> None:
    _begin_to_bake(world)
    world.registry.down = True
    world.routers.asked_of.clear()
    world.routers.counted = {"open": answers_told(a=(100, 0), b=(900, 400))}
    world.later(5)
    world.reconcile("ABExperiment", "x", 2)
    assert set(world.routers.asked_of) == {"uid-x-bake"}, "apart from the verdict's numbers"
    kept = json.loads(_record(world)["data"]["return.json"])
    assert (kept["outcome"], _record(world)["immutable"]) == ("GuardrailBreach", True)
    _settle(world)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("RolledBack", "GuardrailBreach")
    assert _route(world) == ("one", [])
    told = [message for reason, message in world.api.events if reason == "GuardrailBreach"]
    assert told == [kept["reason"]], "one Event, of the three conditions"
    assert "GuardrailBreach" in world.api.warnings
    world.routers.counted = None
    world.later(7200)
    _settle(world)
    _forget(world)
    assert (_status(world)["phase"], _route(world), _pods(world, "one")) == ("RolledBack", ("one", []), 1)
    assert world.registry.aliases["spam", "production"] == "1"


def test_a_winner_that_does_not_answer_while_it_bakes_returns_everybody_without_mlflow(world: World) -> None:
    _begin(world, **BAKE)
    _count(world)
    _settle(world)
    assert (_status(world)["phase"], _route(world), _fallback(world)) == ("Baking", ("two", HELD), "a")
    world.registry.down = True
    deployment = world.api.objects["Deployment", "two-server"]
    world.api.edit("Deployment", "two-server", status={**deployment["status"], "readyReplicas": 0})
    for _ in range(5):
        _settle(world, 1)
        assert (_status(world)["phase"], _route(world)) == ("Baking", ("two", HELD)), "the control answers in its place"
        world.later(5)
    assert _message(world, "VariantsReady").startswith("ModelVersion two does not answer")
    world.later(5)
    world.reconcile("ABExperiment", "x", 2)
    kept = json.loads(_record(world)["data"]["return.json"])
    assert (kept["outcome"], _record(world)["immutable"]) == ("WinnerLost", True)
    _settle(world)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("RolledBack", "WinnerLost")
    assert _route(world) == ("one", [])
    told = [message for reason, message in world.api.events if reason == "WinnerLost"]
    assert told == [kept["reason"]], "one Event, of the three conditions"
    assert "WinnerLost" in world.api.warnings
    world.registry.down = False
    world.later(7200)
    _settle(world)
    _forget(world)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("RolledBack", "WinnerLost")
    assert (_route(world), _pods(world, "one")) == (("one", []), 1)
    assert world.registry.aliases["spam", "production"] == "1"


def _fallback(world: World) -> str:
    table = json.loads(world.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"])
    return str(table["models"]["spam"]["experiment"]["fallback"])


SAID = {
    **SPEC["metrics"],
    "guardrails": [{"name": "stars", "source": "Feedback", "range": {"min": 1, "max": 5}, "min": 3}],
}


def test_a_winner_that_users_rate_worse_while_it_bakes_returns_everybody(world: World) -> None:
    _begin(world, **BAKE, metrics=SAID)
    world.routers.counted_of = {"stars": _rated(a=(300, 4.5), b=(300, 4.5))}
    _count(world)
    _settle(world)
    assert (_status(world)["phase"], _route(world)) == ("Baking", ("two", HELD))
    world.routers.counted = {"control": None}
    world.routers.counted_of = {"stars": _rated(a=(100, 4.5), b=(900, 1.5))}
    world.later(5)
    world.reconcile("ABExperiment", "x", 2)
    kept = json.loads(_record(world)["data"]["return.json"])
    assert kept["reason"].startswith("b was shown to be beyond stars while it baked (Feedback 1.5")
    told = {"control": "a", "ranges": {"stars": {"min": 1, "max": 5}}}
    assert world.routers.defined["uid-x-bake"] == told, "feedback beyond is refused meanwhile, too"


def _rated(**arms: tuple[int, float]) -> dict[str, Any]:
    return {"variants": {name: {"metric": metric_told(n, mean, float(n))} for name, (n, mean) in arms.items()}}


@pytest.mark.parametrize("bake", ["1h", "0s"])
def test_a_winner_that_fails_before_routers_lead_to_it_returns_everybody_without_mlflow(
    world: World, bake: str
) -> None:
    """The Router has yet to hear of the verdict, so users are split as before it."""
    _begin(world, decision={"bake": bake, "scaleDownDelay": "0s"}, metrics=ERRORS)
    _count(world)
    assert world.routers.counted is not None
    world.routers.counted["open"] = answers_told(a=(400, 0), b=(400, 0))
    world.reconcile("ABExperiment", "x", 3)
    assert _status(world)["phase"] == ("Promoted" if bake == "0s" else "Baking")
    world.registry.down = True
    world.routers.counted["open"] = answers_told(a=(420, 0), b=(420, 200))
    world.later(5)
    world.reconcile("ABExperiment", "x", 2)
    kept = json.loads(_record(world)["data"]["return.json"])
    assert kept["reason"].startswith("b was shown to be beyond errors before it had the traffic (")
    assert _message(world, "Decided") == kept["reason"]
    for _ in range(2):
        _settle(world)
        assert (_status(world)["phase"], _route(world)) == ("RolledBack", ("one", []))
        world.registry.down = False
        world.later(60)
    assert world.registry.aliases["spam", "production"] == "1"


def test_an_experiment_of_a_later_rule_holds_with_a_sentence_whatever_its_guardrails_say(world: World) -> None:
    _begin(world, metrics=ERRORS)
    start = json.loads(_record(world)["data"]["start.json"])
    start["terms"] |= {"rule": 99, "guardrails": [{**start["terms"]["guardrails"][0], "hourly": True}]}
    name = _record(world)["metadata"]["name"]
    world.api.edit("ConfigMap", name, data={"start.json": json.dumps(start)})
    _count(world)
    assert world.routers.counted is not None
    world.routers.counted["open"] = answers_told(a=(400, 0), b=(400, 300))
    world.later(5)
    _settle(world, 2)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("Running", "RuleUnknown")
    assert _message(world, "SampleSufficient").startswith("it began by rule 99 of another build")


@pytest.mark.parametrize("told", [None, {}, {"open": {"variants": [], "parts": 1}}, {"open": None}])
def test_a_bake_of_which_no_recorder_tells_ends_a_while_later(world: World, told: Manifest | None) -> None:
    _begin_to_bake(world)
    world.routers.counted = told
    world.later(3610)
    _settle(world)
    assert (_status(world)["phase"], _route(world)) == ("Baking", ("two", HELD))
    assert "what was counted is waited for" in _message(world, "Baked")
    world.later(600)
    _settle(world, 12)
    assert (_status(world)["phase"], world.registry.aliases["spam", "production"]) == ("Promoted", "2")


def test_where_its_status_is_lost_while_it_bakes_users_stay_where_they_are(world: World) -> None:
    _begin(world, **BAKE)
    _count(world)
    _settle(world)
    world.api.edit("ABExperiment", "x", status={})
    world.reconcile("Router", "anneal-router")
    assert _route(world) == ("two", HELD)
    _settle(world)
    assert (_status(world)["phase"], _route(world)) == ("Baking", ("two", HELD))


def test_a_person_who_gives_production_to_another_version_ends_an_experiment_that_runs(world: World) -> None:
    _begin(world)
    world.registry.aliases["spam", "production"] = "2"
    _count(world, 4.0, 3.0)
    _settle(world)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("Aborted", "ControlReplaced")
    assert (_route(world), world.registry.aliases["spam", "production"]) == (("two", []), "2")


RAMP = [{"coverage": 10, "for": "1h"}, {"coverage": 50, "for": "1h"}, {"coverage": 100}]


def test_an_experiment_of_an_earlier_build_keeps_its_record_when_its_ramp_changes(world: World) -> None:
    """That build named the record by the ramp, too, which could not change then."""
    _begin(world, assignment={"ramp": RAMP})
    made, experiment = _record(world), world.api.objects["ABExperiment", "x"]
    name, earlier = record_name(experiment), record_name_with_ramp(experiment)
    assert made["metadata"]["name"] == name != earlier
    world.api.remove("ConfigMap", name)
    world.api.put("ConfigMap", earlier, metadata={**made["metadata"], "name": earlier}, data=made["data"])
    world.later(301)
    _settle(world)
    assert _status(world)["record"] == earlier
    _change(world, assignment={"ramp": [{"coverage": 20, "for": "1h"}, {"coverage": 100}]})
    _settle(world)
    assert (_status(world)["phase"], _status(world)["coverage"]) == ("Running", 20)
    _count(world)
    _settle(world)
    records = [name for kind, name in world.api.objects if kind == "ConfigMap" and "-record-" in name]
    assert (_status(world)["phase"], records) == ("Promoted", [earlier])
    assert "decision.json" in _record(world)["data"]
    world.later(700)
    asyncio.run(ExperimentReports(world.context).keep())
    (files,) = world.registry.files.values()
    assert earlier in files["record.json"], "its report is kept as any other's"


def test_an_experiment_whose_control_another_one_s_promotion_replaces_is_aborted(world: World) -> None:
    """Both run at once, on users of one layer."""
    halves = [{"layer": {"name": "l", "from": begin, "to": begin + 5000}} for begin in (0, 5000)]
    _begin(world, assignment=halves[0])
    other = {**SPEC, "assignment": halves[1], "decision": {"scaleDownDelay": "0s"}}
    world.api.put("ABExperiment", "y", spec=other, metadata={"uid": "uid-y", "generation": 1})
    world.routers.counted = None
    for _ in range(4):
        world.reconcile("ABExperiment", "y")
        world.reconcile("Router", "anneal-router")
    _count(world)
    for _ in range(8):
        world.reconcile("ABExperiment", "y")
        world.reconcile("Router", "anneal-router")
        for name in ("one", "two"):
            world.reconcile("ModelVersion", name)
    assert world.api.status("ABExperiment", "y")["phase"] == "Promoted"
    world.reconcile("ABExperiment", "x", 2)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("Aborted", "ControlReplaced")
    _settle(world)
    assert _route(world) == ("two", [])
    assert world.registry.aliases["spam", "production"] == "2"


def test_one_that_waits_for_a_promotion_does_not_take_its_users_on_the_way(world: World) -> None:
    """Both compare with the same control: there is nothing to begin with once `production` is the winner's."""
    _begin(world)
    world.api.put("ABExperiment", "y", spec=SPEC, metadata={"uid": "uid-y", "generation": 1})
    _count(world)
    routes = [_route(world)]
    for _ in range(8):
        for kind, name in (("ABExperiment", "x"), ("ABExperiment", "y"), ("Router", "anneal-router")):
            world.reconcile(kind, name)
            routes += [_route(world)] if _route(world) != routes[-1] else []
        for name in ("one", "two"):
            world.reconcile("ModelVersion", name)
    assert (_status(world)["phase"], world.registry.aliases["spam", "production"]) == ("Promoted", "2")
    assert routes == [("one", SPLIT), ("two", [])]
    assert "startedAt" not in world.api.status("ABExperiment", "y")
    assert world.api.status("ABExperiment", "y")["reason"] == "ControlNotInProduction"


SAME = {
    "type": "AA",
    "decision": {"mode": "Observe"},
    "variants": [{**variant, "modelVersionRef": {"name": "one"}} for variant in SPEC["variants"]],
}


@pytest.mark.parametrize(("rating", "reason"), [(3.0, "Sound"), (4.0, "Unsound")])
def test_a_version_beside_itself_is_judged_and_everything_stays_as_it_was(
    world: World, rating: float, reason: str
) -> None:
    _begin(world, **SAME)
    assert _route(world) == ("one", SPLIT)
    _count(world, b=rating)
    _settle(world)
    status = _status(world)
    assert (status["phase"], status["reason"]) == ("Observed", reason)
    assert [event for event in world.api.events if event[0] == reason]
    assert (reason in world.api.warnings) is (reason == "Unsound")
    assert _route(world) == ("one", [])
    assert world.registry.aliases["spam", "production"] == "1"
    assert (_pods(world, "one"), _pods(world, "two")) == (1, 1)
    assert _record(world)["immutable"]
