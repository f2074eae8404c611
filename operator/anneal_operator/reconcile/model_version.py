"""ModelVersion: observe the version in MLflow, its engine and its experiments; register it and serve it."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.model_version import PRODUCTION, ModelVersionSpec, ModelVersionStatus
from anneal_operator.api.model_version import Registry as RegistryStatus
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.autoscaling import Sample
from anneal_operator.decide.backend import url_refusal
from anneal_operator.decide.downloading import brings_since
from anneal_operator.decide.model_version import (
    GiveProduction,
    Register,
    Serve,
    SetAliases,
    decide,
)
from anneal_operator.decide.observed_version import Contest, ObservedVersion
from anneal_operator.decide.serving_engine import Engine, Front
from anneal_operator.decide.sources import source_refusal, trigger_refusal
from anneal_operator.decide.startup import startup_seconds
from anneal_operator.decide.verdict import Deletion, Verdict
from anneal_operator.desired.backends import asked_backend, service_problem
from anneal_operator.desired.fetching import fetch_job
from anneal_operator.desired.groups import scaled, workload
from anneal_operator.desired.keys import KEYS_ANNOTATION, KeyRing, Keys, kept
from anneal_operator.desired.operations import Apply, Create, Operation
from anneal_operator.desired.pods import host_of
from anneal_operator.desired.routing import ROUTER, backend_target, router_url
from anneal_operator.desired.scaling import scaled_object, without_replicas
from anneal_operator.desired.serving import (
    ENGINE_PORT,
    VERSION_LABEL,
    WORKER_LABEL,
    ServingEnvironment,
    selector,
    service,
    wish_of,
)
from anneal_operator.errors import RouterError
from anneal_operator.outside.registry import Registered, Registration
from anneal_operator.reasons import ConditionType
from serving_runtime.plan import BackendReport, Downloaded

from .acknowledgements import route_seen
from .backend_reports import reports_of
from .capacity_seen import pods_to_take_over
from .context import Context
from .cost_seen import gpus_held, recorded_where_due
from .engine_seen import serving_environment
from .fetching_seen import fetching_of, may_fetch
from .keys import key_ring
from .kind import Item
from .neighbours import ROUTER_KIND, experiments_on, is_answered, may_share_base, neighbours
from .queue import Key
from .shared_view import SharedView, shared_view
from .workload_seen import kind_of, own_engine, own_workload, scaled_object_of, server_to_end

__all__ = ["ModelVersionKind"]

VersionItem = Item[ModelVersionSpec, ModelVersionStatus]
Effect = Register | SetAliases | GiveProduction


@dataclass(frozen=True)
class SeenVersion(ObservedVersion):
    """What a version's builders need beside what is decided by."""

    ring: KeyRing | None = None
    """None where it has no engine."""

    def on(self, view: SharedView) -> "SeenVersion":
        """The same of a version that shares an engine with others."""
        return dataclasses.replace(
            self,
            engine=view.engine,
            pods=view.pods,
            selector=view.selector,
            loaded_on=view.loaded_on,
            adapter_problem=view.problem,
            adapter_waits=view.waits,
        )


