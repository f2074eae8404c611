"""The components: how each is called, and how one asks whether it is healthy.

The settings that differ from a production cluster's are those of a single machine: one etcd member, no leader
election among one controller manager and one scheduler, a kubelet that tolerates cgroup v1 and swap, and half an hour
until a silent node counts as lost.
"""

import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .layout import CLUSTER_DOMAIN, NODE_NAME, SERVICE_SUBNET, Layout
from .pki import administrator_tls

__all__ = [
    "COMPONENTS",
    "CONTROLLERS",
    "KUBE_ROUTER",
    "KWOK",
    "NODE",
    "ON_NODE",
    "OPTIONAL",
    "STORE_AND_API",
    "Component",
    "healthy",
    "kwok_arguments",
]

_SILENT_NODE_SECONDS = 1800
"""Simulated nodes say every ten minutes that they live, and hold no leases. Renewing 200 leases every 10 s takes a
sixth of two processors, and a kwok that is started anew plays no node whose lease its predecessor still holds.

The controller manager knows one such time for all nodes: the real one, too, stays Ready so long without its kubelet.
"""
_KWOK_STAGES = (  # what simulated nodes and pods do: files of kwok's own module
    "node-initialize.yaml",
    "node-heartbeat-with-lease.yaml",
    "pod-ready.yaml",
    "pod-delete.yaml",
)


@dataclass(frozen=True)
class Component:
    """A program, its arguments, and the URL that answers 200 once it works; or `socket`: containerd's accepts."""

    name: str
    arguments: Callable[[Layout], list[str]]
    health: str

    def command(self, layout: Layout) -> list[str | Path]:
        """The command line."""
        return [layout.bin / self.name, *self.arguments(layout)]


def healthy(component: Component, layout: Layout) -> bool:
    """Ask the component's health endpoint, trusting only this cluster's own authority."""
    if component.health == "socket":
        return _accepts(layout.containerd_socket)
    url = component.health.format(address=layout.address)
    trust = administrator_tls(layout)
    try:
        with urllib.request.urlopen(url, timeout=2, context=trust) as answer:  # noqa: S310 - the URLs are ours
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _etcd(layout: Layout) -> list[str]:
    client, peer = f"https://{layout.address}:2379", f"https://{layout.address}:2380"
    return [
        "--name=local",
        f"--data-dir={layout.etcd_data.resolve()}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=local={peer}",
        f"--cert-file={layout.pki / 'etcd.crt'}",
        f"--key-file={layout.pki / 'etcd.key'}",
        f"--trusted-ca-file={layout.pki / 'ca.crt'}",
        "--client-cert-auth",
        f"--peer-cert-file={layout.pki / 'etcd.crt'}",
        f"--peer-key-file={layout.pki / 'etcd.key'}",
        f"--peer-trusted-ca-file={layout.pki / 'ca.crt'}",
        "--peer-client-cert-auth",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=30m",
        "--log-level=warn",
    ]


