"""The plan: the one file that every stage reads, and the results that stages hand back.

The operator fills it from a FineTuneJob; on a laptop a person can. It names local paths only, so a stage needs no
Kubernetes: what a source like `configmap://…` means is settled before the plan is written.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "DatasetPlan",
    "Evaluated",
    "EvaluationPlan",
    "ExitCode",
    "Failed",
    "JobIdentity",
    "LoraPlan",
    "ModelPlan",
    "Plan",
    "Prepared",
    "Published",
    "SplitPlan",
    "Stage",
    "SuitePlan",
    "TrackingPlan",
    "Trained",
    "TrainingPlan",
]

Stage = Literal["prepare", "train", "evaluate", "publish"]


class ExitCode:
    """How a stage ends: what each exit code tells the operator."""

    DONE = 0
    BAD_PLAN = 64
    BAD_DATA = 65
    INTERNAL = 70
    DIVERGED = 76
    NO_ACCESS = 77


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class JobIdentity(_Part):
    """Whose work this is."""

    name: str
    namespace: str
    uid: str


class ModelPlan(_Part):
    """Where training starts."""

    initialize: Literal["Pretrained", "Random"]
    source: str
    """A local folder, or `mlflow-artifacts:/…`; for Random a folder with config.json."""
    digest: str | None = None
    """The manifest's digest that a downloaded folder must have."""


class SplitPlan(_Part):
    """How rows are held out."""

    validation: float
    test: float
    stratify_by: str | None
    seed: int


class DatasetPlan(_Part):
    """The data and the rules of its preparation."""

    path: Path
    template: Literal["messages", "instruction-io"]
    pii: Literal["Mask", "Report", "Off"]
    duplicate_threshold: float
    split: SplitPlan


class LoraPlan(_Part):
    """The adapter's shape."""

    rank: int
    alpha: int
    dropout: float
    target_modules: list[str]


class TrainingPlan(_Part):
    """The optimisation; exactly one of epochs and max_steps is set."""

    epochs: int | None
    max_steps: int | None
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    per_device_batch_size: int
    gradient_accumulation: int
    max_sequence_length: int
    save_every_steps: int
    keep_checkpoints: int
    log_every_steps: int
    seed: int


class SuitePlan(_Part):
    """One way of judging answers."""

    name: Literal["classification", "json"]
    label_field: str | None = None


class EvaluationPlan(_Part):
    """What the tuned model is asked."""

    suites: list[SuitePlan]
    max_rows: int
    max_new_tokens: int


class TrackingPlan(_Part):
    """Where the run is recorded."""

    uri: str
    experiment: str


class Plan(_Part):
    """Everything a stage knows."""

    job: JobIdentity
    workspace: Path
    """The folder on the volume that the stages share."""
    model: ModelPlan
    dataset: DatasetPlan
    lora: LoraPlan | None
    """None trains all weights."""
    training: TrainingPlan
    evaluation: EvaluationPlan
    tracking: TrackingPlan
    model_name: str


class Prepared(_Part):
    """What preparation hands back."""

    rows: int
    rejected: int
    duplicates_removed: int
    pii_found: int
    tokens: int
    p99_tokens: int
    truncated_percent: float
    train: int
    validation: int
    test: int
    digest: str


class Trained(_Part):
    """What training hands back."""

    step: int
    loss: float | None
    eval_loss: float | None


class Evaluated(_Part):
    """What evaluation hands back."""

    metrics: dict[str, float]


class Published(_Part):
    """What publishing hands back."""

    run_id: str
    experiment_id: str
    uri: str
    digest: str
    format: Literal["merged", "full"]


class Failed(_Part):
    """What a stage that failed hands back."""

    error: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=2000)]
