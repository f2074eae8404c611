"""FineTuneJob's status: what has happened so far."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from .conditions import Conditions
from .schema import LocalReference, Time
from .status import Number, ObjectStatus, StatusPart

__all__ = [
    "Attempt",
    "Attempts",
    "Checkpoint",
    "DatasetStatus",
    "EvaluationStatus",
    "Failure",
    "FailureClass",
    "FineTuneJobStatus",
    "GateStatus",
    "IntervalStatus",
    "JobPhase",
    "MlflowRun",
    "Progress",
    "Provenance",
    "Splits",
    "has_ended",
]

JobPhase = Literal[
    "Pending",
    "Queued",
    "Preparing",
    "Running",
    "Preempted",
    "Evaluating",
    "Publishing",
    "Suspended",
    "Succeeded",
    "Failed",
]
FailureClass = Literal[
    "CudaOutOfMemory",
    "HostOutOfMemory",
    "NCCL",
    "Hardware",
    "Data",
    "Access",
    "ImagePull",
    "Unschedulable",
    "Preempted",
    "Diverged",
    "Stalled",
    "Deadline",
    "Gate",
    "UserCode",
    "Internal",
]


class Progress(StatusPart):
    """How far training is, as its pod last said."""

    summary: str
    """Steps made and to make, and the share in percent, for people."""
    remaining: str | None = None
    """The time the remaining steps will take, for people."""

    step: int = 0
    """Optimizer steps made."""
    total_steps: int | None = None
    """Optimizer steps to make."""
    epoch: Number | None = None
    """Passes over the rows."""
    percent: int = 0
    """Share of the steps made, 0 to 100."""
    eta_seconds: int | None = None
    """The time the remaining steps will take at the pace so far."""
    loss: Number | None = None
    """The training loss of the last report."""
    eval_loss: Number | None = None
    """The validation loss of the last report."""
    learning_rate: Number | None = None
    """The learning rate of the last report."""
    tokens_per_second: Number | None = None
    """Tokens trained on per second, by all processes together, since the report before."""
    gpu_memory_gib: Number | None = None
    """GiB that the first process has taken of its GPU."""
    updated_at: Time | None = None
    """When the pod said so (RFC 3339, UTC)."""


class Splits(StatusPart):
    """Rows of each part."""

    train: int
    """Rows that are trained on."""
    validation: int
    """Rows whose loss is watched."""
    test: int
    """Rows that evaluation asks."""


class DatasetStatus(StatusPart):
    """What preparation found."""

    rows: int
    """Rows that were kept."""
    rejected: int
    """Rows that could not be read or rendered; the report names line and reason."""
    duplicates_removed: int
    """Rows dropped as repetitions."""
    pii_masked: int
    """Pieces of personal data that were masked, or found where the action is `Report`."""
    tokens: int
    """Tokens of all rows."""
    p99_tokens: int
    """99 % of the rows are at most this long."""
    truncated_percent: Number
    """Share of the rows longer than `maxSequenceLength`."""
    splits: Splits
    """Rows of each part."""
    digest: str
    """Content address of the prepared data: the same input and rules give the same."""


class GateStatus(StatusPart):
    """What became of a gate."""

    metric: str
    """The metric."""
    value: Number | None = None
    """What was measured; nothing where no suite measures it."""
    required: str
    """What it must be like."""
    passed: bool
    """Whether what was measured is."""
    supported: bool | None = None
    """Whether as many rows as were asked can tell: where not, others might say otherwise. It decides nothing."""
    sample: str | None = None
    """The metric's 95 % interval and, where it cannot tell, how many rows could."""


class IntervalStatus(StatusPart):
    """Where a metric lies with a confidence of 95 %: chance in the choice of rows, and nothing else."""

    low: Number
    """Its lower end."""
    high: Number
    """Its upper end."""
    rows: int
    """How many rows were asked."""


class EvaluationStatus(StatusPart):
    """What evaluation measured: the metrics that gates name, and more as far as there is room."""

    metrics: dict[str, Number]
    """Each metric as `SUITE/METRIC`, for example `action/accuracy`."""
    engine: str | None = None
    """What answered the questions: `Transformers` or `VLLM`."""
    intervals: dict[str, IntervalStatus] = Field(default={})
    """The metrics' intervals."""
    gates: list[GateStatus] = Field(default=[])
    """What became of each gate."""


