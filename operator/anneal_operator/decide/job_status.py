"""A FineTuneJob's status in each of its phases: the finding, and what its stages handed back."""

from dataclasses import replace
from typing import Literal

from anneal_operator.api.fine_tune_job_status import (
    Checkpoint,
    DatasetStatus,
    EvaluationStatus,
    Failure,
    FineTuneJobStatus,
    IntervalStatus,
    JobPhase,
    MlflowRun,
    Progress,
    Provenance,
    Splits,
)
from anneal_operator.api.schema import LocalReference, timestamp
from anneal_operator.reasons import ConditionType, Reason
from training_runtime.plan import Evaluated, Prepared, Published, Stage, Trained

from .active_time import with_active_time
from .conditions import Finding, merged
from .failures import OVERDUE, RETRYABLE
from .gates import doubts, judge_gates
from .observed_job import STAGES, ObservedJob, Obstacle
from .progress import progress_of
from .retries import Retry, is_spent
from .situation import PHASES, Situation
from .stages import StageState

__all__ = [
    "failed",
    "failed_gates",
    "overdue",
    "pending",
    "queued",
    "resting",
    "retrying",
    "succeeded",
    "working",
]

_SENTENCES: dict[Stage, str] = {
    "prepare": "the data is being prepared",
    "train": "the model is being trained",
    "evaluate": "the model is being evaluated",
    "publish": "the result is being published",
}


def pending(situation: Situation, obstacle: Obstacle) -> FineTuneJobStatus:
    """Something is missing, or in the way."""
    return _told(situation, "Pending", "Unknown", obstacle.reason, obstacle.message)


def resting(situation: Situation, message: str) -> FineTuneJobStatus:
    """Suspended by its spec."""
    return _told(situation, "Suspended", "Unknown", Reason.SUSPENDED, f"the job is suspended: {message}")


def queued(situation: Situation, stage: Stage) -> FineTuneJobStatus:
    """Its Job is suspended by whoever admits Jobs."""
    queue = situation.seen.spec.scheduling.queue_name if stage == "train" else None
    message = f"the {stage} stage's Job is suspended; it continues when it is resumed"
    if queue:
        message = f"the {stage} stage waits in queue {queue} for Kueue to admit it"
    return _told(situation, "Queued", "Unknown", Reason.STAGE_QUEUED, message)


def working(situation: Situation, stage: Stage, state: StageState) -> FineTuneJobStatus:
    """A stage is at work, or about to be."""
    message = _sentence(situation, stage) + (f"; {state.message}" if state.message else "")
    status = _told(situation, PHASES[stage], "Unknown", Reason.STAGE_RUNNING, message)
    if state.ending:  # the pods that told what held them back may be gone before the Job says that it failed
        return status.having(failure=situation.seen.previous.failure)
    if not state.held_back:
        return status
    return status.having(
        failure=Failure(stage=stage, failure_class=state.held_back, retryable=True, message=state.message)
    )


def _sentence(situation: Situation, stage: Stage) -> str:
    answering = situation.answering
    if stage != "evaluate" or answering.engine == "Transformers":
        return _SENTENCES[stage]
    return f"{_SENTENCES[stage]}; vLLM answers the questions" + (f" ({answering.why})" if answering.why else "")


def retrying(situation: Situation, state: StageState, found: Retry) -> FineTuneJobStatus:
    """An attempt ended, and the next is due in a while."""
    soon = f"attempt {found.attempt} begins after a pause of {found.pause_seconds:.0f} s, from the newest checkpoint"
    message = f"an attempt of training ended ({state.failure_class}: {state.message}); {soon}"
    if state.failure_class == "Preempted":
        return _told(situation, "Preempted", "Unknown", Reason.STAGE_PREEMPTED, message)
    return _told(situation, "Running", "Unknown", Reason.STAGE_RETRYING, message)


def succeeded(situation: Situation) -> FineTuneJobStatus:
    """Published."""
    name, evaluation = situation.seen.name, situation.seen.previous.evaluation
    doubt = doubts(evaluation.gates) if evaluation else None
    message = f"published as ModelVersion {name}" + (f"; {doubt}" if doubt else "")
    status = _told(situation, "Succeeded", "True", Reason.PUBLISHED, message)
    return status.having(model_version_ref=LocalReference(name=name))


def failed(situation: Situation, stage: Stage, state: StageState) -> FineTuneJobStatus:
    """A stage has failed for good."""
    known, is_late = situation.seen.previous.failure, state.failure_class == "Deadline"
    if is_late and known and known.stage == stage:  # its pods, which told what held them back, are gone by now
        state = replace(state, message=f"{state.message}; {known.message}")
    message = f"the {stage} stage failed: {state.message}"
    if stage == "train" and state.failure_class in RETRYABLE and is_spent(situation, state):
        message += f" (all {situation.seen.spec.max_attempts} attempts that maxAttempts allows were made)"
    reason = Reason.DEADLINE_EXCEEDED if is_late else Reason.STAGE_FAILED
    failure_class = known.failure_class if is_late and known and known.stage == stage else state.failure_class
    failure = Failure(
        stage=stage,
        failure_class=failure_class,
        retryable=failure_class in RETRYABLE,
        exit_code=state.exit_code,
        pod=state.pod,
        node=state.node,
        message=state.message,
    )
    return _told(situation, "Failed", "False", reason, message).having(failure=failure)


