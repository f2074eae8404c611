"""A namespace's routers: observe versions and experiments, make them, tell them where clients go, hear that they know.

They have no object of their own: they are there as long as a ModelVersion is served, and what is to be told of them the
versions' and experiments' conditions tell.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.backend import Backend
from anneal_operator.api.model_version import ANSWERING, ENDING
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.api.schema import timestamp
from anneal_operator.api.status import ObjectStatus
from anneal_operator.cluster.children import owned_by
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.acknowledgement import (
    Awaited,
    Replacements,
    RouterPod,
    arrival,
    look_again,
    next_stamp,
    overdue,
    takes_requests,
)
from anneal_operator.decide.backend import url_refusal
from anneal_operator.decide.capacity import awaited, held_back
from anneal_operator.decide.experiment_end import recalled
from anneal_operator.decide.experiment_guardrails import with_dropped
from anneal_operator.decide.routing import Experiment, Last, Version, promoted, route_of
from anneal_operator.decide.verdict import Call, Deletion, Verdict
from anneal_operator.desired.backends import asked_backend
from anneal_operator.desired.gateway import GatewayEnvironment, http_route
from anneal_operator.desired.keys import KEYS_ANNOTATION, KeyRing, kept
from anneal_operator.desired.operations import Apply, Operation
from anneal_operator.desired.pods import LEAVING_SECONDS
from anneal_operator.desired.policies import PolicyEnvironment, policies
from anneal_operator.desired.routing import (
    ROUTER,
    ROUTER_LABEL,
    RouterEnvironment,
    ServedVersion,
    format_of,
    publicly_known,
    route_table,
    router_objects,
)
from anneal_operator.desired.scorer import scored_experiments
from anneal_operator.desired.serving import server_name
from anneal_operator.desired.shared_base import engine_of
from anneal_operator.reasons import ConditionType
from serving_runtime.plan import FORMAT, RouteTable, Stamp
from serving_runtime.scoring import ScoredMetric

from .capacity_seen import wait_told, wakes_after, with_capacity
from .context import Context
from .engine_seen import own_authorities
from .experiment_records import kept_record, record_of, remembered_of
from .keys import key_ring
from .kind import Item, NoSpec
from .neighbours import ROUTER_KIND, is_answered
from .queue import Key
from .recorder import ObservedRecorder, observed_recorder, recorder_steps
from .scorer import ObservedScorer, observed_scorer, scorer_steps
from .tasks import tasks_address, tasks_steps
from .workload_seen import own_workload

__all__ = ["RouterKind"]

_TRUSTED_SECONDS = 30.0
"""How often is looked at who vouches for backends: no watch tells of a ConfigMap that is the users' own."""
_TOLD_SECONDS = 0.1
"""After which to ask for a table that was just written."""
_ADDRESS_SECONDS = 0.5
"""After which to look for the address of the recorder's Service, of which nobody tells."""
_MARGIN_SECONDS = 0.5
log = logging.getLogger("anneal.router")


@dataclass(frozen=True)
class ObservedRouter:
    """What a namespace serves, and what its routers know of that."""

    owners: Sequence[Manifest]
    versions: Sequence[Version]
    served: Sequence[ServedVersion]
    experiments: Sequence[Experiment]
    last: dict[str, Last]
    stamp: Stamp | None
    """Of the table in the ConfigMap."""
    newest: Stamp | None
    """Of the newest that was read there."""
    pods: Sequence[RouterPod]
    """Those that take requests."""
    replaced: Replacements
    outdated: tuple[Deletion, ...]
    """The Deployment of an earlier build, which chooses its pods by other labels: these never change; and an HTTPRoute
    where the installation wants none any more.
    """
    ring: KeyRing
    recorder: ObservedRecorder
    scorer: ObservedScorer
    tasks: str | None
    """The address of the task API's Service."""
    is_held_up: bool
    """Whether a step was refused the last time."""
    may_be_new: bool
    """Whether the table may be of this build's format: no router is of an earlier build, or it is already."""
    awaited: Mapping[str, Awaited] = field(default_factory=dict)
    """What changes of the default waited for, by model."""


