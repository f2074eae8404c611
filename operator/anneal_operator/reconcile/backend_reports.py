"""How a namespace's routers find the backends that they ask in place of engines: kept in memory alone."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.acknowledgement import takes_requests
from anneal_operator.decide.backend import LOOK_AGAIN_SECONDS
from anneal_operator.desired.pods import LEAVING_SECONDS
from anneal_operator.desired.routing import ROUTER, ROUTER_LABEL, pod_admin_url
from anneal_operator.errors import RouterError
from anneal_operator.outside.routers import Routers
from serving_runtime.plan import BackendReport, BackendReports, Target

__all__ = ["BackendsHeard", "reports_of"]

_PERIOD = timedelta(seconds=LOOK_AGAIN_SECONDS - 0.5)
_HOLDS = timedelta(seconds=30)
"""For how long a router's word holds that does not answer any more: it may only be busy."""


@dataclass(frozen=True)
class _Heard:
    reports: BackendReports
    at: datetime


@dataclass
class BackendsHeard:
    """Of all namespaces."""

    _heard: dict[str, dict[str, _Heard | None]] = field(default_factory=dict)
    """By the pod's uid."""
    _asked_at: dict[str, datetime] = field(default_factory=dict)
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def ask(
        self, routers: Routers, key: str, reader: Reader, namespace: str, now: datetime
    ) -> list[BackendReports | None]:
        """Return what each router that takes requests told; they are asked unless they were just now."""
        async with self._turns.setdefault(namespace, asyncio.Lock()):
            last = self._asked_at.get(namespace)
            if last is None or not timedelta(0) <= now - last < _PERIOD:
                self._asked_at[namespace] = now
                await self._ask_all(routers, key, reader, namespace, now)
        return [one.reports if one else None for one in self._heard.get(namespace, {}).values()]

    async def _ask_all(self, routers: Routers, key: str, reader: Reader, namespace: str, now: datetime) -> None:
        known, leaving = self._heard.get(namespace, {}), timedelta(seconds=LEAVING_SECONDS)
        pods = await reader.list("Pod", namespace, f"{ROUTER_LABEL}={ROUTER}")
        reached = [pod for pod in pods if takes_requests(pod, now, leaving)]
        told = await asyncio.gather(*(_told(routers, key, pod) for pod in reached))
        heard: dict[str, _Heard | None] = {}
        for pod, reports in zip(reached, told, strict=True):
            uid = pod["metadata"]["uid"]
            before = known.get(uid)
            kept = before if before and now - before.at < _HOLDS else None
            heard[uid] = _Heard(reports, now) if reports else kept
        self._heard[namespace] = heard

    def forget(self, namespace: str) -> None:
        """Keep nothing of a namespace."""
        for kept in (self._heard, self._asked_at, self._turns):
            kept.pop(namespace, None)

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        for kept in (self._heard, self._asked_at, self._turns):
            kept.clear()


def reports_of(version: str, target: Target, told: list[BackendReports | None]) -> list[BackendReport | None]:
    """Return what routers told of one version, as it is now: they may not know yet that another had its name."""
    found, asked = [one.backends.get(version) if one else None for one in told], target.digest()
    return [report if report and report.asked == asked else None for report in found]


async def _told(routers: Routers, key: str, pod: Manifest) -> BackendReports | None:
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        return None
    try:
        return await routers.backends(pod_admin_url(address), key)
    except RouterError:
        return None
