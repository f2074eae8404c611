"""Which pod is chosen: properties of a pure function, asked in the Lua that the router runs."""

import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from tools.nginx import installed

from .stand import ROUTER

Ask = Callable[..., Any]
PROPERTY = settings(
    deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HASHES = [random.Random(number).getrandbits(32) for number in range(4000)]
TEXT = HASHES[0]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Ask pick.lua."""
    nginx = installed()
    lua = {**nginx.environment, "LUA_PATH": f"{ROUTER}/?.lua;{nginx.environment['LUA_PATH']}"}
    command = [*nginx.command("usr/bin/luajit"), str(Path(__file__).with_name("pick.lua"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **lua}, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        source, sink = process.stdout, process.stdin

        def asked(**case: Any) -> Any:
            sink.write(json.dumps(case) + "\n")
            sink.flush()
            return json.loads(source.readline())

        yield asked
        sink.close()
        assert process.wait(timeout=10) == 0


def _pods(*loads: int, out: dict[int, float] | None = None) -> list[dict[str, Any]]:
    """Pods that answer so much now; `out` says until when, by number, some are left alone."""
    seeds = random.Random(7)
    return [
        {"here": load, "elsewhere": 0, "seed": seeds.getrandbits(32), "out_until": (out or {}).get(number, 0)}
        for number, load in enumerate(loads, 1)
    ]


def test_without_a_text_the_lesser_of_two_at_random_is_asked(ask: Ask) -> None:
    assert set(ask(pods=_pods(5, 4), hashes=[None] * 50)) == {2}
    assert set(ask(pods=_pods(9, 3, 3), hashes=[None] * 100)) == {2, 3}
    pods = _pods(0, 1)
    pods[0]["elsewhere"] = 2
    assert set(ask(pods=pods, hashes=[None] * 20)) == {2}


def test_pods_that_are_alike_are_asked_alike(ask: Ask) -> None:
    counts: Counter[int] = Counter(ask(pods=_pods(*[2] * 5), hashes=[None] * 4000))
    assert stats.chisquare(list(counts.values())).pvalue > 0.001


def test_requests_without_a_text_are_spread_evenly(ask: Ask) -> None:
    counts: Counter[int] = Counter(ask(pods=_pods(*[0] * 10), hashes=[None] * 1000, keep=True))
    assert len(counts) == 10
    assert max(counts.values()) - min(counts.values()) <= 8


@PROPERTY
@given(text=st.sampled_from(HASHES), count=st.integers(2, 12), gone=st.integers(0, 11))
def test_a_text_goes_to_the_same_pod_until_that_is_gone(ask: Ask, text: int, count: int, gone: int) -> None:
    pods = _pods(*[0] * count)
    (first, again) = ask(pods=pods, hashes=[text] * 2)
    assert first == again
    left = [pod for number, pod in enumerate(pods) if number != gone % count]
    (then,) = ask(pods=left, hashes=[text])
    assert (left[then - 1] == pods[first - 1]) == (gone % count != first - 1)


def test_texts_are_spread_evenly_and_their_next_pods_too(ask: Ask) -> None:
    pods = _pods(*[0] * 8)
    first = ask(pods=pods, hashes=HASHES)
    assert stats.chisquare([first.count(number) for number in range(1, 9)]).pvalue > 0.001
    busy = _pods(*[0] * 7, 100)
    other = [text for text, number in zip(HASHES, first, strict=True) if number == 8]
    assert stats.chisquare([ask(pods=busy, hashes=other).count(number) for number in range(1, 8)]).pvalue > 0.001


@PROPERTY
@given(loads=st.lists(st.integers(0, 60), min_size=2, max_size=10), text=st.sampled_from(HASHES))
def test_a_pod_with_more_than_its_share_passes_a_text_on(ask: Ask, loads: list[int], text: int) -> None:
    (number,) = ask(pods=_pods(*loads), hashes=[text])
    assert loads[number - 1] + 1 <= max(4, ceil(1.25 * (sum(loads) + 1) / len(loads)))


def test_one_text_asked_often_at_once_is_spread_no_more_than_it_must(ask: Ask) -> None:
    chosen = ask(pods=_pods(0, 0, 0, 0), hashes=[TEXT] * 100, keep=True)
    assert len(set(chosen[:4])) == 1
    assert max(Counter(chosen).values()) == ceil(1.25 * 100 / 4)


def test_one_that_is_left_alone_is_not_asked(ask: Ask) -> None:
    for hashes in ([None] * 100, HASHES[:100]):
        assert set(ask(pods=_pods(0, 0, 0, out={2: 10}), hashes=hashes, now=9)) == {1, 3}
        assert set(ask(pods=_pods(0, 0, 0, out={2: 10}), hashes=hashes, now=10)) == {1, 2, 3}


def test_a_clock_that_is_set_back_leaves_no_pod_alone_for_longer_than_the_longest_pause(ask: Ask) -> None:
    for hashes in ([None] * 100, HASHES[:100]):
        assert set(ask(pods=_pods(0, 0, 0, out={2: 1300}), hashes=hashes, now=1000)) == {1, 3}
        assert set(ask(pods=_pods(0, 0, 0, out={2: 1301}), hashes=hashes, now=1000)) == {1, 2, 3}
    assert ask(events=[["refused", 1000], ["refused", 1000], ["refused", 500]]) == [False, True, True]


@pytest.mark.parametrize(
    ("count", "out", "asked"),
    [
        (1, {1: 10}, {1}),
        (2, {1: 10, 2: 20}, {1}),
        (3, {1: 10, 2: 20}, {1, 3}),
        (4, {1: 10, 2: 20, 3: 30}, {1, 4}),
        (4, {1: 10, 2: 20, 3: 30, 4: 40}, {1, 2}),
    ],
)
def test_never_more_than_half_are_left_alone(ask: Ask, count: int, out: dict[int, float], asked: set[int]) -> None:
    for hashes in ([None] * 100, HASHES[:100]):
        assert set(ask(pods=_pods(*[0] * count, out=out), hashes=hashes, now=1)) == asked


def test_one_that_was_tried_is_not_asked_again(ask: Ask) -> None:
    for hashes in ([None] * 50, HASHES[:50]):
        assert set(ask(pods=_pods(0, 0, 0), hashes=hashes, tried=[1])) == {2, 3}
        assert set(ask(pods=_pods(0, 0), hashes=hashes, tried=[1, 2])) == {None}
        assert set(ask(pods=_pods(0), hashes=hashes, tried=[1])) == {None}
        assert set(ask(pods=_pods(0, 0, out={2: 10}), hashes=hashes, tried=[1])) == {2}, "better than nobody"


R, F, A = "refused", "failed", "answered"


@pytest.mark.parametrize(
    ("events", "left_alone"),
    [
        ([(R, 0), (R, 1)], [1]),
        ([(F, 0), (F, 1), (F, 2), (F, 3), (F, 4)], [4]),
        ([(R, 0), (A, 1), (R, 2), (A, 3), (R, 4)], []),
        ([(R, 0), (F, 1), (R, 2)], []),
        ([(F, 0), (F, 1), (F, 2), (F, 3), (A, 4), (F, 5)], []),
        ([(R, 0), (R, 1), (R, 2), (R, 10), (R, 11)], [1, 4]),
        ([(R, 0), (R, 1), (F, 12)], [1, 2]),
        ([(R, 0), (R, 1), (A, 12), (R, 13)], [1]),
    ],
    ids=[
        "refused twice",
        "failed five times",
        "refused now and then",
        "refused, but not in a row",
        "failed, but not five times in a row",
        "what was asked before it was left alone changes nothing",
        "back, its first failure is enough",
        "back, it answers",
    ],
)
def test_a_pod_is_left_alone_when(ask: Ask, events: list[Any], left_alone: list[int]) -> None:
    told = ask(events=events)
    assert [number for number, is_left_alone in enumerate(told) if is_left_alone] == left_alone


def test_it_is_left_alone_for_longer_each_time(ask: Ask) -> None:
    assert [ask(times=times) for times in (1, 2, 3, 6, 7, 50)] == [5, 10, 20, 160, 300, 300]
