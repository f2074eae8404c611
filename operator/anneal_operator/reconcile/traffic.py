"""How many requests each version has under way, as a namespace's routers tell: asked of each pod, now and then.

Kept in memory alone: a new leader knows nothing of what was, so it scales nothing down for a while.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.autoscaling import ASKED_EVERY_SECONDS, LONGEST_KEPT, Sample
from anneal_operator.desired.routing import pod_admin_url
from anneal_operator.errors import RouterError
from anneal_operator.outside.routers import Routers

__all__ = ["Traffic"]

_PERIOD = timedelta(seconds=ASKED_EVERY_SECONDS) - timedelta(seconds=0.5)


@dataclass(frozen=True)
class _Moment:
    """What was told of all versions."""

    at: datetime
    requests: Mapping[str, int]
    is_whole: bool


@dataclass
class Traffic:
    """Of all namespaces where a version is scaled by it."""

    _moments: dict[str, deque[_Moment]] = field(default_factory=dict)
    _asked_at: dict[str, datetime] = field(default_factory=dict)

    async def ask(self, routers: Routers, key: str, namespace: str, pods: Sequence[Manifest], now: datetime) -> None:
        """Ask a namespace's routers, unless they were asked just now, as by another version's reconcile."""
        last = self._asked_at.get(namespace)
        if last is not None and now - last < _PERIOD:
            return
        self._asked_at[namespace] = now
        told = await asyncio.gather(*(_under_way(routers, key, pod) for pod in pods))
        heard = [requests for requests in told if requests is not None]
        versions = {version for requests in heard for version in requests}
        sums = {version: sum(requests.get(version, 0) for requests in heard) for version in versions}
        moments = self._moments.setdefault(namespace, deque())
        moments.append(_Moment(now, sums, is_whole=bool(pods) and len(heard) == len(pods)))
        while now - moments[0].at > LONGEST_KEPT:
            moments.popleft()

    def samples(self, namespace: str, version: str) -> list[Sample]:
        """Return what was told of a version, in the order of time."""
        moments = self._moments.get(namespace, ())
        return [Sample(moment.at, moment.requests.get(version, 0), moment.is_whole) for moment in moments]

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        self._moments.clear()
        self._asked_at.clear()


async def _under_way(routers: Routers, key: str, pod: Manifest) -> dict[str, int] | None:
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        return None
    try:
        return await routers.under_way(pod_admin_url(address), key)
    except RouterError:
        return None
