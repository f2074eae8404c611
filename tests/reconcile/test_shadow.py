"""An experiment of type Shadow from its first look to its end: nobody is led elsewhere, and its numbers are kept."""

import asyncio
import json
from typing import Any

import pytest

from anneal_operator.reconcile.compared_seen import compared_in
from anneal_operator.reconcile.experiment_reports import ExperimentReports, report_of
from serving_runtime.plan import PLAIN_FORMAT

from .experiments import answer, version_of
from .world import NAMESPACE, World

SHADOW: dict[str, Any] = {
    "type": "Shadow",
    "modelName": "spam",
    "control": "a",
    "variants": [
        {"name": "a", "modelVersionRef": {"name": "one"}, "weight": 1},
        {"name": "b", "modelVersionRef": {"name": "two"}, "weight": 1},
    ],
    "shadow": {"percent": 20, "maxRequestsPerSecond": 3, "maxInFlight": 2, "timeout": "30s", "comparisons": 50},
    "decision": {"mode": "Observe"},
    "stopping": {"minDuration": "1s", "maxDuration": "24h"},
}
TOLD = {"requests": 60, "failures": 3, "compared": 55, "equal": 11, "similarity": 44_000_000}
COPIES = {"variants": {"b": TOLD}, "parts": {"similarity": 10**6, "logarithm": 1 << 20}}


@pytest.fixture
def world() -> World:
    """Two versions that every router knows, the first in production."""
    made = World()
    for name in ("one", "two"):
        made.api.put("ModelVersion", name, spec=version_of(name))
        made.reconcile("ModelVersion", name, 2)
        answer(made, name)
        made.reconcile("ModelVersion", name, 2)
        made.reconcile("Router", "anneal-router", 2)
    return made


def _settle(world: World, rounds: int = 6) -> None:
    for _ in range(rounds):
        for name in ("one", "two"):
            world.reconcile("ModelVersion", name)
        world.reconcile("Router", "anneal-router")
        world.reconcile("ABExperiment", "x")


def _begin(world: World) -> None:
    world.api.put("ABExperiment", "x", spec=SHADOW, metadata={"uid": "uid-x", "generation": 1})
    _settle(world)


def _status(world: World) -> dict[str, Any]:
    return world.api.status("ABExperiment", "x")


def _route(world: World) -> dict[str, Any]:
    table = json.loads(world.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"])
    route: dict[str, Any] = table["models"]["spam"]
    return route


def test_it_runs_ends_with_its_comparisons_and_leads_nobody_anywhere(world: World) -> None:
    _begin(world)
    assert _status(world)["phase"] == "Running"
    (split,) = _route(world)["experiments"]
    assert (split["covered"], split["control"]) == (0, "a")
    assert split["shadow"] == {"percent": 20, "per_second": 3, "in_flight": 2, "seconds": 30}
    world.routers.copies = COPIES
    world.later(5)
    _settle(world)
    status = _status(world)
    assert (status["phase"], status["decision"]["outcome"]) == ("Observed", "Observed")
    assert status["variants"][1]["shadow"] | {"identical": 0.2, "similarity": 0.8} == status["variants"][1]["shadow"]
    assert _route(world).get("experiments", []) == []
    assert world.registry.aliases["spam", "production"] == "1"
    record = next(
        made for (kind, name), made in world.api.objects.items() if kind == "ConfigMap" and "-record-" in name
    )
    assert record["immutable"]


def test_routers_of_an_earlier_build_are_told_nothing_that_they_cannot_read(world: World) -> None:
    world.routers.formats["10.1.0.1"] = PLAIN_FORMAT
    _begin(world)
    status = _status(world)
    assert (status["phase"], _route(world).get("experiment")) == ("WarmingUp", None)
    assert next(one for one in status["conditions"] if one["type"] == "RouteProgrammed")["status"] == "False"


def test_a_challenger_whose_certificate_is_of_an_authority_of_its_own_is_not_shadowed(world: World) -> None:
    backend = {"url": "https://api.example.com/v1", "caCertificateRef": {"name": "company-ca"}}
    world.api.put("ModelVersion", "two", spec={"modelName": "spam", "backend": backend})
    world.api.edit("ModelVersion", "two", status={"phase": "Ready"})
    world.api.put("ABExperiment", "x", spec=SHADOW, metadata={"uid": "uid-x", "generation": 1})
    world.reconcile("ABExperiment", "x")
    assert (_status(world)["phase"], _status(world)["reason"]) == ("Pending", "VersionCannotShadow")


def test_where_the_recorder_is_silent_it_goes_on(world: World) -> None:
    _begin(world)
    world.later(3600)
    _settle(world)
    status = _status(world)
    fresh = next(one for one in status["conditions"] if one["type"] == "DataFresh")
    assert (status["phase"], fresh["reason"]) == ("Running", "RecorderSilent")


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"variants": {}},
        {"variants": {"b": 5}, "parts": COPIES["parts"]},
        {"variants": {"b": {**TOLD, "requests": -1}}, "parts": COPIES["parts"]},
        {"variants": {"b": {**TOLD, "compared": 61}}, "parts": COPIES["parts"]},
        {"variants": {"b": {**TOLD, "equal": 56}}, "parts": COPIES["parts"]},
        {"variants": {"b": TOLD}, "parts": {"similarity": 0, "logarithm": 1}},
    ],
)
def test_what_no_recorder_of_ours_tells_is_believed_of_none(told: dict[str, Any]) -> None:
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        compared_in(told)


def test_its_page_and_verdict_tell_how_far_answers_agree(world: World) -> None:
    _begin(world)
    early = asyncio.run(report_of(world.api, world.context.now, NAMESPACE, "x"))
    assert early is not None
    world.routers.copies = {**COPIES, "variants": {"b": TOLD | {"json_asked": 10, "json_valid": 9}}}
    world.later(5)
    _settle(world)
    report = asyncio.run(report_of(world.api, world.context.now, NAMESPACE, "x"))
    assert report is not None
    for said in ("Agreement", "20.0%", "0.800", "90.0% (0.0%)", "55 answers compared", "Nothing follows from it"):
        assert said in report.page, said
    assert "Users" not in report.page.replace("Users get", "")
    assert report.verdict["variants"]["b"]["shadow"]["compared"] == 55
    assert report.verdict["phase"] == "Observed"
    asyncio.run(ExperimentReports(world.context).keep())
    assert not any("-looks-" in name for _, name in world.api.objects), "there are no users to look at"
