"""The node's bridge, and the tables that kube-proxy and the CNI plugins write into the packet filter.

The bridge exists before the first pod and carries the node's own address, so the cluster depends on no other
interface of the machine, and the address is the same on every machine.
"""

import json
from pathlib import Path

from toolbox.commands import CommandError, run

from .firewall import remove_policy_rules
from .layout import BRIDGE, BRIDGE_ADDRESS, POD_SUBNET

__all__ = ["TABLES", "create_bridge", "remove_network", "tables_present"]

TABLES = (
    ("ip", "kube-proxy"),
    ("ip6", "kube-proxy"),
    ("inet", "cni_plugins_masquerade"),
    ("inet", "cni_hostport"),
)
_LEGACY = (("ip", "nat"), ("ip", "filter"))
"""Of iptables: the CNI plugins look for old rules there, and kube-router writes some; without any they go."""
_IPV4 = Path("/proc/sys/net/ipv4")
_BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def create_bridge() -> None:
    """Make the bridge with the node's address, and let the kernel forward and filter what crosses it."""
    if not _exists(BRIDGE):
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    prefix = POD_SUBNET.partition("/")[2]
    run(["ip", "address", "replace", f"{BRIDGE_ADDRESS}/{prefix}", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    (_IPV4 / "ip_forward").write_text("1")
    # Without this, a reply between two pods of the bridge skips the address translation of Services.
    _BRIDGE_FILTER.write_text("1")


def remove_network() -> None:
    """Remove the bridge, the pods' interfaces on it, the tables, and what enforced NetworkPolicies."""
    if _exists(BRIDGE):
        attached = json.loads(run(["ip", "-json", "link", "show", "master", BRIDGE]) or "[]")
        for interface in (*(link["ifname"] for link in attached), BRIDGE):
            _delete(interface)
    remove_policy_rules()
    for family, table in tables_present():
        run(["nft", "delete", "table", family, table])
    for family, table in _tables() & set(_LEGACY):
        if _is_idle(run(["nft", "--stateless", "list", "table", family, table])):
            run(["nft", "delete", "table", family, table])


def tables_present() -> list[tuple[str, str]]:
    """Which of our tables the packet filter holds."""
    return [table for table in TABLES if table in _tables()]


def _tables() -> set[tuple[str, str]]:
    lines = [line.split() for line in run(["nft", "list", "tables"]).splitlines()]
    return {(family, name) for _, family, name in lines}


def _is_idle(table: str) -> bool:
    """Whether a table holds nothing but chains of the kernel's own hooks, which let everything pass."""
    lines = [line.split() for line in table.splitlines() if line.strip() and "# Warning" not in line]
    first = [words[0] for words in lines]
    passes = all("policy accept;" in " ".join(words) for words in lines if words[0] == "type")
    return passes and set(first) <= {"table", "chain", "type", "}"} and first.count("chain") == first.count("type")


def _delete(interface: str) -> None:
    try:
        run(["ip", "link", "delete", interface])
    except CommandError:
        if _exists(interface):  # else it went meanwhile, with the namespace of its other end
            raise


def _exists(interface: str) -> bool:
    return (Path("/sys/class/net") / interface).exists()
