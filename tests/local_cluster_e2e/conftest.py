"""What the local cluster's own tests share: the cluster."""

from tests.support.cluster import cluster, kueue, live, node_obstacle, running, skip_without_node

__all__ = ["cluster", "kueue", "live", "node_obstacle", "running", "skip_without_node"]