class ModelVersionKind:
    """One published result."""

    name = "ModelVersion"
    spec = ModelVersionSpec
    status = ModelVersionStatus
    effects_on = ConditionType.REGISTERED
    has_status = True

    def __init__(self, context: Context) -> None:
        self._context = context

    async def subject(self, reader: Reader, key: Key) -> Manifest | None:
        """Return the ModelVersion."""
        return await reader.subject(key.kind, key.namespace, key.name)

    async def observe(self, reader: Reader, item: VersionItem) -> SeenVersion:
        """Look at the engine, the experiments, the routes; of MLflow at what was heard last."""
        self._context.costs.note(item.namespace, item.spec.model_name, item.name, item.status.cost)
        shares, traffic = may_share_base(item.manifest), self._context.traffic
        is_asked = item.spec.serving or item.spec.backend or shares
        ring = await key_ring(self._context, reader, item.namespace) if is_asked else None
        versions = await reader.list("ModelVersion", item.namespace)
        experiments = await reader.list("ABExperiment", item.namespace)
        seen = await self._routed(reader, item, self._known(item, ring), versions, experiments)
        on_pods = self._on_shared_pods if shares else self._on_own_pods
        seen = dataclasses.replace(await on_pods(reader, item, seen), fetching=await fetching_of(reader, item))
        has_turn = shares or (seen.engine is not None and seen.engine.build != seen.build)
        return dataclasses.replace(
            seen,
            replicas_to_take_over=await self._to_take_over(reader, item, versions, seen.route.default),
            other_engines=await _other_engines(reader, item, versions, experiments) if has_turn else {},
            recorded=await recorded_where_due(self._context, reader, item, seen.held),
            downloads=await self._downloads(seen.bringing),
            asked_at=traffic.asked_at(item.namespace, item.name),
            quiet_since=traffic.quiet_since(item.namespace, item.name),
        )

    def _known(self, item: VersionItem, ring: KeyRing | None) -> SeenVersion:
        """What nobody has to be asked for: the version, what the installation says, what MLflow said last."""
        models, model, serving = self._context.models, item.spec.model_name, item.spec.serving
        heard, registered = models.heard(model), models.registered(item.uid)
        return SeenVersion(
            name=item.name,
            generation=item.generation,
            spec=item.spec,
            previous=item.status,
            registered=_registry_status(registered) if registered else None,
            aliases=heard.aliases if heard else None,
            registry_problem=models.problem(model),
            router_problem=self._context.router_problems.get(item.namespace),
            endpoint=router_url(item.namespace),
            selector=selector(item.name),
            source_refusal=self._refusal(item.spec),
            build=self._environment(ring.keys).build if ring else "",
            wish=wish_of(serving, ring.keys) if serving and ring else "",
            ring=ring,
        )

    async def _routed(
        self,
        reader: Reader,
        item: VersionItem,
        seen: SeenVersion,
        versions: Sequence[Manifest],
        experiments: Sequence[Manifest],
    ) -> SeenVersion:
        """The same with who sends it clients, and with how routers find it, where it is a backend."""
        table, of_backend = await reader.get("ConfigMap", item.namespace, ROUTER), await _service(reader, item)
        told = self._context.acknowledgements
        return dataclasses.replace(
            seen,
            route=route_seen(told, table, item.namespace, item.spec.model_name),
            is_routed_here=any(map(is_answered, versions)),
            router=_front(await reader.get("Deployment", item.namespace, ROUTER)),
            contests=_contests(experiments, item),
            service_problem=_service_problem(item, of_backend),
            backend_told=await self._backend_told(reader, item, seen.ring, of_backend),
        )

    async def _on_own_pods(self, reader: Reader, item: VersionItem, seen: SeenVersion) -> SeenVersion:
        """The same with its engine and pods, and with what is left of them where it is to have none."""
        own, is_served = f"{VERSION_LABEL}={item.name}", item.spec.serving is not None
        made = await own_workload(reader, item.manifest)
        engine = await own_engine(reader, item.manifest) if made else None
        pods = await reader.list("Pod", item.namespace, own) if is_served else []
        of_group = is_served and kind_of(item.manifest) == "LeaderWorkerSet"
        workers = await reader.list("Pod", item.namespace, f"{WORKER_LABEL}={item.name}") if of_group else []
        may_hold = made or (item.status.cost and item.status.cost.gpus)
        left = await reader.list("Pod", item.namespace, own) if may_hold and not is_served else []
        return dataclasses.replace(
            seen,
            engine=engine,
            pods=pods,
            workers=workers,
            server_to_end=() if item.spec.backend else await server_to_end(reader, item, made),
            scaled_object=await scaled_object_of(reader, item),
            samples=await self._samples(reader, item, seen.ring, engine),
            may_fetch=await may_fetch(reader, item, pods),
            held=gpus_held(self._context, item, [*pods, *workers] or left),
        )

    async def _on_shared_pods(self, reader: Reader, item: VersionItem, seen: SeenVersion) -> SeenVersion:
        """The same with the engine that it shares, and with its part of those pods."""
        if seen.ring is None:
            return seen
        view = await shared_view(self._context, reader, item, seen.ring.keys, seen.build)
        held = gpus_held(self._context, item, view.pods, view.sharers)
        return dataclasses.replace(seen.on(view), held=held)

    def _refusal(self, spec: ModelVersionSpec) -> str:
        settings = self._context.settings
        if spec.backend:
            return url_refusal(spec.backend.url, settings.backend_urls)
        types = [one.type for one in spec.serving.triggers] if spec.serving else []
        refused = source_refusal(_sources(spec), settings.artifact_sources)
        return refused or trigger_refusal(types, settings.keda_triggers)

    async def _backend_told(
        self, reader: Reader, item: VersionItem, ring: KeyRing | None, service: Manifest | None
    ) -> list[BackendReport | None]:
        """What each router told of a backend."""
        backend = item.spec.backend
        if backend is None or ring is None or not ring.is_kept:
            return []
        asked = asked_backend(item.namespace, item.name, backend, item.spec.asked_as, service)
        heard, now = self._context.backends, self._context.now()
        told = await heard.ask(self._context.routers, ring.keys.admin, reader, item.namespace, now)
        return reports_of(item.name, backend_target(asked), told)

    async def _samples(
        self, reader: Reader, item: VersionItem, ring: KeyRing | None, engine: Engine | None
    ) -> list[Sample]:
        """What routers told of its requests, where it is scaled by that; they are asked first."""
        if item.spec.serving is None or item.spec.serving.autoscaling is None or ring is None or not ring.is_kept:
            return []
        traffic, now = self._context.traffic, self._context.now()
        await traffic.ask(self._context.routers, ring.keys.admin, reader, item.namespace, now)
        if engine is None or engine.ready < engine.replicas:
            traffic.note_short(item.namespace, item.name, now)
        return traffic.samples(item.namespace, item.name)

    async def _to_take_over(
        self, reader: Reader, item: VersionItem, versions: Sequence[Manifest], default: str | None
    ) -> int:
        if item.spec.serving is None or not default:
            return 0
        return await pods_to_take_over(
            self._context, reader, item.namespace, item.spec.serving, item.name, default, versions
        )

    async def _downloads(self, pods: Sequence[Manifest]) -> list[Downloaded]:
        """Ask the pods that bring weights how far they are; one that does not answer at once is left out."""
        addresses = [pod["status"]["podIP"] for pod in pods if brings_since(pod) and pod["status"].get("podIP")]

        async def told(address: str) -> Downloaded | None:
            with contextlib.suppress(RouterError):
                return await self._context.routers.downloaded(f"http://{host_of(address)}:{ENGINE_PORT}")
            return None

        return [found for found in await asyncio.gather(*map(told, addresses)) if found]

    def decide(self, observed: SeenVersion, now: datetime) -> Verdict[ModelVersionStatus, Serve, Effect]:
        """Return what follows."""
        return decide(observed, now)

    def build(self, item: VersionItem, observed: SeenVersion, intent: Serve) -> Sequence[Operation]:
        """Return the engine's key, Service and Deployment; of one that stays as it is, the number of pods alone.

        An engine that it shares with others is none of its own (`shared_base.py`).
        """
        if item.spec.serving is None or observed.ring is None:
            return []
        if item.spec.shares_base:
            return kept(item.namespace, observed.ring)
        env = self._environment(observed.ring.keys)
        first = [*kept(item.namespace, observed.ring), Apply(service(item.manifest))]
        last: list[Operation] = (
            [Create(fetch_job(item.manifest, item.spec, item.spec.serving, env))] if intent.fetches else []
        )
        scaling = item.spec.serving.autoscaling
        if intent.fewest is not None and scaling is not None:
            last.append(Apply(scaled_object(item.manifest, item.spec.serving, scaling, intent.fewest)))
        if intent.as_they_are and intent.fewest is not None:
            return [*first, *last]
        if intent.as_they_are:
            is_scaled = observed.engine is not None and observed.engine.replicas == intent.replicas
            return [*first, *([] if is_scaled else [scaled(item.manifest, item.spec.serving, intent.replicas)]), *last]
        deadline = startup_seconds(item.spec.serving, item.spec.weights)
        made = workload(item.manifest, item.spec, item.spec.serving, intent.replicas, env, startup_seconds=deadline)
        return [*first, Apply(made if intent.fewest is None else without_replicas(made)), *last]

    def _environment(self, keys: Keys) -> ServingEnvironment:
        return serving_environment(self._context.settings, keys)

    async def carry_out(self, item: VersionItem, observed: SeenVersion, effect: Effect) -> None:
        """Register it, or set its aliases."""
        registry, model = self._context.registry, item.spec.model_name
        match effect:
            case Register():
                run_id = item.spec.provenance.mlflow_run_id if item.spec.provenance else ""
                source, digest = item.spec.source, item.spec.digest
                wanted = Registration(item.namespace, item.name, item.uid, model, source, digest, run_id)
                self._context.models.note_registered(item.uid, await registry.register(wanted))
            case SetAliases(version):
                await registry.set_aliases(item.namespace, model, version, item.spec.aliases)
                url = observed.registry.url if observed.registry else ""
                known = Registered(model, version, (), "", "", url, tuple(item.spec.aliases))
                self._context.models.note_registered(item.uid, known)
            case GiveProduction(version):
                await registry.give_alias(item.namespace, model, PRODUCTION, version)
        await self._context.models.ask(model)

    def dependents(self, item: VersionItem) -> Iterable[Key]:
        """Return the router, and the experiments that it takes part in."""
        return neighbours(self._context.store, item.manifest)

    def forget(self, key: Key, uid: str) -> None:
        """Keep nothing of it, and tell the router, which may have sent clients to it."""
        self._context.models.forget(uid)
        self._context.costs.forget(key.namespace, key.name)
        self._context.wake(Key(ROUTER_KIND, key.namespace, ROUTER))

    def written(self, item: VersionItem, status: ModelVersionStatus) -> None:
        """Tell what it costs from now on."""
        self._context.costs.note(item.namespace, item.spec.model_name, item.name, status.cost)

    def deleted(self, item: VersionItem, gone: Deletion) -> None:
        """Nothing is kept."""


