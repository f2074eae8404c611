"""The NetworkPolicies of a namespace, enforced by a real network between real pods.

The pods are stand-ins: they bear the labels of those that the operator makes, and serve a page on their ports.
"""

import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from anneal_operator.desired.policies import PolicyEnvironment, policies
from tests.desired.connections import EVERYBODY, MAY, MONITORING, OTHER, SYSTEM, TEAM
from tests.support.cluster import own_namespace
from tests.support.pods import pod, shell
from toolbox.polling import poll

from .conftest import Cluster, Live

pytestmark = pytest.mark.node
Manifest = dict[str, Any]
Reached = set[tuple[str, str]]
_OPEN = ("trainer", 9000)  # which no policy guards
_PORTS = {name: [port for target, port in (*MAY, _OPEN) if target == name] for name in EVERYBODY}
_SERVE = "mkdir -p /tmp/www && echo page > /tmp/www/index.html"
_ASK = "for at in $0 $@; do wget -q -O /dev/null http://$at/ && echo $at; done; true"


@dataclass(frozen=True)
class Scene:
    """Everybody's pod is up; `addresses` are those of pods and Services, each with the port that it leads to."""

    namespaces: Mapping[str, Cluster]
    addresses: Mapping[str, tuple[str, int]]

    def reached(self) -> Reached:
        """Who reaches which address."""
        with ThreadPoolExecutor(4) as pool:
            return set().union(*pool.map(self._reached_by, EVERYBODY))

    def _reached_by(self, source: str) -> Reached:
        there = self.namespaces[EVERYBODY[source].namespace]
        others = [at for at, (target, _) in self.addresses.items() if target != source]
        said = there.kubectl("exec", source, "--", "sh", "-c", _ASK, *others)
        return {(source, at) for at in said.split()}

    def wanted(self, may: Mapping[tuple[str, int], set[str]]) -> Reached:
        """What is to be reached where these may come to a port, and all to one that is not named."""
        return {
            (source, at)
            for at, to in self.addresses.items()
            for source in may.get(to, set(EVERYBODY))
            if source != to[0]
        }


@pytest.fixture(scope="module")
def enforcing(running: Cluster, live: Live) -> Iterator[Cluster]:
    """The cluster, enforcing policies as long as this module lasts."""
    with live():
        running.up("--network-policies")
    yield running
    running.up()


@pytest.fixture
def scene(enforcing: Cluster) -> Iterator[Scene]:
    """Everybody in namespaces of their own; nothing guards anything yet."""
    with ExitStack() as stack:
        namespaces = {
            name: stack.enter_context(own_namespace(enforcing, f"policies-{name}"))
            for name in (TEAM, OTHER, SYSTEM, MONITORING)
        }
        made = [part for name in EVERYBODY for part in _stand_in(name, namespaces)]
        enforcing.layout.kubectl.apply({"apiVersion": "v1", "kind": "List", "items": made})
        for own in namespaces.values():
            own.kubectl("wait", "pods", "--all", "--for=condition=Ready", "--timeout=90s")
        yield Scene(namespaces, _addresses(namespaces))


def _stand_in(name: str, namespaces: Mapping[str, Cluster]) -> list[Manifest]:
    """A pod, which is ended when a probe of the kubelet fails, and a Service before the ports that it has."""
    who, ports = EVERYBODY[name], _PORTS[name]
    serve = [f"httpd -p {port} -h /tmp/www" for port in ports]
    container = shell(" && ".join([_SERVE, *serve, "exec sleep 3600"]))
    if ports:
        probe = {"httpGet": {"path": "/", "port": ports[-1]}, "periodSeconds": 1}
        container |= {"readinessProbe": probe, "livenessProbe": {**probe, "failureThreshold": 3}}
    made = pod(name, container)
    place = {"namespace": namespaces[who.namespace].namespace, "name": name}
    made["metadata"] = {**place, "labels": {**who.labels, "stand-in": name}}
    spec = {"selector": {"stand-in": name}, "ports": [{"name": f"port-{port}", "port": port} for port in ports]}
    return [made, *([{"apiVersion": "v1", "kind": "Service", "metadata": place, "spec": spec}] if ports else [])]


def _addresses(namespaces: Mapping[str, Cluster]) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for name, ports in _PORTS.items():
        there = namespaces[EVERYBODY[name].namespace]
        if ports:
            hosts = [there.get("pod", name)["status"]["podIP"], there.get("service", name)["spec"]["clusterIP"]]
            found |= {f"{host}:{port}": (name, port) for host in hosts for port in ports}
    return found


def test_everybody_reaches_what_the_policies_say_and_nothing_else(scene: Scene) -> None:
    everything = scene.wanted({})
    assert poll(lambda: scene.reached() == everything, 30), everything ^ scene.reached()
    team = scene.namespaces[TEAM]
    monitoring = {"matchLabels": {"kubernetes.io/metadata.name": scene.namespaces[MONITORING].namespace}}
    env = PolicyEnvironment(scene.namespaces[SYSTEM].namespace, [{"namespaceSelector": monitoring}])
    for policy in policies(team.namespace, [], env):
        team.apply(policy)
    allowed = scene.wanted(MAY)
    assert poll(lambda: scene.reached() == allowed, 30), allowed ^ scene.reached()
    _assert_that_the_node_comes_in(scene)


def _assert_that_the_node_comes_in(scene: Scene) -> None:
    """As the kubelet does, whose probes would have ended the pods by now."""
    for at in scene.addresses:
        with urllib.request.urlopen(f"http://{at}/", timeout=5) as answer:
            assert answer.read() == b"page\n"
    found = scene.namespaces[TEAM].get("pods")["items"]
    assert {item["status"]["phase"] for item in found} == {"Running"}
    assert all(status["ready"] for item in found for status in item["status"]["containerStatuses"])
