"""Looking at all that is around one FineTuneJob: plan, Jobs, pods, base, version, and what its gates compare with."""

from dataclasses import dataclass, replace
from datetime import datetime

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus, Provenance
from anneal_operator.api.model_version import ModelVersionStatus
from anneal_operator.cluster.children import owned_by
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.watched_jobs import Known
from anneal_operator.decide.attempts import merged_attempts
from anneal_operator.decide.fine_tune_job import has_passed
from anneal_operator.decide.observed_job import STAGES, ObservedJob, Obstacle
from anneal_operator.decide.progress import Report, read_report
from anneal_operator.decide.stages import read_stage
from anneal_operator.desired.inputs import claim_source, config_map_source, input_path, named_sources
from anneal_operator.desired.plan import Base, plan_digest
from anneal_operator.desired.training import stage_job_name
from anneal_operator.errors import RegistryError
from anneal_operator.reasons import Reason
from training_runtime.plan import Stage

from .context import Context, timestamp

__all__ = ["JobWorld", "look_at_job", "seconds_left"]

_PRODUCTION = "production"


@dataclass(frozen=True)
class JobWorld:
    """What one look found."""

    seen: ObservedJob
    base: Base | None = None
    jobs: dict[Stage, Manifest] | None = None
    is_fresh: bool = True
    """Whether the API server was asked for all of it just now."""


async def look_at_job(context: Context, job: Manifest, spec: FineTuneJobSpec) -> JobWorld:
    """Return what is there; raise ApiError where the API server does not answer."""
    return await _Look(context).look(job, spec)


def seconds_left(job: Manifest, spec: FineTuneJobSpec, now: datetime) -> float | None:
    """The seconds until the job's deadline, None where it has none."""
    if spec.active_deadline_seconds is None:
        return None
    created = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    return spec.active_deadline_seconds - (now - created).total_seconds()


