"""Where a FineTuneJob stands and what comes next, from what was observed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from anneal_operator.api.fine_tune_job_status import (
    Checkpoint,
    DatasetStatus,
    EvaluationStatus,
    Failure,
    FineTuneJobStatus,
    JobPhase,
    MlflowRun,
    Progress,
    Provenance,
    Splits,
)
from anneal_operator.reasons import ConditionType, Reason
from training_runtime.plan import Evaluated, Prepared, Published, Stage, Trained

from .conditions import Finding, merged
from .progress import progress_of
from .stages import StageState

__all__ = ["STAGES", "ObservedJob", "Obstacle", "Verdict", "judge", "refused"]

STAGES: tuple[Stage, ...] = get_args(Stage)
_PHASES: dict[Stage, JobPhase] = {
    "prepare": "Preparing",
    "train": "Running",
    "evaluate": "Evaluating",
    "publish": "Publishing",
}
_SENTENCES: dict[Stage, str] = {
    "prepare": "the data is being prepared",
    "train": "the model is being trained",
    "evaluate": "the model is being evaluated",
    "publish": "the result is being published",
}


@dataclass(frozen=True)
class Obstacle:
    """Why a job cannot begin yet."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class ObservedJob:
    """The world around one job."""

    name: str
    generation: int
    previous: FineTuneJobStatus
    obstacle: Obstacle | None = None
    stages: Mapping[Stage, StageState] | None = None
    """None until the plan exists."""
    progress: Progress | None = None
    provenance: Provenance | None = None
    model_name: str = ""
    mlflow_public_url: str = ""
    version_made: bool = False


@dataclass(frozen=True)
class Verdict:
    """The status to write, and what to do."""

    status: FineTuneJobStatus
    action: Literal["Wait", "Plan", "StartStage", "MakeVersion", "Nothing"]
    stage: Stage | None = None


def judge(seen: ObservedJob, now: str) -> Verdict:
    """Return the status and the next action; the first thing that is not done decides."""
    if seen.previous.phase in {"Succeeded", "Failed"}:
        return Verdict(seen.previous, "Nothing")
    if seen.obstacle:
        return Verdict(_pending(seen, seen.obstacle, now), "Wait")
    if seen.stages is None:
        return Verdict(_pending(seen, Obstacle(Reason.STAGE_RUNNING, "the plan is being written"), now), "Plan")
    for stage in STAGES:
        state = seen.stages[stage]
        if state.state == "Failed":
            return Verdict(_failed(seen, stage, state, now), "Nothing")
        if state.state != "Succeeded":
            action: Literal["StartStage", "Wait"] = "StartStage" if state.state == "Absent" else "Wait"
            return Verdict(_working(seen, stage, state, now), action, stage)
    if not seen.version_made:
        return Verdict(_working(seen, "publish", seen.stages["publish"], now), "MakeVersion")
    return Verdict(_succeeded(seen, now), "Nothing")


def refused(seen: ObservedJob, status: FineTuneJobStatus, answer: str, now: str) -> FineTuneJobStatus:
    """Return the status of a job whose next step the API server refuses; it is asked again."""
    message = f"the API server refuses the next step, and is asked again: {answer}"
    finding = Finding(ConditionType.SUCCEEDED, "Unknown", Reason.REFUSED, message)
    return status.model_copy(update={"conditions": merged(status.conditions, [finding], seen.generation, now)})


def _pending(seen: ObservedJob, obstacle: Obstacle, now: str) -> FineTuneJobStatus:
    return _with_finding(seen, "Pending", "Unknown", obstacle.reason, obstacle.message, now)


def _working(seen: ObservedJob, stage: Stage, state: StageState, now: str) -> FineTuneJobStatus:
    message = _SENTENCES[stage] + (f"; {state.message}" if state.message else "")
    return _with_finding(seen, _PHASES[stage], "Unknown", Reason.STAGE_RUNNING, message, now)


def _succeeded(seen: ObservedJob, now: str) -> FineTuneJobStatus:
    message = f"published as ModelVersion {seen.name}"
    status = _with_finding(seen, "Succeeded", "True", Reason.PUBLISHED, message, now)
    return status.model_copy(update={"model_version": seen.name})


def _failed(seen: ObservedJob, stage: Stage, state: StageState, now: str) -> FineTuneJobStatus:
    message = f"the {stage} stage failed: {state.message}"
    status = _with_finding(seen, "Failed", "False", Reason.STAGE_FAILED, message, now)
    failure = Failure(stage=stage, exit_code=state.exit_code, pod=state.pod, message=state.message)
    return status.model_copy(update={"failure": failure})


def _with_finding(
    seen: ObservedJob,
    phase: JobPhase,
    status: Literal["True", "False", "Unknown"],
    reason: Reason,
    message: str,
    now: str,
) -> FineTuneJobStatus:
    finding = Finding(ConditionType.SUCCEEDED, status, reason, message)
    return seen.previous.model_copy(
        update={
            "phase": phase,
            "observed_generation": seen.generation,
            "conditions": merged(seen.previous.conditions, [finding], seen.generation, now),
            "provenance": seen.provenance or seen.previous.provenance,
            **_results(seen),
        }
    )


def _results(seen: ObservedJob) -> dict[str, object]:
    """What finished stages handed back, and how far training is."""
    results = {stage: state.result for stage, state in (seen.stages or {}).items() if state.result}
    update: dict[str, object] = {"progress": seen.progress or seen.previous.progress}
    if "prepare" in results:
        prepared = Prepared.model_validate(results["prepare"])
        update["dataset"] = _dataset(prepared)
        if seen.provenance:
            update["provenance"] = seen.provenance.model_copy(update={"dataset_digest": prepared.digest})
    if "train" in results:
        trained = Trained.model_validate(results["train"])
        update["checkpoint"] = Checkpoint(step=trained.step)
        update["progress"] = _finished(trained, seen)
    if "evaluate" in results:
        update["evaluation"] = EvaluationStatus(metrics=Evaluated.model_validate(results["evaluate"]).metrics)
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
    last = seen.progress or seen.previous.progress
    numbers = {
        "epoch": last.epoch if last else None,
        "loss": trained.loss,
        "eval_loss": trained.eval_loss,
        "learning_rate": last.learning_rate if last else None,
    }
    return progress_of(trained.step, trained.step, 100, None, last.updated_at if last else "", numbers)


def _run(published: Published, seen: ObservedJob) -> MlflowRun:
    page = f"{seen.mlflow_public_url}/#/experiments/{published.experiment_id}/runs/{published.run_id}"
    return MlflowRun(run_id=published.run_id, experiment=seen.model_name, url=page)
