"""FineTuneJob: observe its plan, Jobs and pods; make the next of them, and at the end the ModelVersion."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job_status import Attempt, FineTuneJobStatus, has_ended
from anneal_operator.api.resources import DEADLINE_ANNOTATION
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.fine_tune_job import (
    EndRun,
    Intent,
    MakeExperiment,
    MakePlan,
    MakeVersion,
    MoveDeadline,
    StartStage,
    decide,
)
from anneal_operator.decide.observed_job import ObservedJob
from anneal_operator.decide.situation import read_stages
from anneal_operator.decide.verdict import Deletion, Verdict
from anneal_operator.desired.operations import Apply, Create, Operation, Patch
from anneal_operator.desired.plan import Base
from anneal_operator.desired.publishing import experiment, model_version
from anneal_operator.desired.stage_pod import TrainingEnvironment
from anneal_operator.desired.training import headless_service, plan_config_map, stage_job, volume_claim
from anneal_operator.metrics import GPU_SECONDS, JobPhases
from anneal_operator.reasons import ConditionType
from training_runtime.plan import Published

from .context import Context
from .job_observation import JobItem, observe_job
from .queue import Key

__all__ = ["FineTuneJobKind"]


class FineTuneJobKind:
    """One training, from its data to its published version."""

    name = "FineTuneJob"
    spec = FineTuneJobSpec
    status = FineTuneJobStatus
    effects_on = ConditionType.TRACKED
    has_status = True

    def __init__(self, context: Context) -> None:
        self._context = context
        self._phases = JobPhases()

    async def subject(self, reader: Reader, key: Key) -> Manifest | None:
        """Return the FineTuneJob; one that has ended needs nothing more, unless its spec changed, it is to go, or
        MLflow could not be told.
        """
        found = await reader.subject(key.kind, key.namespace, key.name)
        status = (found or {}).get("status") or {}
        self._phases.note(key.namespace, key.name, status.get("phase"))
        is_kept = (found or {}).get("spec", {}).get("ttlSecondsAfterFinished") is None
        if found and has_ended(status) and is_kept and not _is_untold(status):
            return None if status.get("observedGeneration") == found["metadata"].get("generation") else found
        return found

    async def observe(self, reader: Reader, item: JobItem) -> ObservedJob:
        """Look at everything around the job."""
        return await observe_job(self._context, reader, item)

    def decide(self, observed: ObservedJob, now: datetime) -> Verdict[FineTuneJobStatus, Intent, EndRun]:
        """Return what follows."""
        return decide(observed, now)

    def build(self, item: JobItem, observed: ObservedJob, intent: Intent) -> Sequence[Operation]:
        """Return the objects of the next step."""
        job, spec = item.manifest, item.spec
        match intent:
            case MakePlan():
                return self._plan(item, observed)
            case StartStage():
                return self._stage(item, observed, intent)
            case MoveDeadline(stage, seconds):
                made = observed.stages[stage].job
                return [_deadline(made, spec, seconds)] if made else []
            case MakeVersion():
                published = read_stages(observed.previous, observed.stages)["publish"].result
                digest = item.status.dataset.digest if item.status.dataset else ""
                return [Create(model_version(job, spec, published, digest))] if isinstance(published, Published) else []
            case MakeExperiment(control):
                template = spec.output.experiment
                return [Create(experiment(job, spec, template, control))] if template else []

    async def carry_out(self, item: JobItem, observed: ObservedJob, effect: EndRun) -> None:
        """Have the run in MLflow end."""
        del observed
        await self._context.registry.end_run(item.spec.experiment_name, item.uid, effect.failure)

    def dependents(self, item: JobItem) -> Iterable[Key]:
        """Nobody reads a FineTuneJob's status."""
        del item
        return ()

    def forget(self, key: Key, uid: str) -> None:
        """Keep nothing of a job that is gone or has ended, and have the run end that one leaves which is gone."""
        self._context.progress.forget(uid)
        known = self._context.store.get(key.kind, key.namespace, key.name)
        self._phases.note(key.namespace, key.name, (known or {}).get("status", {}).get("phase"))
        if known is None:
            self._context.left_runs.look()

    def written(self, item: JobItem, status: FineTuneJobStatus) -> None:
        """Count the phase, and the GPU seconds of attempts that have ended."""
        self._phases.note(item.namespace, item.name, status.phase)
        before = {(attempt.number, attempt.started_at) for attempt in _ended_attempts(item.status)}
        for attempt in _ended_attempts(status):
            if (attempt.number, attempt.started_at) not in before:
                GPU_SECONDS.labels(item.namespace, attempt.reason).inc(attempt.gpu_seconds)

    def deleted(self, item: JobItem, gone: Deletion) -> None:
        """Nothing is kept."""

    def _plan(self, item: JobItem, observed: ObservedJob) -> list[Operation]:
        if observed.base is None:
            return []
        base = Base(observed.base.source, observed.base.revision, observed.base.digest)
        return [Create(plan_config_map(item.manifest, item.spec, base, self._environment(observed)))]

    def _stage(self, item: JobItem, observed: ObservedJob, intent: StartStage) -> list[Operation]:
        job, spec = item.manifest, item.spec
        claim = volume_claim(job, spec) if observed.claim_missing else None
        service = headless_service(job, spec) if intent.stage == "train" else None
        env = self._environment(observed)
        made = stage_job(
            job,
            spec,
            intent.stage,
            env,
            attempt=intent.attempt,
            seconds_left=intent.seconds_left,
            engine=intent.engine,
        )
        # Nothing else of a job may change; the Service's selector may, and an attempt begins by the names behind it.
        before: list[Operation] = [Create(claim)] if claim else []
        return [*before, *([Apply(service)] if service else []), Create(made)]

    def _environment(self, observed: ObservedJob) -> TrainingEnvironment:
        """The installation's, but for the images: those of the plan, however often the operator was upgraded since."""
        settings = self._context.settings
        return TrainingEnvironment(
            image=(observed.plan and observed.plan.image) or settings.trainer_image,
            engine_image=(observed.plan and observed.plan.engine_image) or settings.server_image,
            engine_environment=settings.server_environment,
            pull_policy=settings.image_pull_policy,
            mlflow_url=settings.mlflow_url,
            progress_url=f"https://{settings.progress_host}:{settings.progress_port}",
            progress_ca=self._context.progress_ca,
            installation=self._context.left_runs.name,
        )


def _is_untold(status: Manifest) -> bool:
    """Whether MLflow could not be told of the end yet."""
    told = {condition.get("type"): condition.get("status") for condition in status.get("conditions") or ()}
    return told.get(ConditionType.TRACKED) == "False"


def _ended_attempts(status: FineTuneJobStatus) -> list[Attempt]:
    return [attempt for attempt in (status.attempts.last if status.attempts else []) if attempt.ended_at]


def _deadline(made: Manifest, spec: FineTuneJobSpec, seconds: int | None) -> Patch:
    told = None if spec.active_deadline_seconds is None else str(spec.active_deadline_seconds)
    metadata = made["metadata"]
    known = {"resourceVersion": metadata.get("resourceVersion"), "annotations": {DEADLINE_ANNOTATION: told}}
    return Patch("Job", metadata["name"], {"metadata": known, "spec": {"activeDeadlineSeconds": seconds}})
