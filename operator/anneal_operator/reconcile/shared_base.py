"""A namespace's shared engines: one look at all of them, whenever a version that is an adapter changes, or a pod.

They have no object of their own, as routers have none: they are there as long as a version wants them, and what is to
be told of them the versions' conditions tell.
"""

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Never

from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.api.serving import Serving
from anneal_operator.api.status import ObjectStatus
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.shared_base import SharedEngine, SharedVersion, engines, is_ready, look_again
from anneal_operator.decide.startup import startup_seconds
from anneal_operator.decide.verdict import Deletion, Verdict
from anneal_operator.desired.keys import KeyRing, kept
from anneal_operator.desired.operations import Apply, Operation
from anneal_operator.desired.routing import ROUTER
from anneal_operator.desired.serving import wish_of
from anneal_operator.desired.shared_base import (
    SHARED_BASES,
    SHARED_BASES_LABEL,
    Member,
    adapters_config,
    engine_name,
    engine_of,
    kept_as_it_is,
    listed_in,
    settings_of,
    shared_deployment,
    shared_service,
    told_pods,
)
from anneal_operator.reasons import ConditionType
from serving_runtime.plan import AdapterReport

from .context import Context
from .engine_seen import engine_seen, serving_environment
from .keys import key_ring
from .kind import Item, NoSpec
from .neighbours import SHARED_BASE_KIND, experiments_on, may_share_base
from .queue import Key
from .shared_view import shared_pods

__all__ = ["SharedBaseKind"]

_JUST_NOW_SECONDS = 0.9
"""A pod that told so lately is not asked again: several things may wake a look at once."""
_LEAVING_SECONDS = 5.0
"""How often is looked whether routers have left an engine: no watch tells."""
log = logging.getLogger("anneal.shared_base")


@dataclass(frozen=True)
class ObservedShared:
    """A namespace's adapters, and the engines that there are."""

    members: Mapping[str, Member]
    versions: Sequence[SharedVersion]
    made: Mapping[str, Manifest]
    """The Deployments."""
    services: Mapping[str, Manifest]
    pods: Mapping[str, list[Manifest]]
    told: Mapping[str, Sequence[AdapterReport | None]]
    """What the ready pods of each told."""
    listed: Mapping[str, Sequence[str]]
    """What each was asked to have, in that order."""
    held: Mapping[str, Collection[str]]
    """Which versions each is to keep that have moved from it: routers may still ask for them there."""
    ring: KeyRing
    build: str


SharedItem = Item[NoSpec, ObjectStatus]


