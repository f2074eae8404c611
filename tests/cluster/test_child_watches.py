"""Watching children: all is listed, then news, then all again."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from anneal_operator.cluster import child_watches
from anneal_operator.cluster.child_watches import Pauses, watch_children
from anneal_operator.errors import ApiError
from tests.reconcile.world import Manifest

_GONE = ApiError(410, "too old resource version")


class _Served:
    """Answers listings and watches in turn; the last one never ends."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def pages(self, kind: str, selector: str) -> AsyncIterator[Manifest]:
        self.asked.append(f"list {kind} {selector}")
        for page in self._next():
            yield page

    async def watch(self, kind: str, selector: str, since: str, seconds: int) -> AsyncIterator[Manifest]:
        self.asked.append(f"watch {kind} {selector} since {since}")
        assert seconds > 0
        for event in self._next():
            yield event
        if not self.answers:
            await asyncio.Event().wait()

    def _next(self) -> list[Manifest]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        found: list[Manifest] = answer
        return found


def _page(version: str, *names: str) -> Manifest:
    return {"metadata": {"resourceVersion": version}, "items": [_object(name) for name in names]}


def _object(name: str) -> Manifest:
    return {"metadata": {"name": name}}


def _event(kind: str, name: str) -> Manifest:
    return {"type": kind, "object": {"kind": "Job", **_object(name)}}


def _told(monkeypatch: pytest.MonkeyPatch, served: _Served, count: int) -> list[tuple[str, bool]]:
    """Watch until so many objects were told of."""
    monkeypatch.setattr(child_watches, "_FIRST_PAUSE_SECONDS", 0.01)
    told: list[tuple[str, bool]] = []

    async def watch() -> None:
        enough = asyncio.Event()

        def tell(child: Manifest, deleted: bool) -> None:
            assert child["kind"] == "Job", "items of a list do not say their kind themselves"
            told.append((child["metadata"]["name"], deleted))
            if len(told) == count:
                enough.set()

        task = asyncio.create_task(watch_children(served, "Job", "label", tell))
        await asyncio.wait_for(enough.wait(), 10)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(watch())
    return told


def test_all_pages_are_told_then_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    served = _Served([_page("7", "a", "b"), _page("7", "c")], [_event("MODIFIED", "a"), _event("DELETED", "b")])
    found = _told(monkeypatch, served, 5)
    assert found == [("a", False), ("b", False), ("c", False), ("a", False), ("b", True)]
    assert served.asked == ["list Job label", "watch Job label since 7"]


@pytest.mark.parametrize("end", [[], _GONE, RuntimeError("unexpected")])
def test_when_a_watch_ends_all_is_listed_anew(monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    served = _Served([_page("7", "a")], end, [_page("9", "b")], [_event("ADDED", "c")])
    assert _told(monkeypatch, served, 3) == [("a", False), ("b", False), ("c", False)]
    assert served.asked[-1] == "watch Job label since 9"


def test_an_api_server_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    down = ApiError(0, "the API server did not answer")
    served = _Served(down, down, [_page("7", "a")], [_event("ADDED", "c")])
    assert _told(monkeypatch, served, 2) == [("a", False), ("c", False)]


def test_pauses_grow_to_half_a_minute_and_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []
    monkeypatch.setattr("random.uniform", lambda *limits: asked.append(limits))
    expected = [(0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16), (15, 30), (15, 30), (15, 30)]
    for _ in itertools.islice(Pauses(), len(expected)):
        pass
    for _ in itertools.islice(Pauses(), 1):
        pass
    assert asked == [*expected, expected[0]]


def test_after_an_answer_pauses_are_short_again(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []

    def no_time(_: float, longest: float) -> float:
        paused.append(longest)
        return 0.0

    monkeypatch.setattr("random.uniform", no_time)
    down = ApiError(0, "the API server did not answer")
    served = _Served(down, down, [_page("7", "a")], [], [_page("9", "b")], [_event("ADDED", "c")])
    _told(monkeypatch, served, 3)
    assert paused == [0.01, 0.02, 0.01]
