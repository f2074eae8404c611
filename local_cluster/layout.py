"""Where the cluster keeps its files, and at which addresses it listens.

Two kinds of cluster exist side by side without touching each other: the one with a node, which belongs to
root and to the machine, and a control plane alone, which belongs to a user and to the loopback address.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from toolbox.kubectl import Kubectl

__all__ = [
    "BRIDGE",
    "CGROUP",
    "CLUSTER_DOMAIN",
    "DNS_ADDRESS",
    "NODE_NAME",
    "POD_SUBNET",
    "REGISTRY",
    "SERVICE_ADDRESS",
    "SERVICE_SUBNET",
    "Layout",
]

NODE_NAME = "local"
CLUSTER_DOMAIN = "cluster.local"
SERVICE_SUBNET = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
POD_SUBNET = "10.98.0.0/24"
BRIDGE = "anneal0"
BRIDGE_ADDRESS = "10.98.0.1"
CGROUP = "anneal-local-cluster"
REGISTRY = "anneal.local"  # the host part of our images' names: pulls of it go to the node's own registry


@dataclass(frozen=True)
class Layout:
    """The places of one cluster.

    `state` holds what `down` deletes, `store` holds containerd's images, which outlive a `down` because loading
    them again is slow, and `cache` holds what is built and is shared by every checkout of this user.
    """

    state: Path
    run: Path
    store: Path
    cache: Path
    address: str
    has_node: bool

    @classmethod
    def of_node(cls) -> "Layout":
        """The cluster with a node: it needs root."""
        store = Path("/var/lib/anneal-local-cluster-images")
        state, run = Path("/var/lib/anneal-local-cluster"), Path("/run/anneal-local-cluster")
        return cls(state, run, store, _user_cache(), BRIDGE_ADDRESS, has_node=True)

    @classmethod
    def of_control_plane(cls) -> "Layout":
        """The control plane alone: it needs nothing but a home directory."""
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        state = home / "anneal-local-cluster"
        return cls(state, state / "run", state / "store", _user_cache(), "127.0.0.1", has_node=False)

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        """One file per component, and the API server's audit log."""
        return self.state / "logs"

    @property
    def config(self) -> Path:
        """Configuration files of the components and their kubeconfigs."""
        return self.state / "config"

    @property
    def pids(self) -> Path:
        """One record per started component."""
        return self.state / "processes"

    @property
    def bin(self) -> Path:
        """Links to this cluster's programs, kubectl and helm among them."""
        return self.state / "bin"

    @property
    def etcd_data(self) -> Path:
        """A link to etcd's data directory; `replay` points it elsewhere."""
        return self.state / "etcd"

    @property
    def containerd_socket(self) -> Path:
        """The container runtime's address."""
        return self.run / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.config / "admin.kubeconfig"

    @property
    def kubectl(self) -> Kubectl:
        """The cluster's own kubectl as its administrator."""
        return Kubectl(self.bin / "kubectl", self.kubeconfig)

    @property
    def api_url(self) -> str:
        """The API server's address."""
        return f"https://{self.address}:6443"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anneal"
