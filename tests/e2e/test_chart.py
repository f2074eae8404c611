"""The chart as Helm itself sees it: nothing to complain about, and a misspelt value refused by name.

No cluster is needed, but the local cluster's Helm, which takes a minute to build where no cluster has been up.
"""

import subprocess
from pathlib import Path

import pytest

from local_cluster.build import build
from local_cluster.layout import Layout
from local_cluster.parts import PARTS

CHART = Path(__file__).parents[2] / "charts/anneal"
IMAGES = ("operator", "trainer", "server", "router", "mlflow")


@pytest.fixture(scope="module")
def helm() -> Path:
    """The program."""
    return build([part for part in PARTS if part.name == "helm"], Layout.of_node().cache)["helm"]


def _lint(helm: Path, *options: str) -> subprocess.CompletedProcess[str]:
    images = [f"--set=images.{name}=example/{name}" for name in IMAGES]
    command: list[str | Path] = [helm, "lint", "--strict", CHART, *images, *options]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_helm_lint_finds_nothing(helm: Path) -> None:
    done = _lint(helm)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("operator.replica=2", "at '/operator': additional properties 'replica' not allowed"),
        ("images.operater=example/operator", "at '/images': additional properties 'operater' not allowed"),
        ("operator.replicas=many", "at '/operator/replicas': got string, want integer"),
    ],
)
def test_helm_refuses_a_wrong_value_and_names_it(helm: Path, value: str, complaint: str) -> None:
    refused = _lint(helm, f"--set={value}")
    assert refused.returncode == 1
    assert complaint in refused.stdout
