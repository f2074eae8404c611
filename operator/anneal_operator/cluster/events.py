"""Events: one per change that a person wants to read, in the object's own `kubectl describe`.

As client-go's recorder does, what is told again is counted in the event that told it first. Its name follows from what
it says, so that nothing has to be remembered, and another operator goes on counting. Events that differ in a number
are different; no rate is limited here.
"""

import hashlib
from datetime import UTC, datetime

from anneal_operator.api.schema import timestamp
from anneal_operator.errors import ConflictError

from .client import KubernetesApi
from .kinds import Manifest

__all__ = ["record_event"]

_LONGEST_MESSAGE = 1000


async def record_event(api: KubernetesApi, regarding: Manifest, reason: str, message: str, *, warning: bool) -> None:
    """Tell about a change of an object."""
    event = _event(regarding, reason, message[:_LONGEST_MESSAGE], "Warning" if warning else "Normal")
    namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
    try:
        await api.create(event)
    except ConflictError:
        if told := await api.get("Event", namespace, name):
            version = {"resourceVersion": told["metadata"]["resourceVersion"]}
            again = {"count": told.get("count", 1) + 1, "lastTimestamp": event["lastTimestamp"]}
            await api.patch("Event", namespace, name, {"metadata": version, **again})


def _event(regarding: Manifest, reason: str, message: str, severity: str) -> Manifest:
    metadata = regarding["metadata"]
    said = "\0".join((metadata["uid"], severity, reason, message))
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    now = timestamp(datetime.now(UTC))
    reference = {key: regarding[key] for key in ("apiVersion", "kind")}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "involvedObject": reference | {key: metadata[key] for key in ("name", "namespace", "uid")},
        "reason": reason,
        "message": message,
        "type": severity,
        "source": {"component": "anneal"},
        "reportingComponent": "anneal",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
