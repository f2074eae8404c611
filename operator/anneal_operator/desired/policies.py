"""Who may open a connection to a namespace's router, recorder and engines, where the cluster enforces NetworkPolicies.

They come on top of the keys, and choose pods by labels of ours. The kubelet's probes need no rule: a node reaches its
own pods. Metrics lie on ports that hold more, behind a key; a scraper is let in where the installation names it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from anneal_operator.api.resources import OWNER_ANNOTATION
from serving_runtime.plan import ADMIN_PORT, CLIENT_PORT, RECORDER_PORT, TASKS_PORT

from .fetching import FETCH_LABEL
from .pods import Manifest, labels, owned_by_all
from .serving import ENGINE_PORT, GROUP_LABEL, VERSION_LABEL
from .shared_base import SHARED_BASE_LABEL

__all__ = ["ROUTER_PODS", "PolicyEnvironment", "policies"]

_OPERATOR = {"app.kubernetes.io/name": "anneal-operator"}  # the chart says so, too
_OURS = {"app.kubernetes.io/managed-by": "anneal"}
ROUTER_PODS = {"app.kubernetes.io/name": "router", **_OURS}
_SCORER = {"app.kubernetes.io/name": "scorer", **_OURS}
_RECORDER = {"app.kubernetes.io/name": "recorder", **_OURS}
_TASKS = {"app.kubernetes.io/name": "tasks", **_OURS}


@dataclass(frozen=True)
class PolicyEnvironment:
    """Who else there is in the cluster."""

    operator_namespace: str
    scrapers: Sequence[Manifest]
    """Who may scrape metrics, as the peers of a NetworkPolicy are written."""


def policies(namespace: str, owners: Sequence[Manifest], env: PolicyEnvironment) -> list[Manifest]:
    """Return a namespace's NetworkPolicies, which go with the last of the ModelVersions that own them.

    Clients come to the router from anywhere: how it is exposed is its Service's matter.
    """
    system = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": env.operator_namespace}}}
    operator: Manifest = {**system, "podSelector": {"matchLabels": _OPERATOR}}
    router: Manifest = {"podSelector": {"matchLabels": ROUTER_PODS}}
    scorer: Manifest = {"podSelector": {"matchLabels": _SCORER}}
    engines, shared, group = _with(VERSION_LABEL), _with(SHARED_BASE_LABEL), _with(GROUP_LABEL)
    to_router = [{"ports": [_port(CLIENT_PORT)]}, _from([operator, *env.scrapers], ADMIN_PORT)]
    guarded: list[tuple[str, Manifest, list[Manifest]]] = [
        ("anneal-router", {"matchLabels": ROUTER_PODS}, to_router),
        ("anneal-recorder", {"matchLabels": _RECORDER}, [_from([router, scorer, operator], RECORDER_PORT)]),
        ("anneal-tasks", {"matchLabels": _TASKS}, [_from([router], TASKS_PORT)]),
        ("anneal-engines", engines, [_from([router, operator, *env.scrapers], ENGINE_PORT)]),
        ("anneal-shared-engines", shared, [_from([router, operator, *env.scrapers], ENGINE_PORT)]),
        ("anneal-weights", _with(FETCH_LABEL), [_from([operator], ENGINE_PORT)]),
        ("anneal-groups", group, [{"from": [{"podSelector": group}]}, _from([operator], ENGINE_PORT)]),
    ]
    return [_policy(namespace, name, owners, pods, ingress) for name, pods, ingress in guarded]


def _with(label: str) -> Manifest:
    """Our pods that have a label."""
    return {"matchLabels": _OURS, "matchExpressions": [{"key": label, "operator": "Exists"}]}


def _policy(namespace: str, name: str, owners: Sequence[Manifest], pods: Manifest, ingress: list[Manifest]) -> Manifest:
    metadata = {
        "namespace": namespace,
        "name": name,
        "labels": labels("router", name),
        "annotations": {OWNER_ANNOTATION: "anneal-router"},
        "ownerReferences": owned_by_all(owners),
    }
    spec = {"podSelector": pods, "policyTypes": ["Ingress"], "ingress": ingress}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _from(peers: list[Manifest], port: int) -> Manifest:
    return {"from": peers, "ports": [_port(port)]}


def _port(number: int) -> Manifest:
    return {"protocol": "TCP", "port": number}
