"""Observing what is around one FineTuneJob: plan, volume, Jobs, pods, base, version, and what gates compare with."""

import json
from dataclasses import replace
from typing import Literal

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus
from anneal_operator.api.model_version import BACKEND_SOURCE, PRODUCTION, ModelVersionStatus
from anneal_operator.cluster.children import owned_by
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.observed_job import (
    STAGES,
    ObservedBase,
    ObservedJob,
    ObservedPlan,
    ObservedStage,
    Obstacle,
)
from anneal_operator.decide.progress import Report, read_report
from anneal_operator.decide.situation import read_stages
from anneal_operator.decide.stages import has_pod_ended
from anneal_operator.desired.inputs import claim_source, config_map_source, input_path, named_sources
from anneal_operator.desired.plan import PLAN_KEY, plan_digest
from anneal_operator.desired.training_names import (
    ATTEMPT_LABEL,
    JOB_LABEL,
    REVISION_ANNOTATION,
    STAGE_LABEL,
    claim_name,
    own_claim_name,
    plan_name,
)
from anneal_operator.errors import RegistryError
from anneal_operator.reasons import Reason
from training_runtime.plan import Stage

from .context import Context
from .kind import Item

__all__ = ["JobItem", "observe_job"]

JobItem = Item[FineTuneJobSpec, FineTuneJobStatus]


async def observe_job(context: Context, reader: Reader, item: JobItem) -> ObservedJob:
    """Return what is there; raise ApiError where the API server does not answer."""
    return await _Observer(context, reader, item).observe()


class _Observer:
    """One look; nothing is written."""

    def __init__(self, context: Context, reader: Reader, item: JobItem) -> None:
        self._context = context
        self._reader = reader
        self._item = item

    async def observe(self) -> ObservedJob:
        """Of a job without a status nothing is there yet: what a writer that was killed did make is found by making it
        again.
        """
        item, settings = self._item, self._context.settings
        seen = ObservedJob(
            item.name,
            item.uid,
            item.generation,
            item.spec,
            item.status,
            claim_missing=not item.spec.storage.claim_name,
            mlflow_public_url=settings.mlflow_public_url or settings.mlflow_url,
        )
        if not item.manifest.get("status"):
            return await self._before_plan(seen)
        plan = await self._get("ConfigMap", plan_name(item.name))
        if plan is None:
            return await self._before_plan(seen)
        if not owned_by(plan, item.uid):
            message = "objects of an earlier job with this name are still being deleted"
            return replace(seen, obstacle=_in_the_way(message))
        return await self._at_work(await self._with_claim(seen), plan)

    async def _at_work(self, seen: ObservedJob, plan: Manifest) -> ObservedJob:
        stages, earlier = await self._stages()
        states = read_stages(seen.previous, stages)
        seen = replace(seen, plan=_settled(plan), stages=stages, earlier=earlier, report=self._report())
        if states["evaluate"].state == "Succeeded" and states["publish"].state == "Absent":
            seen = await self._with_references(seen)
        if states["publish"].state == "Succeeded":
            seen = replace(seen, version=await self._version())
        if seen.version == "Ours" and self._item.spec.output.experiment:
            seen = replace(seen, opponent=await self._opponent())
        return seen

    async def _stages(self) -> tuple[dict[Stage, ObservedStage], tuple[ObservedStage, ...]]:
        """Each stage's Job and its pods, and the earlier attempts of training; those of another job of this name do
        not count.
        """
        item, selector = self._item, f"{JOB_LABEL}={self._item.name}"
        jobs = [job for job in await self._reader.list("Job", item.namespace, selector) if owned_by(job, item.uid)]
        pods = await self._reader.list("Pod", item.namespace, selector)
        found: dict[str, list[ObservedStage]] = {stage: [] for stage in STAGES}
        for job in jobs:
            labels = job["metadata"]["labels"]
            own = tuple(pod for pod in pods if owned_by(pod, job["metadata"]["uid"]))
            attempt = int(labels[ATTEMPT_LABEL]) if labels.get(ATTEMPT_LABEL, "").isdecimal() else 0
            found.setdefault(labels.get(STAGE_LABEL, ""), []).append(ObservedStage(job, own, attempt))
        attempts = sorted(found["train"], key=lambda work: work.attempt)
        found["train"] = attempts
        newest = {stage: found[stage][-1] for stage in STAGES if found[stage]}
        for pod in _orphans(pods, jobs):
            stage = next((stage for stage in STAGES if stage == pod["metadata"]["labels"].get(STAGE_LABEL)), None)
            if stage:
                work = newest.get(stage, ObservedStage())
                newest[stage] = replace(work, orphans=(*work.orphans, pod))
        return newest, tuple(attempts[:-1])

    async def _with_claim(self, seen: ObservedJob) -> ObservedJob:
        """Say whether the job's own volume is missing, or still that of an earlier job of this name."""
        item = self._item
        if item.spec.storage.claim_name:
            return seen
        claim = await self._get("PersistentVolumeClaim", claim_name(item.name, item.spec))
        if claim is None:
            return replace(seen, claim_missing=True)
        if claim["metadata"].get("deletionTimestamp") or not owned_by(claim, item.uid):
            name = claim["metadata"]["name"]
            message = f"PersistentVolumeClaim {name} belongs to another object or is being deleted"
            return replace(seen, obstacle=_in_the_way(message))
        return replace(seen, claim_missing=False)

    def _report(self) -> Report | None:
        said = self._context.progress.last(self._item.uid)
        return read_report(said.percent, said.remaining_seconds, said.updated_at, said.numbers) if said else None

    async def _version(self) -> Literal["Missing", "Ours", "Foreign"]:
        version = await self._get("ModelVersion", self._item.name)
        if version is None:
            return "Missing"
        return "Ours" if _made_by(version, self._item.uid) else "Foreign"

    async def _opponent(self) -> str | None:
        """The ModelVersion that holds `production`, unless the experiment is there already."""
        item = self._item
        if await self._get("ABExperiment", item.name):
            return None
        for version in await self._reader.list("ModelVersion", item.namespace):
            try:
                found = ModelVersionStatus.parse(version.get("status") or {})
            except ValueError:
                continue
            name = str(version["metadata"]["name"])
            of_model = version["spec"].get("modelName") == item.spec.output.model_name and name != item.name
            if of_model and found.registry and PRODUCTION in found.registry.aliases:
                return name
        return None

    async def _with_references(self, seen: ObservedJob) -> ObservedJob:
        """Add the metrics of the versions that gates compare with."""
        spec = self._item.spec
        aliases = sorted({gate.vs_alias for gate in spec.evaluation.gates if gate.vs_alias})
        registry, model = self._context.registry, spec.output.model_name
        try:
            found = {alias: await registry.metrics_at_alias(model, alias) for alias in aliases}
        except RegistryError as error:
            return replace(seen, unreachable=f"the gates wait for MLflow: {error}")
        return replace(seen, references=found)

    async def _before_plan(self, seen: ObservedJob) -> ObservedJob:
        """Find what training starts from, or what has to happen first."""
        item = self._item
        version = await self._get("ModelVersion", item.name)
        if version and not _made_by(version, item.uid):
            message = f"ModelVersion {item.name} exists already: delete it, or give this job another name"
            return replace(seen, obstacle=_in_the_way(message))
        found = await self._missing() or await self._base()
        if isinstance(found, Obstacle):
            return replace(seen, obstacle=found)
        return replace(seen, base=found)

    async def _base(self) -> ObservedBase | Obstacle:
        base = self._item.spec.base
        if not base.uri.startswith("models:/"):
            address = base.uri + (f"@{base.revision}" if base.revision else "")
            return ObservedBase(source=input_path(address), revision=address)
        model, _, alias = base.uri.removeprefix("models:/").partition("@")
        try:
            found = await self._context.registry.at_alias(model, alias)
        except RegistryError as error:
            return Obstacle(Reason.REGISTRY_UNREACHABLE, str(error))
        if found is None:
            return Obstacle(
                Reason.BASE_NOT_FOUND,
                f"no version of {model} has the alias {alias} in MLflow yet: set it, and the job goes on",
            )
        if found.uri.startswith(BACKEND_SOURCE):
            message = (
                f"version {found.version} of {model}, which has the alias {alias}, is a backend, whose weights nobody"
            )
            return Obstacle(Reason.BASE_NOT_FOUND, f"{message} has: give the alias to another version, or name another")
        return ObservedBase(found.uri, f"models:/{model}/{found.version}", found.digest or None)

    async def _missing(self) -> Obstacle | None:
        """The first ConfigMap or claim that the job names and that is not there."""
        spec = self._item.spec
        for source in named_sources(spec):
            found = config_map_source(source)
            missing = await self._missing_key(found[0], found[1] or "config.json") if found else None
            if missing:
                return Obstacle(Reason.CONFIG_MAP_NOT_FOUND, missing)
        claims = [claim for claim in map(claim_source, named_sources(spec)) if claim]
        for claim in [*claims, *([spec.storage.claim_name] if spec.storage.claim_name else [])]:
            if await self._context.inputs.keys("PersistentVolumeClaim", self._item.namespace, claim) is None:
                return Obstacle(Reason.CLAIM_NOT_FOUND, _missing_claim(spec, claim))
        return None

    async def _missing_key(self, name: str, key: str) -> str | None:
        keys = await self._context.inputs.keys("ConfigMap", self._item.namespace, name)
        if keys is None:
            return f"there is no ConfigMap {name} in this namespace yet: create it, and the job goes on"
        return None if key in keys else f"ConfigMap {name} has no key {key}; it has {', '.join(sorted(keys)) or 'none'}"

    async def _get(self, kind: str, name: str) -> Manifest | None:
        return await self._reader.get(kind, self._item.namespace, name)


