"""What engines that several versions share told of their adapters: asked of each pod, kept in memory alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.desired.shared_base import pod_engine_url
from anneal_operator.errors import RouterError
from anneal_operator.outside.routers import Routers
from serving_runtime.plan import AdapterReport

__all__ = ["AdapterReports"]

_AT_ONCE = 16
_HOLDS_SECONDS = 180.0
"""For how long a report holds whose pod does not answer any more: it may only be busy."""


@dataclass(frozen=True)
class _Heard:
    report: AdapterReport | None
    asked_at: datetime
    told_at: datetime | None


@dataclass
class AdapterReports:
    """Of all namespaces."""

    _heard: dict[str, dict[str, _Heard]] = field(default_factory=dict)

    async def ask(
        self, routers: Routers, key: str, namespace: str, pods: Sequence[Manifest], now: datetime, seconds: float
    ) -> dict[str, AdapterReport]:
        """Return what these pods told, by uid; those are asked that were not within so many seconds."""
        known, free = self._heard.setdefault(namespace, {}), asyncio.Semaphore(_AT_ONCE)

        async def heard(pod: Manifest) -> None:
            uid, address = pod["metadata"]["uid"], (pod.get("status") or {}).get("podIP")
            before = known.get(uid)
            if not address or (before and (now - before.asked_at).total_seconds() < seconds):
                return
            async with free:
                report = await _report(routers, pod_engine_url(address), key)
            known[uid] = _Heard(report, now, now) if report else _kept(before, now)

        await asyncio.gather(*map(heard, pods))
        uids = [pod["metadata"]["uid"] for pod in pods]
        return {uid: report for uid in uids if (one := known.get(uid)) and (report := one.report)}

    def unheard(self, namespace: str, pods: Sequence[Manifest]) -> dict[str, str]:
        """Return those of these pods, by uid, that have told nothing since this operator began: their names."""
        known = self._heard.get(namespace, {})
        names = {pod["metadata"]["uid"]: str(pod["metadata"]["name"]) for pod in pods}
        return {uid: name for uid, name in names.items() if uid not in known or known[uid].told_at is None}

    def keep(self, namespace: str, pods: Sequence[Manifest]) -> None:
        """Forget pods that are gone; `pods` are all of the namespace."""
        there = {pod["metadata"]["uid"] for pod in pods}
        self._heard[namespace] = {uid: one for uid, one in self._heard.get(namespace, {}).items() if uid in there}

    def forget(self, namespace: str) -> None:
        """Keep nothing of a namespace."""
        self._heard.pop(namespace, None)

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        self._heard.clear()


def _kept(before: _Heard | None, now: datetime) -> _Heard:
    """What one that did not answer told before, while that is not old."""
    if before is None or before.told_at is None or (now - before.told_at).total_seconds() > _HOLDS_SECONDS:
        return _Heard(None, now, before.told_at if before else None)
    return _Heard(before.report, now, before.told_at)


async def _report(routers: Routers, url: str, key: str) -> AdapterReport | None:
    try:
        return await routers.adapters(url, key)
    except RouterError:
        return None
