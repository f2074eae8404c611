"""Which engines versions share, and when one of them answers for a version."""

from dataclasses import replace
from typing import Any

import pytest

from anneal_operator.api.model_version import LoadedOn
from anneal_operator.decide.conditions import Finding
from anneal_operator.decide.serving_engine import Engine
from anneal_operator.decide.shared_base import SharedEngine, SharedVersion, engines, look_again, stands, with_adapter
from anneal_operator.reasons import ConditionType, Reason
from serving_runtime.plan import AdapterProblem, AdapterReport, LoadedAdapter

ONE = SharedVersion("one", "d1", asks_for="e", is_on="e", replicas=1)
TWO = SharedVersion("two", "d2", asks_for="e", is_on="e", replicas=3)
ENGINE = Engine(ready=2, build="new", replicas=2, wish="w", is_complete=True, demands_key=True)
OLD = replace(ENGINE, build="old")


def _engines(*versions: SharedVersion, wish: str = "w", **made: Engine) -> list[SharedEngine]:
    return engines(versions, made, "new", dict.fromkeys(made, wish))


def test_versions_that_ask_for_one_engine_share_it() -> None:
    assert _engines(ONE, TWO) == [SharedEngine("e", ("one", "two"), 3)]
    assert _engines(ONE, TWO, e=ENGINE) == [SharedEngine("e", ("one", "two"), 3)]


def test_one_that_is_not_wanted_is_on_none() -> None:
    assert _engines(ONE, replace(TWO, replicas=0), e=ENGINE) == [SharedEngine("e", ("one",), 1)]
    assert _engines(replace(ONE, replicas=0)) == []


def test_an_engine_that_nobody_wants_goes() -> None:
    assert _engines(replace(ONE, replicas=0), e=ENGINE) == [SharedEngine("e")]
    assert _engines(e=ENGINE) == [SharedEngine("e")]


def test_one_whose_settings_change_is_on_both_engines_and_the_first_stays_as_it_is() -> None:
    moving = replace(ONE, asks_for="f")
    assert _engines(moving, e=ENGINE) == [
        SharedEngine("e", ("one",), 1, as_it_is=True),
        SharedEngine("f", ("one",), 1),
    ]
    assert _engines(moving, TWO, e=ENGINE)[0] == SharedEngine("e", ("one", "two"), 3), "others' settings still hold"
    assert _engines(moving) == [SharedEngine("f", ("one",), 1)], "what it was on is gone"


def test_one_that_cannot_be_read_stays_where_it_is() -> None:
    assert _engines(replace(ONE, asks_for=""), e=ENGINE) == [SharedEngine("e", ("one",), 1, as_it_is=True)]


@pytest.mark.parametrize(
    ("version", "made", "wish", "waits"),
    [
        (ONE, {"e": OLD}, "w", False),
        (replace(ONE, is_contested=True), {"e": OLD}, "w", True),
        (replace(ONE, is_contested=True), {"e": OLD}, "another", False),  # people want it
        (ONE, {"e": OLD, "a": OLD}, "w", True),  # the other's turn
        (ONE, {"e": OLD, "z": OLD}, "w", False),
        (ONE, {"e": OLD, "z": replace(ENGINE, is_rolling=True, is_complete=False)}, "w", True),
        (ONE, {"e": OLD, "z": replace(ENGINE, is_rolling=True)}, "w", False),  # what befalls it now is no update
        (ONE, {"e": ENGINE, "a": OLD}, "w", False),
    ],
)
def test_another_build_takes_one_engine_after_the_other_and_none_in_an_experiment(
    version: SharedVersion, made: dict[str, Engine], wish: str, waits: bool
) -> None:
    others = [SharedVersion(name, "d", name, name, 1) for name in made if name != "e"]
    found = next(one for one in _engines(version, *others, wish=wish, **made) if one.name == "e")
    assert found.as_it_is == waits


@pytest.mark.parametrize(
    ("other", "engine"),
    [
        (SharedVersion("a", "d", "a", "a", 1, is_contested=True), OLD),
        (SharedVersion("a", "d", "a", "a", 1, has_answered=False), replace(ENGINE, is_rolling=True, is_complete=False)),
        (SharedVersion("a", "d", "f", "a", 1), OLD),  # it is about to move
        (SharedVersion("a", "d", "", "a", 1), OLD),  # it cannot be read
        (SharedVersion("a", "d", "a", "f", 1), replace(ENGINE, is_rolling=True, is_complete=False)),  # not there yet
    ],
)
def test_one_that_is_left_alone_or_never_answered_holds_no_other_up(other: SharedVersion, engine: Engine) -> None:
    found = next(one for one in _engines(ONE, other, e=OLD, a=engine) if one.name == "e")
    assert not found.as_it_is


def test_one_that_never_answered_is_brought_up_to_date() -> None:
    assert not _engines(replace(ONE, has_answered=False), e=OLD)[0].as_it_is


def _pod(name: str, ready: str = "True", **metadata: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready}]
    return {"metadata": {"name": name, "uid": f"uid-{name}"} | metadata, "status": {"conditions": conditions}}


HAS = AdapterReport(loaded={"one": LoadedAdapter(digest="d1", verified_at="2026-03-01T11:00:00Z")})
HAS_ANOTHER = AdapterReport(loaded={"one": LoadedAdapter(digest="d0", verified_at="2026-03-01T11:00:00Z")})
FAILS = AdapterReport(problems={"one": AdapterProblem(digest="d1", message="rank")})
FAILED_BEFORE = AdapterReport(problems={"one": AdapterProblem(digest="d0", message="rank")})
NOTHING = AdapterReport()
PODS = [_pod("p"), _pod("q"), _pod("r", ready="False"), _pod("s", deletionTimestamp="t")]


