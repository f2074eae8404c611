"""FineTuneJob's training: what is trained, how, on which machines, and on which volume."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from .schema import FreeObject, ObjectName, Quantity, Rule, Schema
from .serving import Resources

__all__ = ["Distributed", "Lora", "Scheduling", "Storage", "Training", "TrainingResources", "Tuning"]

_ModuleName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_QualifiedName = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?$",
    ),
]
_LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?)?$")]


class Lora(Schema):
    """The adapter's shape."""

    rank: int = Field(default=16, ge=1, le=512)
    """The width of the two small matrices beside each weight matrix."""
    alpha: int = Field(default=32, ge=1, le=2048)
    """The adapter's output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, le=0.9)
    """The share of the adapter's inputs that is dropped while training."""
    target_modules: list[_ModuleName] = Field(default=["all-linear"], min_length=1, max_length=32)
    """Names of the layers that get an adapter; `all-linear` means every linear layer but the head."""


class Quantization(Schema):
    """The precision in which the frozen base is held."""

    bits: Literal[4, 8] = 4
    """4 bits (nf4, double quantization) or 8."""


class Tuning(Schema):
    """What is trained."""

    method: Literal["lora", "qlora", "full"] = "lora"
    """`lora` trains a small adapter beside frozen weights, `qlora` beside frozen weights of 4 or 8 bits, `full` all
    weights.
    """
    lora: Lora | None = None
    """The adapter's settings, for methods `lora` and `qlora`; defaults hold where it is left out."""
    quantization: Quantization | None = None
    """The base's precision, for method `qlora`; 4 bits where it is left out."""

    rules: ClassVar = (
        Rule(
            "!has(self.lora) || self.method != 'full'",
            "`lora` settings are only read with `method: lora` or `qlora`; remove them or change the method",
            lambda tuning: tuning.lora is None or tuning.method != "full",
        ),
        Rule(
            "!has(self.quantization) || self.method == 'qlora'",
            "`quantization` is only read with `method: qlora`; remove it or change the method",
            lambda tuning: tuning.quantization is None or tuning.method == "qlora",
        ),
    )


class EarlyStopping(Schema):
    """When training ends because validation no longer gets better; the best checkpoint is then the result."""

    patience: int = Field(default=3, ge=1, le=1000)
    """How many evaluations in a row may pass without a better value."""
    metric: Literal["eval_loss", "eval_mean_token_accuracy"] = "eval_loss"
    """What is watched."""


class LossSpike(Schema):
    """A loss far above the recent ones."""

    factor: float = Field(default=3.0, ge=1.1, le=1000.0)
    """Above this multiple of the recent median the training ends."""
    window: int = Field(default=50, ge=5, le=10000)
    """How many logged losses are recent."""


class Guards(Schema):
    """When a training is ended because it goes wrong; a loss that is no number always ends it."""

    loss_spike: LossSpike | None = None
    """Ends a training whose loss jumps; not watched where it is left out."""
    stalled_after_seconds: int = Field(default=600, ge=10, le=86400)
    """Ends an attempt that made no step, validation or checkpoint for so long, or for ten steps; it is tried again."""


