"""kopf's watches, turned into keys of the work queue, and into what is known of jobs. Nothing is decided here.

Only `on.event`: kopf's other handlers put finalizers and annotations on the user's objects, and lose edges.
"""

from typing import Any, Protocol

import kopf

from anneal_operator.api.resources import CUSTOM_RESOURCES, GROUP, VERSION
from anneal_operator.cluster.watched_jobs import WatchedJobs
from anneal_operator.desired.routing import ROUTER
from anneal_operator.desired.serving import VERSION_LABEL
from anneal_operator.desired.training import JOB_LABEL
from anneal_operator.reconcile.queue import Key

__all__ = ["build_registry"]

_GATHERING_SECONDS = 0.5
"""A Job and its pod change several times in a row; one look afterwards sees it all."""


class Wake(Protocol):
    """The work queue's `wake`."""

    def __call__(self, key: Key, after: float = 0.0) -> None: ...


def build_registry(wake: Wake, watched: WatchedJobs) -> kopf.OperatorRegistry:
    """Return the handlers that wake the queue; what concerns FineTuneJobs is kept in `watched` first."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login)
    _watch_jobs(registry, wake, watched)
    for resource in CUSTOM_RESOURCES:
        if resource.kind != "FineTuneJob":
            _watch_own(registry, resource.plural, resource.kind, wake)
    _watch_children(registry, ("", "v1", "pods"), VERSION_LABEL, "ModelVersion", wake)
    _watch_children(registry, ("apps", "v1", "deployments"), VERSION_LABEL, "ModelVersion", wake)
    return registry


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf's kwargs
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _watch_jobs(registry: kopf.OperatorRegistry, wake: Wake, watched: WatchedJobs) -> None:
    @kopf.on.event(GROUP, VERSION, "finetunejobs", registry=registry, id="wake-finetunejobs")
    async def wake_job(event: Any, namespace: str | None, name: str | None, **_: Any) -> None:  # noqa: ANN401
        watched.observe(event["object"], deleted=event["type"] == "DELETED")
        wake(Key("FineTuneJob", namespace or "", name or ""))

    for resource in (("batch", "v1", "jobs"), ("", "v1", "pods")):

        @kopf.on.event(*resource, registry=registry, id=f"wake-by-{resource[2]}", labels={JOB_LABEL: kopf.PRESENT})
        async def wake_by_child(event: Any, namespace: str | None, labels: kopf.Labels, **_: Any) -> None:  # noqa: ANN401
            watched.observe(event["object"], deleted=event["type"] == "DELETED")
            wake(Key("FineTuneJob", namespace or "", labels[JOB_LABEL]), _GATHERING_SECONDS)


def _watch_own(registry: kopf.OperatorRegistry, plural: str, kind: str, wake: Wake) -> None:
    @kopf.on.event(GROUP, VERSION, plural, registry=registry, id=f"wake-{plural}")
    async def wake_own(namespace: str | None, name: str | None, **_: Any) -> None:  # noqa: ANN401 - kopf's kwargs
        wake(Key(kind, namespace or "", name or ""))
        wake(Key("Router", namespace or "", ROUTER))


def _watch_children(
    registry: kopf.OperatorRegistry, resource: tuple[str, str, str], label: str, kind: str, wake: Wake
) -> None:
    identifier = f"wake-{kind.lower()}-by-{resource[2]}"

    @kopf.on.event(*resource, registry=registry, id=identifier, labels={label: kopf.PRESENT})
    async def wake_owner(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:  # noqa: ANN401
        wake(Key(kind, namespace or "", labels[label]))
