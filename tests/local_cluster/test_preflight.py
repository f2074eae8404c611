"""Every finding says what is missing and what to do."""

import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local_cluster import preflight
from local_cluster.cgroups import REQUIRED_CONTROLLERS
from local_cluster.errors import PreflightError
from local_cluster.layout import Layout
from local_cluster.preflight import check_machine, check_ports


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A control plane's places in an empty folder, on a machine with nothing wrong."""
    monkeypatch.setattr(preflight, "_DYING_SECONDS", 0.0)
    monkeypatch.setattr(preflight, "_WARM_BYTES", 0)
    monkeypatch.setattr(preflight, "_COLD_BYTES", 0)
    return replace(Layout.of_control_plane(), state=tmp_path / "state", cache=tmp_path / "cache")


@pytest.fixture
def node(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """The same for a node, as root."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(preflight, "_kernel", lambda _: iter(()))
    monkeypatch.setattr(preflight, "_programs", lambda _: iter(()))
    monkeypatch.setattr(preflight, "_subnet", lambda _: iter(()))
    monkeypatch.setattr(preflight, "available_controllers", lambda: REQUIRED_CONTROLLERS)
    return replace(layout, has_node=True)


def _only_finding(layout: Layout) -> str:
    (finding,) = check_machine(layout)
    return finding.sentence


def test_a_fitting_machine_has_no_findings(node: Layout) -> None:
    assert check_machine(node) == []


def test_another_user_than_root_is_told_both_ways_out(node: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert _only_finding(node) == "not root: a node needs root; run this with sudo, or pass --control-plane-only"


def test_missing_controllers_are_named(node: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "available_controllers", lambda: frozenset({"cpu", "cpuset", "pids"}))
    assert "cgroup controllers are missing under /sys/fs/cgroup (memory)" in _only_finding(node)


def test_missing_programs_come_with_the_command_that_installs_them(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("nft", "runc") else f"/bin/{name}")
    (finding,) = preflight._programs(layout)  # noqa: SLF001 - one check by itself
    assert finding.remedy == "apt-get install nftables runc"


def test_an_unsupported_kernel_feature_is_named_with_what_the_kernel_said(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unshare = tmp_path / "unshare"
    unshare.write_text('#!/bin/sh\ncase "$*" in *bridge*) echo Operation not supported >&2; exit 2;; esac\n')
    unshare.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    first, *_ = preflight._kernel(layout)  # noqa: SLF001 - one check by itself
    assert first.problem == "the kernel lacks bridges (CONFIG_BRIDGE) (Operation not supported)"


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of the loopback address on which this test listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_in_use_is_named_with_its_component(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, taken_port: int
) -> None:
    monkeypatch.setattr(preflight, "_PORTS", {"etcd": (taken_port,)})
    (finding,) = check_ports(layout)
    said = finding.sentence
    assert f"port {taken_port} of 127.0.0.1, which etcd needs, is in use" in said
    assert f"ss -ltnp 'sport = :{taken_port}'" in said


def test_a_short_disk_is_told_with_what_is_needed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_COLD_BYTES", 10**15)
    assert "building the programs needs 931323 GiB of disk" in _only_finding(layout)


def test_the_error_lists_every_finding(layout: Layout, monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    monkeypatch.setattr(preflight, "_PORTS", {"etcd": (taken_port,)})
    monkeypatch.setattr(preflight, "_COLD_BYTES", 10**15)
    assert str(PreflightError([*check_machine(layout), *check_ports(layout)])).count("\n  - ") == 2