class SharedBaseKind:
    """All shared engines of one namespace."""

    name = SHARED_BASE_KIND
    spec = NoSpec
    status = ObjectStatus
    effects_on = ConditionType.READY
    has_status = False

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, str] = {}

    async def subject(self, reader: Reader, key: Key) -> Manifest | None:
        """Return a stand-in for the object that they have not, while there are any, or are to be."""
        versions = await reader.list("ModelVersion", key.namespace)
        there = await reader.list("Deployment", key.namespace, f"{SHARED_BASES_LABEL}={SHARED_BASES}")
        if not there and not any(map(may_share_base, versions)):
            return None
        return {"kind": SHARED_BASE_KIND, "metadata": {"namespace": key.namespace, "name": key.name, "uid": ""}}

    async def observe(self, reader: Reader, item: SharedItem) -> ObservedShared:
        """Look at versions, engines and pods; ask the pods; wake the versions where anything of that is news."""
        namespace = item.namespace
        found = [v for v in await reader.list("ModelVersion", namespace) if "deletionTimestamp" not in v["metadata"]]
        members = {version["metadata"]["name"]: _member(version) for version in found if may_share_base(version)}
        experiments = await reader.list("ABExperiment", namespace)
        undecided = [one for one in experiments if not (one.get("status") or {}).get("decision")]
        there = await reader.list("Deployment", namespace, f"{SHARED_BASES_LABEL}={SHARED_BASES}")
        made = {one["metadata"]["name"]: one for one in there if "deletionTimestamp" not in one["metadata"]}
        services = {name: await reader.get("Service", namespace, name) for name in made}
        pods = await shared_pods(reader, namespace)
        ring = await key_ring(self._context, reader, namespace)
        told = await self._told(namespace, pods, ring.keys.engine if ring.is_kept else "")
        self._wake(namespace, members, [made, pods, {name: _texts(reports) for name, reports in told.items()}])
        listed = {name: listed_in(await reader.get("ConfigMap", namespace, name)) for name in made}
        own = [_version(member, bool(experiments_on(undecided, name))) for name, member in members.items()]
        return ObservedShared(
            members=members,
            versions=own,
            made=made,
            services={name: service for name, service in services.items() if service},
            pods=pods,
            told=told,
            listed=listed,
            held=await self._held(reader, namespace, listed, own),
            ring=ring,
            build=serving_environment(self._context.settings, ring.keys).build,
        )

    async def _held(
        self, reader: Reader, namespace: str, listed: Mapping[str, Sequence[str]], versions: Sequence[SharedVersion]
    ) -> dict[str, frozenset[str]]:
        """Of what an engine was asked to have, what has moved and may still be asked for there."""
        at = {version.name: {version.asks_for, version.is_on} for version in versions}
        moved = {name: [one for one in found if one in at and name not in at[one]] for name, found in listed.items()}
        context, table = self._context, await reader.get("ConfigMap", namespace, ROUTER)
        heard = context.acknowledgements.of(namespace)
        read, arrival = heard.read(table), heard.arrival
        has_arrived = arrival is not None and arrival.stamp == read.stamp and not arrival.behind
        return context.leaving.held(namespace, moved, read.services, context.now(), has_arrived=has_arrived)

    async def _told(
        self, namespace: str, pods: Mapping[str, list[Manifest]], key: str
    ) -> dict[str, list[AdapterReport | None]]:
        reports, context = self._context.adapter_reports, self._context
        reports.keep(namespace, [pod for own in pods.values() for pod in own])
        ready = {name: [pod for pod in own if is_ready(pod)] for name, own in pods.items()}
        asked = [pod for own in ready.values() for pod in own]
        told = await reports.ask(context.routers, key, namespace, asked, context.now(), _JUST_NOW_SECONDS)
        return {name: [told.get(pod["metadata"]["uid"]) for pod in own] for name, own in ready.items()}

    def _wake(self, namespace: str, members: Iterable[str], seen: object) -> None:
        """Have the versions looked at that tell of it."""
        text = json.dumps(seen, sort_keys=True)
        if self._known.get(namespace) != text:
            self._known[namespace] = text
            for name in members:
                self._context.wake(Key("ModelVersion", namespace, name))

    def decide(self, observed: ObservedShared, now: datetime) -> Verdict[ObjectStatus, SharedEngine, Never]:
        """Return the engines that are to be, and those that are to go."""
        del now
        there = {name: engine for name, one in observed.made.items() if (engine := engine_seen(one))}
        found = engines(observed.versions, there, observed.build, self._wishes(observed), observed.held)
        ended = [one.name for one in found if not one.versions]
        gone = [
            Deletion(kind, name, manifests[name]["metadata"]["uid"])
            for name in ended
            for kind, manifests in (("Service", observed.services), ("Deployment", observed.made))
            if name in manifests
        ]
        kept_ones = tuple(one for one in found if one.versions)
        again = look_again(kept_ones, observed.versions, observed.told)
        again = min(again, _LEAVING_SECONDS) if observed.held else again
        return Verdict(ObjectStatus(), "Settled", delete=tuple(gone), apply=kept_ones, are_apart=True, again=again)

    def _wishes(self, observed: ObservedShared) -> dict[str, str]:
        return {
            engine_name(member.spec): wish_of(member.spec.serving, observed.ring.keys)
            for member in observed.members.values()
            if member.spec and member.spec.serving
        }

    def build(self, item: SharedItem, observed: ObservedShared, intent: SharedEngine) -> Sequence[Operation]:
        """Return one engine's objects: what its pods mount before the pods."""
        members = [observed.members[name] for name in intent.versions]
        env = serving_environment(self._context.settings, observed.ring.keys)
        first: list[Operation] = [*kept(item.namespace, observed.ring)]
        first += [
            Apply(adapters_config(intent.name, members, observed.listed.get(intent.name, ()))),
            Apply(shared_service(intent.name, members)),
        ]
        if intent.as_it_is:
            steps = kept_as_it_is(observed.made[intent.name], members, intent.replicas)
        else:
            spec = settings_of(intent.name, members)
            deadline = startup_seconds(spec.serving or Serving(), spec.weights)
            made = shared_deployment(intent.name, members, intent.replicas, env, startup_seconds=deadline)
            steps = [Apply(made)]
        return [*first, *steps, *told_pods(members, observed.pods.get(intent.name, ()))]

    async def carry_out(self, item: SharedItem, observed: ObservedShared, effect: Never) -> None:
        """There are no effects."""

    def dependents(self, item: SharedItem) -> Iterable[Key]:
        """Return the versions that are adapters, and the router: a Service has its address once it is there."""
        found = self._context.store.list("ModelVersion", item.namespace)
        return [Key("ModelVersion", item.namespace, one["metadata"]["name"]) for one in found if may_share_base(one)]

    def forget(self, key: Key, uid: str) -> None:
        """Keep nothing of a namespace without any."""
        del uid
        self._known.pop(key.namespace, None)
        self._context.leaving.forget(key.namespace)
        self._context.shared_problems.pop(key.namespace, None)
        self._context.adapter_reports.forget(key.namespace)

    def written(self, item: SharedItem, status: ObjectStatus) -> None:
        """Keep what stopped it for the versions to tell, and say it once in the log."""
        problems, found = self._context.shared_problems, status.condition(ConditionType.RECONCILING)
        before = problems.pop(item.namespace, None)
        if found:
            problems[item.namespace] = found
        if (found.message if found else "") != (before.message if before else ""):
            if found:
                log.warning("%s: %s: %s", item.namespace, found.reason, found.message)
            for key in self.dependents(item):
                self._context.wake(key)

    def deleted(self, item: SharedItem, gone: Deletion) -> None:
        """Nothing is kept."""


def _member(version: Manifest) -> Member:
    try:
        return Member(version, ModelVersionSpec.parse(version["spec"]))
    except ValueError:
        return Member(version, None)


def _version(member: Member, is_contested: bool) -> SharedVersion:
    status = member.manifest.get("status") or {}
    return SharedVersion(
        name=member.name,
        digest=member.wanted.digest,
        asks_for=engine_name(member.spec) if member.spec else "",
        is_on=engine_of(str(status.get("selector") or "")),
        replicas=int(status.get("replicas") or 0),
        is_contested=is_contested,
        has_answered=bool(status.get("coldStart")),
    )


def _texts(reports: Sequence[AdapterReport | None]) -> list[object]:
    return [report.model_dump() if report else None for report in reports]
