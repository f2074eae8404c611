"""FineTuneJob's training: what is trained, how, on which machines, and on which volume."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from training_runtime.plan import (
    GradientCheckpointing,
    Method,
    Offload,
    Optimizer,
    Precision,
    Scheduler,
    Strategy,
    WatchedMetric,
)

from .quantities import Duration, bounded_duration
from .schema import FreeObject, LocalReference, Rule, Schema, SetOf

__all__ = ["Distributed", "Guards", "Lora", "ResumeFrom", "Training", "Tuning"]

_ModuleName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Lora(Schema):
    """The adapter's shape."""

    rank: int = Field(default=16, ge=1, le=512)
    """The width of the two small matrices beside each weight matrix."""
    alpha: int = Field(default=32, ge=1, le=2048)
    """The adapter's output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, le=0.9)
    """The share of the adapter's inputs that is dropped while training."""
    target_modules: SetOf[_ModuleName] = Field(default=["all-linear"], min_length=1, max_length=32)
    """Names of the layers that get an adapter; `all-linear` means every linear layer but the head."""


class Quantization(Schema):
    """The precision in which the frozen base is held."""

    bits: Literal[4, 8] = 4
    """4 bits (nf4, double quantization) or 8."""


class Tuning(Schema):
    """What is trained."""

    method: Method = "LoRA"
    """`LoRA` trains a small adapter beside frozen weights, `QLoRA` beside frozen weights of 4 or 8 bits, `Full` all
    weights.
    """
    lora: Lora | None = None
    """The adapter's settings, for methods `LoRA` and `QLoRA`; defaults hold where it is left out."""
    quantization: Quantization | None = None
    """The base's precision, for method `QLoRA`; 4 bits where it is left out."""

    rules: ClassVar = (
        Rule(
            "!has(self.lora) || self.method != 'Full'",
            "`lora` settings are only read with `method: LoRA` or `QLoRA`; remove them or change the method",
            lambda tuning: tuning.lora is None or tuning.method != "Full",
        ),
        Rule(
            "!has(self.quantization) || self.method == 'QLoRA'",
            "`quantization` is only read with `method: QLoRA`; remove it or change the method",
            lambda tuning: tuning.quantization is None or tuning.method == "QLoRA",
        ),
    )


class EarlyStopping(Schema):
    """When training ends because validation no longer gets better.

    The weights of the best evaluation are the result: a checkpoint is saved at each that is the best so far.
    """

    patience: int = Field(default=3, ge=1, le=1000)
    """How many evaluations in a row may pass without a better value."""
    metric: WatchedMetric = "Loss"
    """What is watched, of the validation rows: the loss, or the share of tokens that are right."""


class LossSpike(Schema):
    """A loss far above the recent ones."""

    factor: float = Field(default=3.0, ge=1.1, le=1000.0)
    """Above this multiple of the recent median the training ends."""
    window: int = Field(default=50, ge=5, le=10000)
    """How many logged losses are recent."""


class Guards(Schema):
    """When a training is ended because it goes wrong; a NaN loss always ends it."""

    loss_spike: LossSpike | None = None
    """Ends a training whose loss jumps; not watched where it is left out."""
    stalled_after: Duration = "10m"
    """Ends an attempt that made no step, validation or checkpoint for this long, or for ten times the usual length of a
    step where that is longer; it is tried again. After the last step each part of the end may take ten times as long:
    the last checkpoint, fetching the best weights, saving them, writing the finished model.
    """

    rules: ClassVar = (bounded_duration("stalledAfter", "stalled_after", "10s", "24h"),)


class ResumeFrom(Schema):
    """A checkpoint of another FineTuneJob of this namespace, copied once when this one begins."""

    fine_tune_job_ref: LocalReference
    """The other job, or one that was deleted while its volume claim `NAME-workspace` is still there. A job that names
    a claim of its own in `storage.claimName` has none of that name.
    """
    step: int | None = Field(default=None, ge=1, le=10000000)
    """The checkpoint; the newest that is whole where it is left out."""


