"""What is asked of the running cluster: apply manifests, advertise GPUs, add simulated nodes, see readiness."""

import json
import socket
import struct
from pathlib import Path
from typing import Any

from .layout import DNS_ADDRESS, NODE_NAME, Layout

__all__ = [
    "advertise_gpus",
    "apply",
    "dns_answers",
    "simulate_nodes",
    "simulated_nodes_ready",
    "wait_for_rollout",
]

_MANIFESTS = Path(__file__).parent / "manifests"


def apply(layout: Layout, manifest: str) -> None:
    """Apply one file of `manifests/`."""
    layout.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(_MANIFESTS / manifest))


def advertise_gpus(layout: Layout, count: int) -> None:
    """Let the node claim GPUs that it does not have: pods that ask for them run on its processor."""
    patch = json.dumps({"status": {"capacity": {"nvidia.com/gpu": str(count)}}})
    layout.kubectl("patch", "node", NODE_NAME, "--subresource=status", "--type=merge", "-p", patch)


def simulate_nodes(layout: Layout, count: int, gpus: int) -> None:
    """Add nodes that kwok plays: they look like machines with eight H100s, and their pods run nothing."""
    present = set(layout.kubectl("get", "nodes", "-l", "type=kwok", "-o", "name").split())
    nodes = [_simulated_node(number, gpus) for number in range(count)]
    missing = [node for node in nodes if f"node/{node['metadata']['name']}" not in present]
    if missing:
        layout.kubectl("create", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": missing}))


def simulated_nodes_ready(layout: Layout, label: str = "type=kwok") -> int:
    """Count the simulated nodes that are Ready: those of `up`, or others by their label."""
    nodes = layout.kubectl.get("nodes", "-l", label)["items"]
    conditions = [condition for node in nodes for condition in node["status"].get("conditions", [])]
    return sum(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def wait_for_rollout(layout: Layout, namespace: str, deployment: str) -> None:
    """Wait until every pod of a Deployment is ready."""
    layout.kubectl("-n", namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=90s")


def dns_answers() -> bool:
    """Ask the cluster's DNS service for its own name over UDP (RFC 1035), as a pod does."""
    name = b"".join(bytes([len(part)]) + part for part in b"kube-dns.kube-system.svc.cluster.local".split(b"."))
    query = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + name + b"\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        try:
            client.sendto(query, (DNS_ADDRESS, 53))
            return socket.inet_aton(DNS_ADDRESS) in client.recv(512)
        except OSError:
            return False


def _simulated_node(number: int, gpus: int) -> dict[str, Any]:
    name = f"h100-{number:03d}"
    resources = {"cpu": "192", "memory": "2048Gi", "ephemeral-storage": "28Ti", "pods": "110"}
    resources |= {"nvidia.com/gpu": str(gpus)} if gpus else {}
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
        "node.kubernetes.io/instance-type": "h100x8",
        "nvidia.com/gpu.count": str(gpus),
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "topology.kubernetes.io/zone": f"rack-{number // 8:02d}",
        "type": "kwok",
    }
    taint = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"taints": [taint]},
        "status": {"capacity": resources, "allocatable": resources},
    }
