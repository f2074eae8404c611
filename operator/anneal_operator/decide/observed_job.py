"""The world around one FineTuneJob, as `decide` sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus
from anneal_operator.api.resources import Manifest
from anneal_operator.reasons import Reason
from training_runtime.plan import Stage

from .gates import References
from .progress import Report

__all__ = ["STAGES", "Manifest", "ObservedBase", "ObservedJob", "ObservedPlan", "ObservedStage", "Obstacle"]

STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Obstacle:
    """Why a job cannot begin yet, or cannot go on."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class ObservedBase:
    """The exact model that training starts from, after names and aliases are resolved."""

    source: str
    revision: str
    digest: str | None = None


@dataclass(frozen=True)
class ObservedPlan:
    """What the job's plan settled when it was written."""

    image: str
    model_revision: str
    digest: str
    engine_image: str = ""
    """Empty in the plan of an earlier version."""


@dataclass(frozen=True)
class ObservedStage:
    """A stage's Job and its pods; of training the Job of one attempt."""

    job: Manifest | None = None
    pods: tuple[Manifest, ...] = ()
    attempt: int = 0
    """Of training, from 1; 0 for the other stages, and where there is no Job."""
    orphans: tuple[Manifest, ...] = ()
    """Pods of this stage that have not ended, and whose Job is gone."""


@dataclass(frozen=True)
class ObservedJob:
    """The world around one job."""

    name: str
    uid: str
    generation: int
    spec: FineTuneJobSpec
    previous: FineTuneJobStatus
    obstacle: Obstacle | None = None
    plan: ObservedPlan | None = None
    base: ObservedBase | None = None
    """Looked for until there is a plan."""
    claim_missing: bool = False
    """Whether the volume claim that the job makes for itself is not there."""
    stages: Mapping[Stage, ObservedStage] = field(default_factory=dict)
    """Of training the newest attempt."""
    earlier: tuple[ObservedStage, ...] = ()
    """The attempts of training before that one whose Jobs are still there, the oldest first."""
    report: Report | None = None
    """What the training said last."""
    version: Literal["Missing", "Ours", "Foreign"] = "Missing"
    """The ModelVersion of the job's name."""
    opponent: str | None = None
    """The ModelVersion that this one is to be compared with, where an experiment is wanted and not made yet."""
    references: References = field(default_factory=dict)
    unreachable: str = ""
    """What keeps the gates from being judged."""
    mlflow_public_url: str = ""

    @property
    def gpus(self) -> int:
        """The GPUs of all nodes that train."""
        train = self.spec.stages.train
        return train.nodes * train.resources.gpus