class Training(Schema):
    """The optimisation."""

    epochs: int | None = Field(default=None, ge=1, le=1000)
    """How often every row is seen; 3 where `maxSteps` is not given either."""
    max_steps: int | None = Field(default=None, ge=1, le=10000000)
    """How many optimizer steps are made, instead of `epochs`."""
    learning_rate: float = Field(default=2e-4, ge=1e-8, le=1.0)
    """The highest learning rate, reached after the warm-up."""
    scheduler: Scheduler = "Cosine"
    """How the learning rate goes on after the warm-up."""
    warmup_steps: int = Field(default=0, ge=0, le=1000000)
    """Steps over which the learning rate rises from 0."""
    warmup_ratio: float | None = Field(default=None, ge=0.0, le=0.9)
    """The share of all steps over which it rises, instead of `warmupSteps`."""
    optimizer: Optimizer = "AdamWFused"
    """The optimizer; the 8-bit and paged ones spare GPU memory."""
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
    precision: Precision = "Auto"
    """The precision of the computation; `Auto` is BF16 where a GPU has it, else FP32."""
    gradient_checkpointing: GradientCheckpointing = "Auto"
    """Whether activations are computed again instead of kept: slower, with less memory. `Auto` is `Full` on a GPU,
    else `None`.
    """
    evaluate_every_steps: int | None = Field(default=None, ge=1, le=1000000)
    """Steps between two looks at the validation rows; as `saveEverySteps` where it is left out."""
    max_evaluation_rows: int = Field(default=1000, ge=1, le=1000000)
    """How many of the validation rows each look takes, drawn once by `seed`: the looks of a training compare, and cost
    the same however much data there is.
    """
    save_every_steps: int = Field(default=100, ge=1, le=1000000)
    """Steps between two checkpoints. A lost pod costs at most two such intervals, as one may still be being written."""
    keep_checkpoints: int = Field(default=2, ge=1, le=100)
    """How many committed checkpoints stay on the volume."""
    log_every_steps: int = Field(default=10, ge=1, le=1000000)
    """Steps between two reports of loss and learning rate."""
    seed: int = Field(default=42, ge=0, le=2147483647)
    """The same seed gives the same order of rows and the same new weights."""

    resume_from: ResumeFrom | None = None
    """What training goes on from, with its optimizer and its step: base, method and the adapter's rank must be those of
    the other job, and `maxSteps` or `epochs` count from its beginning. Other data is read from its first row on.
    """
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

    strategy: Strategy = "Auto"
    """`DDP` keeps the whole model on every GPU, `FSDP` and `ZeRO3` a part of it, `ZeRO1` a part of the optimizer's
    state, `ZeRO2` of the gradients too; `Auto` takes the simplest that fits, and says why in the log. Quantized weights
    (QLoRA) are never shared out, so they take neither `FSDP` nor `ZeRO3`.
    """
    offload: Offload = "None"
    """What DeepSpeed keeps in the machine's memory instead of the GPU's."""
    deepspeed_config: FreeObject | None = None
    """DeepSpeed settings of your own, merged over what the strategy gives."""

    rules: ClassVar = (
        Rule(
            "(self.offload == 'None' && !has(self.deepspeedConfig)) || self.strategy in ['ZeRO1', 'ZeRO2', 'ZeRO3']",
            "`offload` and `deepspeedConfig` are DeepSpeed's: they need `strategy: ZeRO1`, `ZeRO2` or `ZeRO3`",
            lambda shared: (
                (shared.offload == "None" and shared.deepspeed_config is None)
                or shared.strategy in {"ZeRO1", "ZeRO2", "ZeRO3"}
            ),
        ),
        Rule(
            "self.offload != 'Parameters' || self.strategy == 'ZeRO3'",
            "only `strategy: ZeRO3` can offload parameters: choose it, or `offload: Optimizer`",
            lambda shared: shared.offload != "Parameters" or shared.strategy == "ZeRO3",
        ),
    )