@pytest.mark.parametrize(
    ("told", "is_open", "ready", "pods", "problem"),
    [
        ({"p": HAS, "q": HAS}, False, 2, ["p", "q"], ""),
        ({"p": HAS, "q": NOTHING}, False, 0, ["p"], ""),
        ({"p": HAS, "q": NOTHING}, True, 1, ["p"], ""),
        ({"p": HAS, "q": HAS_ANOTHER}, False, 0, ["p"], ""),
        ({"p": HAS}, False, 0, ["p"], ""),  # one that does not answer may lack it
        ({"p": HAS, "r": HAS, "s": HAS}, False, 0, ["p"], ""),
        ({"p": HAS, "q": FAILS}, True, 1, ["p"], "q: rank"),
        ({"p": HAS, "q": FAILED_BEFORE}, True, 1, ["p"], ""),
        ({}, False, 0, [], ""),
    ],
)
def test_a_version_answers_once_all_pods_that_are_ready_have_it(
    told: dict[str, AdapterReport], is_open: bool, ready: int, pods: list[str], problem: str
) -> None:
    reports = {f"uid-{name}": report for name, report in told.items()}
    found = stands(ONE, ENGINE, PODS, reports, is_open=is_open)
    assert found.engine is not None
    assert (found.engine.ready, found.engine.replicas) == (ready, 1)
    assert [one.pod for one in found.loaded_on] == pods
    assert found.problem == problem


def test_one_that_is_not_wanted_or_has_no_engine_stands_nowhere() -> None:
    assert stands(ONE, None, PODS, {}, is_open=True).engine is None
    assert stands(replace(ONE, replicas=0), ENGINE, PODS, {}, is_open=True).engine is None


@pytest.mark.parametrize(
    ("told", "seconds"),
    [([HAS, HAS], 60.0), ([HAS, NOTHING], 1.0), ([HAS, HAS_ANOTHER], 1.0), ([FAILS], 15.0), ([None], 15.0), ([], 60.0)],
)
def test_pods_are_asked_again_soon_while_they_load_and_each_minute_after_that(
    told: list[AdapterReport | None], seconds: float
) -> None:
    assert look_again([SharedEngine("e", ("one",), 1)], [ONE], {"e": told}) == seconds


READY = Finding(ConditionType.READY, "True", Reason.ANSWERS, "it answers")
LOADING = Finding(ConditionType.READY, "False", Reason.STARTING, "0 of 1 pods answer")


def test_why_an_adapter_is_not_loaded_is_told_in_its_conditions() -> None:
    phase, told = with_adapter("Loading", LOADING, "p: rank", "")
    assert (phase, told.reason, told.message) == (
        "Failed",
        Reason.ADAPTER_REFUSED,
        "the adapter is not loaded: p: rank",
    )
    assert with_adapter("Degraded", LOADING, "q: rank", "")[1].message == "0 of 1 pods answer; q: rank"
    assert with_adapter("Ready", READY, "", "it moves")[1].message == "it answers; it moves"
    assert with_adapter("Ready", READY, "", "") == ("Ready", READY)


def test_what_a_pod_had_holds_until_it_tells_another_thing() -> None:
    had = {"uid-p": LoadedOn(pod="p", digest="d1", verified_at="2026-03-01T11:00:00Z")}
    found = stands(ONE, ENGINE, PODS, {"uid-q": FAILS}, is_open=True, before=had)
    assert found.engine is not None
    assert (found.engine.ready, [one.pod for one in found.loaded_on], found.may_answer) == (1, ["p"], True)
    found = stands(replace(ONE, digest="d5"), ENGINE, PODS, {}, is_open=True, before=had)
    assert found.loaded_on == [], "it had another"


def test_one_that_is_open_stays_so_on_pods_that_have_told_nothing_yet() -> None:
    ready = {
        is_open: found.engine.ready
        for is_open in (True, False)
        if (found := stands(ONE, ENGINE, PODS, {"uid-q": FAILS}, is_open=is_open, before={"uid-p": None})).engine
    }
    assert ready == {True: 1, False: 0}


@pytest.mark.parametrize(
    ("engine", "pods", "told", "is_open", "may"),
    [
        (ENGINE, PODS, {}, False, True),  # nobody has said no
        (ENGINE, PODS, {"uid-p": FAILS, "uid-q": NOTHING}, False, True),
        (ENGINE, PODS, {"uid-p": FAILS, "uid-q": FAILS}, False, False),
        (ENGINE, PODS, {"uid-p": FAILS, "uid-q": FAILS}, True, True),  # routers send it requests
        (ENGINE, [], {}, False, True),  # its pods answered once, and come back
        (replace(ENGINE, is_complete=False), [], {}, False, False),
    ],
)
def test_an_engine_may_answer_unless_it_refuses_or_never_did(
    engine: Engine, pods: list[dict[str, Any]], told: dict[str, AdapterReport], is_open: bool, may: bool
) -> None:
    assert stands(ONE, engine, pods, told, is_open=is_open).may_answer == may


def test_a_version_that_has_moved_is_kept_while_routers_may_ask_for_it() -> None:
    moved = replace(ONE, asks_for="f", is_on="f")
    found = engines([moved, TWO], {"e": ENGINE, "f": ENGINE}, "new", {}, {"e": {"one"}})
    assert found[0] == SharedEngine("e", ("one", "two"), 3)
    found = engines([moved], {"e": ENGINE, "f": ENGINE}, "new", {}, {"e": {"one"}})
    assert found[0] == SharedEngine("e", ("one",), 1, as_it_is=True)
    assert engines([moved], {"e": ENGINE, "f": ENGINE}, "new", {})[0] == SharedEngine("e")
