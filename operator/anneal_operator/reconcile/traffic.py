"""What a namespace's routers have under way, and whether their records are stored: asked of each pod, now and then.

Kept in memory alone: a new leader knows nothing of what was, so it scales nothing down for a while.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.acknowledgement import takes_requests
from anneal_operator.decide.autoscaling import ASKED_EVERY_SECONDS, LONGEST_KEPT, Sample
from anneal_operator.desired.routing import LEFT_SECONDS, ROUTER, ROUTER_LABEL, pod_admin_url
from anneal_operator.errors import RouterError
from anneal_operator.outside.routers import Routers, RouterTraffic

__all__ = ["Traffic", "router_pods"]

_PERIOD = timedelta(seconds=ASKED_EVERY_SECONDS) - timedelta(seconds=0.5)


@dataclass(frozen=True)
class _Moment:
    """What was told of all versions."""

    at: datetime
    requests: Mapping[str, int]
    is_whole: bool


@dataclass
class Traffic:
    """Of all namespaces where a version is scaled by it, or an experiment waits for records."""

    _moments: dict[str, deque[_Moment]] = field(default_factory=dict)
    _stored: dict[str, dict[str, datetime]] = field(default_factory=dict)
    """Up to when each router's records are stored, by its pod's uid."""
    _asked_at: dict[str, datetime] = field(default_factory=dict)

    async def ask(self, routers: Routers, key: str, reader: Reader, namespace: str, now: datetime) -> None:
        """Ask a namespace's routers, unless they were asked just now, as by another version's reconcile."""
        last = self._asked_at.get(namespace)
        if last is not None and now - last < _PERIOD:
            return
        self._asked_at[namespace] = now
        pods = await router_pods(reader, namespace, now)
        told = await asyncio.gather(*(_told(routers, key, pod) for pod in pods))
        heard = [router.requests for router in told if router]
        versions = {version for requests in heard for version in requests}
        sums = {version: sum(requests.get(version, 0) for requests in heard) for version in versions}
        self._note_stored(namespace, pods, told, now)
        moments = self._moments.setdefault(namespace, deque())
        moments.append(_Moment(now, sums, is_whole=bool(pods) and len(heard) == len(pods)))
        while now - moments[0].at > LONGEST_KEPT:
            moments.popleft()

    def _note_stored(
        self, namespace: str, pods: Sequence[Manifest], told: Sequence[RouterTraffic | None], now: datetime
    ) -> None:
        before = self._stored.get(namespace, {})
        self._stored[namespace] = stored = {}
        for pod, router in zip(pods, told, strict=True):
            uid = pod["metadata"]["uid"]
            if router and router.recorder_lag_seconds is not None:
                stored[uid] = now - timedelta(seconds=router.recorder_lag_seconds)
            elif uid in before:
                stored[uid] = before[uid]

    def stored_until(self, namespace: str) -> datetime | None:
        """Return up to when the recorder has what all of the routers counted; None where none has told."""
        return min(self._stored.get(namespace, {}).values(), default=None)

    def samples(self, namespace: str, version: str) -> list[Sample]:
        """Return what was told of a version, in the order of time."""
        moments = self._moments.get(namespace, ())
        return [Sample(moment.at, moment.requests.get(version, 0), moment.is_whole) for moment in moments]

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        self._moments.clear()
        self._stored.clear()
        self._asked_at.clear()


async def router_pods(reader: Reader, namespace: str, now: datetime) -> list[Manifest]:
    """Return a namespace's routers that take requests."""
    pods = await reader.list("Pod", namespace, f"{ROUTER_LABEL}={ROUTER}")
    return [pod for pod in pods if takes_requests(pod, now, timedelta(seconds=LEFT_SECONDS))]


async def _told(routers: Routers, key: str, pod: Manifest) -> RouterTraffic | None:
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        return None
    try:
        return await routers.traffic(pod_admin_url(address), key)
    except RouterError:
        return None
