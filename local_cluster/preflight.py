"""Whether this machine can hold the cluster: every check that fails says what is missing and what to do."""

import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator

from toolbox.polling import poll

from .build import built
from .cgroups import REQUIRED_CONTROLLERS, available_controllers
from .components import COMPONENTS, ON_NODE
from .errors import Finding
from .layout import BRIDGE, POD_SUBNET, Layout
from .parts import PARTS
from .processes import find

__all__ = ["check_machine", "check_ports"]

_PACKAGES = {
    "buildah": "buildah",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "ipset": "ipset",
    "iptables": "iptables",
    "nft": "nftables",
    "runc": "runc",
}
_PORTS = {
    "etcd": (2379, 2380),
    "kube-apiserver": (6443,),
    "kube-controller-manager": (10257,),
    "kube-scheduler": (10259,),
    "kubelet": (10250,),
    "kube-proxy": (10249, 10256),
    "kube-router": (20244,),
    "kwok": (10247,),
    "registry": (5000,),
}
_GIB = 1024**3
_DYING_SECONDS = 5.0  # a killed program of many threads holds its sockets until the last of them has ended
_COLD_BYTES, _WARM_BYTES = 14 * _GIB, 4 * _GIB


def check_machine(layout: Layout) -> list[Finding]:
    """Return what is missing for this kind of cluster; an empty list means that it fits."""
    checks: list[Callable[[Layout], Iterator[Finding]]] = [_disk]
    if layout.has_node:
        if os.geteuid() != 0:
            remedy = "a node needs root; run this with sudo, or pass --control-plane-only"
            return [Finding("not root", remedy, lasting=True)]
        checks += [_programs, _controllers, _kernel, _subnet]
    return [finding for check in checks for finding in check(layout)]


def _programs(_: Layout) -> Iterator[Finding]:
    missing = [package for program, package in _PACKAGES.items() if shutil.which(program) is None]
    if missing:
        yield Finding(f"programs are missing ({', '.join(missing)})", f"apt-get install {' '.join(missing)}")


def _controllers(_: Layout) -> Iterator[Finding]:
    missing = REQUIRED_CONTROLLERS - available_controllers()
    if missing:
        yield Finding(
            f"cgroup controllers are missing under /sys/fs/cgroup ({', '.join(sorted(missing))})",
            "mount them (inside a container: run it privileged), or pass --control-plane-only",
            lasting=True,
        )


def _kernel(_: Layout) -> Iterator[Finding]:
    """Try each feature for real in a network and mount namespace of its own, which takes its traces along."""
    attempts = {
        "network and mount namespaces": "true",
        "bridges (CONFIG_BRIDGE)": "ip link add probe type bridge",
        "virtual Ethernet pairs (CONFIG_VETH)": "ip link add probe0 type veth peer name probe1",
        "nftables (CONFIG_NF_TABLES)": "nft add table inet probe",
        "address translation in nftables (CONFIG_NFT_NAT)": (
            "nft add table ip probe && nft add chain ip probe nat '{ type nat hook postrouting priority 100; }'"
        ),
        "overlayfs (CONFIG_OVERLAY_FS)": "grep -qw overlay /proc/filesystems || modprobe overlay",
        "bridge filtering (CONFIG_BRIDGE_NETFILTER)": (
            "test -e /proc/sys/net/bridge/bridge-nf-call-iptables || modprobe br_netfilter"
        ),
    }
    for feature, attempt in attempts.items():
        command = ["unshare", "--net", "--mount", "sh", "-c", attempt]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            yield Finding(
                f"the kernel lacks {feature} ({said})",
                "use a kernel with it, give the container the capability SYS_ADMIN, or pass --control-plane-only",
                lasting=True,
            )


def _subnet(_: Layout) -> Iterator[Finding]:
    """Another route to the pods' addresses would swallow their packets."""
    prefix = ".".join(POD_SUBNET.split(".")[:3])
    routes = subprocess.run(["ip", "route", "show"], capture_output=True, text=True, check=False).stdout
    for route in routes.splitlines():
        if route.startswith(f"{prefix}.") and f"dev {BRIDGE}" not in route:
            yield Finding(f"the pods' subnet {POD_SUBNET} is routed elsewhere ({route.strip()})", "remove that route")


def check_ports(layout: Layout) -> list[Finding]:
    """Return the ports that somebody else holds; one that is only about to be freed is waited for."""
    poll(lambda: not _taken(layout), _DYING_SECONDS)
    return [
        Finding(
            f"port {port} of {layout.address}, which {name} needs, is in use",
            f"end the program that listens there (find it with `ss -ltnp 'sport = :{port}'`)",
        )
        for name, port in _taken(layout)
    ]


def _taken(layout: Layout) -> list[tuple[str, int]]:
    """A port may be taken by the component itself; where the address is not there yet, nothing can hold it."""
    needed = [name for name in _PORTS if layout.has_node or COMPONENTS[name] not in ON_NODE]
    stopped = [name for name in needed if find(layout, name) is None]
    return [(name, port) for name in stopped for port in _PORTS[name] if _in_use(layout.address, port)]


def _in_use(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _disk(layout: Layout) -> Iterator[Finding]:
    cold = any(built(part, layout.cache) is None for part in PARTS)
    needs = {layout.state: _WARM_BYTES, layout.cache: _COLD_BYTES if cold else _WARM_BYTES}
    for folder, needed in needs.items():
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            what = "building the programs" if needed == _COLD_BYTES else "running the cluster"
            yield Finding(
                f"{what} needs {needed / _GIB:.0f} GiB of disk, {existing} has {free / _GIB:.1f} GiB free",
                f"free some space, or move {folder} to a larger disk",
            )
