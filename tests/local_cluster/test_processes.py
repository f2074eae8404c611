"""Components are found by what they are, not by a number that the operating system may use again."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local_cluster.errors import HeldError
from local_cluster.holder import CHECKOUT, claim, holder_of
from local_cluster.layout import Layout
from local_cluster.processes import end, find, marked, runs_otherwise, start, unrecorded
from toolbox.polling import poll


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    """A cluster's places in an empty folder; what was started there ends with the test."""
    layout = replace(Layout.of_control_plane(), state=tmp_path / "state")
    layout.state.mkdir()
    yield layout
    end(marked(layout), patience=0.0)


def test_a_started_process_is_found_until_it_ended(layout: Layout) -> None:
    started = start(layout, "etcd", ["sleep", "600"])
    assert find(layout, "etcd") == started
    end([started])
    assert find(layout, "etcd") is None


def test_a_record_of_another_process_with_the_same_number_finds_nothing(layout: Layout) -> None:
    layout.pids.mkdir()
    (layout.pids / "etcd.json").write_text(json.dumps({"pid": os.getpid(), "began": 1}))
    assert find(layout, "etcd") is None


@pytest.mark.parametrize("record", ["", "{}", "not json"])
def test_a_record_that_was_half_written_finds_nothing(record: str, layout: Layout) -> None:
    layout.pids.mkdir()
    (layout.pids / "etcd.json").write_text(record)
    assert find(layout, "etcd") is None


def test_what_a_killed_process_left_behind_still_carries_the_mark(layout: Layout) -> None:
    parent = start(layout, "containerd", ["sh", "-c", "sleep 600 & wait"])
    assert poll(lambda: len(marked(layout)) == 2, 5)
    end([parent], patience=0.0)
    (orphan,) = marked(layout)
    assert orphan != parent


def test_a_component_whose_record_was_never_written_is_found_by_its_program(layout: Layout) -> None:
    start(layout, "sleep", ["sleep", "600"])
    process = find(layout, "sleep")
    assert unrecorded(layout, ["sleep"]) == []
    (layout.pids / "sleep.json").unlink()
    assert unrecorded(layout, ["etcd"]) == []
    assert unrecorded(layout, ["sleep"]) == [process]


def test_a_component_runs_otherwise_where_an_argument_differs(layout: Layout) -> None:
    assert runs_otherwise(layout, "etcd", ["sleep", "600"]) is None
    process = start(layout, "etcd", [Path("/bin/sleep"), "600"])
    assert runs_otherwise(layout, "etcd", ["/bin/sleep", "600"]) is None
    assert poll(lambda: runs_otherwise(layout, "etcd", ["/bin/sleep"]) == process, 5)
    for command in (["/bin/sleep", "60"], ["/bin/sleep", "600", "0"], ["/bin/sleep"]):
        assert runs_otherwise(layout, "etcd", command) == process
    end([process])
    assert runs_otherwise(layout, "etcd", ["/bin/sleep", "60"]) is None


def test_a_frozen_process_is_ended_too(layout: Layout) -> None:
    process = start(layout, "etcd", ["sh", "-c", "kill -STOP $$; sleep 600"])
    end([process], patience=2.0)
    assert not process.alive()


def test_the_output_of_a_component_is_in_its_log(layout: Layout) -> None:
    start(layout, "etcd", ["echo", "hello"])
    assert poll(lambda: (layout.logs / "etcd.log").read_text() == "hello\n", 5)


def test_another_checkout_s_running_cluster_is_not_claimed(layout: Layout, tmp_path: Path) -> None:
    start(layout, "kube-apiserver", ["sleep", "600"])
    record = layout.state / "holder.json"
    record.write_text(json.dumps({"checkout": str(tmp_path), "since": "2026-01-01T00:00:00+00:00"}))
    with pytest.raises(HeldError, match=f"held by the checkout {tmp_path} since 2026-01-01"):
        claim(layout, take_over=False)
    claim(layout, take_over=True)
    assert json.loads(record.read_text())["checkout"] == str(CHECKOUT)


def test_a_cluster_that_ended_or_whose_checkout_is_gone_is_free(layout: Layout, tmp_path: Path) -> None:
    record = layout.state / "holder.json"
    record.write_text(json.dumps({"checkout": str(tmp_path), "since": "2026-01-01T00:00:00+00:00"}))
    assert holder_of(layout) is None
    start(layout, "kube-apiserver", ["sleep", "600"])
    record.write_text(json.dumps({"checkout": str(tmp_path / "gone"), "since": "2026-01-01T00:00:00+00:00"}))
    claim(layout, take_over=False)
    holder = holder_of(layout)
    assert holder is not None
    assert holder.checkout == str(CHECKOUT)
