"""FineTuneJob's stages: the machines of each, the queue before them, and the volume between them."""

from typing import ClassVar, Literal

from pydantic import Field

from .pods import ResourceRequirements
from .quantities import Quantity
from .schema import LabelValue, ObjectName, QualifiedName, Rule, Schema

__all__ = ["Scheduling", "Stages", "Storage", "StorageTemplate"]


class TrainStage(Schema):
    """Training's pods."""

    nodes: int = Field(default=1, ge=1, le=64)
    """Pods that train together, each on a node of its own where each takes all of a node's GPUs."""
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """What each pod asks for; one process trains on each GPU, or on the CPU where there is none."""
    shared_memory: Quantity | None = None
    """The size of `/dev/shm`, which several GPUs exchange data through; it counts as the pod's memory. 64 MB, the
    container runtime's own, where it is left out.
    """
    termination_grace_period_seconds: int = Field(default=120, ge=1, le=86400)
    """How long a pod that is asked to end may take to save a checkpoint."""

    @property
    def processes_per_node(self) -> int:
        """One for each GPU, and one where there is none."""
        return max(1, self.resources.gpus)


class OtherStage(Schema):
    """A stage's only pod."""

    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """What it asks for."""


class EvaluateStage(Schema):
    """Evaluation's only pod."""

    resources: ResourceRequirements | None = None
    """What it asks for; as much as one of training's pods where it is left out."""


class Stages(Schema):
    """The pods of each stage."""

    prepare: OtherStage = Field(default_factory=OtherStage)
    """Downloads the base, reads and cleans the data."""
    train: TrainStage = Field(default_factory=TrainStage)
    """Runs the training."""
    evaluate: EvaluateStage = Field(default_factory=EvaluateStage)
    """Evaluates the base and the tuned model."""
    publish: OtherStage = Field(default_factory=OtherStage)
    """Uploads the result."""

    @property
    def evaluation_resources(self) -> ResourceRequirements:
        """What evaluation asks for; where nothing is said, what training does."""
        return self.evaluate.resources or self.train.resources


class Scheduling(Schema):
    """When the pods may start, and how near to each other."""

    queue_name: LabelValue | None = Field(default=None, min_length=1)
    """The Kueue LocalQueue that training waits in: each attempt's Job is created suspended, and Kueue starts it. The
    other stages do not queue.
    """
    topology_key: QualifiedName | None = None
    """A node label, for example `topology.kubernetes.io/zone`: the pods of a training on several nodes run where its
    value is the same.
    """


class StorageTemplate(Schema):
    """The volume made for the job."""

    storage_class_name: str | None = Field(default=None, min_length=1, max_length=253)
    """The StorageClass; the cluster's default where it is left out."""
    access_modes: list[Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]] = Field(
        default=["ReadWriteOnce"], min_length=1, max_length=3
    )
    """Who may mount it at once."""
    size: Quantity = "20Gi"
    """Room for the prepared data, checkpoints and the result."""


class Storage(Schema):
    """Where the stages hand over."""

    claim_name: ObjectName | None = None
    """A volume claim that is there already, instead of one made for the job. The job works in a folder of its own
    on it, `anneal/NAMESPACE.NAME.UID`, which stays when the job is deleted.
    """
    template: StorageTemplate | None = None
    """The volume claim to make; it is deleted with the job. One of 20Gi where nothing is said."""

    rules: ClassVar = (
        Rule(
            "!(has(self.claimName) && has(self.template))",
            "give either `claimName` or `template`, not both",
            lambda storage: storage.claim_name is None or storage.template is None,
        ),
    )
