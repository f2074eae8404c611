"""One look at a FineTuneJob: what exists, what comes next, do that, tell."""

from datetime import datetime

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus
from anneal_operator.cluster.children import ensure_created
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.fine_tune_job import Verdict, judge, refused, seconds_to_live
from anneal_operator.decide.observed_job import Obstacle
from anneal_operator.desired.publishing import experiment, model_version
from anneal_operator.desired.training import (
    DEADLINE_ANNOTATION,
    TrainingEnvironment,
    headless_service,
    plan_config_map,
    stage_job,
    volume_claim,
)
from anneal_operator.errors import AnnealError, ApiError, NameTakenError
from anneal_operator.metrics import GPU_SECONDS, JobPhases
from anneal_operator.reasons import Reason
from training_runtime.plan import Published

from .context import Context, timestamp
from .job_world import JobWorld, look_at_job, seconds_left
from .queue import Key
from .telling import write_status

__all__ = ["FineTuneJobReconciler"]

_WAIT_SECONDS = 5.0
_PROGRESS_PERIOD = 10.0
_RESYNC_SECONDS = 60.0
_REFUSALS = {400, 403, 422}
_ENDED = {"Succeeded", "Failed"}
_LEADING_ON = {"Plan", "MakeVersion", "MakeExperiment"}
"""What needs no waiting before the next step: the first stage after the plan, the end after the version."""
_MOST_STEPS = 4


