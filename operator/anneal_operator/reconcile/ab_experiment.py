"""One look at an ABExperiment: are the variants ready, is traffic split, what do the numbers say, promote."""

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus
from anneal_operator.api.model_version import ModelVersionSpec, ModelVersionStatus, Registry
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.ab_experiment import Observations, ObservedExperiment, VariantSeen, judge
from anneal_operator.decide.comparison import Sample
from anneal_operator.decide.conditions import Finding, merged
from anneal_operator.desired.routing import PRODUCTION, ROUTER, recorder_url, router_url
from anneal_operator.errors import RegistryError, RouterError
from anneal_operator.reasons import ConditionType, Reason

from .context import Context, timestamp, write_status
from .queue import Key

__all__ = ["ABExperimentReconciler"]

_PERIOD = 2.0


class ABExperimentReconciler:
    """Level-triggered; a decision that was written stands, and what follows from it is repeated until it is done."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, key: Key) -> float | None:
        """Look once; return the seconds after which to look again without being woken."""
        item = await self._context.api.get(key.kind, key.namespace, key.name)
        if item is None or item["metadata"].get("deletionTimestamp"):
            self._context.wake(Key("Router", key.namespace, ROUTER))
            return None
        spec, previous = ABExperimentSpec.parse(item["spec"]), ABExperimentStatus.read(item.get("status"))
        if previous.decision:
            return await self._follow_up(item, spec, previous)
        seen = await self._observe(item, spec, previous)
        status = judge(seen, self._context.now())
        await write_status(self._context, key.kind, item, status)
        if status.phase != previous.phase or status.conditions != previous.conditions:
            self._wake_around(key.namespace, spec)
        return 0.0 if status.decision else _PERIOD

    async def _observe(
        self, item: Manifest, spec: ABExperimentSpec, previous: ABExperimentStatus
    ) -> ObservedExperiment:
        metadata = item["metadata"]
        variants = {}
        for variant in spec.variants:
            version = await self._context.api.get("ModelVersion", metadata["namespace"], variant.model_version_ref.name)
            variants[variant.name] = _seen(version)
        routed = await self._routed(metadata, spec)
        return ObservedExperiment(
            generation=metadata["generation"],
            spec=spec,
            previous=previous,
            variants=variants,
            busy_with=await self._busy_with(item, spec),
            routed=routed,
            observations=await self._counted(metadata, spec) if routed else None,
        )

    async def _busy_with(self, item: Manifest, spec: ABExperimentSpec) -> str | None:
        """The oldest undecided experiment of a model has its traffic."""
        rivals = []
        for other in await self._context.api.list("ABExperiment", item["metadata"]["namespace"]):
            undecided = not ABExperimentStatus.read(other.get("status")).decision
            if undecided and other["spec"]["modelName"] == spec.model_name:
                rivals.append((other["metadata"]["creationTimestamp"], other["metadata"]["name"]))
        first = min(rivals, default=None)
        return first[1] if first and first[1] != item["metadata"]["name"] else None

    async def _routed(self, metadata: Manifest, spec: ABExperimentSpec) -> bool:
        try:
            table = await self._context.routers.routes(router_url(metadata["namespace"]))
        except RouterError:
            return False
        route = table.get("models", {}).get(spec.model_name) or {}
        return bool((route.get("experiment") or {}).get("uid") == metadata["uid"])

    async def _counted(self, metadata: Manifest, spec: ABExperimentSpec) -> Observations | None:
        url = recorder_url(metadata["namespace"])
        try:
            found = await self._context.routers.statistics(url, metadata["uid"], spec.metrics.primary.name)
        except RouterError:
            return None
        variants = found["variants"]
        return Observations(
            users={name: counted["users"] for name, counted in variants.items()},
            requests={name: counted["requests"] for name, counted in variants.items()},
            samples={name: Sample(**counted["metric"]) for name, counted in variants.items() if "metric" in counted},
            moved_users=found["moved_users"],
        )

    async def _follow_up(self, item: Manifest, spec: ABExperimentSpec, status: ABExperimentStatus) -> float | None:
        """Move the alias, then wait for the versions' statuses to say so: until then the decision is the route.

        The versions' own reconcilers read the alias and scale down; the routing one follows what they read.
        """
        alias = next((c for c in status.conditions if c.type == ConditionType.ALIAS_MOVED), None)
        self._wake_around(item["metadata"]["namespace"], spec)
        decision = status.decision
        if status.phase != "Promoted" or (alias and alias.status == "True") or decision is None:
            return None
        registries = await self._registries(item, spec)
        version = registries.pop(spec.version_of(decision.winner))
        if version is None:
            return _PERIOD
        if alias is None or alias.reason != Reason.MOVING:
            record = {f"anneal.dev/experiment.{item['metadata']['name']}": decision.model_dump_json(by_alias=True)}
            await self._promote(item, spec, status, version.version, record)
        elif await self._settled(spec.model_name, version, [registry for registry in registries.values() if registry]):
            message = f"alias {PRODUCTION} of {spec.model_name} was moved to version {version.version} in MLflow"
            await self._write_finding(item, status, Finding(ConditionType.ALIAS_MOVED, "True", Reason.MOVED, message))
            return 0.0
        return _PERIOD

    async def _settled(self, model: str, winner: Registry, others: list[Registry]) -> bool:
        """Whether the versions have read where the alias is; where somebody has moved it on since, they never will."""
        if PRODUCTION in winner.aliases and not any(PRODUCTION in other.aliases for other in others):
            return True
        holder = await self._context.registry.at_alias(model, PRODUCTION)
        return holder is None or holder.version != winner.version

    async def _registries(self, item: Manifest, spec: ABExperimentSpec) -> dict[str, Registry | None]:
        """What the variants' versions last read in MLflow."""
        namespace, found = item["metadata"]["namespace"], {}
        for variant in spec.variants:
            version = await self._context.api.get("ModelVersion", namespace, variant.model_version_ref.name)
            found[variant.model_version_ref.name] = ModelVersionStatus.read((version or {}).get("status")).registry
        return found

    async def _promote(
        self, item: Manifest, spec: ABExperimentSpec, status: ABExperimentStatus, version: str, record: dict[str, str]
    ) -> None:
        try:
            await self._context.registry.promote(spec.model_name, PRODUCTION, version, record)
        except RegistryError as error:
            finding = Finding(ConditionType.ALIAS_MOVED, "False", Reason.REGISTRY_UNREACHABLE, str(error))
            await self._write_finding(item, status, finding)
            raise
        message = f"moved to version {version} in MLflow; the versions have yet to read it"
        await self._write_finding(item, status, Finding(ConditionType.ALIAS_MOVED, "False", Reason.MOVING, message))

    async def _write_finding(self, item: Manifest, status: ABExperimentStatus, finding: Finding) -> None:
        now = timestamp(self._context.now())
        conditions = merged(status.conditions, [finding], item["metadata"]["generation"], now)
        await write_status(self._context, item["kind"], item, status.model_copy(update={"conditions": conditions}))

    def _wake_around(self, namespace: str, spec: ABExperimentSpec) -> None:
        self._context.wake(Key("Router", namespace, ROUTER))
        for variant in spec.variants:
            self._context.wake(Key("ModelVersion", namespace, variant.model_version_ref.name))


def _seen(version: Manifest | None) -> VariantSeen:
    if version is None:
        return VariantSeen(None, ready=False)
    status = ModelVersionStatus.read(version.get("status"))
    return VariantSeen(ModelVersionSpec.parse(version["spec"]).model_name, ready=status.phase == "Ready")
