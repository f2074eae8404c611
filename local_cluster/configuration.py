"""The files that the components' command lines name."""

import json
from typing import Any

from .layout import BRIDGE, CGROUP, CLUSTER_DOMAIN, DNS_ADDRESS, POD_SUBNET, REGISTRY, Layout
from .system_images import PAUSE

__all__ = ["write_configuration"]


def write_configuration(layout: Layout) -> None:
    """Write the files that differ from what the layout says; kube-proxy ends when its file is written anew."""
    files = {"audit-policy.json": _json(_audit_policy())}
    if layout.has_node:
        files |= {
            "cni/10-anneal.conflist": _json(_network_configuration(layout)),
            "containerd.toml": _containerd_configuration(layout),
            "kube-proxy.json": _json(_kube_proxy_configuration(layout)),
            "kubelet.json": _json(_kubelet_configuration(layout)),
            "registry.json": _json(_registry_configuration(layout)),
            f"registries/{REGISTRY}/hosts.toml": f'server = "http://{layout.address}:5000"\n',
        }
    for name, content in files.items():
        path = layout.config / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != content:
            path.write_text(content)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1)


def _audit_policy() -> dict[str, Any]:
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "verbs": ["get", "list", "watch"]},
            {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {"level": "Metadata"},
        ],
    }


def _kubelet_configuration(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzPort": 0,
        # Another build filling the disk must not evict the tests' pods or throw away the images they need.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "podLogsDir": str(layout.state / "pod-logs"),
        "resolvConf": "/etc/resolv.conf",
        "tlsCertFile": str(layout.pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "kubelet-server.key"),
        "volumePluginDir": str(layout.state / "volume-plugins"),
    }


def _kube_proxy_configuration(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.config / "kube-proxy.kubeconfig")},
        "clusterCIDR": POD_SUBNET,
        "conntrack": {"maxPerCore": 0, "min": 0},
        "healthzBindAddress": f"{layout.address}:10256",
        "metricsBindAddress": f"{layout.address}:10249",
        "mode": "nftables",
        "nodePortAddresses": ["primary"],
    }


def _containerd_configuration(layout: Layout) -> str:
    """Containerd's file; `restrict_oom_score_adj` because a root without CAP_SYS_RESOURCE cannot lower the score."""
    return f"""version = 3
root = "{layout.store / "containerd"}"
state = "{layout.run / "containerd"}"

[grpc]
  address = "{layout.containerd_socket}"

[plugins.'io.containerd.nri.v1.nri']
  disable = true

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "{layout.run / "runc"}"
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{layout.bin}"]
    conf_dir = "{layout.config / "cni"}"

[plugins.'io.containerd.cri.v1.images']
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{PAUSE}"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "{layout.config / "registries"}"
"""


def _registry_configuration(layout: Layout) -> dict[str, Any]:
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(layout.store / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": f"{layout.address}:5000"},
    }


def _network_configuration(layout: Layout) -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "ipMasqBackend": "nftables",
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(layout.run / "addresses"),
            "ranges": [[{"subnet": POD_SUBNET}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables", "snat": True}
    return {"cniVersion": "1.0.0", "name": "anneal", "plugins": [bridge, ports]}
