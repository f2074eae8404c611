"""Reports: looks are kept seldom and outlive the operator, a decided experiment's report goes to MLflow once, and
whatever refuses them holds up nothing.
"""

import asyncio
import json
from typing import Any

import pytest

from anneal_operator.decide.statistics.recomputed import recomputed
from anneal_operator.desired.report.looks import looks_name
from anneal_operator.desired.report.page import Papers
from anneal_operator.errors import ApiError, RegistryError
from anneal_operator.reconcile.experiment_reports import ExperimentReports, report_of

from .test_ab_experiment import SPEC, _count, _decide, _look, _read_aliases, _start, world
from .world import NAMESPACE, World

__all__ = ["world"]

SEQUENTIAL = {**SPEC["stopping"], "method": "Sequential", "minDuration": "1h"}


def _keep(world: World, reports: ExperimentReports) -> list[str]:
    """Keep what is due; return what was written for it."""
    world.writes()
    asyncio.run(reports.keep())
    return world.writes()


def _running(world: World) -> None:
    world.api.edit("ABExperiment", "x", spec={**SPEC, "stopping": SEQUENTIAL})
    _start(world)


def _goes_on(world: World, seconds: int, users: int) -> None:
    world.later(seconds)
    _count(world, (users, 3.0), (users, 3.5))
    _look(world)


def _looks(world: World) -> list[list[Any]]:
    name = looks_name(world.api.objects["ABExperiment", "x"])
    made = world.api.objects.get(("ConfigMap", name))
    found: list[list[Any]] = json.loads(made["data"]["looks.json"])["looks"] if made else []
    return found


def test_a_running_experiment_s_looks_are_kept_one_write_each_and_no_more_often_than_is_due(world: World) -> None:
    _running(world)
    reports, written = ExperimentReports(world.context), 0
    for number in range(36):
        _goes_on(world, 5, 100 + number)
        written += len(_keep(world, reports))
    assert [look[0] for look in _looks(world)] == list(range(5, 181, 20))
    assert written == len(_looks(world))
    *_, last = _looks(world)
    assert last[1] == [131, 131]  # as the status told, which is written every ten seconds
    assert last[3][1][0] == 0.5


def test_of_one_that_is_being_deleted_nothing_more_is_kept(world: World) -> None:
    _running(world)
    _goes_on(world, 60, 100)
    metadata = world.api.objects["ABExperiment", "x"]["metadata"]
    world.api.edit("ABExperiment", "x", metadata={**metadata, "deletionTimestamp": "2026-03-01T12:30:00Z"})
    assert _keep(world, ExperimentReports(world.context)) == []


def test_looks_outlive_the_operator(world: World) -> None:
    _running(world)
    for number in range(4):
        _goes_on(world, 60, 100 + number)
        _keep(world, ExperimentReports(world.context))
    assert [look[0] for look in _looks(world)] == [60, 120, 180, 240]


def test_a_config_map_of_somebody_else_s_is_left_alone_and_holds_up_nothing(world: World) -> None:
    _running(world)
    name = looks_name(world.api.objects["ABExperiment", "x"])
    world.api.put("ConfigMap", name, data={"ours": "yes"})
    reports = ExperimentReports(world.context)
    _goes_on(world, 60, 100)
    assert _keep(world, reports) == []
    assert world.api.objects["ConfigMap", name]["data"] == {"ours": "yes"}
    _goes_on(world, 60, 400)
    assert world.api.status("ABExperiment", "x")["users"] == 800


