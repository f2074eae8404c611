"""The world around one FineTuneJob, as its judge sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from anneal_operator.api.evaluation import Gate
from anneal_operator.api.fine_tune_job_status import Attempts, FineTuneJobStatus, GateStatus, Provenance
from anneal_operator.reasons import Reason
from training_runtime.plan import Stage

from .gates import References
from .progress import Report
from .stages import StageState

__all__ = ["STAGES", "ObservedJob", "Obstacle"]

STAGES: tuple[Stage, ...] = get_args(Stage)


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
    report: Report | None = None
    provenance: Provenance | None = None
    model_name: str = ""
    mlflow_public_url: str = ""
    version_made: bool = False
    opponent: str | None = None
    """The ModelVersion that this one is to be compared with, where an experiment is wanted and not made yet."""
    attempts: Attempts | None = None
    gpus: int = 0
    suspend: bool = False
    queue: str | None = None
    overdue: bool = False
    """Whether activeDeadlineSeconds have passed."""
    gates: tuple[Gate, ...] = ()
    references: References = field(default_factory=dict)
    judged: tuple[GateStatus, ...] = ()
    """What became of the gates, where that was told before: what they compare with may have changed since."""
    unreachable: str = ""
    """What keeps the gates from being judged."""