def overdue(situation: Situation) -> FineTuneJobStatus:
    """The deadline passed while no Job was at work."""
    obstacle = situation.seen.obstacle
    message = OVERDUE + (f" (it waited: {obstacle.message})" if obstacle else "")
    failure = Failure(stage=situation.next_stage, failure_class="Deadline", message=message)
    return _told(situation, "Failed", "False", Reason.DEADLINE_EXCEEDED, message).having(failure=failure)


def failed_gates(situation: Situation, reason: str) -> FineTuneJobStatus:
    """The result is not good enough."""
    message = f"the result is not published: {reason}"
    failure = Failure(stage="evaluate", failure_class="Gate", message=message)
    return _told(situation, "Failed", "False", Reason.GATE_FAILED, message).having(failure=failure)


def _told(
    situation: Situation,
    phase: JobPhase | str,
    status: Literal["True", "False", "Unknown"],
    reason: Reason,
    message: str,
) -> FineTuneJobStatus:
    """The status of a job in this phase; what was told before stays where nothing new is known."""
    seen, previous, now = situation.seen, situation.seen.previous, situation.now
    finding = Finding(ConditionType.SUCCEEDED, status, reason, message)
    made = previous.having(
        phase=phase,
        reason=reason.value,
        observed_generation=seen.generation,
        conditions=merged(previous.conditions, [finding], seen.generation, timestamp(now)),
        provenance=previous.provenance if phase in {"Pending", "Preparing"} else _provenance(situation),
        attempts=situation.attempts,
        gpus=seen.gpus,
        failure=None,
    )
    return with_active_time(_with_results(situation, made), previous, now)


def _provenance(situation: Situation) -> Provenance | None:
    """Where the job comes from; of its data the digest that was told before, as its pod may be gone.

    Told with the first result or the end: for itself alone it is not worth a write.
    """
    seen = situation.seen
    known = seen.previous.provenance
    if seen.plan is None:
        return known
    images: dict[str, str] = dict.fromkeys(STAGES, seen.plan.image)
    if situation.answering.engine == "VLLM":
        images |= {"answer": seen.plan.engine_image}
    return Provenance(
        images=images,
        model_revision=seen.plan.model_revision,
        dataset_digest=known.dataset_digest if known else None,
        plan_digest=seen.plan.digest,
    )


def _with_results(situation: Situation, status: FineTuneJobStatus) -> FineTuneJobStatus:
    """The status with how far training is, and with what finished stages handed back."""
    seen, states = situation.seen, situation.states
    if seen.report and states["train"].state == "Active":
        status = status.having(
            progress=seen.report.progress, checkpoint=seen.report.checkpoint or seen.previous.checkpoint
        )
    for state in states.values():
        match state.result:
            case Prepared() as prepared:
                known = status.provenance
                status = status.having(
                    dataset=_dataset(prepared),
                    warnings=prepared.warnings or None,
                    provenance=known.having(dataset_digest=prepared.digest) if known else None,
                )
            case Trained() as trained:
                checkpoint = Checkpoint(step=trained.step, committed_at=trained.committed_at)
                status = status.having(checkpoint=checkpoint, progress=_finished(trained, seen))
            case Evaluated() as evaluated:
                status = status.having(evaluation=_evaluation(evaluated, situation))
            case Published() as published:
                status = status.having(mlflow=_run(published, seen))
            case None:
                pass
    return status


def _evaluation(evaluated: Evaluated, situation: Situation) -> EvaluationStatus:
    """Gates that were passed stay passed, as what they compare with may have changed since."""
    seen, known = situation.seen, situation.seen.previous.evaluation
    if situation.states["publish"].state == "Absent" and not seen.unreachable:
        gates = judge_gates(seen.spec.evaluation.gates, evaluated, seen.references)
    else:
        gates = known.gates if known else []
    intervals = {name: IntervalStatus(**one.model_dump()) for name, one in evaluated.intervals.items()}
    return EvaluationStatus(
        metrics=evaluated.metrics, engine=evaluated.engine or None, intervals=intervals, gates=gates
    )


def _dataset(prepared: Prepared) -> DatasetStatus:
    return DatasetStatus(
        rows=prepared.rows,
        rejected=prepared.rejected,
        duplicates_removed=prepared.duplicates_removed,
        pii_masked=prepared.pii_found,
        tokens=prepared.tokens,
        p99_tokens=prepared.p99_tokens,
        truncated_percent=prepared.truncated_percent,
        splits=Splits(train=prepared.train, validation=prepared.validation, test=prepared.test),
        digest=prepared.digest,
    )


def _finished(trained: Trained, seen: ObservedJob) -> Progress:
    """The last word on progress: what the stage handed back, not what was reported on the way."""
    last = seen.previous.progress
    kept = last.model_dump(include={"epoch", "learning_rate", "tokens_per_second", "gpu_memory_gib"}) if last else {}
    numbers = {**kept, "loss": trained.loss, "eval_loss": trained.eval_loss}
    return progress_of(trained.step, trained.step, 100, None, last.updated_at if last else None, numbers)


def _run(published: Published, seen: ObservedJob) -> MlflowRun:
    page = f"{seen.mlflow_public_url}/#/experiments/{published.experiment_id}/runs/{published.run_id}"
    return MlflowRun(run_id=published.run_id, experiment=seen.spec.experiment_name, url=page)
