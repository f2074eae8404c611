"""Events: one per change that a person wants to read, in the object's own `kubectl describe`."""

from datetime import UTC, datetime

from .client import KubernetesApi
from .kinds import Manifest

__all__ = ["record_event"]


async def record_event(api: KubernetesApi, regarding: Manifest, reason: str, message: str, *, warning: bool) -> None:
    """Tell about a change of an object."""
    metadata = regarding["metadata"]
    now = datetime.now(UTC)
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    reference = {key: regarding[key] for key in ("apiVersion", "kind")}
    reference |= {key: metadata[key] for key in ("name", "namespace", "uid")}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
        "involvedObject": reference,
        "reason": reason,
        "message": message[:1000],
        "type": "Warning" if warning else "Normal",
        "source": {"component": "anneal"},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
    await api.create(event)
