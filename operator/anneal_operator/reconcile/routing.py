"""One look at a namespace's traffic: where each model name goes, and the router that sends it there."""

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus
from anneal_operator.api.model_version import ModelVersionSpec, ModelVersionStatus
from anneal_operator.cluster.children import ensure_applied
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.desired.routing import (
    ROUTER,
    RouterEnvironment,
    RunningExperiment,
    ServedVersion,
    defaults_of,
    route_table,
    router_objects,
)
from anneal_operator.desired.serving import server_name
from anneal_operator.reasons import ConditionType

from .context import Context
from .queue import Key

__all__ = ["RoutingReconciler"]

_RESYNC_SECONDS = 300.0


class RoutingReconciler:
    """Makes the router as long as a served version exists; the garbage collector ends it with the last one."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, key: Key) -> float | None:
        """Look once; return the seconds after which to look again without being woken."""
        api, settings = self._context.api, self._context.settings
        found = await api.list("ModelVersion", key.namespace)
        owners = [item for item in found if "serving" in item["spec"] and not item["metadata"].get("deletionTimestamp")]
        if not owners:
            return None
        versions = [version for item in owners if (version := await self._served(item))]
        experiments = [_running(item) for item in await api.list("ABExperiment", key.namespace)]
        last = defaults_of(await api.get("ConfigMap", key.namespace, ROUTER))
        table = route_table(versions, [experiment for experiment in experiments if experiment], last)
        env = RouterEnvironment(settings.router_image, settings.image_pull_policy)
        for manifest in router_objects(key.namespace, owners, table, env):
            await ensure_applied(api, manifest)
        return _RESYNC_SECONDS

    async def _served(self, item: Manifest) -> ServedVersion | None:
        metadata, status = item["metadata"], ModelVersionStatus.read(item.get("status"))
        if status.registry is None or status.phase == "Idle":
            return None
        service = await self._context.api.get("Service", metadata["namespace"], server_name(metadata["name"]))
        if service is None:
            return None
        return ServedVersion(
            name=metadata["name"],
            model=ModelVersionSpec.parse(item["spec"]).model_name,
            version=status.registry.version,
            aliases=tuple(status.registry.aliases),
            address=service["spec"]["clusterIP"],
        )


def _running(item: Manifest) -> RunningExperiment | None:
    """An experiment that has a say in the routes now."""
    metadata = item["metadata"]
    spec, status = ABExperimentSpec.parse(item["spec"]), ABExperimentStatus.read(item.get("status"))
    holds = {condition.type for condition in status.conditions if condition.status == "True"}
    if status.decision is None:
        ready = status.phase == "Running" or (status.phase == "WarmingUp" and ConditionType.VARIANTS_READY in holds)
        return RunningExperiment(metadata["name"], metadata["uid"], spec) if ready else None
    if status.phase != "Promoted" or ConditionType.ALIAS_MOVED in holds:
        return None
    return RunningExperiment(metadata["name"], metadata["uid"], spec, spec.version_of(status.decision.winner))
