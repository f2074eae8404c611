"""Starting components: patience with those that end at first, and a report of those that cannot run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local_cluster import cluster
from local_cluster.cluster import start_components
from local_cluster.components import Component
from local_cluster.errors import NotReadyError
from local_cluster.layout import Layout
from local_cluster.processes import end, marked


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Layout]:
    """A cluster's places in an empty folder; a component is healthy once it has written the file `ready`."""
    layout = replace(Layout.of_control_plane(), state=tmp_path)
    layout.bin.mkdir()
    (layout.bin / "program").symlink_to("/bin/sh")
    monkeypatch.setattr(cluster, "healthy", lambda *_: (tmp_path / "ready").exists())
    monkeypatch.setattr(cluster, "_RESTART_SECONDS", 2.0)
    monkeypatch.setattr(cluster, "_RESTART_PAUSE_SECONDS", 0.05)
    yield layout
    end(marked(layout), patience=0.0)


def _component(script: str) -> Component:
    return Component("program", lambda _: ["-c", script], "")


def test_a_component_that_ends_at_first_is_started_again(layout: Layout) -> None:
    counter = layout.state / "starts"
    script = f"echo start >> {counter}; [ $(wc -l < {counter}) -ge 3 ] || exit 1; touch {layout.state}/ready; sleep 600"
    start_components(layout, [_component(script)])
    assert counter.read_text() == "start\n" * 3


def test_a_component_that_cannot_run_is_reported_with_the_end_of_its_log(layout: Layout) -> None:
    with pytest.raises(NotReadyError, match=r"program ended; the end of .*program.log:\n(.*\n)*    no such flag"):
        start_components(layout, [_component("echo no such flag; exit 2")])


def test_a_component_that_never_gets_healthy_is_reported_too(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_HEALTHY_SECONDS", 0.2)
    with pytest.raises(NotReadyError, match="program is not healthy after 0 s"):
        start_components(layout, [_component("sleep 600")])
