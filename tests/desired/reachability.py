"""Who reaches whom by NetworkPolicies alone: what a network that enforces them does, evaluated without one.

It knows what ours use and what Kubernetes says of that, and refuses the rest: rules of egress, named ports, blocks of
addresses. A pod's own node reaches it whatever they say; that is no matter of theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Pod", "chooses", "reaches"]

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod by what policies know of it."""

    namespace: str
    labels: Mapping[str, str]


def reaches(policies: Sequence[Manifest], source: Pod, target: Pod, port: int) -> bool:
    """Whether the source may open a TCP connection: a pod that no policy chooses takes all of them."""
    guards = [policy["spec"] for policy in policies if policy["metadata"]["namespace"] == target.namespace]
    assert all(spec["policyTypes"] == ["Ingress"] for spec in guards), "this knows no rules of egress"
    guards = [spec for spec in guards if chooses(spec["podSelector"], target.labels)]
    rules = [rule for spec in guards for rule in spec.get("ingress", ())]
    return not guards or any(_lets_in(rule, source, target.namespace, port) for rule in rules)


def chooses(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a label selector chooses what bears these labels; the empty one chooses everything."""
    expressions = selector.get("matchExpressions", ())
    named = selector.get("matchLabels", {}).items() <= labels.items()
    return named and all(_holds(expression, labels) for expression in expressions)


def _lets_in(rule: Manifest, source: Pod, namespace: str, port: int) -> bool:
    """A rule without peers lets in everybody, one without ports to all of them."""
    known = "from" not in rule or any(_is(peer, source, namespace) for peer in rule["from"])
    return known and ("ports" not in rule or {"protocol": "TCP", "port": port} in rule["ports"])


def _is(peer: Manifest, source: Pod, namespace: str) -> bool:
    """A peer without a selector of namespaces is one of the policy's own."""
    assert peer.keys() <= {"namespaceSelector", "podSelector"}, f"this knows no {peer}"
    there = source.namespace == namespace
    if "namespaceSelector" in peer:
        there = chooses(peer["namespaceSelector"], {"kubernetes.io/metadata.name": source.namespace})
    return there and chooses(peer.get("podSelector", {}), source.labels)


def _holds(expression: Manifest, labels: Mapping[str, str]) -> bool:
    key: str = expression["key"]
    if expression["operator"] in ("Exists", "DoesNotExist"):
        return bool((key in labels) == (expression["operator"] == "Exists"))
    return bool((labels.get(key) in expression["values"]) == (expression["operator"] == "In"))
