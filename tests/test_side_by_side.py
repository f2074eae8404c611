"""Tests that begin together fail each for its own reason."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.e2e import side_by_side
from tests.e2e.bench import Bench
from tests.e2e.conftest import Cluster
from tests.e2e.side_by_side import beginnings, beside_others


def test_a_fixture_that_cannot_be_made_fails_those_that_use_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "_BODIES", {})
    monkeypatch.setattr(side_by_side, "furnished", _furnished)
    began: list[str] = []

    @beside_others
    def queueing(_: Bench) -> None:
        began.append("queueing")

    @beside_others
    def plain(_: Bench) -> None:
        began.append("plain")

    def made(_: str) -> None:
        raise OSError("no Kueue")

    items = [_item("queueing", "kueue"), _item("plain"), _item("another", path="elsewhere")]
    session = SimpleNamespace(items=items)
    request = SimpleNamespace(path="here", session=session, getfixturevalue=made)
    for begun in beginnings(cast("Cluster", None), cast("pytest.FixtureRequest", request)):
        assert set(begun) == {"queueing", "plain"}
        plain(begun)
        with pytest.raises(OSError, match="no Kueue"):
            queueing(begun)
    assert began == ["plain"]


@contextmanager
def _furnished(*_: object) -> Iterator[None]:
    yield


def _item(name: str, *fixtures: str, path: str = "here") -> Any:
    marks = [SimpleNamespace(args=fixtures)] if fixtures else []
    return SimpleNamespace(name=name, path=path, iter_markers=lambda _: marks)
