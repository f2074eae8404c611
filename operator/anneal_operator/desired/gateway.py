"""A namespace's router behind a Gateway of the cluster's, which speaks TLS and knows hosts: one HTTPRoute."""

from collections.abc import Sequence
from dataclasses import dataclass

from anneal_operator.api.resources import OWNER_ANNOTATION
from serving_runtime.plan import CLIENT_PORT

from .pods import Manifest, labels, owned_by_all
from .routing import ROUTER

__all__ = ["GatewayEnvironment", "http_route"]

_NAMESPACE = "{namespace}"


@dataclass(frozen=True)
class GatewayEnvironment:
    """Which Gateways lead to routers; without any, no HTTPRoute is made."""

    parents: Sequence[Manifest] = ()
    """As an HTTPRoute's `parentRefs` are written."""
    hostnames: Sequence[str] = ()
    """In which `{namespace}` stands for the router's, so that none takes another's clients."""


def http_route(namespace: str, owners: Sequence[Manifest], env: GatewayEnvironment) -> Manifest:
    """Return it; it goes with the last of the ModelVersions that own it.

    It sets no limit in time: a stream lasts as long as it lasts, and the router knows when a server is silent.
    """
    metadata = {
        "namespace": namespace,
        "name": ROUTER,
        "labels": labels("router", ROUTER),
        "annotations": {OWNER_ANNOTATION: ROUTER},
        "ownerReferences": owned_by_all(owners),
    }
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "timeouts": {"request": "0s"},
        "backendRefs": [{"name": ROUTER, "port": CLIENT_PORT}],
    }
    spec = {
        "parentRefs": list(env.parents),
        "hostnames": [name.replace(_NAMESPACE, namespace) for name in env.hostnames],
        "rules": [rule],
    }
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec}
