"""What the end-to-end tests of Anneal share: the cluster, and the images."""

import subprocess
import sys

import pytest

from demo.installation import built_images
from tests.support.cluster import (
    CHECKOUT,
    Cluster,
    Live,
    cluster,
    kueue,
    live,
    node_obstacle,
    own_namespace,
    running,
    skip_without_node,
)

__all__ = [
    "CHECKOUT",
    "Cluster",
    "Live",
    "cluster",
    "images",
    "kueue",
    "live",
    "node_obstacle",
    "own_namespace",
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
