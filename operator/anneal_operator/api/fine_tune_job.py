"""FineTuneJob's spec: from training data to a published ModelVersion."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from .schema import ALIASES_RULE, Alias, ModelName, Quantity, Rule, Schema
from .serving import Resources, Serving

__all__ = ["Dataset", "Evaluation", "FineTuneJobSpec", "Suite"]

_ModelSource = Annotated[
    str,
    StringConstraints(
        max_length=200,
        pattern=r"^(configmap://[a-z0-9]([-a-z0-9.]*[a-z0-9])?|models:/[A-Za-z0-9][-A-Za-z0-9._]*@[a-z][-a-z0-9_]*)$",
    ),
]
_DataSource = Annotated[
    str,
    StringConstraints(max_length=400, pattern=r"^configmap://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-A-Za-z0-9._]{1,253}$"),
]
_DottedPath = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^.\s]+(\.[^.\s]+)*$")]
_ModuleName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Model(Schema):
    """The model that training starts from."""

    source: _ModelSource
    """`models:/NAME@ALIAS`, a version in MLflow, or `configmap://NAME`, a ConfigMap with the file `config.json`
    of a Transformers model.
    """
    initialize: Literal["Pretrained", "Random"] = "Pretrained"
    """`Pretrained` loads the weights. `Random` makes new ones from the configuration alone, and trains a
    tokenizer on the data.
    """

    rules: ClassVar = (
        Rule(
            "self.source.startsWith('configmap://') == (self.initialize == 'Random')",
            "a configmap:// source holds no weights, so it needs `initialize: Random`; "
            "every other source needs `initialize: Pretrained`",
            lambda model: model.source.startswith("configmap://") == (model.initialize == "Random"),
        ),
    )


class Pii(Schema):
    """What happens to personal data found in the texts."""

    action: Literal["Mask", "Report", "Off"] = "Mask"
    """`Mask` replaces each find by its kind, for example `[전화번호]`; `Report` only counts; `Off` does not look."""


class Deduplicate(Schema):
    """When two rows count as the same."""

    threshold: float = Field(default=0.85, ge=0.5, le=1.0)
    """The similarity (Jaccard, estimated by MinHash) from which the later row is dropped."""


class Split(Schema):
    """How rows are held out."""

    validation: float = Field(default=0.1, ge=0.0, le=0.5)
    """The share of rows whose loss is watched while training."""
    test: float = Field(default=0.1, ge=0.01, le=0.5)
    """The share of rows that evaluation asks; training never sees them."""
    stratify_by: _DottedPath | None = None
    """A column, or a dotted path into one, whose values keep their shares in every part, for example
    `output.action`.
    """
    seed: int = Field(default=42, ge=0, le=2147483647)
    """The same seed gives the same split."""

    rules: ClassVar = (
        Rule(
            "self.validation + self.test <= 0.8",
            "validation and test together must leave at least 20 % of the rows for training",
            lambda split: split.validation + split.test <= 0.8,
        ),
    )


class Dataset(Schema):
    """The data, and how it becomes training examples."""

    source: _DataSource
    """`configmap://NAME/KEY`: a key of a ConfigMap in this namespace; JSON Lines, also compressed (`.jsonl.gz`)."""
    template: Literal["messages", "instruction-io"]
    """How a row reads: `messages` is a list of chat messages; `instruction-io` has `instruction`, `input` and
    `output`, the latter two texts or objects.
    """
    pii: Pii = Field(default_factory=Pii)
    """Personal data."""
    deduplicate: Deduplicate = Field(default_factory=Deduplicate)
    """Repeated rows."""
    split: Split = Field(default_factory=Split)
    """Training, validation and test."""


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


class Tuning(Schema):
    """What is trained."""

    method: Literal["lora", "full"] = "lora"
    """`lora` trains a small adapter beside frozen weights, `full` all weights."""
    lora: Lora | None = None
    """The adapter's settings, for method `lora`; defaults hold where it is left out."""

    rules: ClassVar = (
        Rule(
            "!has(self.lora) || self.method == 'lora'",
            "`lora` settings are only read with `method: lora`; remove them or change the method",
            lambda tuning: tuning.lora is None or tuning.method == "lora",
        ),
    )