def _sources(spec: ModelVersionSpec) -> dict[str, str]:
    """The fields that say what its pods read."""
    base = spec.artifact.base if spec.artifact and spec.shares_base else None
    return {"artifact.uri": spec.source, **({"artifact.base.uri": base.uri} if base else {})}


async def _service(reader: Reader, item: VersionItem) -> Manifest | None:
    of = item.spec.backend.service_ref if item.spec.backend else None
    return await reader.get("Service", item.namespace, of.name) if of else None


def _service_problem(item: VersionItem, service: Manifest | None) -> str:
    of = item.spec.backend.service_ref if item.spec.backend else None
    return service_problem(of, service) if of else ""


async def _other_engines(
    reader: Reader, item: VersionItem, versions: Sequence[Manifest], experiments: Sequence[Manifest]
) -> dict[str, Engine]:
    """Of the versions that are brought up to date: not of those in an experiment, nor of what cannot be parsed."""
    engines = {}
    undecided = [found for found in experiments if not (found.get("status") or {}).get("decision")]
    for other in versions:
        name = other["metadata"]["name"]
        if name == item.name or experiments_on(undecided, name) or not _is_served(other):
            continue
        if engine := await own_engine(reader, other):
            has_answered = bool((other.get("status") or {}).get("coldStart"))
            engines[name] = dataclasses.replace(engine, has_answered=has_answered)
    return engines


