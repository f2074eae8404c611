"""One look at a ModelVersion: register it, serve it, tell."""

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus
from anneal_operator.api.model_version import ModelVersionSpec, ModelVersionStatus
from anneal_operator.api.model_version import Registry as RegistryStatus
from anneal_operator.cluster.children import ensure_applied
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.model_version import Contest, ObservedVersion, judge, replicas_wanted, scale_down_due
from anneal_operator.desired.routing import PRODUCTION, ROUTER, router_url
from anneal_operator.desired.serving import VERSION_LABEL, ServingEnvironment, deployment, selector, service
from anneal_operator.errors import RegistryError
from anneal_operator.outside.registry import Registered

from .context import Context, timestamp, write_status
from .queue import Key

__all__ = ["ModelVersionReconciler"]

_RETRY_SECONDS = 5.0
_REFRESH_SECONDS = 60.0


class ModelVersionReconciler:
    """Level-triggered: every look rebuilds the status from the world."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, key: Key) -> float | None:
        """Look once; return the seconds after which to look again without being woken."""
        version = await self._context.api.get(key.kind, key.namespace, key.name)
        router = Key("Router", key.namespace, ROUTER)
        if version is None or version["metadata"].get("deletionTimestamp"):
            self._context.wake(router)
            return None
        spec = ModelVersionSpec.parse(version["spec"])
        previous = ModelVersionStatus.read(version.get("status"))
        registry, problem = await self._registered(version, spec, previous)
        contests = await self._contests(key)
        now = self._context.now()
        wanted = replicas_wanted(key.name, spec, list(contests.values()), now)
        ready, engine_problem = await self._served(version, spec, wanted)
        if registry and ready and PRODUCTION not in registry.aliases:
            registry = await self._given_production(spec.model_name, registry)
        seen = ObservedVersion(
            name=key.name,
            generation=version["metadata"]["generation"],
            spec=spec,
            previous=previous,
            registry=registry,
            registry_problem=problem,
            wanted=wanted,
            ready=ready,
            engine_problem=engine_problem,
            endpoint=router_url(key.namespace),
            selector=selector(key.name),
        )
        status = judge(seen, timestamp(now))
        await write_status(self._context, key.kind, version, status)
        if status != previous:
            self._context.wake(router)
            for name in contests:
                self._context.wake(Key("ABExperiment", key.namespace, name))
        delayed = any(due and now < due for due in map(scale_down_due, contests.values()))
        return _RETRY_SECONDS if problem or delayed else _REFRESH_SECONDS

    async def _registered(
        self, version: Manifest, spec: ModelVersionSpec, previous: ModelVersionStatus
    ) -> tuple[RegistryStatus | None, str]:
        """Register once, set aliases that are new in the spec, read the rest; a dead MLflow is told, not raised."""
        metadata, artifact = version["metadata"], spec.artifact
        run_id = spec.provenance.mlflow_run_id if spec.provenance else ""
        registry = self._context.registry
        already = previous.registry.aliases_set if previous.registry else []
        try:
            if previous.registry:
                found = await registry.read(spec.model_name, previous.registry.version)
            else:
                found = await registry.register(
                    spec.model_name, metadata["uid"], metadata["name"], artifact.uri, artifact.digest, run_id
                )
            for alias in spec.aliases:
                if alias not in already:
                    await registry.set_alias(spec.model_name, alias, found.version)
        except RegistryError as error:
            return previous.registry, str(error)
        new = [alias for alias in spec.aliases if alias not in already]
        return _status_of(found, sorted({*found.aliases, *new}), list(spec.aliases)), ""

    async def _given_production(self, model: str, registry: RegistryStatus) -> RegistryStatus:
        """Give the alias `production` to the first version that is ready, where none holds it."""
        try:
            if await self._context.registry.at_alias(model, PRODUCTION):
                return registry
            await self._context.registry.set_alias(model, PRODUCTION, registry.version)
        except RegistryError:
            return registry  # the next look tries again
        return registry.model_copy(update={"aliases": sorted({*registry.aliases, PRODUCTION})})

    async def _contests(self, key: Key) -> dict[str, Contest]:
        found = await self._context.api.list("ABExperiment", key.namespace)
        contests = {
            item["metadata"]["name"]: Contest(
                ABExperimentSpec.parse(item["spec"]), ABExperimentStatus.read(item.get("status"))
            )
            for item in found
        }
        return {
            name: contest
            for name, contest in contests.items()
            if any(variant.model_version_ref.name == key.name for variant in contest.spec.variants)
        }

    async def _served(self, version: Manifest, spec: ModelVersionSpec, wanted: int) -> tuple[int, str]:
        """Bring the server about; return how many pods answer, and why the newest does not."""
        if spec.serving is None:
            return 0, ""
        settings, metadata = self._context.settings, version["metadata"]
        env = ServingEnvironment(
            settings.server_image, settings.image_pull_policy, settings.mlflow_url, settings.server_environment
        )
        await ensure_applied(self._context.api, service(version))
        made = await ensure_applied(self._context.api, deployment(version, spec, spec.serving, wanted, env))
        status = made.get("status", {})
        current = status.get("observedGeneration") == made["metadata"].get("generation")
        ready = min(int(status.get("readyReplicas", 0)), wanted) if current else 0
        if ready >= wanted:
            return ready, ""
        pods = await self._context.api.list("Pod", metadata["namespace"], f"{VERSION_LABEL}={metadata['name']}")
        return ready, _engine_problem(pods)


def _status_of(found: Registered, aliases: list[str], aliases_set: list[str]) -> RegistryStatus:
    return RegistryStatus(version=found.version, url=found.url, aliases=aliases, aliases_set=aliases_set)


def _engine_problem(pods: list[Manifest]) -> str:
    """What an engine that ended said last."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", ()):
            ended = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated")
            if ended:
                said = (ended.get("message") or "").strip().splitlines()[-3:]
                return f"the engine ended with {ended.get('reason')} ({ended.get('exitCode')}): {' '.join(said)}"[:600]
    return ""
