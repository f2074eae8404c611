"""The plan: the one file that every stage reads, and the results that stages hand back.

The operator fills it from a FineTuneJob; on a laptop a person can. What only a cluster knows is
settled before it is written (`configmap://…` and `pvc://…` become paths), so a stage needs no Kubernetes.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from . import HEARTBEAT_VARIABLE

__all__ = [
    "ANSWERING_STEPS",
    "DIGEST_TAG",
    "FAILURE_TAG",
    "INSTALLATION_TAG",
    "JOB_TAG",
    "JOB_UID_TAG",
    "RENDEZVOUS_PORT",
    "RESERVED_ENVIRONMENT",
    "AnsweringStep",
    "Answers",
    "ArtifactFormat",
    "BasePlan",
    "CleanPlan",
    "ColumnsPlan",
    "DataFormat",
    "DatasetPlan",
    "DistributedPlan",
    "EarlyStoppingPlan",
    "Engine",
    "Entity",
    "Evaluated",
    "EvaluationPlan",
    "ExitCode",
    "Failed",
    "GradientCheckpointing",
    "GuardsPlan",
    "Initialize",
    "JobIdentity",
    "Language",
    "LoraPlan",
    "Method",
    "MetricInterval",
    "Offload",
    "Optimizer",
    "OutputFormat",
    "OutputPlan",
    "PiiAction",
    "PiiPlan",
    "Plan",
    "Precision",
    "Prepared",
    "PromptFormat",
    "PromptPlan",
    "Published",
    "QualityPlan",
    "QuantizationPlan",
    "Questions",
    "ResponseDictionaryPlan",
    "ResumePlan",
    "RowTemplate",
    "Scheduler",
    "Sharing",
    "SourcePlan",
    "SplitPlan",
    "Stage",
    "Strategy",
    "SuitePlan",
    "SuiteType",
    "Template",
    "Thinking",
    "TrackingPlan",
    "Trained",
    "TrainingPlan",
    "WatchedMetric",
    "asks_rows",
]

Stage = Literal["prepare", "train", "evaluate", "publish"]
AnsweringStep = Literal["ask", "answer"]
ANSWERING_STEPS: tuple[AnsweringStep, ...] = get_args(AnsweringStep)
"""What goes before evaluation, in its pod, where vLLM answers: the questions are written, then answered."""
Initialize = Literal["Pretrained", "Random"]
DataFormat = Literal["Auto", "JSONL", "JSON", "CSV", "Parquet"]
RowTemplate = Literal["Messages", "Alpaca", "QuestionAnswer", "InstructionIO", "Text"]
Template = Literal["Auto", "Messages", "Alpaca", "QuestionAnswer", "InstructionIO", "Text"]
PromptFormat = Literal["Chat", "Text"]
Thinking = Literal["None", "Keep"]
PiiAction = Literal["Mask", "Drop", "Report", "None"]
Entity = Literal[
    "ResidentNumber",
    "AlienNumber",
    "Phone",
    "Email",
    "Card",
    "Passport",
    "DriverLicense",
    "BusinessNumber",
    "BankAccount",
    "Address",
    "Name",
    "Plate",
    "SocialSecurityNumber",
    "IpAddress",
]
Language = Literal["ko", "en"]
Method = Literal["LoRA", "QLoRA", "Full"]
Scheduler = Literal[
    "Linear", "Cosine", "CosineWithRestarts", "Polynomial", "Constant", "ConstantWithWarmup", "InverseSqrt"
]
Optimizer = Literal["AdamWFused", "AdamW", "AdamW8bit", "PagedAdamW8bit", "PagedAdamW32bit", "Adafactor", "SGD"]
Precision = Literal["Auto", "BF16", "FP16", "FP32"]
GradientCheckpointing = Literal["Auto", "None", "Full"]
WatchedMetric = Literal["Loss", "TokenAccuracy"]
Sharing = Literal["DDP", "FSDP", "ZeRO1", "ZeRO2", "ZeRO3"]
Strategy = Literal["Auto", "DDP", "FSDP", "ZeRO1", "ZeRO2", "ZeRO3"]
Offload = Literal["None", "Optimizer", "Parameters"]
SuiteType = Literal["Classification", "JSON", "Text", "Perplexity", "Judge", "Harness"]
Engine = Literal["Auto", "Transformers", "VLLM"]
OutputFormat = Literal["Adapter", "Merged"]
ArtifactFormat = Literal["Adapter", "Merged", "Full"]

DIGEST_TAG = "anneal.dev/digest"
"""MLflow's tag of a model version that says which artifact it is."""
JOB_TAG = "anneal.dev/job"
"""MLflow's tag of a run that says by namespace and name which job's it is."""
INSTALLATION_TAG = "anneal.dev/installation"
"""MLflow's tag of a run that says which installation's operator ends it, should its job go."""
JOB_UID_TAG = "anneal.dev/job-uid"
"""MLflow's tag of a run, and of the version made from it, that says which job's it is."""
FAILURE_TAG = "anneal.dev/failure"
"""MLflow's tag of a run that failed: the kind of failure."""
RENDEZVOUS_PORT = 29500
"""Where the first node of a training on several listens."""
RESERVED_ENVIRONMENT = (
    HEARTBEAT_VARIABLE,
    "HF_HUB_OFFLINE",
    "HOME",
    "JOB_COMPLETION_INDEX",
    "KUBEFLOW_TRAINER_SERVER_CA_CERT",
    "KUBEFLOW_TRAINER_SERVER_TOKEN",
    "KUBEFLOW_TRAINER_SERVER_URL",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR",
    "RANK",
    "WORLD_SIZE",
)
"""Environment variables that the stages are started with, and that nobody else may set."""


