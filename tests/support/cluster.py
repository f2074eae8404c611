"""The cluster that the end-to-end tests run on, as fixtures that their conftests share.

Every module starts from a cluster that is up, whichever ran before it: `up` is idempotent. Where the machine cannot
hold a node, the control plane alone runs, and every test marked `node` is skipped with the machine's own reason.
"""

import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_cluster.layout import Layout
from local_cluster.preflight import check_machine
from tests.support.api_reader import ApiReader
from tests.support.kueue import disarm
from tests.support.kueue import kueue as have_kueue
from toolbox.kubectl import Kubectl
from toolbox.polling import poll

__all__ = [
    "CHECKOUT",
    "Cluster",
    "Live",
    "cluster",
    "kueue",
    "live",
    "node_obstacle",
    "own_namespace",
    "running",
    "skip_without_node",
]

Live = Callable[[], AbstractContextManager[None]]
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cluster:
    """The running cluster, and the commands a person would type at it."""

    layout: Layout
    namespace: str = "default"

    def tool(self, *arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `python -m local_cluster` from this checkout."""
        return _run([*self._tool(), *arguments], check=check, timeout=timeout)

    def _tool(self) -> list[str]:
        mode = [] if self.layout.has_node else ["--control-plane-only"]
        return [sys.executable, "-m", "local_cluster", *mode]

    def up(self, *more: str) -> None:
        """Bring it up with what the tests need, and more; its progress goes to the standard output."""
        take_over = ["--take-over"] if os.environ.get("CI") else []
        command = [*self._tool(), "up", "--gpus", "8", "--simulated-nodes", "200", *take_over, *more]
        subprocess.run(command, check=True, cwd=CHECKOUT)

    @property
    def kubectl(self) -> Kubectl:
        """kubectl in the test's namespace."""
        return self.layout.kubectl.within(self.namespace)

    @property
    def api(self) -> ApiReader:
        """What is read again and again, in the test's namespace."""
        return ApiReader(self.layout, self.namespace)

    def apply(self, manifest: dict[str, Any]) -> None:
        self.kubectl.apply(manifest)

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.kubectl.get(*arguments)

    def pod_phase(self, name: str) -> str:
        return self.kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}", check=False)

    def wait_for_pod(self, name: str, phase: str = "Running", patience: float = 60) -> None:
        reached = poll(lambda: self.pod_phase(name) == phase, patience)
        assert reached, self.kubectl("describe", "pod", name)

    def logs_until(self, name: str, text: str, patience: float = 60) -> str:
        """Wait until a pod has printed a text; return all it printed."""
        reached = poll(lambda: text in self.kubectl("logs", name, check=False), patience)
        logs = self.kubectl("logs", name, check=False)
        assert reached, f"{text!r} is not in {logs!r}\n{self.kubectl('describe', 'pod', name)}"
        return logs


def _run(
    command: list[str], *, given: str | None = None, check: bool = True, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, timeout=timeout, cwd=CHECKOUT
    )
    if check:
        assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="session")
def node_obstacle() -> str:
    """Why this machine can never hold a node; empty where it can, or where something has to be mended first."""
    return "; ".join(finding.sentence for finding in check_machine(Layout.of_node()) if finding.lasting)


@pytest.fixture(autouse=True)
def skip_without_node(request: pytest.FixtureRequest, node_obstacle: str) -> None:
    """Skip what is marked `node` where there can be none."""
    if node_obstacle and request.node.get_closest_marker("node"):
        pytest.skip(f"this machine cannot hold a node: {node_obstacle}")


@pytest.fixture(scope="module")
def running(node_obstacle: str, live: Live) -> Cluster:
    """The cluster, up and complete."""
    cluster = Cluster(Layout.of_control_plane() if node_obstacle else Layout.of_node())
    with live():  # on a new machine this builds for minutes: show how far it is
        if cluster.layout.kubeconfig.exists():
            disarm(cluster.layout.kubectl)
        cluster.up()
    return cluster


@pytest.fixture(scope="session")
def live(request: pytest.FixtureRequest) -> Live:
    """A context in which output is shown at once instead of being captured."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    show: Live = capture.global_and_fixture_disabled
    return show


@pytest.fixture
def cluster(running: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster, with a namespace of the test's own that goes with it."""
    with own_namespace(running, request.node.name) as own:
        yield own


@contextmanager
def own_namespace(running: Cluster, test: str) -> Iterator[Cluster]:
    """The cluster, with a namespace called after a test."""
    words = re.sub(r"[^a-z0-9]+", "-", test.lower().removeprefix("test_"))
    name = f"{words[:40].strip('-')}-{zlib.crc32(words.encode()):08x}"
    running.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true")
    running.kubectl("create", "namespace", name)
    own = Cluster(running.layout, name)
    account = ("get", "serviceaccount", "default")  # pods are refused until the controllers have made it
    assert poll(lambda: own.kubectl.process(*account).returncode == 0, 60)
    try:
        yield own
    finally:
        if running.layout.kubeconfig.exists():  # the test may have ended the cluster
            running.kubectl("delete", "namespace", name, "--wait=false", check=False)


@pytest.fixture(scope="module")
def kueue(running: Cluster, live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kueue in the cluster; `tests.support.kueue.add_queue` makes the queues."""
    with live(), have_kueue(running.layout, tmp_path_factory.mktemp("kueue")):
        yield