class Training(Schema):
    """The optimisation."""

    epochs: int | None = Field(default=None, ge=1, le=1000)
    """How often every row is seen; 3 where `maxSteps` is not given either."""
    max_steps: int | None = Field(default=None, ge=1, le=10000000)
    """How many optimizer steps are made, instead of `epochs`."""
    learning_rate: float = Field(default=2e-4, ge=1e-8, le=1.0)
    """The highest learning rate, reached after the warm-up."""
    scheduler: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
    ] = "cosine"
    """How the learning rate goes on after the warm-up."""
    warmup_steps: int = Field(default=0, ge=0, le=1000000)
    """Steps over which the learning rate rises from 0."""
    warmup_ratio: float | None = Field(default=None, ge=0.0, le=0.9)
    """The share of all steps over which it rises, instead of `warmupSteps`."""
    optimizer: Literal[
        "adamw_torch_fused",
        "adamw_torch",
        "adamw_8bit",
        "paged_adamw_8bit",
        "paged_adamw_32bit",
        "adafactor",
        "sgd",
    ] = "adamw_torch_fused"
    """The optimizer; the `8bit` and `paged` ones spare GPU memory."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, ge=0.0, le=1000.0)
    """Gradients longer than this are cut to it; 0 leaves them."""
    per_device_batch_size: int = Field(default=4, ge=1, le=4096)
    """Rows per step on each device."""
    gradient_accumulation: int = Field(default=1, ge=1, le=4096)
    """Batches whose gradients make one step."""
    max_sequence_length: int = Field(default=2048, ge=16, le=1048576)
    """Tokens after which a row is cut off."""
    packing: bool = False
    """Whether short rows share a sequence, each seeing itself alone: the same result in fewer steps."""
    assistant_only_loss: bool = True
    """Whether only the answers' tokens are learned; otherwise the questions' too."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """The precision of the computation; `auto` is bf16 where a GPU has it, else fp32."""
    gradient_checkpointing: bool | None = None
    """Whether activations are computed again instead of kept: slower, with less memory. On a GPU it is, where this is
    left out.
    """
    evaluate_every_steps: int | None = Field(default=None, ge=1, le=1000000)
    """Steps between two looks at the validation rows; as `saveEverySteps` where it is left out."""
    save_every_steps: int = Field(default=100, ge=1, le=1000000)
    """Steps between two committed checkpoints: what a lost pod costs at most."""
    keep_checkpoints: int = Field(default=2, ge=1, le=100)
    """How many committed checkpoints stay on the volume."""
    log_every_steps: int = Field(default=10, ge=1, le=1000000)
    """Steps between two reports of loss and learning rate."""
    seed: int = Field(default=42, ge=0, le=2147483647)
    """The same seed gives the same order of rows and the same new weights."""

    early_stopping: EarlyStopping | None = None
    """Ends the training when validation no longer gets better; not watched where it is left out."""
    guards: Guards = Field(default_factory=Guards)
    """Ends a training that goes wrong."""

    rules: ClassVar = (
        Rule(
            "!has(self.warmupRatio) || self.warmupSteps == 0",
            "give either `warmupSteps` or `warmupRatio`, not both",
            lambda training: training.warmup_ratio is None or training.warmup_steps == 0,
        ),
        Rule(
            "!(has(self.epochs) && has(self.maxSteps))",
            "give either `epochs` or `maxSteps`, not both",
            lambda training: training.epochs is None or training.max_steps is None,
        ),
    )


class Distributed(Schema):
    """How the work is shared out between GPUs."""

    strategy: Literal["auto", "ddp", "fsdp", "zero1", "zero2", "zero3"] = "auto"
    """`ddp` keeps the whole model on every GPU, `fsdp` and `zero3` a part of it, `zero1` a part of the optimizer's
    state, `zero2` of the gradients too; `auto` takes the simplest that fits, and says why in the log.
    """
    offload: Literal["none", "optimizer", "parameters"] = "none"
    """What DeepSpeed keeps in the machine's memory instead of the GPU's."""
    deepspeed_config: FreeObject | None = None
    """DeepSpeed settings of your own, merged over what the strategy gives."""

    rules: ClassVar = (
        Rule(
            "(self.offload == 'none' && !has(self.deepspeedConfig)) || self.strategy in ['zero1', 'zero2', 'zero3']",
            "`offload` and `deepspeedConfig` are DeepSpeed's: they need `strategy: zero1`, `zero2` or `zero3`",
            lambda shared: (
                (shared.offload == "none" and shared.deepspeed_config is None)
                or shared.strategy in {"zero1", "zero2", "zero3"}
            ),
        ),
        Rule(
            "self.offload != 'parameters' || self.strategy == 'zero3'",
            "only `strategy: zero3` can offload parameters",
            lambda shared: shared.offload != "parameters" or shared.strategy == "zero3",
        ),
    )


class TrainingResources(Resources):
    """What each stage's pod asks for and may use at most; GPUs go to training and evaluation alone."""

    nodes: int = Field(default=1, ge=1, le=64)
    """Pods that train together, each on a node of its own where each takes all of a node's GPUs."""
    gpus_per_node: int = Field(default=0, ge=0, le=16)
    """GPUs of a pod, each with a process of its own; 0 trains on the CPU."""
    gpu_resource_name: _QualifiedName = "nvidia.com/gpu"
    """The name under which nodes offer GPUs."""
    gpu_product: _LabelValue | None = None
    """Only nodes with this `nvidia.com/gpu.product` label, for example `NVIDIA-H100-80GB-HBM3`."""
    shared_memory: Quantity | None = None
    """The size of `/dev/shm`, which several GPUs exchange data through; it counts as the pod's memory. 64 MB, the
    container runtime's own, where it is left out.
    """

    rules: ClassVar = (
        Rule(
            "!has(self.gpuProduct) || self.gpusPerNode > 0",
            "`gpuProduct` needs `gpusPerNode` of at least 1",
            lambda wanted: wanted.gpu_product is None or wanted.gpus_per_node > 0,
        ),
    )


class Toleration(Schema):
    """A taint that the pods accept, as in a pod's own spec."""

    key: _QualifiedName | None = None
    """The taint's key; every key where it is left out, with `operator: Exists`."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Whether the value counts."""
    value: _LabelValue | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; every effect where it is left out."""

    rules: ClassVar = (
        Rule(
            "self.operator == 'Exists' ? !has(self.value) : has(self.key)",
            "`operator: Exists` takes no `value`; `Equal` needs a `key`",
            lambda wanted: wanted.value is None if wanted.operator == "Exists" else wanted.key is not None,
        ),
    )


class Scheduling(Schema):
    """Which nodes the pods may run on, and before whom."""

    queue_name: _LabelValue | None = Field(default=None, min_length=1)
    """The Kueue LocalQueue that stages wait in; each stage's Job is made suspended, and Kueue starts it."""
    topology_key: _QualifiedName | None = None
    """A node label, for example `topology.kubernetes.io/zone`: the pods of a training on several nodes run where its
    value is the same.
    """
    priority_class_name: ObjectName | None = None
    """The pods' PriorityClass."""
    node_selector: dict[str, _LabelValue] = Field(default={}, max_length=16)
    """Labels that a node must have."""
    tolerations: list[Toleration] = Field(default=[], max_length=16)
    """Taints that the pods accept; that of the GPU resource is always accepted by pods that ask for GPUs."""


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