class _Look:
    """One look; nothing is written."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def look(self, job: Manifest, spec: FineTuneJobSpec) -> JobWorld:
        metadata = job["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        previous = FineTuneJobStatus.read(job.get("status"))
        left = seconds_left(job, spec, self._context.now())
        seen = ObservedJob(
            name,
            metadata["generation"],
            previous,
            gpus=spec.stages.train.nodes * spec.stages.train.resources.gpus,
            suspend=spec.suspend,
            queue=spec.scheduling.queue_name,
            overdue=left is not None and left <= 0,
            gates=tuple(spec.evaluation.gates),
        )
        known, is_fresh = await self._context.watched.around(job)
        if known.plan is None:
            found = await self._base(namespace, spec, metadata)
            if isinstance(found, Obstacle):
                return JobWorld(replace(seen, obstacle=found))
            return JobWorld(seen, base=found)
        if not owned_by(known.plan, metadata["uid"]):
            obstacle = _in_the_way("what an earlier job of this name left is being deleted")
            return JobWorld(replace(seen, obstacle=obstacle))
        return replace(await self._look_at_work(job, spec, seen, known, known.plan), is_fresh=is_fresh)

    async def _look_at_work(
        self, job: Manifest, spec: FineTuneJobSpec, seen: ObservedJob, known: Known, plan: Manifest
    ) -> JobWorld:
        metadata = job["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        jobs, pods = _children(known, name, metadata["uid"])
        states = {}
        for number, stage in enumerate(STAGES, 1):
            is_passed = has_passed(seen.previous, stage) or any(later in jobs for later in STAGES[number:])
            states[stage] = read_stage(jobs.get(stage), pods[stage], is_passed=is_passed)
        settings = self._context.settings
        revision = plan["metadata"].get("annotations", {}).get("anneal.dev/model-revision", "")
        images: dict[str, str] = dict.fromkeys(STAGES, settings.trainer_image)
        provenance = Provenance(images=images, model_revision=revision, plan_digest=plan_digest(plan))
        report, now = self._report(metadata["uid"]), timestamp(self._context.now())
        attempts = merged_attempts(seen.previous.attempts, pods["train"], seen.gpus, now, report)
        seen = replace(
            seen,
            stages=states,
            report=report if states["train"].state == "Active" else None,
            provenance=provenance,
            model_name=spec.output.model_name,
            mlflow_public_url=settings.mlflow_public_url or settings.mlflow_url,
            version_made=states["publish"].state == "Succeeded" and await self._is_made(metadata),
            attempts=attempts,
        )
        if states["evaluate"].state == "Succeeded" and states["publish"].state == "Absent":
            seen = await self._with_references(seen, spec)
        elif seen.previous.evaluation:
            seen = replace(seen, judged=tuple(seen.previous.evaluation.gates))
        if seen.version_made and spec.output.experiment:
            seen = replace(seen, opponent=await self._opponent(namespace, name, spec))
        return JobWorld(seen, jobs=jobs)

    def _report(self, uid: str) -> Report | None:
        said = self._context.progress.last(uid)
        return read_report(said.percent, said.remaining_seconds, said.updated_at, said.numbers) if said else None

    async def _opponent(self, namespace: str, name: str, spec: FineTuneJobSpec) -> str | None:
        """The ModelVersion that holds `production`, unless the experiment is there already."""
        if await self._context.api.get("ABExperiment", namespace, name):
            return None
        for version in await self._context.api.list("ModelVersion", namespace):
            try:
                found = ModelVersionStatus.parse(version.get("status") or {})
            except ValueError:
                continue
            of_model = version["spec"]["modelName"] == spec.output.model_name and version["metadata"]["name"] != name
            if of_model and found.registry and _PRODUCTION in found.registry.aliases:
                return str(version["metadata"]["name"])
        return None

    async def _with_references(self, seen: ObservedJob, spec: FineTuneJobSpec) -> ObservedJob:
        """Add the metrics of the versions that gates compare with."""
        aliases = sorted({gate.vs_alias for gate in spec.evaluation.gates if gate.vs_alias})
        registry, model = self._context.registry, spec.output.model_name
        try:
            found = {alias: await registry.metrics_at_alias(model, alias) for alias in aliases}
        except RegistryError as error:
            return replace(seen, unreachable=f"the gates wait for MLflow: {error}")
        return replace(seen, references=found)

    async def _is_made(self, metadata: Manifest) -> bool:
        version = await self._context.api.get("ModelVersion", metadata["namespace"], metadata["name"])
        return _made_by(version, metadata["uid"])

    async def _base(self, namespace: str, spec: FineTuneJobSpec, metadata: Manifest) -> Base | Obstacle:
        """Return what training starts from, or what has to happen first."""
        version = await self._context.api.get("ModelVersion", namespace, metadata["name"])
        if version and not _made_by(version, metadata["uid"]):
            return _in_the_way(
                f"ModelVersion {metadata['name']} exists already: delete it, or give this job another name"
            )
        missing = await self._missing(namespace, spec)
        if missing:
            return missing
        if not spec.base.uri.startswith("models:/"):
            address = spec.base.uri + (f"@{spec.base.revision}" if spec.base.revision else "")
            return Base(source=input_path(address), revision=address)
        model, _, alias = spec.base.uri.removeprefix("models:/").partition("@")
        try:
            found = await self._context.registry.at_alias(model, alias)
        except RegistryError as error:
            return Obstacle(Reason.REGISTRY_UNREACHABLE, str(error))
        if found is None:
            return Obstacle(Reason.BASE_NOT_FOUND, f"no version of {model} has the alias {alias} in MLflow yet")
        return Base(source=found.uri, revision=f"models:/{model}/{found.version}", digest=found.digest or None)

    async def _missing(self, namespace: str, spec: FineTuneJobSpec) -> Obstacle | None:
        """The first ConfigMap or claim that the job names and that is not there."""
        for source in named_sources(spec):
            found = config_map_source(source)
            missing = await self._missing_key(namespace, found[0], found[1] or "config.json") if found else None
            if missing:
                return Obstacle(Reason.CONFIG_MAP_NOT_FOUND, missing)
        claims = [claim for claim in map(claim_source, named_sources(spec)) if claim]
        for claim in [*claims, *([spec.storage.claim_name] if spec.storage.claim_name else [])]:
            if await self._context.inputs.keys("PersistentVolumeClaim", namespace, claim) is None:
                return Obstacle(Reason.CLAIM_NOT_FOUND, f"there is no PersistentVolumeClaim {claim} here yet")
        return None

    async def _missing_key(self, namespace: str, name: str, key: str) -> str | None:
        keys = await self._context.inputs.keys("ConfigMap", namespace, name)
        if keys is None:
            return f"there is no ConfigMap {name} in this namespace yet"
        return None if key in keys else f"ConfigMap {name} has no key {key}; it has {', '.join(sorted(keys)) or 'none'}"


def _children(known: Known, name: str, uid: str) -> tuple[dict[Stage, Manifest], dict[Stage, list[Manifest]]]:
    """Each stage's Job and its pods; those of an earlier job of this name do not count."""
    found = {stage: known.jobs.get(stage_job_name(name, stage)) for stage in STAGES}
    jobs = {stage: job for stage, job in found.items() if job and owned_by(job, uid)}
    pods = known.pods.values()
    return jobs, {
        stage: [pod for pod in pods if stage in jobs and owned_by(pod, jobs[stage]["metadata"]["uid"])]
        for stage in STAGES
    }


def _in_the_way(message: str) -> Obstacle:
    return Obstacle(Reason.NAME_TAKEN, message)


def _made_by(version: Manifest | None, uid: str) -> bool:
    return bool(version) and (version or {})["spec"].get("provenance", {}).get("fineTuneJobUid") == uid