class Attempt(StatusPart):
    """One Job of training: a pod, or a set of pods that train together."""

    number: int
    """The first is 1."""
    reason: str
    """`Running`, `Completed`, `Suspended`, or the class of its failure."""
    started_at: Time
    """When its first pod started, or its Job, where no pod did (RFC 3339, UTC)."""
    ended_at: Time | None = None
    """When it ended."""
    start_step: int | None = None
    """The step of the checkpoint it went on from, 0 where it began anew; absent where it reported nothing."""
    end_step: int | None = None
    """The last step it reported, told when it has ended."""
    gpu_seconds: int = 0
    """Its GPUs times the seconds they were held."""


class Attempts(StatusPart):
    """How often training was begun."""

    total: int
    """All of them."""
    failed: int = 0
    """Those that count for `maxAttempts`: what was preempted or suspended does not."""
    gpu_seconds: int
    """GPU seconds of all that ended."""
    last: list[Attempt]
    """The last ten."""


class Failure(StatusPart):
    """Why the job failed, or what holds it back now."""

    stage: str
    """The stage that failed, or that cannot start."""
    failure_class: str = Field(default="Internal", alias="class")
    """What kind of failure it is."""
    retryable: bool = False
    """Whether it may pass if tried again; of a job that has failed, the attempts or the time are used up."""
    exit_code: int | None = None
    """The exit code of its container."""
    pod: str | None = None
    """The pod whose failure ended it."""
    node: str | None = None
    """The node that it ran on."""
    message: str
    """What the stage said, and the remedy where one is known."""


class Checkpoint(StatusPart):
    """The newest checkpoint that is complete and verified."""

    step: int
    """The optimizer step it was taken at."""
    committed_at: Time | None = None
    """When it was complete (RFC 3339, UTC)."""


class MlflowRun(StatusPart):
    """The run in MLflow."""

    run_id: str
    """Its identifier."""
    experiment: str
    """The experiment it belongs to."""
    url: str
    """Its page."""


class Provenance(StatusPart):
    """What the result was made from."""

    images: dict[str, str]
    """The image of each stage, and under `answer` that of vLLM, where it answers evaluation's questions."""
    model_revision: str
    """The exact artifact that training started from."""
    dataset_digest: str | None = None
    """Content address of the prepared data."""
    plan_digest: str
    """Content address of the plan that every stage read."""


class FineTuneJobStatus(ObjectStatus):
    """What has happened so far."""

    VOLATILE: ClassVar[frozenset[str]] = frozenset({"checkpoint", "progress"})

    phase: str = "Pending"
    """Where the job stands: `Pending`, `Queued`, `Preparing`, `Running`, `Preempted`, `Evaluating`, `Publishing`,
    `Suspended`, `Succeeded`, `Failed`.
    """
    conditions: Conditions = Field(default=[])
    """`Succeeded`: True when it is published, False when it failed, Unknown while it works, with the reason.
    `Tracked`: False while MLflow could not be told of the failure.
    """
    progress: Progress | None = None
    """How far training is."""
    dataset: DatasetStatus | None = None
    """What preparation found."""
    warnings: list[str] | None = None
    """What preparation found that does not stop the job, for example experts that the adapter does not reach."""
    evaluation: EvaluationStatus | None = None
    """What evaluation measured."""
    attempts: Attempts | None = None
    """How often training was begun."""
    gpus: int = 0
    """GPUs that training takes."""
    checkpoint: Checkpoint | None = None
    """The newest committed checkpoint."""
    mlflow: MlflowRun | None = None
    """Where the numbers are."""
    model_version_ref: LocalReference | None = None
    """The ModelVersion that was made."""
    failure: Failure | None = None
    """Why the job failed, or what holds it back now."""
    provenance: Provenance | None = None
    """What the result was made from."""
    active_since: Time | None = None
    """Since when the job is neither queued nor suspended, nor ended (RFC 3339, UTC)."""
    active_seconds: int = 0
    """The seconds that count for `activeDeadlineSeconds`, before `activeSince`."""

    @property
    @override
    def is_ended(self) -> bool:
        """Whether it tells of the end."""
        end = self.condition("Succeeded")
        return _is_end(self.phase, end.status if end else None)


def has_ended(status: Mapping[str, Any]) -> bool:
    """The same of a stored status, of whatever version, without reading all of it."""
    told = {condition.get("type"): condition.get("status") for condition in status.get("conditions") or ()}
    return _is_end(status.get("phase"), told.get("Succeeded"))


def _is_end(phase: str | None, succeeded: str | None) -> bool:
    """By the condition, too: another version may have a name of its own for the phase."""
    return phase in {"Succeeded", "Failed"} or succeeded in {"True", "False"}