def _missing_claim(spec: FineTuneJobSpec, claim: str) -> str:
    resumed = spec.training.resume_from
    if resumed and claim == own_claim_name(resumed.fine_tune_job_ref.name):
        return (
            f"there is no PersistentVolumeClaim {claim}, from which training.resumeFrom goes on: it is made with "
            f"FineTuneJob {resumed.fine_tune_job_ref.name}, unless that has a storage.claimName, and deleted with it"
        )
    return f"there is no PersistentVolumeClaim {claim} here yet: create it, and the job goes on"


def _orphans(pods: list[Manifest], jobs: list[Manifest]) -> list[Manifest]:
    """The pods that have not ended, and belong to none of these Jobs: theirs was deleted by hand."""
    uids = [job["metadata"]["uid"] for job in jobs]
    return [pod for pod in pods if not has_pod_ended(pod) and not any(owned_by(pod, uid) for uid in uids)]


def _settled(plan: Manifest) -> ObservedPlan:
    told = json.loads(plan["data"][PLAN_KEY])  # that of an earlier version names no images
    revision = plan["metadata"].get("annotations", {}).get(REVISION_ANNOTATION, "")
    return ObservedPlan(told.get("image", ""), revision, plan_digest(plan), told.get("engine_image", ""))


def _in_the_way(message: str) -> Obstacle:
    return Obstacle(Reason.NAME_TAKEN, message)


def _made_by(version: Manifest, uid: str) -> bool:
    provenance = (version.get("spec") or {}).get("provenance") or {}
    return bool(provenance.get("fineTuneJobUid") == uid)
