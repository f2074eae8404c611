"""What the end-to-end tests of Anneal share: the cluster, and the images."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from demo.commands import Commands
from demo.installation import Installation, built_images
from tests.support.cluster import (
    CHECKOUT,
    Cluster,
    Live,
    cluster,
    kueue,
    live,
    node_obstacle,
    running,
    skip_without_node,
)

from .bench import Bench, furnished

__all__ = [
    "CHECKOUT",
    "Cluster",
    "Live",
    "bench",
    "cluster",
    "images",
    "kueue",
    "live",
    "node_obstacle",
    "operator",
    "running",
    "skip_without_node",
]


@pytest.fixture(scope="module")
def images(running: Cluster, live: Live) -> dict[str, str]:
    """The reference of each image that a pod uses, built and loaded."""
    assert running.layout.has_node
    with live():
        subprocess.run([sys.executable, "-m", "images", "build", "--load"], check=True, cwd=CHECKOUT)
    return built_images()


@pytest.fixture(scope="module")
def operator(running: Cluster, images: dict[str, str], live: Live) -> Iterator[Installation]:
    """The chart, installed."""
    installation = Installation(Commands(running.layout), "anneal-demo")
    with live():
        installation.clean()
        installation.install(images)
    yield installation
    installation.clean()


@pytest.fixture
def bench(operator: Installation, running: Cluster, request: pytest.FixtureRequest) -> Iterator[Bench]:  # noqa: ARG001
    """The test's namespace, with 120 rows in it."""
    with furnished(running, request.node.name) as bench:
        yield bench
