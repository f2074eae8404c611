"""The three kinds, as the API server knows them."""

from dataclasses import dataclass
from typing import Any

from .ab_experiment import ABExperimentSpec
from .ab_experiment_status import ABExperimentStatus
from .fine_tune_job import FineTuneJobSpec
from .fine_tune_job_status import FineTuneJobStatus
from .model_version import ModelVersionSpec, ModelVersionStatus
from .schema import Schema
from .status import ObjectStatus

__all__ = [
    "AB_EXPERIMENT",
    "CUSTOM_RESOURCES",
    "DEADLINE_ANNOTATION",
    "FINE_TUNE_JOB",
    "GROUP",
    "MODEL_VERSION",
    "OWNER_ANNOTATION",
    "VERSION",
    "CustomResource",
    "Manifest",
]

Manifest = dict[str, Any]
"""An object of any kind, as the API server takes and returns it."""
GROUP = "anneal.dev"
VERSION = "v1alpha1"
DEADLINE_ANNOTATION = "anneal.dev/active-deadline-seconds"
"""On a stage's Job: the FineTuneJob's deadline that the Job's own was reckoned from."""
OWNER_ANNOTATION = "anneal.dev/owner"
"""On what belongs to us without an owner reference: whose it is."""


@dataclass(frozen=True)
class CustomResource:
    """One kind: its names, its models, and the columns that `kubectl get` prints (name, type, JSONPath)."""

    kind: str
    plural: str
    short_name: str
    spec: type[Schema]
    status: type[ObjectStatus]
    columns: tuple[tuple[str, str, str], ...]
    description: str
    wide: tuple[tuple[str, str, str], ...] = ()
    """More columns, which `kubectl get -o wide` alone prints."""
    scale: dict[str, str] | None = None
    """Where `kubectl scale` and autoscalers find the replicas."""

    @property
    def name_rule(self) -> dict[str, str]:
        """What the object's name must be like: it is part of the names of Jobs, Services and their labels."""
        return {
            "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')",
            "message": "the name becomes part of its children's: use at most 40 small letters, digits and dashes, "
            "a letter first",
        }

    @property
    def singular(self) -> str:
        """The name in lower case."""
        return self.kind.lower()


FINE_TUNE_JOB = CustomResource(
    "FineTuneJob",
    "finetunejobs",
    "ftj",
    FineTuneJobSpec,
    FineTuneJobStatus,
    (
        ("PHASE", "string", ".status.phase"),
        ("PROGRESS", "string", ".status.progress.summary"),
        ("LOSS", "number", ".status.progress.loss"),
        ("ETA", "string", ".status.progress.remaining"),
        ("GPUS", "integer", ".status.gpus"),
        ("ATTEMPTS", "integer", ".status.attempts.total"),
        ("MODEL", "string", ".spec.output.modelName"),
        ("REASON", "string", ".status.reason"),
        ("AGE", "date", ".metadata.creationTimestamp"),
    ),
    "FineTuneJob takes a language model from training data to a published ModelVersion.",
)
MODEL_VERSION = CustomResource(
    "ModelVersion",
    "modelversions",
    "mv",
    ModelVersionSpec,
    ModelVersionStatus,
    (
        ("MODEL", "string", ".spec.modelName"),
        ("VERSION", "string", ".status.registry.version"),
        ("FORMAT", "string", ".spec.artifact.format"),
        ("ALIASES", "string", ".status.registry.aliasSummary"),
        ("READY", "integer", ".status.readyReplicas"),
        ("REPLICAS", "integer", ".status.replicas"),
        ("PHASE", "string", ".status.phase"),
        ("REASON", "string", ".status.reason"),
        ("AGE", "date", ".metadata.creationTimestamp"),
    ),
    "ModelVersion is one published result: registered in MLflow, served by vLLM.",
    wide=(
        ("GPUS", "number", ".status.cost.gpus"),
        ("COST/HOUR", "number", ".status.cost.perHour"),
        ("COST", "number", ".status.cost.amount"),
        ("COST/1K-REQUESTS", "number", ".status.cost.perThousandRequests"),
        ("COST/1M-TOKENS", "number", ".status.cost.perMillionTokens"),
    ),
    scale={
        "specReplicasPath": ".spec.serving.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    },
)
AB_EXPERIMENT = CustomResource(
    "ABExperiment",
    "abexperiments",
    "abx",
    ABExperimentSpec,
    ABExperimentStatus,
    (
        ("PHASE", "string", ".status.phase"),
        ("MODEL", "string", ".spec.modelName"),
        ("USERS", "integer", ".status.users"),
        ("WINNER", "string", ".status.decision.winner"),
        ("SRM-P", "number", ".status.sampleRatio.pValue"),
        ("REASON", "string", ".status.reason"),
        ("AGE", "date", ".metadata.creationTimestamp"),
    ),
    "ABExperiment splits a model name's users over versions, judges them, and promotes the winner.",
)
CUSTOM_RESOURCES = (FINE_TUNE_JOB, MODEL_VERSION, AB_EXPERIMENT)