@dataclass(frozen=True)
class Programme:
    """The routers, and the table that they are to have."""

    table: RouteTable
    stamp: Stamp
    scored: Mapping[str, Sequence[ScoredMetric]]
    """What answers are scored for, by the experiments' uids."""


@dataclass(frozen=True)
class Await(Call):
    """Remember what changes of the default wait for, and have it told."""

    awaited: Mapping[str, Awaited]
    hangs_on_steps: ClassVar = False
    """Where one is refused, and nothing were remembered, the time to wait would begin anew each time."""


RouterItem = Item[NoSpec, ObjectStatus]


class RouterKind:
    """One per namespace with served versions; the garbage collector ends it with the last one."""

    name = ROUTER_KIND
    spec = NoSpec
    status = ObjectStatus
    effects_on = ConditionType.READY
    has_status = False

    def __init__(self, context: Context) -> None:
        self._context = context

    async def subject(self, reader: Reader, key: Key) -> Manifest | None:
        """Return a stand-in for the object that a router has not, while a version is served."""
        if not _answered(await reader.list("ModelVersion", key.namespace)):
            return None
        return {"kind": ROUTER_KIND, "metadata": {"namespace": key.namespace, "name": key.name, "uid": ""}}

    async def observe(self, reader: Reader, item: RouterItem) -> ObservedRouter:
        """Look at all that is served, at the experiments, at the table, and at which routers have it."""
        namespace, now = item.namespace, self._context.now()
        all_versions = _remaining(await reader.list("ModelVersion", namespace))
        table = await reader.get("ConfigMap", namespace, ROUTER)
        heard = self._context.acknowledgements.of(namespace)
        known, routes = publicly_known(table), heard.routes(table)
        versions = [await self._version(reader, found, known) for found in all_versions]
        versions = [
            (await with_capacity(self._context, reader, version, found, all_versions, routes), served)
            for (version, served), found in zip(versions, all_versions, strict=True)
        ]
        if heard.arrival is None and not heard.awaited:  # versions keep what they told until the routers were asked
            waits = [wait_told(version, found, now) for (version, _), found in zip(versions, all_versions, strict=True)]
            heard.awaited = {
                version.model: wait for (version, _), wait in zip(versions, waits, strict=True) if wait is not None
            }
        read = [await self._experiment(reader, raw) for raw in await reader.list("ABExperiment", namespace)]
        ring = await key_ring(self._context, reader, namespace)
        stamp, key = heard.read(table).stamp, ring.keys.admin if ring.is_kept else ""
        found = sorted(filter(None, read), key=lambda one: one.name)  # watches tell them in another order
        return ObservedRouter(
            owners=_answered(all_versions),
            versions=[version for version, _ in versions],
            served=[served for _, served in versions if served],
            experiments=found,
            last={
                model: Last(route.default, route.named, route.experiments, route.covered)
                for model, route in routes.items()
            },
            stamp=stamp,
            newest=heard.newest,
            pods=await self._asked(reader, namespace, stamp, key, now),
            replaced=heard.replaced,
            outdated=(
                *_outdated(await reader.get("Deployment", namespace, ROUTER)),
                *await self._unwanted_route(reader, namespace),
            ),
            ring=ring,
            recorder=await observed_recorder(reader, namespace),
            scorer=await observed_scorer(reader, namespace),
            tasks=await tasks_address(reader, namespace),
            is_held_up=namespace in self._context.router_problems,
            may_be_new=all(one.spec.is_plain for one in found)
            or await self._may_be_new(reader, namespace, table, key, now),
            awaited=heard.awaited,
        )

    async def _may_be_new(
        self, reader: Reader, namespace: str, table: Manifest | None, key: str, now: datetime
    ) -> bool:
        """A table that is of it stays so, whichever router comes: nobody is moved."""
        heard = self._context.acknowledgements.of(namespace)
        if format_of(table) == FORMAT:
            heard.outdated = ()
            return True
        pods = await self._reached(reader, namespace, now)
        return await heard.all_read(self._context.routers, key, FORMAT, pods)

    async def _reached(self, reader: Reader, namespace: str, now: datetime) -> list[Manifest]:
        """The routers that clients reach."""
        pods = await reader.list("Pod", namespace, f"{ROUTER_LABEL}={ROUTER}")
        leaving = timedelta(seconds=LEAVING_SECONDS)
        return [pod for pod in pods if takes_requests(pod, now, leaving)]

    async def _unwanted_route(self, reader: Reader, namespace: str) -> tuple[Deletion, ...]:
        """Looked for where everything is read afresh: no watch tells of it, and mostly there is none."""
        if self._context.settings.gateways or not reader.is_fresh:
            return ()
        made = await reader.get("HTTPRoute", namespace, ROUTER)
        if made is None or made["metadata"].get("annotations", {}).get(OWNER_ANNOTATION) != ROUTER:
            return ()
        return (Deletion("HTTPRoute", ROUTER, made["metadata"]["uid"]),)

    async def _asked(
        self, reader: Reader, namespace: str, stamp: Stamp | None, key: str, now: datetime
    ) -> list[RouterPod]:
        """Ask the routers, and tell those who wait for their word."""
        heard, reached = self._context.acknowledgements.of(namespace), await self._reached(reader, namespace, now)
        asked = await heard.ask(self._context.routers, key, stamp, reached, now)
        before, heard.arrival = heard.arrival, arrival(stamp, asked, now) if stamp else None
        if heard.arrival != before:
            for waiting in self._readers_of(namespace):
                self._context.wake(waiting)
        return asked

    async def _version(
        self, reader: Reader, item: Manifest, known: frozenset[str]
    ) -> tuple[Version, ServedVersion | None]:
        """A version, with its server where it has one of its own that is not about to end.

        Read from raw fields: one that cannot be parsed, as after a downgrade, is told of by its own reconcile, and
        keeps its route. Its aliases are what MLflow said last of the model; before it was heard, what the version read.
        """
        metadata, status = item["metadata"], item.get("status") or {}
        registry, model = status.get("registry") or {}, str(item["spec"].get("modelName"))
        backend = await self._backend(reader, item)
        try:
            number, read = int(registry["version"]), tuple(map(str, registry.get("aliases") or ()))
        except (KeyError, TypeError, ValueError):
            return Version(metadata["name"], model, 0, (), ready=False, is_served=False), backend
        heard = self._context.models.heard(model)
        aliases = tuple(sorted(a for a, to in heard.aliases.items() if to == str(number))) if heard else read
        if backend:
            return Version(metadata["name"], model, number, aliases, status.get("phase") in ANSWERING), backend
        if "serving" not in (item.get("spec") or {}):
            return Version(metadata["name"], model, number, aliases, ready=False, is_served=False), None
        shared = engine_of(str(status.get("selector") or ""))
        service = await reader.get("Service", metadata["namespace"], shared or server_name(metadata["name"]))
        address = service["spec"].get("clusterIP") if service and owned_by(service, metadata["uid"]) else None
        phase = status.get("phase")
        is_served = bool(address) and phase not in ENDING
        version = Version(
            metadata["name"], model, number, aliases, phase in ANSWERING, is_served, is_asleep=phase == "Sleeping"
        )
        if not is_served or not address:
            return version, None
        if shared:  # where all versions have the same pods, each is asked by its own name
            return version, ServedVersion(version.name, address, service=shared)
        made = await own_workload(reader, item)
        is_public = _knows_model(made, was_known=version.name in known)
        public = model if is_public else ""
        return version, ServedVersion(version.name, address, public, wakes_after=wakes_after(item))

    async def _backend(self, reader: Reader, item: Manifest) -> ServedVersion | None:
        """A version that is a backend, where that may be asked."""
        name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
        if "backend" not in item["spec"]:
            return None
        try:
            backend = Backend.parse(item["spec"]["backend"])
        except ValueError:
            return None
        if url_refusal(backend.url, self._context.settings.backend_urls):
            return None
        of = backend.service_ref
        service = await reader.get("Service", namespace, of.name) if of else None
        model = backend.model or str(item["spec"].get("modelName"))
        asked = asked_backend(namespace, name, backend, model, service)
        trusted = await reader.get("ConfigMap", namespace, asked.trusted.of.name) if asked.trusted else None
        return ServedVersion(name, "", backend=asked.trusting(trusted))

    async def _experiment(self, reader: Reader, item: Manifest) -> Experiment | None:
        """One that may split clients, or did until its winner has them all, is known to the routers by the uid that it
        had as counting began.

        Where its record was spoilt, which its own reconcile tells, MLflow knows that uid.
        """
        name, namespace, uid = (item["metadata"][field] for field in ("name", "namespace", "uid"))
        try:
            spec = ABExperimentSpec.parse(item["spec"])
            status = ABExperimentStatus.parse(item.get("status") or {})
        except ValueError:
            return None
        found = Experiment(name, namespace, uid, spec, status)
        if status.decision and not promoted(found):
            return found
        heard = self._context.models.heard(spec.model_name)
        record = record_of(await kept_record(reader, item), name)
        record = record or (remembered_of(heard.records, item) if heard else None)
        known = with_dropped(spec, recalled(spec, status, record), record.latches if record else ())
        return replace(found, uid=record.uid if record and record.uid else uid, status=known)

    def decide(self, observed: ObservedRouter, now: datetime) -> Verdict[ObjectStatus, Programme, Await]:
        """Return where clients go, and which router is replaced."""
        models = sorted({version.model for version in observed.versions if version.is_served})
        routes, waits = {}, {}
        for model in models:
            last, own = observed.last.get(model, Last()), [one for one in observed.versions if one.model == model]
            route = route_of(model, observed.versions, observed.experiments, last)
            of_model = [one for one in observed.experiments if one.spec.model_name == model]
            if found := awaited(route, own, of_model, last, observed.awaited.get(model), now):
                waits[model] = found
            routes[model] = held_back(route, found, own, of_model, last, now)
        table = route_table(observed.served, routes, only_plain=not observed.may_be_new, scorer=observed.scorer.address)
        scored = scored_experiments(split for route in routes.values() for split in route.splits)
        had = [observed.newest, *(pod.applied for pod in observed.pods)]
        stamp = next_stamp(table, observed.stamp, had, timestamp(now))
        gone = overdue(observed.pods, observed.replaced, now)
        ended = (Deletion("Pod", gone.name, gone.uid, gone.fault(now)),) if gone else ()
        # The last version may go between two readings: made for nobody, nothing would ever end the router.
        made = (Programme(table, stamp, scored),) if observed.owners else ()
        looks = [look_again(observed.pods, now) if stamp == observed.stamp else _TOLD_SECONDS]
        if made and not (observed.recorder.address and observed.tasks) and not observed.is_held_up:
            looks.append(_ADDRESS_SECONDS)
        if made and scored and not observed.scorer.address and not observed.is_held_up:
            looks.append(_ADDRESS_SECONDS)
        if any(version.backend and version.backend.trusted for version in observed.served):
            looks.append(_TRUSTED_SECONDS)
        looks += [(one.until - now).total_seconds() + _MARGIN_SECONDS for one in waits.values() if now < one.until]
        again = min((seconds for seconds in looks if seconds is not None), default=None)
        told = (Await(waits),) if waits != observed.awaited else ()
        unscored = () if scored else observed.scorer.unwanted()
        gone_or_outdated = (*observed.outdated, *unscored, *ended)
        return Verdict(ObjectStatus(), "Settled", delete=gone_or_outdated, apply=made, effects=told, again=again)

    def build(self, item: RouterItem, observed: ObservedRouter, intent: Programme) -> Sequence[Operation]:
        """Return everything that a router needs, then its recorder, who may reach them, and the way there from outside;
        a step that is refused holds up those after it.
        """
        settings = self._context.settings
        asked = [version.backend for version in observed.served if version.backend]
        backend_keys = {backend.target.key: backend.key for backend in asked if backend.key}
        env = RouterEnvironment(
            settings.router_image,
            settings.image_pull_policy,
            observed.ring.keys,
            backend_keys,
            {backend.target.trusted: backend.trusted for backend in asked if backend.trusted},
            own_authorities(settings),
        )
        made = router_objects(item.namespace, observed.owners, intent.table, intent.stamp, env)
        guards = policies(item.namespace, observed.owners, PolicyEnvironment(settings.namespace, settings.scrapers))
        keys = observed.ring.keys
        recorder = recorder_steps(item.namespace, observed.owners, observed.recorder, keys, settings)
        scorer = scorer_steps(item.namespace, observed.owners, intent.scored, observed.recorder.address, keys, settings)
        gateways = GatewayEnvironment(settings.gateways, settings.gateway_hostnames)
        routes = [http_route(item.namespace, observed.owners, gateways)] if gateways.parents else []
        tasks = tasks_steps(item.namespace, observed.owners, observed.tasks, keys, settings)
        own = [*map(Apply, made), *recorder, *scorer, *map(Apply, [*guards, *routes]), *tasks]
        return [*kept(item.namespace, observed.ring), *own]

    async def carry_out(self, item: RouterItem, observed: ObservedRouter, effect: Await) -> None:
        """Keep what is waited for; the versions and experiments tell it."""
        del observed
        self._context.acknowledgements.of(item.namespace).awaited = effect.awaited
        for waiting in self._readers_of(item.namespace):
            self._context.wake(waiting)

    def dependents(self, item: RouterItem) -> Iterable[Key]:
        """Return the versions and experiments of the namespace: they tell whether the routers know of them."""
        return self._readers_of(item.namespace)

    def _readers_of(self, namespace: str) -> list[Key]:
        kinds = ("ModelVersion", "ABExperiment")
        found = (other for kind in kinds for other in self._context.store.list(kind, namespace))
        return [Key(other["kind"], namespace, other["metadata"]["name"]) for other in found]

    def forget(self, key: Key, uid: str) -> None:
        """Keep nothing of a namespace that serves no version."""
        del uid
        self._context.router_problems.pop(key.namespace, None)
        self._context.acknowledgements.forget(key.namespace)
        self._context.traffic.forget(key.namespace)
        self._context.backends.forget(key.namespace)

    def written(self, item: RouterItem, status: ObjectStatus) -> None:
        """Keep what stopped it for the versions to tell, and say it once in the log."""
        problems, found = self._context.router_problems, status.condition(ConditionType.RECONCILING)
        before = problems.pop(item.namespace, None)
        if found:
            problems[item.namespace] = found
        if found and (before is None or before.message != found.message):
            log.warning("%s: %s", found.reason, found.message)

    def deleted(self, item: RouterItem, gone: Deletion) -> None:
        """Give the next router longer, each time: one that cannot be reached is replaced by one that cannot, either."""
        if gone.kind != "Pod":
            return
        heard = self._context.acknowledgements.of(item.namespace)
        heard.note_replaced(self._context.now())
        count = heard.replaced.count
        log.warning("router pod %s/%s is replaced (%d lately): %s", item.namespace, gone.name, count, gone.why)


