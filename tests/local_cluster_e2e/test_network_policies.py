"""NetworkPolicies are enforced from one `up` until another, whatever crashes meanwhile; then nothing of it is left."""

import os
import signal
from collections.abc import Iterator

import pytest

from local_cluster.firewall import policy_rules
from local_cluster.processes import find
from tests.support.cluster import Cluster, Live
from tests.support.pods import pod, shell
from toolbox.polling import poll

pytestmark = pytest.mark.node
_SERVE = "mkdir -p /tmp/www && echo page > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"


@pytest.fixture
def enforcing(running: Cluster, live: Live) -> Iterator[None]:
    """Policies are enforced."""
    with live():
        running.up("--network-policies")
    yield
    running.up()


@pytest.mark.usefixtures("enforcing")
def test_policies_hold_while_their_enforcer_is_away_and_after_it_and_go_with_it(cluster: Cluster) -> None:
    _serve_and_ask(cluster, "old")
    _forbid_all(cluster)
    assert poll(lambda: not _is_reached(cluster, "old"), 30)
    _crash_the_enforcer(cluster)
    assert not _is_reached(cluster, "old")
    assert poll(lambda: cluster.tool("status", check=False).stdout.count(f"{'kube-router':24} healthy") == 1, 30)
    _serve_and_ask(cluster, "new")
    assert poll(lambda: not _is_reached(cluster, "new"), 30)
    _crash_the_enforcer(cluster)
    cluster.up()
    assert (find(cluster.layout, "kube-router"), policy_rules()) == (None, [])
    assert _is_reached(cluster, "old")


@pytest.mark.soak
@pytest.mark.usefixtures("enforcing")
def test_down_leaves_none_of_their_rules(cluster: Cluster) -> None:
    _serve_and_ask(cluster, "web")
    _forbid_all(cluster)
    assert poll(lambda: not _is_reached(cluster, "web"), 30)
    assert policy_rules()
    cluster.tool("down")
    assert policy_rules() == []


def _serve_and_ask(cluster: Cluster, name: str) -> None:
    """A pod that serves a page, and one that asks for it."""
    cluster.apply(pod(name, shell(_SERVE)))
    cluster.apply(pod(f"{name}-asks", shell("exec sleep 3600")))
    for made in (name, f"{name}-asks"):
        cluster.wait_for_pod(made)


def _forbid_all(cluster: Cluster) -> None:
    spec = {"podSelector": {}, "policyTypes": ["Ingress"]}
    cluster.apply(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "all"}, "spec": spec}
    )


def _is_reached(cluster: Cluster, name: str) -> bool:
    address = cluster.get("pod", name)["status"]["podIP"]
    ask = ("wget", "-q", "-O", "-", f"http://{address}:8080/")
    return cluster.kubectl.process("exec", f"{name}-asks", "--", *ask).stdout == "page\n"


def _crash_the_enforcer(cluster: Cluster) -> None:
    process = find(cluster.layout, "kube-router")
    assert process
    os.kill(process.pid, signal.SIGKILL)