class ExitCode:
    """How a stage ends: what each exit code tells the operator."""

    DONE = 0
    BAD_PLAN = 64
    BAD_DATA = 65
    INTERNAL = 70
    OUT_OF_MEMORY = 71
    PREEMPTED = 75
    DIVERGED = 76
    NO_ACCESS = 77
    STALLED = 78


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class JobIdentity(_Part):
    """Whose work this is."""

    name: str
    namespace: str
    uid: str


class BasePlan(_Part):
    """Where training starts."""

    initialize: Initialize
    uri: str
    """A local folder, `hf://OWNER/NAME[@REVISION]`, `s3://BUCKET/PREFIX` or `mlflow-artifacts:/…`; for Random a
    folder with config.json.
    """
    credentials: Path | None = None
    """A folder with a file for each credential; None takes the environment's."""
    digest: str | None = None
    """The manifest's digest that a downloaded folder must have."""
    trust_remote_code: bool = False
    """Whether Python code shipped with the model may run."""


class ColumnsPlan(_Part):
    """Where a row holds what: names, or dotted paths; without them the template's own names hold."""

    input: str | None = None
    output: str | None = None
    instruction: str | None = None
    label: str | None = None
    """What rows are counted by in the report, and stratified by where the split names nothing else."""
    group: str | None = None
    """Rows with the same value stay in the same part."""
    context: list[str] = []
    """Further columns that the prompt's text has fields for, called by the last part of their paths."""


class CleanPlan(_Part):
    """What is done to a question's text before anything else."""

    remove_pattern: str | None = None
    """A regular expression whose matches are removed."""
    collapse_whitespace: bool = False
    min_characters: int = 1
    max_characters: int | None = None


class PiiPlan(_Part):
    """What happens to personal data."""

    action: PiiAction = "Mask"
    entities: list[Entity] = []
    """The kinds that are looked for; empty means all."""


class QualityPlan(_Part):
    """Which rows are too poor to learn from."""

    min_score: float = 0.0
    """From 0 to 1, `prepare.quality.score`."""
    blocked_words: list[str] = []
    """A row that holds one of them, in any case, is removed."""
    languages: list[Language] = []
    """A row written in none of them is removed; empty lets every language in."""


class SplitPlan(_Part):
    """How rows are held out."""

    validation: float
    test: float
    stratify_by: str | None
    seed: int


class SourcePlan(_Part):
    """One place where data lies."""

    uri: str
    """A local file or folder, `s3://…`, `https://…` or `hf://datasets/OWNER/NAME[@REVISION][/PATH]`."""
    format: DataFormat = "Auto"
    credentials: Path | None = None
    """A folder with a file for each credential; None takes the environment's."""


class PromptPlan(_Part):
    """How a row becomes the text that the model reads."""

    format: PromptFormat = "Chat"
    """Chat: by a chat template. Text: by `text` alone, for a base without a template."""
    system_prompt: str | None = None
    """Put before every conversation that has no system message of its own."""
    chat_template: str | None = None
    """A Jinja template instead of the tokenizer's."""
    text: str | None = None
    """With the named fields `{instruction}`, `{input}` and those of the context. Chat: what a user's turn looks like,
    None takes the message. Text: the whole row, ending with `{output}`; None is Alpaca's text.
    """
    text_without_input: str | None = None
    """The text of a row that has no input; None takes `text` with an empty one."""
    defaults: dict[str, str] = {}
    """What a field is where a row, or a request, has nothing for it."""
    thinking: Thinking = "None"
    """None: answers without thoughts are learnt and asked for. Keep: with those that the rows have."""


