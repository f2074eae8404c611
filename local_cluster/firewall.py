"""What kube-router writes into the packet filter to enforce NetworkPolicies: chains of rules, and sets of addresses.

It leaves them when it ends, so that policies hold meanwhile; its own `--cleanup-config` removes none of them.
"""

import re
import shutil

from toolbox.commands import run

__all__ = ["policy_rules", "remove_policy_rules"]

_CHAINS = ("KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-")
_SETS = ("KUBE-SRC-", "KUBE-DST-")


def policy_rules() -> list[str]:
    """The names of its chains and sets that are there."""
    chains = re.findall(r"^:(\S+)", _saved(), flags=re.MULTILINE)
    return [name for name in chains if name.startswith(_CHAINS)] + _sets()


def remove_policy_rules() -> None:
    """Remove them, all chains at once, and leave other rules alone; it has ended, or would write them again."""
    saved, ours = _saved().splitlines(), [name for name in policy_rules() if name.startswith(_CHAINS)]
    jumps = [
        line for line in saved if line.startswith("-A ") and line.split()[1] not in ours and line.split()[-1] in ours
    ]
    steps = [f"-D{line[2:]}" for line in jumps] + [f"-F {name}" for name in ours] + [f"-X {name}" for name in ours]
    if steps:
        run(["iptables-restore", "--noflush"], given="\n".join(["*filter", *steps, "COMMIT", ""]))
    for name in _sets():
        run(["ipset", "destroy", name])


def _saved() -> str:
    return run(["iptables-save", "--table", "filter"]) if shutil.which("iptables-save") else ""


def _sets() -> list[str]:
    """Without the program that makes them there are none."""
    listed = run(["ipset", "list", "-name"]).split() if shutil.which("ipset") else []
    return [name for name in listed if name.startswith(_SETS)]