class Training(Schema):
    """The optimisation."""

    epochs: int | None = Field(default=None, ge=1, le=1000)
    """How often every row is seen; 3 where `maxSteps` is not given either."""
    max_steps: int | None = Field(default=None, ge=1, le=10000000)
    """How many optimizer steps are made, instead of `epochs`."""
    learning_rate: float = Field(default=2e-4, ge=1e-8, le=1.0)
    """The highest learning rate, reached after the warm-up; it then falls along a cosine."""
    warmup_steps: int = Field(default=0, ge=0, le=1000000)
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    """AdamW's decoupled weight decay."""
    per_device_batch_size: int = Field(default=4, ge=1, le=4096)
    """Rows per step on each device."""
    gradient_accumulation: int = Field(default=1, ge=1, le=4096)
    """Batches whose gradients make one step."""
    max_sequence_length: int = Field(default=2048, ge=16, le=1048576)
    """Tokens after which a row is cut off."""
    save_every_steps: int = Field(default=100, ge=1, le=1000000)
    """Steps between two committed checkpoints: what a lost pod costs at most."""
    keep_checkpoints: int = Field(default=2, ge=1, le=100)
    """How many committed checkpoints stay on the volume."""
    log_every_steps: int = Field(default=10, ge=1, le=1000000)
    """Steps between two reports of loss and learning rate."""
    seed: int = Field(default=42, ge=0, le=2147483647)
    """The same seed gives the same order of rows and the same new weights."""

    rules: ClassVar = (
        Rule(
            "!(has(self.epochs) && has(self.maxSteps))",
            "give either `epochs` or `maxSteps`, not both",
            lambda training: training.epochs is None or training.max_steps is None,
        ),
    )


class Suite(Schema):
    """One way of judging the answers on the test rows."""

    name: Literal["classification", "json"]
    """`classification` compares one field of the JSON answer with the row's (accuracy, macro F1); `json` counts
    the answers that are valid JSON objects.
    """
    label_field: _DottedPath | None = None
    """The field of the answer that holds the label, for `classification`."""

    rules: ClassVar = (
        Rule(
            "has(self.labelField) == (self.name == 'classification')",
            "`classification` needs `labelField`, the field of the answer that holds the label; `json` takes none",
            lambda suite: (suite.label_field is not None) == (suite.name == "classification"),
        ),
    )


class Evaluation(Schema):
    """What the tuned model is asked before it is published."""

    suites: list[Suite] = Field(default=[], max_length=8)
    """The ways of judging; without any, the answers are kept and nothing is measured."""
    max_rows: int = Field(default=500, ge=1, le=1000000)
    """How many test rows are asked at most."""
    max_new_tokens: int = Field(default=256, ge=1, le=32768)
    """After how many tokens an answer is cut off."""


class StorageTemplate(Schema):
    """The volume made for the job."""

    storage_class_name: str | None = Field(default=None, min_length=1, max_length=253)
    """The StorageClass; the cluster's default where it is left out."""
    size: Quantity = "20Gi"
    """Room for the prepared data, checkpoints and the result."""


class Storage(Schema):
    """Where the stages hand over."""

    template: StorageTemplate = Field(default_factory=StorageTemplate)
    """The volume claim to make; it is deleted with the job."""


class Output(Schema):
    """What is published."""

    model_name: ModelName
    """The registered model in MLflow, and the name that clients call."""
    aliases: list[Alias] = Field(default=[], max_length=16)
    """Aliases the new version is given in MLflow."""
    serving: Serving | None = None
    """How the new version is served; without it the version is only registered."""

    rules: ClassVar = (ALIASES_RULE,)


class FineTuneJobSpec(Schema):
    """What to train, on what, and what to publish."""

    model: Model
    """The model to start from."""
    dataset: Dataset
    """The training data."""
    tuning: Tuning = Field(default_factory=Tuning)
    """Adapter or all weights."""
    training: Training = Field(default_factory=Training)
    """Steps, learning rate, batch."""
    resources: Resources = Field(default_factory=Resources)
    """CPU and memory of each stage's pod."""
    storage: Storage = Field(default_factory=Storage)
    """The volume on which the stages hand over."""
    evaluation: Evaluation = Field(default_factory=Evaluation)
    """How the result is judged."""
    output: Output
    """The model's name and how it is served."""

    rules: ClassVar = (
        Rule(
            "self == oldSelf", "a FineTuneJob is a record of one training: delete it, or create another with a new name"
        ),
        Rule(
            "self.model.initialize != 'Random' || self.tuning.method == 'full'",
            "new weights must all be trained: `initialize: Random` needs `tuning.method: full`",
            lambda spec: spec.model.initialize != "Random" or spec.tuning.method == "full",
        ),
    )