class ResponseDictionaryPlan(_Part):
    """The words that an answer may use, which its row brings."""

    field: str
    levels: list[str]
    context: str


class DatasetPlan(_Part):
    """The data and the rules of its preparation."""

    sources: list[SourcePlan]
    template: Template = "Auto"
    columns: ColumnsPlan = ColumnsPlan()
    prompt: PromptPlan = PromptPlan()
    response_schema: dict[str, Any] | None = None
    """A JSON Schema that every answer must satisfy."""
    response_dictionary: ResponseDictionaryPlan | None = None
    clean: CleanPlan = CleanPlan()
    pii: PiiPlan = PiiPlan()
    duplicate_threshold: float | None = 0.85
    """The Jaccard similarity from which two questions count as the same; None keeps repetitions."""
    quality: QualityPlan = QualityPlan()
    split: SplitPlan
    max_truncated_percent: float = 100.0
    max_rejected_percent: float = 5.0


class LoraPlan(_Part):
    """The adapter's shape."""

    rank: int
    alpha: int
    dropout: float
    target_modules: list[str]


class QuantizationPlan(_Part):
    """The frozen base's precision, for an adapter that is trained beside it (QLoRA)."""

    bits: Literal[4, 8]


class EarlyStoppingPlan(_Part):
    """When validation no longer gets better."""

    patience: int
    metric: WatchedMetric = "Loss"


class GuardsPlan(_Part):
    """When a training is ended because it goes wrong."""

    spike_factor: float | None = None
    """A loss above this multiple of the recent median ends the training; None watches for NaN only."""
    spike_window: int = 50
    stalled_after_seconds: int = 600
    """How long a training may show no sign of life, at the least: ten steps are always waited for, and each part of the
    end ten times as long.
    """


class ResumePlan(_Part):
    """The checkpoint of another training, that this one goes on from."""

    checkpoints: Path
    """The other's folder of checkpoints."""
    step: int | None = None
    """None: the newest that is whole."""


class TrainingPlan(_Part):
    """The optimisation; exactly one of epochs and max_steps is set."""

    epochs: int | None
    max_steps: int | None
    learning_rate: float
    scheduler: Scheduler = "Cosine"
    warmup_steps: int = 0
    warmup_ratio: float | None = None
    optimizer: Optimizer = "AdamWFused"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    per_device_batch_size: int
    gradient_accumulation: int = 1
    max_sequence_length: int
    packing: bool = False
    assistant_only_loss: bool = True
    precision: Precision = "Auto"
    """Auto: BF16 where a GPU has it, else FP32."""
    gradient_checkpointing: GradientCheckpointing = "Auto"
    """Auto: on a GPU only."""
    evaluate_every_steps: int | None = None
    """None: as often as a checkpoint is saved."""
    max_evaluation_rows: int = 1000
    """How many of the validation rows a look takes, the same ones each time."""
    save_every_steps: int
    keep_checkpoints: int
    log_every_steps: int
    seed: int
    resume_from: ResumePlan | None = None
    early_stopping: EarlyStoppingPlan | None = None
    guards: GuardsPlan = GuardsPlan()


class DistributedPlan(_Part):
    """How the work is shared out between processes."""

    strategy: Strategy = "Auto"
    offload: Offload = "None"
    nodes: int = 1
    processes_per_node: int = 1
    """One for each GPU of a node."""
    deepspeed_config: dict[str, Any] | None = None
    """Merged over what the strategy gives."""


def asks_rows(suite: SuiteType) -> bool:
    """Whether a suite of this type asks rows, own cases or those of the test part; the harness has tasks instead."""
    return suite != "Harness"


class SuitePlan(_Part):
    """One way of judging answers."""

    name: str
    """What its metrics are called by: `NAME/accuracy`."""
    type: SuiteType
    label_field: str | None = None
    """Classification: the answer's field that holds the label; without it the whole answer is the label."""
    language_field: str | None = None
    """Classification: the answer's field that must be written in the language of the expected one."""
    path: str | None = None
    """A file of the user's own with rows like the data's, asked instead of the test rows; for Harness the folder
    of lm-evaluation-harness tasks.
    """
    tasks: list[str] = []
    """Harness: which tasks."""
    schema_path: str | None = None
    url: str | None = None
    """Judge: an OpenAI-compatible address."""
    model: str | None = None
    """Judge: the model that judges."""
    criteria: str | None = None
    """Judge: what a good answer is."""
    constrained: bool = False
    """JSON, Classification: whether the engine lets the model write only what fits the dataset's response schema."""

    @property
    def needs_answers(self) -> bool:
        """Whether it judges what was answered."""
        return self.type not in {"Perplexity", "Harness"}

    @property
    def own_cases(self) -> str | None:
        """The rows of the user's own that it asks, None where it asks the test rows or the harness's tasks."""
        return self.path if asks_rows(self.type) else None


