"""The cluster's own life: it comes up again after anything, and goes without a trace."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local_cluster import faults
from local_cluster.cgroups import cgroup_folders
from local_cluster.components import COMPONENTS
from local_cluster.layout import BRIDGE, CGROUP, Layout
from local_cluster.network import tables_present
from local_cluster.processes import find, in_cgroup, marked
from local_cluster.supervisor import SUPERVISOR
from local_cluster.sweep import mounts_below
from tests.support.cluster import CHECKOUT, Cluster
from tests.support.pods import pod, shell
from toolbox.polling import poll


def test_up_of_a_running_cluster_changes_nothing(cluster: Cluster) -> None:
    names = [*COMPONENTS, SUPERVISOR]
    before = {name: find(cluster.layout, name) for name in names}
    cluster.up()
    assert {name: find(cluster.layout, name) for name in names} == before


def test_replaying_a_copy_of_the_data_returns_to_that_moment(cluster: Cluster) -> None:
    copy, original = cluster.layout.state / "copy", cluster.layout.etcd_data.resolve()
    shutil.rmtree(copy, ignore_errors=True)
    cluster.kubectl("create", "configmap", "early")
    cluster.tool("copy-data", str(copy))
    cluster.kubectl("create", "configmap", "late")
    faults.replay(cluster.layout, copy)
    assert _names(cluster) == {"early"}
    shutil.rmtree(copy)  # under etcd's feet
    faults.replay(cluster.layout, original)
    assert _names(cluster) == {"early", "late"}


def test_a_folder_that_is_gone_is_not_replayed_and_nothing_is_disturbed(cluster: Cluster) -> None:
    before = find(cluster.layout, "etcd")
    refused = cluster.tool("replay", "/nowhere", check=False)
    assert refused.returncode == 1
    assert "there is no folder /nowhere: name a copy that `copy-data` made, or an empty folder" in refused.stderr
    assert find(cluster.layout, "etcd") == before


def test_another_checkout_is_told_who_holds_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    for part in ("local_cluster", "requirements", "toolbox"):
        shutil.copytree(CHECKOUT / part, tmp_path / part)
    mode = [] if cluster.layout.has_node else ["--control-plane-only"]
    command = [sys.executable, "-m", "local_cluster", *mode]
    for asked in ("up", "down"):
        refused = subprocess.run([*command, asked], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert f"is held by the checkout {CHECKOUT}" in refused.stderr
    cluster.kubectl("get", "namespace", "default")


@pytest.mark.node
def test_up_repairs_a_cluster_whose_every_process_was_killed(cluster: Cluster) -> None:
    cluster.kubectl("create", "configmap", "before")
    cluster.apply(pod("worker", shell("exec sleep 3600"), restartPolicy="Always"))
    cluster.wait_for_pod("worker")
    _kill_everything(cluster.layout)
    cluster.up()
    cluster.kubectl("get", "configmap", "before")
    assert cluster.tool("status").returncode == 0
    assert poll(lambda: cluster.get("pod", "worker")["status"]["containerStatuses"][0]["restartCount"] == 1, 60)
    cluster.wait_for_pod("worker")
    cluster.apply(pod("after", shell("nslookup kubernetes.default.svc.cluster.local")))
    cluster.wait_for_pod("after", "Succeeded")


@pytest.mark.soak
@pytest.mark.node
def test_up_starts_anew_on_what_another_version_of_the_tool_left(running: Cluster) -> None:
    running.kubectl("create", "configmap", "of-another-version")
    _kill_everything(running.layout)
    (running.layout.state / "version").write_text("another")
    (running.layout.pki / "controllers.crt").unlink()
    running.up()
    assert running.tool("status").returncode == 0
    assert "of-another-version" not in running.kubectl("get", "configmaps")


@pytest.mark.node
@pytest.mark.parametrize(
    "started",
    ["containerd", *(pytest.param(name, marks=pytest.mark.soak) for name in ("etcd", "kube-apiserver", "kubelet"))],
)
def test_up_goes_on_where_an_interrupted_one_stopped(started: str, running: Cluster) -> None:
    running.tool("down")
    with subprocess.Popen([sys.executable, "-m", "local_cluster", "up"], cwd=CHECKOUT) as interrupted:
        assert poll(lambda: find(running.layout, started) is not None, 60)
        interrupted.kill()
    running.up()
    assert running.tool("status").returncode == 0


@pytest.mark.node
def test_down_leaves_no_process_mount_interface_table_or_cgroup(cluster: Cluster) -> None:
    cluster.apply(pod("worker", shell("exec sleep 3600")))
    cluster.wait_for_pod("worker")
    _down_and_assert_nothing_is_left(cluster)


@pytest.mark.soak
@pytest.mark.node
def test_down_after_a_kill_of_everything_leaves_nothing_either(running: Cluster) -> None:
    running.up()
    _kill_everything(running.layout)
    _down_and_assert_nothing_is_left(running)


def _down_and_assert_nothing_is_left(cluster: Cluster) -> None:
    layout = cluster.layout
    cluster.tool("down")
    assert marked(layout) == []
    assert in_cgroup(CGROUP) == []
    assert mounts_below(layout.state, layout.run, layout.store) == []
    assert tables_present() == []
    interfaces = {path.name for path in Path("/sys/class/net").iterdir()}
    assert BRIDGE not in interfaces
    assert not [name for name in interfaces if name.startswith("veth")]
    assert cgroup_folders() == []
    assert list(layout.state.iterdir()) == []
    assert not layout.run.exists()


def _kill_everything(layout: Layout) -> None:
    """SIGKILL the components, the shims they left behind, and the containers."""
    for process in [*marked(layout), *in_cgroup(CGROUP)]:
        os.kill(process.pid, signal.SIGKILL)
    assert poll(lambda: not marked(layout), 10)


def _names(cluster: Cluster) -> set[str]:
    items = cluster.get("configmaps")["items"]
    return {item["metadata"]["name"] for item in items} - {"kube-root-ca.crt"}
