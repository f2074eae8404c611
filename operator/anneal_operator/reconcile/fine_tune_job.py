"""One look at a FineTuneJob: what exists, what comes next, do that, tell."""

from dataclasses import replace

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus, Progress, Provenance
from anneal_operator.cluster.children import ensure_created, owned_by
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.fine_tune_job import STAGES, ObservedJob, Obstacle, Verdict, judge, refused
from anneal_operator.decide.stages import StageState, read_stage
from anneal_operator.desired.inputs import claim_source, config_map_source, input_path, named_sources
from anneal_operator.desired.plan import Base, plan_digest
from anneal_operator.desired.publishing import model_version
from anneal_operator.desired.training import (
    JOB_LABEL,
    TrainingEnvironment,
    plan_config_map,
    plan_name,
    stage_job,
    stage_job_name,
    volume_claim,
)
from anneal_operator.errors import ApiError, RegistryError
from anneal_operator.reasons import Reason
from training_runtime.plan import Published, Stage

from .context import Context, timestamp, write_status
from .queue import Key

__all__ = ["FineTuneJobReconciler"]

_WAIT_SECONDS = 5.0
_PROGRESS_PERIOD = 10.0
_RESYNC_SECONDS = 60.0
_REFUSALS = {400, 403, 422}


class FineTuneJobReconciler:
    """Level-triggered: every look rebuilds the status from the world."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._progress_written: dict[str, float] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Look once; return the seconds after which to look again without being woken."""
        job = await self._context.api.get(key.kind, key.namespace, key.name)
        if job is None or job["metadata"].get("deletionTimestamp"):
            self._context.progress.forget(key.namespace, key.name)
            return None
        spec = FineTuneJobSpec.parse(job["spec"])
        seen, base = await self._observe(job, spec)
        now = self._context.now()
        verdict = judge(seen, timestamp(now))
        refusal = await self._act(job, spec, verdict, base, seen)
        told = refused(seen, verdict.status, refusal, timestamp(now)) if refusal else verdict.status
        status, again = self._coalesced(job, told, now.timestamp())
        await write_status(self._context, key.kind, job, status)
        if status.phase in {"Succeeded", "Failed"}:
            self._context.progress.forget(key.namespace, key.name)
            return None
        if seen.obstacle or refusal:
            return _WAIT_SECONDS
        return 0.0 if verdict.action in {"Plan", "MakeVersion"} else again or _RESYNC_SECONDS

    async def _observe(self, job: Manifest, spec: FineTuneJobSpec) -> tuple[ObservedJob, Base | None]:
        metadata = job["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        api = self._context.api
        previous = FineTuneJobStatus.read(job.get("status"))
        seen = ObservedJob(name, metadata["generation"], previous)
        if previous.phase in {"Succeeded", "Failed"}:
            return seen, None
        plan = await api.get("ConfigMap", namespace, plan_name(name))
        version = await api.get("ModelVersion", namespace, name)
        if plan is None:
            found = await self._base(namespace, spec, version, metadata)
            return (replace(seen, obstacle=found), None) if isinstance(found, Obstacle) else (seen, found)
        if not owned_by(plan, metadata["uid"]):
            return replace(seen, obstacle=_in_the_way("what an earlier job of this name left is being deleted")), None
        states = await self._states(namespace, name, metadata["uid"])
        settings = self._context.settings
        revision = plan["metadata"].get("annotations", {}).get("anneal.dev/model-revision", "")
        provenance = Provenance(image=settings.trainer_image, model_revision=revision, plan_digest=plan_digest(plan))
        seen = replace(
            seen,
            stages=states,
            progress=self._progress(namespace, name, states["train"].state),
            provenance=provenance,
            model_name=spec.output.model_name,
            mlflow_public_url=settings.mlflow_public_url or settings.mlflow_url,
            version_made=_made_by(version, metadata["uid"]),
        )
        return seen, None

    async def _states(self, namespace: str, name: str, uid: str) -> dict[Stage, StageState]:
        """How each stage stands; Jobs and pods of an earlier job of this name do not count."""
        selector = f"{JOB_LABEL}={name}"
        listed = await self._context.api.list("Job", namespace, selector)
        jobs = {job["metadata"]["name"]: job for job in listed if owned_by(job, uid)}
        pods = await self._context.api.list("Pod", namespace, selector)
        states = {}
        for stage in STAGES:
            made = jobs.get(stage_job_name(name, stage))
            states[stage] = read_stage(made, [pod for pod in pods if made and owned_by(pod, made["metadata"]["uid"])])
        return states

    def _progress(self, namespace: str, name: str, training: str) -> Progress | None:
        return self._context.progress.last(namespace, name) if training == "Active" else None

    async def _base(
        self, namespace: str, spec: FineTuneJobSpec, version: Manifest | None, metadata: Manifest
    ) -> Base | Obstacle:
        """Return what training starts from, or what has to happen first."""
        if version and not _made_by(version, metadata["uid"]):
            return _in_the_way(
                f"ModelVersion {metadata['name']} exists already: delete it, or give this job another name"
            )
        missing = await self._missing(namespace, spec)
        if missing:
            return missing
        if not spec.model.source.startswith("models:/"):
            address = spec.model.source + (f"@{spec.model.revision}" if spec.model.revision else "")
            return Base(source=input_path(address), revision=address)
        model, _, alias = spec.model.source.removeprefix("models:/").partition("@")
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
            if await self._context.api.get("PersistentVolumeClaim", namespace, claim) is None:
                return Obstacle(Reason.CLAIM_NOT_FOUND, f"there is no PersistentVolumeClaim {claim} here yet")
        return None

    async def _missing_key(self, namespace: str, name: str, key: str) -> str | None:
        config_map = await self._context.api.get("ConfigMap", namespace, name)
        if config_map is None:
            return f"there is no ConfigMap {name} in this namespace yet"
        keys = {**config_map.get("data", {}), **config_map.get("binaryData", {})}
        return None if key in keys else f"ConfigMap {name} has no key {key}; it has {', '.join(sorted(keys)) or 'none'}"

    async def _act(
        self, job: Manifest, spec: FineTuneJobSpec, verdict: Verdict, base: Base | None, seen: ObservedJob
    ) -> str:
        """Do what comes next; return what the API server says where it refuses that, a full quota for example."""
        try:
            for manifest in self._wanted(job, spec, verdict, base, seen):
                await ensure_created(self._context.api, manifest)
        except ApiError as error:
            if error.status not in _REFUSALS:
                raise
            return str(error)
        return ""

    def _wanted(
        self, job: Manifest, spec: FineTuneJobSpec, verdict: Verdict, base: Base | None, seen: ObservedJob
    ) -> list[Manifest]:
        """The objects that the next step needs."""
        env = self._environment()
        if verdict.action == "Plan" and base:
            claim = volume_claim(job, spec)
            return [*([claim] if claim else []), plan_config_map(job, spec, base, env)]
        if verdict.action == "StartStage" and verdict.stage:
            return [stage_job(job, spec, verdict.stage, env)]
        if verdict.action == "MakeVersion" and seen.stages:
            published = Published.model_validate(seen.stages["publish"].result)
            digest = verdict.status.dataset.digest if verdict.status.dataset else ""
            return [model_version(job, spec, published, digest)]
        return []

    def _environment(self) -> TrainingEnvironment:
        settings = self._context.settings
        return TrainingEnvironment(
            image=settings.trainer_image,
            pull_policy=settings.image_pull_policy,
            mlflow_url=settings.mlflow_url,
            progress_url=f"https://{settings.progress_host}:{settings.progress_port}",
            progress_ca=self._context.progress_ca,
        )

    def _coalesced(
        self, job: Manifest, status: FineTuneJobStatus, now: float
    ) -> tuple[FineTuneJobStatus, float | None]:
        """Hold back news of progress alone until 10 s after the last; everything else is told at once."""
        uid = job["metadata"]["uid"]
        previous = FineTuneJobStatus.read(job.get("status"))
        same = status.model_copy(update={"progress": previous.progress}) == previous
        remaining = self._progress_written.get(uid, 0.0) + _PROGRESS_PERIOD - now
        if same and status != previous and remaining > 0:
            return previous, remaining
        if status.progress != previous.progress:
            self._progress_written[uid] = now
        if status.phase in {"Succeeded", "Failed"}:
            self._progress_written.pop(uid, None)
        return status, None


def _in_the_way(message: str) -> Obstacle:
    return Obstacle(Reason.NAME_TAKEN, message)


def _made_by(version: Manifest | None, uid: str) -> bool:
    return bool(version) and (version or {})["spec"].get("provenance", {}).get("fineTuneJobUid") == uid
