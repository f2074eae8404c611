"""Starting components under a supervisor: what ends is started again, what is held down stays down."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local_cluster import cluster, faults, supervisor
from local_cluster.cluster import end_changed, start_components, up
from local_cluster.components import Component
from local_cluster.errors import LocalClusterError, NotReadyError, PreflightError
from local_cluster.layout import Layout
from local_cluster.processes import end, find, marked, record, recording, start, wanted
from local_cluster.supervisor import SUPERVISOR, end_supervisor, supervise
from toolbox.polling import poll

_FORK = multiprocessing.get_context("fork")  # the supervisor sees what the test has replaced


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Layout]:
    """A cluster's places in an empty folder, and a supervisor; a component is healthy once it has written `ready`."""
    layout = replace(Layout.of_control_plane(), state=tmp_path)
    layout.bin.mkdir()
    (layout.bin / "program").symlink_to("/bin/sh")
    monkeypatch.setattr(cluster, "healthy", lambda *_: (tmp_path / "ready").exists())
    monkeypatch.setattr(supervisor, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "_PERIOD_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "_LONGEST_PAUSE_SECONDS", 0.1)
    yield layout
    end_supervisor(layout)
    end(marked(layout), patience=0.0)


def _component(script: str, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Component:
    """A component that runs a script, and a supervisor that knows it."""
    component = Component("program", lambda _: ["-c", script], "")
    monkeypatch.setattr(supervisor, "COMPONENTS", {"program": component})
    monkeypatch.setattr(faults, "COMPONENTS", {"program": component})
    process = _FORK.Process(target=_supervise, args=(layout,), daemon=True)
    process.start()
    assert process.pid
    with recording(layout):
        record(layout, SUPERVISOR, process.pid)
    return component


def _supervise(layout: Layout) -> None:
    if poll(lambda: find(layout, SUPERVISOR) is not None, 10):
        supervise(layout)


def test_a_component_that_ends_at_first_is_started_again(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = layout.state / "starts"
    script = f"echo start >> {counter}; [ $(wc -l < {counter}) -ge 3 ] || exit 1; touch {layout.state}/ready; sleep 600"
    start_components(layout, [_component(script, layout, monkeypatch)])
    assert counter.read_text() == "start\n" * 3


def test_a_component_that_crashes_later_is_started_again(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    start_components(layout, [_component(f"touch {layout.state}/ready; sleep 600", layout, monkeypatch)])
    first = find(layout, "program")
    assert first
    os.kill(first.pid, signal.SIGKILL)
    assert poll(lambda: find(layout, "program") not in (None, first), 10)


@pytest.mark.parametrize("fault", [faults.kill, faults.stop])
def test_what_was_killed_or_stopped_on_purpose_stays_down_until_it_is_started(
    fault: Callable[[Layout, str], None], layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_components(layout, [_component(f"touch {layout.state}/ready; exec sleep 600", layout, monkeypatch)])
    fault(layout, "program")
    assert not poll(lambda: find(layout, "program") is not None, 0.5)
    faults.start(layout, "program")
    assert find(layout, "program")


def test_a_component_that_keeps_ending_can_be_held_down_too(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    component = _component("exit 1", layout, monkeypatch)
    start(layout, "program", component.command(layout))
    assert poll(lambda: find(layout, "program") is None, 10)
    try:
        faults.stop(layout, "program")
    except LocalClusterError as error:
        assert "program does not run" in str(error)  # noqa: PT017 - it may be running just then
    assert "program" not in wanted(layout)


def test_the_supervisor_ends_when_its_record_goes(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    _component("sleep 600", layout, monkeypatch)
    process = find(layout, SUPERVISOR)
    assert process
    end_supervisor(layout)
    assert not process.alive()


def test_a_component_that_cannot_run_is_reported_with_the_end_of_its_log(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    component = _component("echo no such flag; exit 2", layout, monkeypatch)
    with pytest.raises(NotReadyError, match=r"program ended \d+ times; the end of .*program.log:\n(.*\n)*    no such"):
        start_components(layout, [component])


def test_a_component_that_never_gets_healthy_is_reported_too(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_HEALTHY_SECONDS", 0.2)
    with pytest.raises(NotReadyError, match="program is not healthy after 0 s"):
        start_components(layout, [_component("sleep 600", layout, monkeypatch)])


def test_a_checkout_with_other_arguments_ends_exactly_the_components_that_run_without_them(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"etcd": "600", "kubelet": "600", "containerd": "600"}
    for name in seconds:
        (layout.bin / name).symlink_to("/bin/sleep")

    def component(name: str) -> Component:
        return Component(name, lambda _: [seconds[name]], "")

    monkeypatch.setattr(cluster, "COMPONENTS", {name: component(name) for name in seconds})
    _component("", layout, monkeypatch)  # a supervisor
    first = {name: start(layout, name, component(name).command(layout)) for name in ("etcd", "kubelet")}
    end_changed(layout)
    assert find(layout, SUPERVISOR)
    assert {name: find(layout, name) for name in first} == first
    seconds |= {"kubelet": "700", "containerd": "700"}
    end_changed(layout)
    assert find(layout, "etcd") == first["etcd"]
    assert not first["kubelet"].alive()
    assert wanted(layout) == {"etcd"}, "the supervisor of the other arguments would start it again"


def test_a_control_plane_alone_says_that_it_enforces_no_network_policies(layout: Layout) -> None:
    with pytest.raises(PreflightError, match="leave out --network-policies, or --control-plane-only"):
        up(layout, network_policies=True)


def test_a_deleted_folder_is_not_replayed(layout: Layout) -> None:
    with pytest.raises(LocalClusterError, match=r"there is no folder .*gone: name a copy"):
        faults.replay(layout, layout.state / "gone")