def _remaining(versions: Iterable[Manifest]) -> list[Manifest]:
    return [version for version in versions if not version["metadata"].get("deletionTimestamp")]


def _answered(versions: Iterable[Manifest]) -> list[Manifest]:
    return [version for version in _remaining(versions) if is_answered(version)]


def _outdated(made: Manifest | None) -> tuple[Deletion, ...]:
    """Only what was read afresh has its selector; nothing is deleted without."""
    chosen = (made or {}).get("spec", {}).get("selector", {}).get("matchLabels")
    is_ours = made is not None and made["metadata"].get("annotations", {}).get(OWNER_ANNOTATION) == ROUTER
    if made is None or not is_ours or chosen in (None, {ROUTER_LABEL: ROUTER}):
        return ()
    return (Deletion("Deployment", ROUTER, made["metadata"]["uid"]),)


def _knows_model(made: Manifest | None, *, was_known: bool) -> bool:
    """Whether all its pods know the model's name, as those do that were made with a key: once so, for good."""
    if made is None or KEYS_ANNOTATION not in made["metadata"].get("annotations", {}):
        return False
    if made["spec"].get("leaderWorkerTemplate"):  # no build made one whose pods do not
        return True
    status = made.get("status", {})
    is_current = status.get("observedGeneration") == made["metadata"].get("generation")
    return was_known or (is_current and 0 < status.get("replicas", 0) == status.get("updatedReplicas", 0))
