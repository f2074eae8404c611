"""The control plane without a node, as a user who is not root: it stands beside the cluster with the node."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.cluster import CHECKOUT

# Only root can become another user; and where there is no node, the tests' own control plane has the loopback ports.
pytestmark = pytest.mark.node
NOBODY = 65534
# Another user may be unable to read the checkout or its interpreter; this one capability lets it read, no more.
AS_NOBODY = [
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search",
]  # fmt: skip


@pytest.fixture
def home() -> Iterator[Path]:
    """A home directory of that user's, with the programs of this user's cache."""
    home = Path("/tmp/anneal-nobody")  # noqa: S108 - a folder that every user can reach
    shutil.rmtree(home, ignore_errors=True)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anneal/programs"
    being_built = shutil.ignore_patterns("*.unfinished")  # by the tests beside these
    shutil.copytree(cache, home / ".cache/anneal/programs", ignore=being_built)
    for path in (home, home / ".cache", home / ".cache/anneal", home / ".cache/anneal/programs"):
        os.chown(path, NOBODY, NOBODY)
    yield home
    ended = _tool(home, "--control-plane-only", "down")
    assert ended.returncode == 0, ended.stderr
    shutil.rmtree(home)


def test_without_root_a_node_is_refused_with_the_remedy(home: Path) -> None:
    refused = _tool(home, "up")
    assert refused.returncode == 1
    assert "not root: a node needs root; run this with sudo, or pass --control-plane-only" in refused.stderr


def test_without_root_the_control_plane_runs_and_simulated_nodes_take_pods(home: Path) -> None:
    up = _tool(home, "--control-plane-only", "up", "--simulated-nodes", "3", "--gpus", "8")
    assert up.returncode == 0, up.stderr
    kubeconfig = _tool(home, "--control-plane-only", "kubeconfig").stdout.strip()
    kubectl: list[str | Path] = [
        *AS_NOBODY,
        home / ".local/state/anneal-local-cluster/bin/kubectl",
        f"--kubeconfig={kubeconfig}",
    ]
    created = _run(home, [*kubectl, "create", "configmap", "it-stores"])
    assert created.stdout == "configmap/it-stores created\n", created.stderr
    status = _tool(home, "--control-plane-only", "status")
    assert status.returncode == 0, status.stdout


@pytest.mark.soak
def test_without_root_the_tests_that_need_no_container_run_and_the_others_say_why_not(home: Path) -> None:
    files = ["tests/local_cluster_e2e/test_simulated_nodes.py", "tests/local_cluster_e2e/test_node.py"]
    command = [*AS_NOBODY, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *files]
    done = _run(home, command)
    outcomes = set(re.findall(r"(\w+)\.py::\S+ ([A-Z]+)", done.stdout))
    assert outcomes == {("test_simulated_nodes", "PASSED"), ("test_node", "SKIPPED")}, done.stdout
    assert "this machine cannot hold a node: not root" in done.stdout


def _tool(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _run(home, [*AS_NOBODY, sys.executable, "-m", "local_cluster", *arguments])


def _run(home: Path, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=CHECKOUT, env=environment, timeout=300
    )
