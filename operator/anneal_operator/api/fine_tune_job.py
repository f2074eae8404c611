"""FineTuneJob's spec: from training data to a published ModelVersion."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from training_runtime.plan import Initialize, OutputFormat

from .ab_experiment import RAMP_RULE, TRUST_RULE, WINDOW_RULE, Decision, Stopping
from .assignment import Assignment
from .dataset import Dataset
from .evaluation import Evaluation
from .metrics import Metrics
from .pods import PodTemplate, gpus_in_cel
from .prompt import Prompt
from .schema import (
    ALIASES_RULE,
    CHARACTER,
    WORD,
    Alias,
    LocalReference,
    ModelName,
    Rule,
    Schema,
    SetOf,
    immutable,
    unchanged,
)
from .serving import AdapterLimits, Serving
from .stages import Scheduling, Stages, Storage
from .training import Distributed, Lora, Training, Tuning

__all__ = ["ExperimentTemplate", "FineTuneJobSpec"]

_BaseUri = Annotated[
    str,
    StringConstraints(
        max_length=400,
        pattern=r"^(configmap://[a-z0-9]([-a-z0-9.]*[a-z0-9])?|models:/[A-Za-z0-9][-A-Za-z0-9._]*@[a-z][-a-z0-9_]*"
        rf"|hf://{WORD}+/{WORD}+|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/{CHARACTER}+|s3://{WORD}+/{CHARACTER}+)$",
    ),
]
_IMMUTABLE = (
    "base",
    "dataset",
    "prompt",
    "tuning",
    "training",
    "distributed",
    "stages",
    "storage",
    "evaluation",
    "tracking",
    "output",
    "maxAttempts",
    *(
        f"podTemplate.{name}"
        for name in ("labels", "annotations", "env", "schedulerName", "serviceAccountName", "imagePullSecrets")
    ),
)
_IMMUTABLE_UNLESS_SUSPENDED = (
    "scheduling",
    *(f"podTemplate.{name}" for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName")),
)
_CONSTRAINED = "self.evaluation.suites.exists(suite, suite.constrained)"
_TagValue = Annotated[str, StringConstraints(max_length=500)]


class Base(Schema):
    """The model that training starts from."""

    uri: _BaseUri
    """`hf://OWNER/NAME` on a hub, `pvc://CLAIM/PATH`, `s3://BUCKET/PREFIX`, `models:/NAME@ALIAS`, a version in
    MLflow, or `configmap://NAME`, a ConfigMap with the file `config.json` of a Transformers model.
    """
    revision: str | None = Field(default=None, min_length=1, max_length=100, pattern=rf"^{WORD}+$")
    """The branch, tag or commit, for `hf://`."""
    secret_ref: LocalReference | None = None
    """The Secret with the credentials of `hf://` (`HF_TOKEN`, `HF_ENDPOINT`) or `s3://` (`AWS_ACCESS_KEY_ID`,
    `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, `AWS_REGION`); the base alone is read with it.
    """
    trust_remote_code: bool = False
    """Whether to run Python code shipped with the model; otherwise such models are rejected. To be served, such a model
    needs `output.serving.trustRemoteCode`, too.
    """
    initialize: Initialize = "Pretrained"
    """`Pretrained` loads the weights. `Random` makes new ones from the configuration alone, and trains a
    tokenizer on the data.
    """

    rules: ClassVar = (
        Rule(
            "self.uri.startsWith('configmap://') == (self.initialize == 'Random')",
            "a configmap:// source holds no weights, so it needs `initialize: Random`; "
            "every other source needs `initialize: Pretrained`",
            lambda base: base.uri.startswith("configmap://") == (base.initialize == "Random"),
        ),
        Rule(
            "!has(self.revision) || self.uri.startsWith('hf://')",
            "only an hf:// source has a `revision`",
            lambda base: base.revision is None or base.uri.startswith("hf://"),
        ),
        Rule(
            "!has(self.secretRef) || self.uri.startsWith('hf://') || self.uri.startsWith('s3://')",
            "only hf:// and s3:// sources read credentials from `secretRef`",
            lambda base: base.secret_ref is None or base.uri.startswith(("hf://", "s3://")),
        ),
    )


class Tracking(Schema):
    """Where the run is recorded in MLflow."""

    experiment: str | None = Field(default=None, min_length=1, max_length=200)
    """The experiment; `output.modelName` where it is left out."""
    tags: dict[str, _TagValue] = Field(default={}, max_length=32)
    """Tags of the run."""


class ExperimentTemplate(Schema):
    """The ABExperiment that the new version enters, as a candidate beside the one that holds `production`."""

    candidate_percent: int = Field(default=50, ge=1, le=99)
    """The candidate's share of the users, in percent."""
    assignment: Assignment = Field(default_factory=Assignment)
    """How users are spread."""
    metrics: Metrics
    """What is measured."""
    stopping: Stopping = Field(default_factory=Stopping)
    """When the verdict is due."""
    decision: Decision = Field(default_factory=Decision)
    """What follows from it."""

    rules: ClassVar = (
        TRUST_RULE,
        WINDOW_RULE,
        RAMP_RULE,
        Rule(
            "!has(self.decision.approve)",
            "`decision.approve` is for whoever has seen what the experiment recommends: leave it out here",
            lambda template: template.decision.approve is None,
        ),
    )


class Output(Schema):
    """What is published."""

    model_name: ModelName
    """The registered model in MLflow, and the name that clients call."""
    formats: SetOf[OutputFormat] = Field(default=[], max_length=2)
    """What is uploaded of a trained adapter: `Adapter`, `Merged` (the base with the adapter merged in, which is what is
    served), or both where the list is empty. Where all weights are trained, the model is uploaded.
    """
    license: str | None = Field(default=None, min_length=1, max_length=200)
    """The licence named on the model card."""
    canary: bool = True
    """Whether three of evaluation's questions, with the model's answers, are published beside the weights
    (`canary.json`): a server answers them as in training, or is never ready. `false` where no row may leave the volume
    with the weights; then nobody compares.
    """
    aliases: SetOf[Alias] = Field(default=[], max_length=16)
    """Aliases the new version is given in MLflow."""
    serving: Serving | None = None
    """How the new version is served; without it the version is only registered."""
    experiment: ExperimentTemplate | None = None
    """An ABExperiment of the job's name, made where a version in this namespace holds `production`."""

    rules: ClassVar = (
        ALIASES_RULE,
        Rule(
            "!has(self.experiment) || has(self.serving)",
            "`experiment` compares versions that answer: say in `serving` how this one is served",
            lambda output: output.experiment is None or output.serving is not None,
        ),
        Rule(
            "!has(self.serving) || self.serving.sharing == 'SharedBase' || size(self.formats) == 0 || "
            "'Merged' in self.formats",
            "an adapter alone cannot be served: add `Merged` to `formats`, set `serving.sharing: SharedBase`, or leave "
            "`serving` out",
            lambda output: not output.is_served_alone or not output.formats or "Merged" in output.formats,
        ),
        Rule(
            "!has(self.serving) || self.serving.sharing != 'SharedBase' || "
            "(size(self.formats) == 1 && self.formats[0] == 'Adapter')",
            "`serving.sharing: SharedBase` serves the adapter itself: set `formats: [Adapter]`, or leave `sharing` out",
            lambda output: output.serving is None or output.is_served_alone or output.formats == ["Adapter"],
        ),
        Rule(
            "!has(self.serving) || self.serving.quantization in ['Auto', 'FP8']",
            "a job publishes weights of 16 bits or 32: set `serving.quantization` to `FP8`, which rounds them while "
            "they are loaded, or leave it out",
            lambda output: output.serving is None or output.serving.quantization in {"Auto", "FP8"},
        ),
    )

    @property
    def is_served_alone(self) -> bool:
        """Whether the new version is served in pods of its own."""
        return self.serving is not None and self.serving.sharing == "Dedicated"


def _is_constrained(spec: "FineTuneJobSpec") -> bool:
    return any(suite.constrained for suite in spec.evaluation.suites)


_SHARES_BASE = "has(self.output.serving) && self.output.serving.sharing == 'SharedBase'"
_RANK = f"(has(self.tuning.lora) ? self.tuning.lora.rank : {Lora().rank})"
_MOST_RANK = f"(has(self.output.serving.adapters) ? self.output.serving.adapters.maxRank : {AdapterLimits().max_rank})"


def _shares_base(spec: "FineTuneJobSpec") -> bool:
    return spec.output.serving is not None and spec.output.serving.sharing == "SharedBase"


def _rank(spec: "FineTuneJobSpec") -> int:
    return (spec.tuning.lora or Lora()).rank


def _most_rank(spec: "FineTuneJobSpec") -> int:
    limits = spec.output.serving.adapters if spec.output.serving else None
    return (limits or AdapterLimits()).max_rank


class FineTuneJobSpec(Schema):
    """What to train, on what, and what to publish."""

    base: Base
    """The model to start from."""
    dataset: Dataset
    """The training data."""
    prompt: Prompt = Field(default_factory=Prompt)
    """How a row becomes tokens."""
    tuning: Tuning = Field(default_factory=Tuning)
    """Adapter or all weights."""
    training: Training = Field(default_factory=Training)
    """Steps, learning rate, batch."""
    distributed: Distributed = Field(default_factory=Distributed)
    """How the work is shared out between GPUs."""
    stages: Stages = Field(default_factory=Stages)
    """CPU, memory and GPUs of each stage's pods."""
    pod_template: PodTemplate = Field(default_factory=PodTemplate)
    """What every stage's pods get beside their own: environment, labels, placement."""
    scheduling: Scheduling = Field(default_factory=Scheduling)
    """The queue, and how near to each other the pods run; it may change while the job is suspended."""
    storage: Storage = Field(default_factory=Storage)
    """The volume on which the stages hand over."""
    evaluation: Evaluation = Field(default_factory=Evaluation)
    """How the result is judged."""
    tracking: Tracking = Field(default_factory=Tracking)
    """Where the run is recorded."""
    output: Output
    """The model's name and how it is served."""
    suspend: bool = False
    """Whether the job rests: its pods end, and go on from the newest checkpoint when this is false again."""
    max_attempts: int = Field(default=7, ge=1, le=100)
    """How often each stage is tried. An attempt that was preempted, evicted, or lost with its node is not counted; what
    would fail again (bad data, no memory on the GPU) is not tried again.
    """
    active_deadline_seconds: int | None = Field(default=None, ge=1, le=31536000)
    """How long the job may take, waiting for its inputs included; the time while it is queued or suspended does not
    count. Then it fails.
    """
    ttl_seconds_after_finished: int | None = Field(default=None, ge=0, le=31536000)
    """How long after its end the job is deleted, with its volume; its ModelVersion stays."""

    rules: ClassVar = (
        *(immutable(field, "a FineTuneJob records one training; create another") for field in _IMMUTABLE),
        *(
            Rule(f"oldSelf.suspend || ({unchanged(field)})", f"`{field}` can change only while the job is suspended")
            for field in _IMMUTABLE_UNLESS_SUSPENDED
        ),
        Rule(
            "self.stages.train.nodes == 1 || has(self.storage.claimName) || (has(self.storage.template) && "
            "'ReadWriteMany' in self.storage.template.accessModes)",
            "several nodes share one volume: `storage.template.accessModes` needs ReadWriteMany",
            lambda spec: (
                spec.stages.train.nodes == 1
                or spec.storage.claim_name is not None
                or (spec.storage.template is not None and "ReadWriteMany" in spec.storage.template.access_modes)
            ),
        ),
        Rule(
            "self.base.initialize != 'Random' || self.tuning.method == 'Full'",
            "new weights must all be trained: `initialize: Random` needs `tuning.method: Full`",
            lambda spec: spec.base.initialize != "Random" or spec.tuning.method == "Full",
        ),
        Rule(
            "self.tuning.method != 'Full' || !('Adapter' in self.output.formats)",
            "`tuning.method: Full` makes no adapter: remove `Adapter` from `output.formats`",
            lambda spec: spec.tuning.method != "Full" or "Adapter" not in spec.output.formats,
        ),
        Rule(
            "self.tuning.method != 'QLoRA' || !(self.distributed.strategy in ['FSDP', 'ZeRO3'])",
            "quantized weights cannot be shared out between GPUs: with `tuning.method: QLoRA` use "
            "`distributed.strategy: Auto`, `DDP`, `ZeRO1` or `ZeRO2`, or train with `LoRA`",
            lambda spec: spec.tuning.method != "QLoRA" or spec.distributed.strategy not in {"FSDP", "ZeRO3"},
        ),
        Rule(
            "self.distributed.strategy != 'FSDP' || self.training.optimizer in ['AdamWFused', 'AdamW', 'SGD']",
            "of the optimizers only `AdamWFused`, `AdamW` and `SGD` step on weights that FSDP shares out: choose one, "
            "or another `distributed.strategy`",
            lambda spec: (
                spec.distributed.strategy != "FSDP" or spec.training.optimizer in {"AdamWFused", "AdamW", "SGD"}
            ),
        ),
        Rule(
            "!self.base.trustRemoteCode || !has(self.output.serving) || self.output.serving.trustRemoteCode",
            "a model that brings Python code is served only where the server may run it, too: set "
            "`output.serving.trustRemoteCode`, or leave `output.serving` out",
            lambda spec: (
                not spec.base.trust_remote_code or spec.output.serving is None or spec.output.serving.trust_remote_code
            ),
        ),
        Rule(
            f"!({_SHARES_BASE}) || self.base.uri.startsWith('models:/')",
            "`output.serving.sharing: SharedBase` serves the adapter on the model that it was trained on, which MLflow "
            "has to hold: set `base.uri` to a `models:/` URI, or leave `sharing` out",
            lambda spec: not _shares_base(spec) or spec.base.uri.startswith("models:/"),
        ),
        Rule(
            f"!({_SHARES_BASE}) || {_RANK} <= {_MOST_RANK}",
            "`tuning.lora.rank` is higher than the adapters that the engine takes: raise "
            "`output.serving.adapters.maxRank` (64 where it is left out), or lower the rank",
            lambda spec: not _shares_base(spec) or _rank(spec) <= _most_rank(spec),
        ),
        Rule(
            "self.dataset.template != 'Text' || "
            "self.evaluation.suites.all(suite, suite.type in ['Perplexity', 'Harness'])",
            "rows of `dataset.template: Text` ask nothing: of `evaluation.suites` only `Perplexity` and `Harness` can "
            "judge what was learnt from them",
            lambda spec: (
                spec.dataset.template != "Text"
                or all(suite.type in {"Perplexity", "Harness"} for suite in spec.evaluation.suites)
            ),
        ),
        Rule(
            f"self.training.precision != 'FP16' || size({gpus_in_cel('self.stages.train.resources')}) > 0",
            "`training.precision: FP16` needs a GPU: ask for one in `stages.train.resources`, or use `FP32`",
            lambda spec: spec.training.precision != "FP16" or bool(spec.stages.train.resources.gpu_names),
        ),
        Rule(
            "size(self.dataset.columns.context) == 0 || has(self.prompt.text)",
            "`dataset.columns.context` are fields of `prompt.text`: write one that has them",
            lambda spec: not spec.dataset.columns.context or spec.prompt.text is not None,
        ),
        Rule(
            "!has(self.training.earlyStopping) || self.dataset.split.validation > 0.0",
            "`training.earlyStopping` watches validation rows: raise `dataset.split.validation`",
            lambda spec: spec.training.early_stopping is None or spec.dataset.split.validation > 0,
        ),
        Rule(
            f"!({_CONSTRAINED}) || has(self.dataset.responseSchema)",
            "`constrained` answers satisfy `dataset.responseSchema`: give one",
            lambda spec: not _is_constrained(spec) or spec.dataset.response_schema is not None,
        ),
        Rule(
            f"!({_CONSTRAINED}) || self.prompt.thinking != 'Keep'",
            "`constrained` answers are JSON from their first character: set `prompt.thinking` to `None`",
            lambda spec: not _is_constrained(spec) or spec.prompt.thinking != "Keep",
        ),
    )

    @property
    def experiment_name(self) -> str:
        """The experiment in MLflow that the run belongs to."""
        return self.tracking.experiment or self.output.model_name
