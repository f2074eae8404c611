"""What a namespace's routers have told of the tables that they applied: asked of each pod, not of their Service.

A pod that has told of a table is not asked for it again: it never goes back. Kept in memory alone; a new leader asks.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.acknowledgement import Arrival, Awaited, Replacements, RouterPod, RouteSeen
from anneal_operator.desired.routing import KnownRoute, known_routes, known_services, pod_admin_url, stamp_of
from anneal_operator.errors import RouterError
from anneal_operator.outside.routers import Routers
from serving_runtime.plan import Stamp

__all__ = ["Acknowledgements", "route_seen"]

_AT_ONCE = 16


@dataclass(frozen=True)
class TableRead:
    """What a router's ConfigMap says, at one of its revisions."""

    revision: tuple[str, str] | None
    stamp: Stamp | None
    routes: Mapping[str, KnownRoute]
    services: Mapping[str, str]
    """Where it sends a version's clients, by the version."""

    @property
    def versions(self) -> frozenset[str]:
        """All that it names."""
        return frozenset().union(*(route.versions for route in self.routes.values()))


@dataclass
class Acknowledgements:
    """Of all namespaces."""

    arrivals: dict[str, Arrival] = field(default_factory=dict)
    """How far the newest table of each namespace has come."""
    replaced: dict[str, Replacements] = field(default_factory=dict)
    """The routers of each namespace that were taken out lately."""
    awaited: dict[str, Mapping[str, Awaited]] = field(default_factory=dict)
    """What changes of each namespace's routes wait for, by model."""
    outdated: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The routers of each namespace that do not know the format of the table that is due."""
    _pods: dict[str, dict[str, RouterPod]] = field(default_factory=dict)
    _formats: dict[str, dict[str, int]] = field(default_factory=dict)
    """The newest that a pod reads, by its uid."""
    _routes: dict[str, Mapping[str, KnownRoute]] = field(default_factory=dict)
    _read: dict[str, TableRead] = field(default_factory=dict)
    _newest: dict[str, Stamp] = field(default_factory=dict)

    async def ask(
        self, routers: Routers, key: str, namespace: str, stamp: Stamp | None, pods: Sequence[Manifest], now: datetime
    ) -> list[RouterPod]:
        """Return these pods with what each has applied; those are asked that have not told of this table yet."""
        known, free = self._pods.get(namespace, {}), asyncio.Semaphore(_AT_ONCE)

        async def asked(pod: Manifest) -> RouterPod:
            metadata = pod["metadata"]
            before = known.get(metadata["uid"], RouterPod(metadata["name"], metadata["uid"], None))
            before = replace(before, is_leaving="deletionTimestamp" in metadata)
            if stamp is None or before.applied == stamp:
                return replace(before, behind_since=None, silent_since=None)
            async with free:
                told = await _applied(routers, key, pod)
            applied, silent_since = told or before.applied, None if told else before.silent_since or now
            if applied == stamp:
                return replace(before, applied=applied, behind_since=None, silent_since=None)
            since = before.behind_since if applied == before.applied else None
            return replace(before, applied=applied, behind_since=since or now, silent_since=silent_since)

        found = await asyncio.gather(*map(asked, pods))
        self._pods[namespace] = {pod.uid: pod for pod in found}
        self.replaced[namespace] = self.replaced.get(namespace, Replacements()).seen(found, now)
        return found

    async def all_read(
        self, routers: Routers, key: str, namespace: str, format_: int, pods: Sequence[Manifest]
    ) -> bool:
        """Return whether none of these pods tells that it knows earlier formats alone: it would keep the table it has.

        One that is silent is replaced, whatever it is sent.
        """
        known, free = self._formats.get(namespace, {}), asyncio.Semaphore(_AT_ONCE)

        async def told(pod: Manifest) -> tuple[str, int]:
            uid = pod["metadata"]["uid"]
            if uid in known:
                return uid, known[uid]
            async with free:
                return uid, await _newest_format(routers, key, pod)

        found = dict(await asyncio.gather(*map(told, pods)))
        self._formats[namespace] = {uid: newest for uid, newest in found.items() if newest}
        names = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in pods}
        self.outdated[namespace] = tuple(sorted(names[uid] for uid, newest in found.items() if 0 < newest < format_))
        return not self.outdated[namespace]

    def note_replaced(self, namespace: str, now: datetime) -> None:
        """Keep that a router was just taken out, so that the next has longer."""
        self.replaced[namespace] = self.replaced.get(namespace, Replacements()).one_more(now)

    def read(self, namespace: str, table: Manifest | None) -> TableRead:
        """Return what a router's ConfigMap says; that of a thousand models takes a while to read, so it is kept."""
        metadata = table["metadata"] if table else {}
        revision = (
            (metadata["uid"], metadata["resourceVersion"]) if {"uid", "resourceVersion"} <= metadata.keys() else None
        )
        kept = self._read.get(namespace)
        if kept is None or revision is None or kept.revision != revision:
            kept = self._read[namespace] = TableRead(
                revision, stamp_of(table), known_routes(table), known_services(table)
            )
            self._note(namespace, kept.stamp)
        return kept

    def _note(self, namespace: str, stamp: Stamp | None) -> None:
        newest = self._newest.get(namespace)
        if stamp and (newest is None or stamp.order > newest.order):
            self._newest[namespace] = stamp

    def newest(self, namespace: str) -> Stamp | None:
        """Return the newest table that was read there: it may have been set back, but a router may have it."""
        return self._newest.get(namespace)

    def routes(self, namespace: str, table: Manifest | None) -> Mapping[str, KnownRoute]:
        """Return where a router's ConfigMap sends clients; of one that is lost, or spoilt, where it last did."""
        read = self.read(namespace, table)
        if read.routes or read.stamp:
            self._routes[namespace] = read.routes
        return self._routes.get(namespace, {})

    def forget(self, namespace: str) -> None:
        """Keep nothing of a namespace."""
        self.arrivals.pop(namespace, None)
        self.replaced.pop(namespace, None)
        self.awaited.pop(namespace, None)
        self.outdated.pop(namespace, None)
        self._pods.pop(namespace, None)
        self._formats.pop(namespace, None)
        self._routes.pop(namespace, None)
        self._read.pop(namespace, None)
        self._newest.pop(namespace, None)

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        self.arrivals.clear()
        self.replaced.clear()
        self.awaited.clear()
        self.outdated.clear()
        self._pods.clear()
        self._formats.clear()
        self._routes.clear()
        self._read.clear()
        self._newest.clear()


def route_seen(told: Acknowledgements, table: Manifest | None, namespace: str, model: str) -> RouteSeen:
    """Return what a router's ConfigMap says of a model, and how far exactly this table has come."""
    route, arrival = told.routes(namespace, table).get(model), told.arrivals.get(namespace)
    read = told.read(namespace, table)
    return RouteSeen(
        default=route.default if route else None,
        named=route.named if route else {},
        split_by=route.experiments if route else {},
        covered=route.covered if route else {},
        versions=read.versions,
        arrival=arrival if arrival and arrival.stamp == read.stamp else None,
        awaited=told.awaited.get(namespace, {}).get(model),
        outdated=told.outdated.get(namespace, ()),
    )


async def _applied(routers: Routers, key: str, pod: Manifest) -> Stamp | None:
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        return None
    try:
        return await routers.applied(pod_admin_url(address), key)
    except RouterError:
        return None


async def _newest_format(routers: Routers, key: str, pod: Manifest) -> int:
    """0 of one that does not tell."""
    address = (pod.get("status") or {}).get("podIP")
    try:
        return await routers.newest_format(pod_admin_url(address), key) if address else 0
    except RouterError:
        return 0
