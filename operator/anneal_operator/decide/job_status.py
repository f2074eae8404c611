"""A FineTuneJob's status: what its stages handed back, and the finding of its judge."""

from typing import Literal

from anneal_operator.api.fine_tune_job_status import (
    Checkpoint,
    DatasetStatus,
    EvaluationStatus,
    FineTuneJobStatus,
    JobPhase,
    MlflowRun,
    Progress,
    Provenance,
    Splits,
)
from anneal_operator.reasons import ConditionType, Reason
from training_runtime.plan import Evaluated, Prepared, Published, Trained

from .conditions import Finding, merged
from .gates import judge_gates
from .observed_job import ObservedJob
from .progress import progress_of

__all__ = ["with_finding"]


def with_finding(
    seen: ObservedJob,
    phase: JobPhase,
    status: Literal["True", "False", "Unknown"],
    reason: Reason,
    message: str,
    now: str,
) -> FineTuneJobStatus:
    """Return the status of a job in this phase; what earlier looks told of stays where this one tells nothing new."""
    finding = Finding(ConditionType.SUCCEEDED, status, reason, message)
    return seen.previous.model_copy(
        update={
            "phase": phase,
            "reason": reason.value,
            "observed_generation": seen.generation,
            "conditions": merged(seen.previous.conditions, [finding], seen.generation, now),
            "provenance": _provenance(seen),
            "attempts": seen.attempts or seen.previous.attempts,
            "gpus": seen.gpus,
            "failure": None,
            **_results(seen),
        }
    )


def _provenance(seen: ObservedJob) -> Provenance | None:
    """Where the job comes from; of its data the digest that was told before, as its pod may be gone."""
    known = seen.previous.provenance
    if seen.provenance is None or known is None:
        return seen.provenance or known
    return seen.provenance.model_copy(update={"dataset_digest": known.dataset_digest})


def _results(seen: ObservedJob) -> dict[str, object]:
    """What finished stages handed back, and how far training is."""
    results = {stage: state.result for stage, state in (seen.stages or {}).items() if state.result}
    update: dict[str, object] = {
        "progress": seen.report.progress if seen.report else seen.previous.progress,
        "checkpoint": (seen.report and seen.report.checkpoint) or seen.previous.checkpoint,
    }
    if "prepare" in results:
        prepared = Prepared.model_validate(results["prepare"])
        update["dataset"] = _dataset(prepared)
        if seen.provenance:
            update["provenance"] = seen.provenance.model_copy(update={"dataset_digest": prepared.digest})
    if "train" in results:
        trained = Trained.model_validate(results["train"])
        update["checkpoint"] = Checkpoint(step=trained.step, committed_at=trained.committed_at)
        update["progress"] = _finished(trained, seen)
    if "evaluate" in results:
        metrics = Evaluated.model_validate(results["evaluate"]).metrics
        gates = list(seen.judged) or judge_gates(seen.gates, metrics, seen.references)
        update["evaluation"] = EvaluationStatus(metrics=metrics, gates=gates)
    if "publish" in results:
        update["mlflow"] = _run(Published.model_validate(results["publish"]), seen)
    return update


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
    return MlflowRun(run_id=published.run_id, experiment=seen.model_name, url=page)