def test_what_the_api_server_refuses_is_tried_again_less_and_less_often(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    _running(world)
    _goes_on(world, 60, 100)
    world.api.refuses["ConfigMap"] = ApiError(403, "quota")
    reports = ExperimentReports(world.context)
    for _ in range(120):
        assert _keep(world, reports) == []
        world.later(5)
    tries = [record for record in caplog.records if "has to wait: quota" in record.message]
    assert len(tries) == 5  # at once, and after 30, 90, 210 and 450 seconds
    del world.api.refuses["ConfigMap"]
    world.later(600)
    assert len(_keep(world, reports)) == 1


def _decided(world: World) -> ExperimentReports:
    """An experiment whose promotion is over."""
    reports = ExperimentReports(world.context)
    _decide(world)
    _look(world, 2)
    _end(world)
    return reports


def _end(world: World) -> None:
    _read_aliases(world, one=[], two=["production"])
    _look(world, 2)


def _reported(world: World) -> int:
    return world.registry.calls.count("keep_report")


def test_a_decided_experiment_s_report_is_kept_once_with_its_record(world: World) -> None:
    reports = _decided(world)
    calls = len(world.registry.calls)
    for _ in range(3):
        _keep(world, reports)
        _keep(world, ExperimentReports(world.context))  # as another operator would
    assert world.registry.calls[calls:] == ["keep_report"]
    (files,) = world.registry.files.values()
    assert set(files) == {"report.html", "record.json", "verdict.json"}
    told, agrees = recomputed(files["record.json"])
    assert agrees, told
    assert json.loads(files["verdict.json"])["winner"] == "b"
    assert "The winner, b, is promoted." in files["report.html"]


def test_a_report_waits_for_what_follows_but_not_for_ever(world: World) -> None:
    reports = ExperimentReports(world.context)
    _decide(world)
    world.programme("one")
    _look(world)
    _keep(world, reports)
    assert world.registry.files == {}
    world.later(700)
    for _ in range(3):
        _keep(world, reports)
        _keep(world, ExperimentReports(world.context))
    assert list(world.registry.reports.values()) == ["run Promoted under way"]
    assert _reported(world) == 1
    world.programme("two")
    _look(world, 2)
    _end(world)
    for _ in range(3):
        _keep(world, reports)
        _keep(world, ExperimentReports(world.context))
    assert list(world.registry.reports.values()) == ["run Promoted"]
    assert _reported(world) == 2
    assert "does not have `production`" not in next(iter(world.registry.files.values()))["report.html"]


def test_what_is_under_way_again_after_the_end_is_no_news(world: World) -> None:
    reports = _decided(world)
    _keep(world, reports)
    status = world.api.status("ABExperiment", "x")
    working = {**status["conditions"][0], "type": "Reconciling", "status": "True"}
    world.api.edit("ABExperiment", "x", status={**status, "conditions": [*status["conditions"], working]})
    world.later(700)
    _keep(world, reports)
    _keep(world, ExperimentReports(world.context))
    assert list(world.registry.reports.values()) == ["run Promoted"]


def test_the_end_of_a_bake_is_waited_for_as_a_decision_is(world: World) -> None:
    reports = ExperimentReports(world.context)
    _decide(world)
    _look(world)
    status = world.api.status("ABExperiment", "x")
    working = {**status["conditions"][0], "type": "Reconciling", "status": "True"}
    world.later(86_400)
    at = world.time.isoformat().replace("+00:00", "Z")
    baked = {**working, "type": "Baked", "reason": "Baked", "lastTransitionTime": at}
    told = [one for one in status["conditions"] if one["type"] not in {"Reconciling", "Baked"}]
    world.api.edit("ABExperiment", "x", status={**status, "conditions": [*told, working, baked]})
    world.later(300)
    _keep(world, reports)
    assert world.registry.files == {}
    world.later(301)
    _keep(world, reports)
    assert len(world.registry.files) == 1


def test_one_that_is_over_is_not_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = _decided(world)
    _keep(world, reports)
    monkeypatch.setattr("anneal_operator.reconcile.experiment_reports._papers", lambda *_: pytest.fail("read"))
    _keep(world, reports)


def test_a_later_phase_is_told_in_the_place_of_an_earlier_one(world: World) -> None:
    reports = _decided(world)
    _keep(world, reports)
    world.api.edit("ABExperiment", "x", status={**world.api.status("ABExperiment", "x"), "phase": "RolledBack"})
    _keep(world, reports)
    assert [call for call in world.registry.calls if call == "keep_report"] == ["keep_report"] * 2
    assert list(world.registry.reports.values()) == ["run RolledBack"]


def test_mlflow_that_takes_no_report_is_told_once_and_nothing_else_waits(world: World) -> None:
    reports = _decided(world)
    status, writes = world.api.status("ABExperiment", "x"), len(world.api.warnings)
    world.registry.down = True
    for _ in range(100):
        asyncio.run(reports.keep())
        world.later(5)
    assert world.api.warnings[writes:] == ["RegistryUnreachable"]
    assert world.api.status("ABExperiment", "x") == status
    world.registry.down = False
    world.later(600)
    _keep(world, reports)
    assert len(world.registry.files) == 1


def test_mlflow_that_does_not_answer_is_asked_once_in_a_round_after_the_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports, tried = _decided(world), []
    decided = world.api.objects["ABExperiment", "x"]
    for number in range(3):
        uid = {"uid": f"uid-{number}"}
        world.api.put("ABExperiment", f"a{number}", spec=decided["spec"], status=decided["status"], metadata=uid)
    running = {name: told for name, told in decided["status"].items() if name != "decision"} | {"phase": "Running"}
    world.api.put("ABExperiment", "z", spec=decided["spec"], status=running, metadata={"uid": "uid-z"})

    async def keep_report(_self: ExperimentReports, papers: Papers, *_: object) -> None:
        tried.append(papers.experiment["metadata"]["name"])
        raise RegistryError("no answer")

    monkeypatch.setattr(ExperimentReports, "_keep_report", keep_report)
    (look,) = _keep(world, reports)
    assert "z-looks" in look
    assert len(tried) == 1
    for _ in range(10):
        _keep(world, reports)
    assert sorted(tried) == ["a0", "a1", "a2", "x"]


def test_an_experiment_that_cannot_be_read_holds_up_no_other(world: World) -> None:
    reports = _decided(world)
    world.api.put("ABExperiment", "a", spec={"modelName": 7}, status={"phase": "Running"})
    world.api.put("ABExperiment", "b", spec=SPEC, status={"phase": []})
    _keep(world, reports)
    assert len(world.registry.files) == 1


def test_what_is_served_is_the_experiment_as_it_is_now(world: World) -> None:
    _running(world)
    reports = ExperimentReports(world.context)
    for number in range(3):
        _goes_on(world, 60, 100 + number)
        _keep(world, reports)
    world.later(30)
    served = asyncio.run(report_of(world.api, world.context.now, NAMESPACE, "x"))
    assert served is not None
    assert (served.verdict["phase"], served.verdict["decided"]) == ("Running", False)
    assert "It has been running for 3 minutes 30 seconds" in served.page
    assert 'class="band' in served.page


def test_of_one_that_is_not_there_nothing_is_served(world: World) -> None:
    assert asyncio.run(report_of(world.api, world.context.now, NAMESPACE, "y")) is None


def test_one_that_cannot_be_read_is_no_report(world: World) -> None:
    world.api.put("ABExperiment", "a", spec={"modelName": 7})
    with pytest.raises(ValueError, match="modelName"):
        asyncio.run(report_of(world.api, world.context.now, NAMESPACE, "a"))