class EvaluationPlan(_Part):
    """What the tuned model is asked."""

    suites: list[SuitePlan]
    max_rows: int
    max_new_tokens: int
    compare_base: bool = True
    """Whether the base is asked too; a new (Random) base never is."""
    engine: Engine = "Auto"
    """Who answers. Auto: Transformers, unless the command line says otherwise: only the operator knows how long either
    would take.
    """
    gated: list[str] = []
    """Metrics that decide over publishing: they are handed back first."""
    seed: int = 42


class TrackingPlan(_Part):
    """Where the run is recorded."""

    uri: str
    experiment: str
    tags: dict[str, str] = {}
    installation: str = ""
    """By which an operator knows the runs of its own jobs; empty where none made the plan."""


class OutputPlan(_Part):
    """What is published."""

    formats: list[OutputFormat] = []
    """Empty means all that there are. All trained weights are a model of their own, whatever is said here."""
    license: str | None = None
    served_length: int | None = None
    """How long a prompt and its answer together may be where vLLM serves the model; None where it does not."""
    served_gpus: int = 1
    """How many GPUs share each layer then."""
    canary: bool = True
    """Whether a few of evaluation's questions go with the weights, for a server to be held to."""


class Plan(_Part):
    """Everything a stage knows."""

    job: JobIdentity
    workspace: Path
    """The folder on the volume that the stages share."""
    base: BasePlan
    dataset: DatasetPlan
    lora: LoraPlan | None
    """None trains all weights."""
    quantization: QuantizationPlan | None = None
    training: TrainingPlan
    distributed: DistributedPlan = DistributedPlan()
    evaluation: EvaluationPlan
    tracking: TrackingPlan
    output: OutputPlan = OutputPlan()
    model_name: str
    image: str = ""
    """What every stage runs in, however often the operator is upgraded meanwhile; empty where no operator is."""
    engine_image: str = ""
    """The same of what vLLM answers evaluation's questions in."""


class Prepared(_Part):
    """What preparation hands back."""

    rows: int
    rejected: int
    duplicates_removed: int
    pii_found: int
    pii: dict[str, int] = {}
    """By kind."""
    removed: dict[str, int] = {}
    """Rows left out, by kind: bad rows, repetitions, and what the rules of the plan took away."""
    tokens: int
    p50_tokens: int = 0
    p95_tokens: int = 0
    p99_tokens: int
    truncated_percent: FiniteFloat
    train: int
    validation: int
    test: int
    digest: str
    warnings: list[str] = []
    """What will work, but not as one may think."""


class Trained(_Part):
    """What training hands back."""

    step: int
    loss: FiniteFloat | None
    eval_loss: FiniteFloat | None
    committed_at: str | None = None
    """When its last checkpoint was committed (RFC 3339, UTC)."""


class MetricInterval(_Part):
    """Where a metric lies with a confidence of 95 %, and of how many rows it is."""

    low: FiniteFloat
    high: FiniteFloat
    rows: int


class Evaluated(_Part):
    """What evaluation hands back, as far as a termination message has room: the metrics of gates come first."""

    metrics: dict[str, FiniteFloat]
    intervals: dict[str, MetricInterval] = {}
    engine: str = ""
    """What answered: `Transformers` or `VLLM`."""


class Questions(_Part):
    """What asking hands back: how many questions there are."""

    questions: int


class Answers(_Part):
    """What answering hands back: how many answers each model gave; none of one that vLLM cannot run."""

    answers: dict[str, int]


class Published(_Part):
    """What publishing hands back."""

    run_id: str
    experiment_id: str
    uri: str
    digest: str
    bytes: int | None = None
    """The size of the folder's files; what an earlier build published has none."""
    format: ArtifactFormat
    version: str = ""
    """The model version in MLflow."""
    base_uri: str = ""
    """Of an adapter, the folder in MLflow of the base that it was trained on; empty where MLflow does not hold it."""
    base_digest: str = ""
    """The manifest's digest of that folder."""
    base_bytes: int | None = None
    """The size of the files that it was trained on."""


class Failed(_Part):
    """What a stage that failed hands back."""

    error: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=2000)]
