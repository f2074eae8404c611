"""The parts of Kubernetes that are built from Go modules: their sources, flags and cache keys.

Each part has a module of its own under `go/`, because their dependency sets conflict in one. The versions are
pinned by `go.mod`, the contents by `go.sum`.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KUBE_ROUTER", "PARTS", "Part"]

_SOURCES = Path(__file__).parent / "go"


@dataclass(frozen=True)
class Part:
    """One Go module, the programs that it yields, and files or folders of the module that they need at run time."""

    name: str
    programs: tuple[str, ...]
    version_of: str | None = None
    tags: str = ""
    version_variable: str = ""
    in_node: bool = False
    files: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """The folder with `go.mod`."""
        return _SOURCES / self.name

    @property
    def is_tool(self) -> bool:
        """Whether the programs are `tool` lines of go.mod, rather than a main package of ours."""
        return not (self.source / "main.go").exists()

    @property
    def version(self) -> str:
        """The pinned version, without the leading v; empty for a program of our own."""
        if self.version_of is None:
            return ""
        pinned = re.search(rf"{re.escape(self.version_of)} v(\S+)", (self.source / "go.mod").read_text())
        if pinned is None:
            raise ValueError(f"{self.source / 'go.mod'} does not require {self.version_of}")
        return pinned[1]

    @property
    def link_flags(self) -> str:
        """The linker's flags: stripped, and with the version where a program reports it."""
        return f"-s -w -X {self.version_variable}=v{self.version}" if self.version_variable else "-s -w"

    @property
    def digest(self) -> str:
        """A key of all that decides the programs' bytes but the toolchain."""
        digest = hashlib.sha256(f"{self.programs} {self.files} {self.tags} {self.link_flags}".encode())
        for file in sorted(self.source.iterdir()):
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
        return digest.hexdigest()[:16]


KUBE_ROUTER = Part("kube-router", ("kube-router",), "github.com/cloudnativelabs/kube-router/v2", in_node=True)
"""Built only where NetworkPolicies are to be enforced."""
PARTS = (
    Part("etcd", ("etcd",), "go.etcd.io/etcd/server/v3"),
    Part(
        "kwok",
        ("kwok",),
        "sigs.k8s.io/kwok",
        files=(
            "kustomize/stage/node/fast/node-initialize.yaml",
            "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
            "kustomize/stage/pod/fast/pod-ready.yaml",
            "kustomize/stage/pod/fast/pod-complete.yaml",
            "kustomize/stage/pod/fast/pod-delete.yaml",
        ),
    ),
    Part("helm", ("helm",), "helm.sh/helm/v3", version_variable="helm.sh/helm/v3/internal/version.version"),
    Part("pause", ("pause",), in_node=True),
    Part(
        "cni",
        ("bridge", "loopback", "host-local", "portmap"),
        "github.com/containernetworking/plugins",
        in_node=True,
    ),
    Part("local-path", ("local-path-provisioner",), "github.com/rancher/local-path-provisioner", in_node=True),
    Part("coredns", ("coredns",), "github.com/coredns/coredns", in_node=True),
    Part("registry", ("registry",), "github.com/distribution/distribution/v3", in_node=True),
    Part(
        "containerd",
        ("containerd", "containerd-shim-runc-v2", "ctr"),
        "github.com/containerd/containerd/v2",
        tags="no_btrfs,no_devmapper",
        version_variable="github.com/containerd/containerd/v2/version.Version",
        in_node=True,
    ),
    Part(
        "kubernetes",
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
        "k8s.io/kubernetes",
        version_variable="k8s.io/component-base/version.gitVersion",
    ),
)
