"""What watches tell, turned into keys of the work queue, and into what the store knows. Nothing is decided here.

Of kopf only `on.event`: its other handlers put finalizers and annotations on the user's objects, and lose edges. And
only for the custom resources: it cannot choose children by their labels on the API server.
"""

from typing import Any, Protocol

import kopf

from anneal_operator.api.resources import CUSTOM_RESOURCES, GROUP, VERSION
from anneal_operator.cluster.child_watches import Tell
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.store import Store
from anneal_operator.desired.fetching import FETCH_LABEL
from anneal_operator.desired.routing import ROUTER_LABEL
from anneal_operator.desired.serving import VERSION_LABEL, WORKER_LABEL
from anneal_operator.desired.shared_base import SHARED_BASES_LABEL
from anneal_operator.desired.training_names import JOB_LABEL
from anneal_operator.reconcile.neighbours import ROUTER_KIND, SHARED_BASE_KIND, neighbours
from anneal_operator.reconcile.queue import Key

__all__ = ["OWNERS", "build_registry", "children"]

OWNERS = {
    JOB_LABEL: "FineTuneJob",
    VERSION_LABEL: "ModelVersion",
    WORKER_LABEL: "ModelVersion",
    FETCH_LABEL: "ModelVersion",
    ROUTER_LABEL: ROUTER_KIND,
    SHARED_BASES_LABEL: SHARED_BASE_KIND,
}
"""The labels under which children carry their owners' names, and the owners' kinds."""
_CHILDREN = (
    ("Job", JOB_LABEL),
    ("Pod", JOB_LABEL),
    ("Deployment", VERSION_LABEL),
    ("Pod", VERSION_LABEL),
    ("Pod", WORKER_LABEL),
    ("Job", FETCH_LABEL),
    ("Pod", FETCH_LABEL),
    ("Pod", ROUTER_LABEL),
    ("Deployment", SHARED_BASES_LABEL),
    ("Pod", SHARED_BASES_LABEL),
)
_GATHERING_SECONDS = 0.5
"""A Job and its pod change several times in a row; one look afterwards sees it all."""


class Wake(Protocol):
    """The work queue's `wake`."""

    def __call__(self, key: Key, after: float = 0.0) -> None: ...


def build_registry(wake: Wake, store: Store) -> kopf.OperatorRegistry:
    """Return the handlers for the custom resources; what they tell is kept first."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login)
    for resource in CUSTOM_RESOURCES:
        _watch_own(registry, resource.plural, wake, store)
    return registry


def children(wake: Wake, store: Store) -> list[tuple[str, str, Tell]]:
    """Return the kinds of children, the label that each carries its owner's name under, and what to do at news."""

    def tell(owner: str, label: str) -> Tell:
        def tell_of_child(child: Manifest, deleted: bool) -> None:
            if store.observe(child, deleted=deleted):
                wake(_owner(owner, child, label), _GATHERING_SECONDS)

        return tell_of_child

    return [(kind, label, tell(OWNERS[label], label)) for kind, label in _CHILDREN]


def _owner(kind: str, child: Manifest, label: str) -> Key:
    metadata = child["metadata"]
    return Key(kind, metadata["namespace"], metadata["labels"][label])


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf's kwargs
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _watch_own(registry: kopf.OperatorRegistry, plural: str, wake: Wake, store: Store) -> None:
    @kopf.on.event(GROUP, VERSION, plural, registry=registry, id=f"wake-{plural}")
    async def wake_own(event: Any, **_: Any) -> None:  # noqa: ANN401 - kopf's kwargs
        manifest: Manifest = event["object"]
        if store.observe(manifest, deleted=event["type"] == "DELETED"):
            metadata = manifest["metadata"]
            wake(Key(manifest["kind"], metadata["namespace"], metadata["name"]))
            for key in neighbours(store, manifest):
                wake(key)