def _is_served(version: Manifest) -> bool:
    try:
        return ModelVersionSpec.parse(version["spec"]).serving is not None
    except ValueError:
        return False


def _contests(experiments: Sequence[Manifest], item: VersionItem) -> list[Contest]:
    """The experiments that name this version; those that cannot be parsed are told of by their own reconcile."""
    contests = []
    for experiment in experiments_on(experiments, item.name):
        try:
            spec = ABExperimentSpec.parse(experiment["spec"])
            status = ABExperimentStatus.parse(experiment.get("status") or {})
            contests.append(Contest(spec, status, experiment["metadata"]["name"]))
        except ValueError:
            continue
    return contests


def _front(router: Manifest | None) -> Front | None:
    """What the router's Deployment says of it."""
    if router is None:
        return None
    status, metadata = router.get("status", {}), router["metadata"]
    is_current = status.get("observedGeneration") == metadata.get("generation")
    is_rolling = not is_current or int(status.get("updatedReplicas", 0)) < int(status.get("replicas", 0))
    return Front(KEYS_ANNOTATION in metadata.get("annotations", {}), is_rolling)


def _registry_status(found: Registered) -> RegistryStatus:
    known = RegistryStatus(version=found.version, url=found.url, aliases_set=list(found.aliases_set))
    return known.holding(found.aliases)
