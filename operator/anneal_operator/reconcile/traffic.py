"""What a namespace's routers have under way, and whether their records are stored: asked of each pod, now and then.

Every pod that there is, ready or about to end: what it has under way, or not handed over, is there all the same. Of one
that has ended, as on a node that was shut down, the pod may stay for ever: nothing is under way in it. Kept
in memory alone: a new leader knows nothing of what was, so it scales nothing down for a while.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.autoscaling import ASKED_EVERY_SECONDS, LONGEST_GAP, LONGEST_KEPT, Sample
from anneal_operator.decide.observed_experiment import FRESH_FOR, Stored
from anneal_operator.desired.routing import ROUTER, ROUTER_LABEL, pod_admin_url
from anneal_operator.errors import RouterError
from anneal_operator.outside.routers import Routers, RouterTraffic

__all__ = ["Traffic"]

_PERIOD = timedelta(seconds=ASKED_EVERY_SECONDS) - timedelta(seconds=0.5)
_STARTS_WITHIN = timedelta(minutes=1)
_JITTER = timedelta(seconds=2)
_MOST_VERSIONS = 1000
_REST = "other"
"""The version under which routers count those that they have no place for."""


@dataclass(frozen=True)
class _Moment:
    """What was told of all versions."""

    at: datetime
    requests: Mapping[str, int]
    is_whole: bool


@dataclass
class Traffic:
    """Of all namespaces where a version is scaled by it, or an experiment waits for records."""

    _moments: dict[str, deque[_Moment]] = field(default_factory=lambda: defaultdict(deque))
    _stored: dict[str, dict[str, Stored]] = field(default_factory=lambda: defaultdict(dict))
    """By the pod's uid; of one that is gone for a while yet."""
    _short_at: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """When a version last had pods that did not answer."""
    _asked: dict[str, dict[str, datetime]] = field(default_factory=lambda: defaultdict(dict))
    """When each version was last asked by a client, or was answering one; of a namespace the newest thousand."""
    _watched_since: dict[str, datetime] = field(default_factory=dict)
    """Since when all routers have told so of all versions, without a gap."""
    _asked_at: dict[str, datetime] = field(default_factory=dict)
    _turns: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def ask(self, routers: Routers, key: str, reader: Reader, namespace: str, now: datetime) -> None:
        """Ask a namespace's routers, unless they were asked just now, as by another version's reconcile."""
        async with self._turns[namespace]:
            last = self._asked_at.get(namespace)
            if last is not None and timedelta(0) <= now - last < _PERIOD:
                return
            self._asked_at[namespace] = now
            pods = [pod for pod in await reader.list("Pod", namespace, f"{ROUTER_LABEL}={ROUTER}") if _runs(pod)]
            told = await asyncio.gather(*(_told(routers, key, pod) for pod in pods))
            self._note_asked(namespace, told, now)
            self._note_requests(namespace, told, now)
            self._note_stored(namespace, pods, told, now)

    def _note_asked(self, namespace: str, told: Sequence[RouterTraffic | None], now: datetime) -> None:
        before = self._moments[namespace][-1].at if self._moments[namespace] else now
        is_whole = bool(told) and all(router and router.asked_seconds_ago is not None for router in told)
        if not is_whole or not timedelta(0) <= now - before <= LONGEST_GAP:
            self._watched_since.pop(namespace, None)
        if is_whole:
            self._watched_since.setdefault(namespace, now)
        asked = self._asked[namespace]
        for router in told:
            for version, ago in ((router.asked_seconds_ago if router else None) or {}).items():
                known, at = asked.get(version), now - timedelta(seconds=ago)
                asked[version] = max(at, known) if known and known <= now else at
        for version in sorted(asked, key=lambda version: asked[version], reverse=True)[_MOST_VERSIONS:]:
            del asked[version]

    def _note_requests(self, namespace: str, told: Sequence[RouterTraffic | None], now: datetime) -> None:
        heard = [router.requests for router in told if router]
        versions = {version for requests in heard for version in requests}
        sums = {version: sum(requests.get(version, 0) for requests in heard) for version in versions}
        moments = self._moments[namespace]
        while moments and moments[-1].at > now:  # the clock went back
            moments.pop()
        moments.append(_Moment(now, sums, is_whole=bool(heard) and len(heard) == len(told) and not sums.get(_REST)))
        while now - moments[0].at > LONGEST_KEPT:
            moments.popleft()

    def _note_stored(
        self, namespace: str, pods: Sequence[Manifest], told: Sequence[RouterTraffic | None], now: datetime
    ) -> None:
        kept = self._stored[namespace]
        for pod, router in zip(pods, told, strict=True):
            metadata = pod["metadata"]
            uid, lag = metadata["uid"], router.recorder_lag_seconds if router else None
            before = kept.get(uid)
            if lag is not None:
                until = now - timedelta(seconds=lag)
                if before and before.until and abs(until - before.until) < _JITTER:
                    until = before.until  # the router counts in whole seconds: no news
                kept[uid] = Stored(metadata["name"], until, now)
            elif before is None and now - datetime.fromisoformat(metadata["creationTimestamp"]) > _STARTS_WITHIN:
                kept[uid] = Stored(metadata["name"], None, now)
        there = {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}
        for uid, stored in list(kept.items()):
            if uid not in there and not timedelta(0) <= now - stored.told_at <= FRESH_FOR:
                del kept[uid]

    def stored(self, namespace: str) -> Stored | None:
        """Return of the router whose records are stored least far what it told; None where there is none."""
        found = self._stored.get(namespace, {}).values()
        return min(found, key=lambda one: (one.until is not None, one.until or one.told_at), default=None)

    def note_short(self, namespace: str, version: str, now: datetime) -> None:
        """Keep that pods of a version do not answer: what it has under way then tells of no need."""
        self._short_at[namespace, version] = now

    def samples(self, namespace: str, version: str, beside: Sequence[str] = ()) -> list[Sample]:
        """Return what was told of a version, in the order of time; with the requests of those `beside` it."""
        short_at = self._short_at.get((namespace, version))
        return [
            Sample(
                moment.at,
                sum(moment.requests.get(name, 0) for name in {version, *beside}),
                is_whole=moment.is_whole and (short_at is None or moment.at > short_at),
            )
            for moment in self._moments.get(namespace, ())
        ]

    def asked_at(self, namespace: str, version: str) -> datetime | None:
        """Return when a version was last asked, as far as a router told."""
        return self._asked.get(namespace, {}).get(version)

    def quiet_since(self, namespace: str, version: str) -> datetime | None:
        """Return since when nobody has asked a version, all of whose pods answered; None where that is not known."""
        since, moments = self._watched_since.get(namespace), self._moments.get(namespace)
        if since is None or not moments or not moments[-1].is_whole or moments[-1].requests.get(version):
            return None
        asked = [self.asked_at(namespace, name) for name in (version, _REST)]
        known = (since, *asked, self._short_at.get((namespace, version)))
        return max(at for at in known if at)

    def forget(self, namespace: str) -> None:
        """Keep nothing of a namespace."""
        for kept in (self._moments, self._stored, self._asked, self._watched_since, self._asked_at, self._turns):
            kept.pop(namespace, None)
        self._short_at = {key: at for key, at in self._short_at.items() if key[0] != namespace}

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        for kept in (self._moments, self._stored, self._asked, self._watched_since, self._asked_at, self._turns):
            kept.clear()
        self._short_at.clear()


def _runs(pod: Manifest) -> bool:
    return bool(_address(pod)) and pod["status"].get("phase") not in {"Failed", "Succeeded"}


def _address(pod: Manifest) -> str:
    return str((pod.get("status") or {}).get("podIP") or "")


async def _told(routers: Routers, key: str, pod: Manifest) -> RouterTraffic | None:
    try:
        return await routers.traffic(pod_admin_url(_address(pod)), key)
    except RouterError:
        return None
