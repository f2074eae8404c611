"""How far a table has come, what it is called, and which router is replaced."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.decide.acknowledgement import (
    Arrival,
    Replacements,
    RouterPod,
    RouteSeen,
    arrival,
    look_again,
    next_stamp,
    overdue,
    takes_requests,
)
from serving_runtime.plan import ModelRoute, RouteTable, Stamp

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TABLE = RouteTable(targets={}, models={})
OTHER = RouteTable(targets={}, models={"m": ModelRoute(default=None, named={})})
BEGUN = "2026-02-01T00:00:00Z"


def _stamp(generation: int, lineage: str = BEGUN, table: RouteTable = TABLE) -> Stamp:
    return table.stamped(lineage, generation)


def _pod(name: str, behind: float | None = None, *, leaving: bool = False, answers: bool = False) -> RouterPod:
    """One that has been behind for so many seconds, and silent unless it answers."""
    since = None if behind is None else NOW - timedelta(seconds=behind)
    return RouterPod(name, f"uid-{name}", None, since, leaving, None if answers else since)


@pytest.mark.parametrize(
    ("current", "applied", "table", "expected"),
    [
        (None, [], TABLE, (1, "2026-03-01T12:00:00Z")),
        (_stamp(7), [], TABLE, (7, BEGUN)),
        (_stamp(7), [_stamp(7), _stamp(6, table=OTHER)], TABLE, (7, BEGUN)),
        (_stamp(7), [], OTHER, (8, BEGUN)),
        # a ConfigMap that is gone, or was set back: what a router has is followed by something newer
        (None, [_stamp(57), _stamp(56)], TABLE, (58, BEGUN)),
        (_stamp(30), [_stamp(57)], TABLE, (58, BEGUN)),
        (_stamp(1, "2026-02-02T00:00:00Z"), [_stamp(57)], TABLE, (1, "2026-02-02T00:00:00Z")),
        (_stamp(90, "2026-01-01T00:00:00Z"), [_stamp(57)], TABLE, (58, BEGUN)),
    ],
)
def test_a_table_is_newer_than_all_that_a_router_has_unless_nothing_changed(
    current: Stamp | None, applied: list[Stamp], table: RouteTable, expected: tuple[int, str]
) -> None:
    stamp = next_stamp(table, current, applied, "2026-03-01T12:00:00Z")
    assert (stamp.generation, stamp.lineage) == expected
    assert stamp.digest == table.digest()


@pytest.mark.parametrize(
    ("pods", "is_complete", "words"),
    [
        ([], False, "no pod of the router is Ready"),
        ([_pod("a"), _pod("b")], True, ""),
        ([_pod("a"), _pod("b", 1)], False, "router pod b has not applied generation 7"),
        ([_pod("a"), _pod("b", 1)], False, "one that is silent for 10 s, or behind for 90 s, is replaced"),
        ([_pod("a", 20), _pod("b", 20)], False, "router pod a, b has not applied"),
        ([_pod("a", 20), _pod("b", 20)], False, "none is replaced"),
        ([_pod(name, 1) for name in "abcde"], False, "router pod a, b, c, … has"),
    ],
)
def test_a_change_is_done_when_every_router_has_it(pods: list[RouterPod], is_complete: bool, words: str) -> None:
    found = arrival(_stamp(7), pods, NOW)
    assert (found.is_complete, words in found.waits_for, bool(found.waits_for)) == (is_complete, True, not is_complete)


def test_one_that_had_time_enough_is_late() -> None:
    assert arrival(_stamp(7), [_pod("a"), _pod("b", 2.9), _pod("c", 3)], NOW).late == ("c",)


@pytest.mark.parametrize(
    ("pods", "gone"),
    [
        ([_pod("a"), _pod("b", 9.9)], None),
        ([_pod("a"), _pod("b", 10)], "b"),
        ([_pod("a"), _pod("b", 10), _pod("c", 11)], "c"),
        # an operator that reaches no router ends none
        ([_pod("a", 60), _pod("b", 60)], None),
        ([_pod("b", 60)], None),
        # one at a time
        ([_pod("a"), _pod("b", 60), _pod("c", 60, leaving=True)], None),
        ([_pod("a"), _pod("b", 60), _pod("c", leaving=True)], None),
        ([_pod("a", leaving=True), _pod("b", 60)], None),
        # one that answers by an older table may be about to watch anew
        ([_pod("a"), _pod("b", 89.9, answers=True)], None),
        ([_pod("a"), _pod("b", 90, answers=True)], "b"),
    ],
)
def test_a_router_that_was_silent_for_ten_seconds_or_behind_for_ninety_is_replaced(
    pods: list[RouterPod], gone: str | None
) -> None:
    found = overdue(pods, Replacements(), NOW)
    assert (found.name if found else None) == gone


def test_one_that_answered_until_just_now_is_not_silent_yet() -> None:
    pod = replace(_pod("b", 60), silent_since=NOW - timedelta(seconds=9))
    assert overdue([_pod("a"), pod], Replacements(), NOW) is None


@pytest.mark.parametrize(
    ("before", "pause"), [(0, 0), (1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (8, 600), (10_000, 600)]
)
def test_the_next_is_replaced_ever_later(before: int, pause: int) -> None:
    replaced = Replacements(before, NOW if before else None)
    assert replaced.is_due(NOW + timedelta(seconds=pause))
    assert not before or not replaced.is_due(NOW + timedelta(seconds=pause - 0.1))
    assert (overdue([_pod("a"), _pod("b", 60)], replaced, NOW) is None) is (before > 0)


def test_replacements_begin_anew_when_all_have_told_for_ten_minutes() -> None:
    after = NOW + timedelta(minutes=10)
    once = Replacements().one_more(NOW)
    calm = once.seen([_pod("a")], NOW)
    assert calm.seen([_pod("a")], after - timedelta(seconds=1)).count == 1
    assert calm.seen([_pod("a")], after) == Replacements()
    assert calm.seen([_pod("a"), _pod("b", 1)], NOW).seen([_pod("a")], after).count == 1
    assert calm.seen([], NOW).seen([_pod("a")], after).count == 1, "nobody has told"
    assert once.one_more(NOW).count == 2


@pytest.mark.parametrize(
    ("pods", "seconds"),
    [
        ([], None),
        ([_pod("a")], None),
        ([_pod("a", 1), _pod("b", 9)], 0.25),
        ([_pod("b", 9)], 1.0),
        ([_pod("b", 60)], 5.0),
    ],
)
def test_it_is_asked_again_at_first_soon_and_then_less_often(pods: list[RouterPod], seconds: float | None) -> None:
    assert look_again(pods, NOW) == seconds


READY = [{"type": "Ready", "status": "True"}]


@pytest.mark.parametrize(
    ("metadata", "conditions", "expected"),
    [
        ({}, READY, True),
        ({}, [{"type": "Ready", "status": "False"}], False),
        ({}, [], False),
        ({"deletionTimestamp": "2026-03-01T12:10:36Z", "deletionGracePeriodSeconds": 640}, READY, True),
        ({"deletionTimestamp": "2026-03-01T12:10:35Z", "deletionGracePeriodSeconds": 640}, READY, False),
        ({"deletionTimestamp": "2026-03-01T12:00:26Z", "deletionGracePeriodSeconds": 30}, READY, True),
        ({"deletionTimestamp": "2026-03-01T12:00:25Z", "deletionGracePeriodSeconds": 30}, READY, False),
    ],
)
def test_a_pod_takes_requests_while_it_is_ready_and_not_left_yet(
    metadata: dict[str, Any], conditions: list[dict[str, str]], expected: bool
) -> None:
    pod = {"metadata": metadata, "status": {"conditions": conditions}}
    assert takes_requests(pod, NOW, timedelta(seconds=5)) is expected


def test_a_version_is_left_when_the_table_that_has_come_does_not_name_it() -> None:
    stamp = _stamp(7)
    assert RouteSeen(arrival=Arrival(stamp, 2)).has_left("one")
    assert RouteSeen(arrival=Arrival(stamp, 0)).has_left("one"), "no router takes requests"
    assert not RouteSeen(arrival=Arrival(stamp, 1, ("b",))).has_left("one")
    assert not RouteSeen().has_left("one"), "nobody was asked yet"
    assert not RouteSeen(versions=frozenset({"one"}), arrival=Arrival(stamp, 2)).has_left("one")