class FineTuneJobReconciler:
    """Level-triggered: every look rebuilds the status from the world."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._progress_written: dict[str, float] = {}
        self._phases = JobPhases()

    async def reconcile(self, key: Key) -> float | None:
        """Look once; return the seconds after which to look again without being woken."""
        job = await self._context.watched.job(key.namespace, key.name)
        phase = (job or {}).get("status", {}).get("phase")
        if job is None or job["metadata"].get("deletionTimestamp"):
            self._forget(key, job, None)
            return None
        if phase in _ENDED:
            self._forget(key, job, phase)
            return await self._finished(job, job.get("status"))
        try:
            return await self._go_on(key, job)
        except AnnealError:
            self._context.watched.forget(key.namespace, key.name)
            raise

    async def _go_on(self, key: Key, job: Manifest) -> float | None:
        """Bring a job that has not ended as far as it can go now, and tell once."""
        spec, now = FineTuneJobSpec.parse(job["spec"]), self._context.now()
        for step in range(_MOST_STEPS):
            world = await look_at_job(self._context, job, spec)
            verdict = judge(world.seen, timestamp(now))
            if step == 0 and not world.is_fresh and (verdict.action != "Wait" or verdict.status.phase in _ENDED):
                self._context.watched.forget(key.namespace, key.name)  # what is not only to be told needs the truth
                return 0.0
            refusal = await self._act(job, spec, verdict, world)
            if refusal or verdict.action not in _LEADING_ON:
                break
        told = refused(world.seen, verdict.status, refusal, timestamp(now)) if refusal else verdict.status
        status, again = self._coalesced(job, world.seen.previous, told, now.timestamp())
        written = await write_status(self._context, key.kind, job, status)
        self._context.watched.observe(written)
        self._phases.note(key.namespace, key.name, status.phase)
        _count_gpu_seconds(key.namespace, world.seen.previous, status)
        if status.phase in _ENDED:
            self._forget(key, job, status.phase)
            return await self._finished(written, written.get("status"))
        if world.seen.obstacle or world.seen.unreachable or refusal:
            self._context.watched.forget(key.namespace, key.name)  # no watch tells when that is mended
            return _WAIT_SECONDS
        left = seconds_left(job, spec, now)
        return min(again or _RESYNC_SECONDS, _RESYNC_SECONDS if left is None else left + 1)

    def _forget(self, key: Key, job: Manifest | None, phase: str | None) -> None:
        """Keep nothing of a job that is gone (no phase) or has ended."""
        if job:
            self._context.progress.forget(job["metadata"]["uid"])
        self._context.watched.forget(key.namespace, key.name)
        self._phases.note(key.namespace, key.name, phase)

    async def _finished(self, job: Manifest, status: Manifest | None) -> float | None:
        """What is left to do for a job that has ended: to delete it when its time has come."""
        metadata, ttl = job["metadata"], job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        left = seconds_to_live(FineTuneJobStatus.read(status), ttl, self._context.now())
        if left == 0:
            await self._context.api.delete("FineTuneJob", metadata["namespace"], metadata["name"], metadata["uid"])
        return left or None

    async def _act(self, job: Manifest, spec: FineTuneJobSpec, verdict: Verdict, world: JobWorld) -> Obstacle | None:
        """Do what comes next; return why that cannot be, where a quota is full or a name is taken."""
        try:
            await self._take_step(job, spec, verdict, world)
        except NameTakenError as error:
            return Obstacle(Reason.NAME_TAKEN, str(error))
        except ApiError as error:
            if error.status not in _REFUSALS:
                raise
            return Obstacle(Reason.REFUSED, f"the API server refuses the next step, and is asked again: {error}")
        return None

    async def _take_step(self, job: Manifest, spec: FineTuneJobSpec, verdict: Verdict, world: JobWorld) -> None:
        for manifest in self._wanted(job, spec, verdict, world):
            made = await ensure_created(self._context.api, manifest)
            if made["kind"] == "Job":
                self._context.watched.observe(made)
            if verdict.action == "Plan" and made["kind"] == "ConfigMap":
                self._context.watched.planned(job, made)
        for stage, stage_manifest in (world.jobs or {}).items():
            if verdict.action == "RemoveStage" and verdict.stage == stage:
                metadata = stage_manifest["metadata"]
                await self._context.api.delete("Job", metadata["namespace"], metadata["name"], metadata["uid"])
            else:
                await self._adjust(job, spec, verdict, stage_manifest)

    def _wanted(self, job: Manifest, spec: FineTuneJobSpec, verdict: Verdict, world: JobWorld) -> list[Manifest]:
        """The objects that the next step needs."""
        env, seen = self._environment(), world.seen
        if verdict.action == "Plan" and world.base:
            claim = volume_claim(job, spec)
            return [*([claim] if claim else []), plan_config_map(job, spec, world.base, env)]
        if verdict.action == "StartStage" and verdict.stage:
            service = headless_service(job, spec) if verdict.stage == "train" else None
            made = stage_job(job, spec, verdict.stage, env, _whole_seconds_left(job, spec, self._context.now()))
            return [*([service] if service else []), made]
        if verdict.action == "MakeVersion" and seen.stages:
            published = Published.model_validate(seen.stages["publish"].result)
            digest = verdict.status.dataset.digest if verdict.status.dataset else ""
            return [model_version(job, spec, published, digest)]
        if verdict.action == "MakeExperiment" and spec.output.experiment and seen.opponent:
            return [experiment(job, spec, spec.output.experiment, seen.opponent)]
        return []

    async def _adjust(self, job: Manifest, spec: FineTuneJobSpec, verdict: Verdict, made: Manifest) -> None:
        """Bring a stage's Job to what the spec says now of suspension and deadline, where that differs."""
        conditions = made.get("status", {}).get("conditions", ())
        if any(found["status"] == "True" and found["type"] in {"Complete", "Failed"} for found in conditions):
            return
        metadata = made["metadata"]
        changes: Manifest = {}
        if verdict.action in {"SuspendStage", "ResumeStage"}:
            changes["suspend"] = verdict.action == "SuspendStage"
        deadline = None if spec.active_deadline_seconds is None else str(spec.active_deadline_seconds)
        told = metadata.get("annotations", {}).get(DEADLINE_ANNOTATION)
        if told != deadline or (deadline and verdict.action == "ResumeStage"):
            began = made.get("status", {}).get("startTime") if verdict.action != "ResumeStage" else None
            start = datetime.fromisoformat(began) if began else self._context.now()
            changes["activeDeadlineSeconds"] = _whole_seconds_left(job, spec, start)
        if not changes:
            return
        known = {"resourceVersion": metadata.get("resourceVersion"), "annotations": {DEADLINE_ANNOTATION: deadline}}
        await self._context.api.patch(
            "Job", metadata["namespace"], metadata["name"], {"metadata": known, "spec": changes}
        )

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
        self, job: Manifest, previous: FineTuneJobStatus, status: FineTuneJobStatus, now: float
    ) -> tuple[FineTuneJobStatus, float | None]:
        """Hold back news of progress alone until 10 s after the last; everything else is told at once."""
        uid = job["metadata"]["uid"]
        held_back = {"progress": previous.progress, "checkpoint": previous.checkpoint}
        same = status.model_copy(update=held_back) == previous
        remaining = self._progress_written.get(uid, 0.0) + _PROGRESS_PERIOD - now
        if same and status != previous and remaining > 0:
            return previous, remaining
        if (status.progress, status.checkpoint) != (previous.progress, previous.checkpoint):
            self._progress_written[uid] = now
        if status.phase in _ENDED:
            self._progress_written.pop(uid, None)
        return status, None


def _count_gpu_seconds(namespace: str, before: FineTuneJobStatus, after: FineTuneJobStatus) -> None:
    """Count the attempts that ended between two statuses, the second of which was written."""
    ended = {attempt.started_at for attempt in (before.attempts.last if before.attempts else []) if attempt.ended_at}
    for attempt in after.attempts.last if after.attempts else []:
        if attempt.ended_at and attempt.started_at not in ended:
            GPU_SECONDS.labels(namespace, attempt.reason).inc(attempt.gpu_seconds)


def _whole_seconds_left(job: Manifest, spec: FineTuneJobSpec, now: datetime) -> int | None:
    """The same as a Job takes it: whole, and at least 1."""
    left = seconds_left(job, spec, now)
    return None if left is None else max(1, int(left))
