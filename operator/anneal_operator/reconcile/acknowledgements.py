"""What a namespace's routers have told of the tables that they applied: asked of each pod, not of their Service.

A pod that has told of a table is not asked for it again: it never goes back. Whether the operator still reaches it is
found out with the next table, by which one that it does not reach is replaced in seconds; until then its clients miss
nothing, and a fault of the network ends no router that is right. Kept in memory alone; a new leader asks.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.acknowledgement import Arrival, Awaited, Replacements, RouterPod, RouteSeen
from anneal_operator.desired.routing import KnownRoute, known_routes, known_services, pod_admin_url, stamp_of
from anneal_operator.errors import RouterError
from anneal_operator.outside.routers import Routers
from serving_runtime.plan import Stamp

__all__ = ["Acknowledgements", "Heard", "route_seen"]

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
class Heard:
    """What one namespace's routers have told."""

    arrival: Arrival | None = None
    """How far the newest table has come."""
    replaced: Replacements = field(default_factory=Replacements)
    """The routers that were taken out lately."""
    awaited: Mapping[str, Awaited] = field(default_factory=dict)
    """What changes of the routes wait for, by model."""
    outdated: tuple[str, ...] = ()
    """The routers that do not know the format of the table that is due."""
    newest: Stamp | None = None
    """The newest table that was read there: it may have been set back, but a router may have it."""
    _pods: dict[str, RouterPod] = field(default_factory=dict)
    _formats: dict[str, int] = field(default_factory=dict)
    """The newest that a pod reads, by its uid."""
    _routes: Mapping[str, KnownRoute] = field(default_factory=dict)
    _read: TableRead | None = None

    async def ask(
        self, routers: Routers, key: str, stamp: Stamp | None, pods: Sequence[Manifest], now: datetime
    ) -> list[RouterPod]:
        """Return these pods with what each has applied; those are asked that have not told of this table yet."""
        free = asyncio.Semaphore(_AT_ONCE)

        async def asked(pod: Manifest) -> RouterPod:
            metadata = pod["metadata"]
            before = self._pods.get(metadata["uid"], RouterPod(metadata["name"], metadata["uid"], None))
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
        self._pods = {pod.uid: pod for pod in found}
        self.replaced = self.replaced.seen(found, now)
        return found

    async def all_read(self, routers: Routers, key: str, format_: int, pods: Sequence[Manifest]) -> bool:
        """Return whether none of these pods tells that it knows earlier formats alone: it would keep the table it has.

        One that is silent is replaced, whatever it is sent.
        """
        free = asyncio.Semaphore(_AT_ONCE)

        async def told(pod: Manifest) -> tuple[str, int]:
            uid = pod["metadata"]["uid"]
            if uid in self._formats:
                return uid, self._formats[uid]
            async with free:
                return uid, await _newest_format(routers, key, pod)

        found = dict(await asyncio.gather(*map(told, pods)))
        self._formats = {uid: newest for uid, newest in found.items() if newest}
        names = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in pods}
        self.outdated = tuple(sorted(names[uid] for uid, newest in found.items() if 0 < newest < format_))
        return not self.outdated

    def note_replaced(self, now: datetime) -> None:
        """Keep that a router was just taken out, so that the next has longer."""
        self.replaced = self.replaced.one_more(now)

    def read(self, table: Manifest | None) -> TableRead:
        """Return what a router's ConfigMap says; that of a thousand models takes a while to read, so it is kept."""
        metadata = table["metadata"] if table else {}
        revision = (
            (metadata["uid"], metadata["resourceVersion"]) if {"uid", "resourceVersion"} <= metadata.keys() else None
        )
        kept = self._read
        if kept is None or revision is None or kept.revision != revision:
            kept = self._read = TableRead(revision, stamp_of(table), known_routes(table), known_services(table))
            if kept.stamp and (self.newest is None or kept.stamp.order > self.newest.order):
                self.newest = kept.stamp
        return kept

    def routes(self, table: Manifest | None) -> Mapping[str, KnownRoute]:
        """Return where a router's ConfigMap sends clients; of one that is lost, or spoilt, where it last did."""
        read = self.read(table)
        if read.routes or read.stamp:
            self._routes = read.routes
        return self._routes


@dataclass
class Acknowledgements:
    """Of all namespaces."""

    _heard: dict[str, Heard] = field(default_factory=lambda: defaultdict(Heard))

    def of(self, namespace: str) -> Heard:
        """Return what a namespace's routers have told: nothing yet, where they were not asked."""
        return self._heard[namespace]

    def forget(self, namespace: str) -> None:
        """Keep nothing of a namespace."""
        self._heard.pop(namespace, None)

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        self._heard.clear()


def route_seen(told: Acknowledgements, table: Manifest | None, namespace: str, model: str) -> RouteSeen:
    """Return what a router's ConfigMap says of a model, and how far exactly this table has come."""
    heard = told.of(namespace)
    route, arrival, read = heard.routes(table).get(model), heard.arrival, heard.read(table)
    return RouteSeen(
        default=route.default if route else None,
        named=route.named if route else {},
        split_by=route.experiments if route else {},
        covered=route.covered if route else {},
        versions=read.versions,
        arrival=arrival if arrival and arrival.stamp == read.stamp else None,
        awaited=heard.awaited.get(model),
        outdated=heard.outdated,
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
