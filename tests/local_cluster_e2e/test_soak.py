"""Sweeps over moments and orders that are too long for `make test`."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from local_cluster.layout import CGROUP
from local_cluster.processes import find, in_cgroup, marked
from tests.support.cluster import CHECKOUT, Cluster
from tests.support.pods import pod, shell
from toolbox.polling import poll

pytestmark = [pytest.mark.soak, pytest.mark.node]
COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
)


@pytest.mark.parametrize("moment", [number / 2 for number in range(24)])
def test_up_recovers_from_an_up_that_was_killed_with_all_it_started(moment: float, running: Cluster) -> None:
    running.tool("down")
    deadline = time.monotonic() + moment
    with subprocess.Popen([sys.executable, "-m", "local_cluster", "up"], cwd=CHECKOUT) as interrupted:
        poll(lambda: time.monotonic() > deadline or interrupted.poll() is not None, moment + 1)
        interrupted.kill()
    for process in [*marked(running.layout), *in_cgroup(CGROUP)]:
        os.kill(process.pid, signal.SIGKILL)
    running.up()
    assert running.tool("status").returncode == 0
    default = replace(running, namespace="default")
    assert poll(lambda: default.kubectl.process("get", "serviceaccount", "default").returncode == 0, 60)
    default.apply(pod("probe", shell("nslookup kubernetes.default.svc.cluster.local")))
    default.wait_for_pod("probe", "Succeeded")


@pytest.mark.timeout(3600)
def test_a_pod_outlives_fifty_kills_of_components_in_random_order(cluster: Cluster) -> None:
    order = random.Random(42)
    cluster.apply(pod("survivor", shell("exec sleep 36000")))
    cluster.wait_for_pod("survivor")
    for _ in range(50):
        component = order.choice(COMPONENTS)
        process = find(cluster.layout, component)
        assert process
        os.kill(process.pid, signal.SIGKILL)
        assert poll(lambda: cluster.tool("status", check=False).returncode == 0, 90, every=0.5)
    assert poll(lambda: cluster.pod_phase("survivor") == "Running", 60)
    assert cluster.get("pod", "survivor")["status"]["containerStatuses"][0]["restartCount"] == 0
    cluster.apply(pod("after", shell("nslookup kubernetes.default.svc.cluster.local")))
    cluster.wait_for_pod("after", "Succeeded")