def _api_server(layout: Layout) -> list[str]:
    pki = layout.pki
    return [
        f"--advertise-address={layout.address}",
        f"--bind-address={layout.address}",
        f"--etcd-servers=https://{layout.address}:2379",
        f"--etcd-cafile={pki / 'ca.crt'}",
        f"--etcd-certfile={pki / 'admin.crt'}",
        f"--etcd-keyfile={pki / 'admin.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'kube-apiserver.crt'}",
        f"--tls-private-key-file={pki / 'kube-apiserver.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'kube-apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kube-apiserver-kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        f"--service-account-key-file={pki / 'service-accounts.key'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-cluster-ip-range={SERVICE_SUBNET}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,PodSecurity",
        f"--audit-policy-file={layout.config / 'audit-policy.json'}",
        f"--audit-log-path={layout.logs / 'audit.log'}",
        "--audit-log-maxsize=200",
        "--audit-log-maxbackup=2",
        "--profiling=false",
    ]


_UNLIMITED = ("--kube-api-qps=5000", "--kube-api-burst=5000")  # by default a thousand pods take a minute to go


def _controller_manager(layout: Layout) -> list[str]:
    pki, kubeconfig = layout.pki, layout.config / "kube-controller-manager.kubeconfig"
    return [
        f"--bind-address={layout.address}",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--tls-cert-file={pki / 'controllers.crt'}",
        f"--tls-private-key-file={pki / 'controllers.key'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        f"--node-monitor-grace-period={_SILENT_NODE_SECONDS}s",
        *_UNLIMITED,
    ]


def _scheduler(layout: Layout) -> list[str]:
    kubeconfig = layout.config / "kube-scheduler.kubeconfig"
    return [
        f"--bind-address={layout.address}",
        f"--tls-cert-file={layout.pki / 'controllers.crt'}",
        f"--tls-private-key-file={layout.pki / 'controllers.key'}",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        *_UNLIMITED,
    ]


def _containerd(layout: Layout) -> list[str]:
    return ["--config", str(layout.config / "containerd.toml"), "--log-level", "warn"]


def _registry(layout: Layout) -> list[str]:
    return ["serve", str(layout.config / "registry.json")]


def _kubelet(layout: Layout) -> list[str]:
    return [
        f"--config={layout.config / 'kubelet.json'}",
        f"--kubeconfig={layout.config / 'kubelet.kubeconfig'}",
        f"--root-dir={layout.state / 'kubelet'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={layout.address}",
    ]


def _kube_proxy(layout: Layout) -> list[str]:
    return [f"--config={layout.config / 'kube-proxy.json'}", f"--hostname-override={NODE_NAME}"]


def _kube_router(layout: Layout) -> list[str]:
    return [
        f"--kubeconfig={layout.kubeconfig}",
        f"--node={NODE_NAME}",
        f"--service-cluster-ip-range={SERVICE_SUBNET}",
        f"--health-address={layout.address}:20244",
    ]


def kwok_arguments(layout: Layout, annotation: str, cidr: str, port: int, stages: Iterable[Path]) -> list[str]:
    """How kwok is called to play the nodes with an annotation; `stages` come to those of all nodes and pods."""
    return [
        f"--kubeconfig={layout.config / 'kwok.kubeconfig'}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={annotation}",
        "--node-lease-duration-seconds=0",
        f"--cidr={cidr}",
        *(f"--config={layout.bin / stage}" for stage in _KWOK_STAGES),
        *(f"--config={stage}" for stage in stages),
        f"--server-address={layout.address}:{port}",
    ]


def _kwok(layout: Layout) -> list[str]:
    complete = layout.bin / "pod-complete.yaml"
    return kwok_arguments(layout, "kwok.x-k8s.io/node=fake", "10.99.0.1/16", 10247, [complete])


STORE_AND_API = (
    Component("etcd", _etcd, "https://{address}:2379/health"),
    Component("kube-apiserver", _api_server, "https://{address}:6443/readyz"),
)
CONTROLLERS = (  # they end when they cannot read the API at their start
    Component("kube-controller-manager", _controller_manager, "https://{address}:10257/healthz"),
    Component("kube-scheduler", _scheduler, "https://{address}:10259/healthz"),
)
NODE = (
    Component("containerd", _containerd, "socket"),
    Component("registry", _registry, "http://{address}:5000/v2/"),
    Component("kubelet", _kubelet, "https://{address}:10250/healthz"),
    Component("kube-proxy", _kube_proxy, "http://{address}:10256/livez"),
)
KUBE_ROUTER = Component("kube-router", _kube_router, "http://{address}:20244/healthz")
KWOK = Component("kwok", _kwok, "http://{address}:10247/healthz")
ON_NODE = (*NODE, KUBE_ROUTER)
OPTIONAL = (KUBE_ROUTER, KWOK)
COMPONENTS: Mapping[str, Component] = {c.name: c for c in (*STORE_AND_API, *CONTROLLERS, *ON_NODE, KWOK)}
