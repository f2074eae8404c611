"""Every path on the volume that a stage leaves for another, or for itself after a kill.

    WORKSPACE/
    ├── base/                  the model that training starts from, committed
    ├── data/current           names the KEY that the plan asked for
    ├── data/KEY/              prepared rows: PART/*.parquet, chat_template.jinja, rejects.jsonl, report.html, committed
    ├── cases/                 evaluation's own cases, a folder of Parquet files for each source, committed
    ├── checkpoints/step-N/    committed; .draft is what Trainer is writing, .holder who may commit,
    │                          .first-step where the data's first row was read, if not at step 0
    ├── adapter/, model/       what was trained, and the whole model, committed
    ├── history.json, train_results.json
    ├── tensorboard/, profile/, tracking/
    ├── questions/             what vLLM is asked in evaluation, committed
    ├── answers/MODEL/         what it answered, committed
    ├── evaluation/            metrics.json, answers.jsonl, report.html, canary.json, committed
    └── published/NAME/        the folders as MLflow gets them, committed

A stage writes a committed folder as a draft first, so what lies in it has a name here and no path. Nothing here reads
or writes.
"""

import hashlib
from pathlib import Path

from .plan import Plan

__all__ = [
    "ANSWERS",
    "METRICS",
    "PARTS",
    "REJECTS",
    "REPORT",
    "adapter_folder",
    "answers_folder",
    "base_folder",
    "cache_folder",
    "cases_folder",
    "cases_name",
    "checkpoint_name",
    "checkpoints_folder",
    "copies_folder",
    "current_dataset_file",
    "dataset_folder",
    "evaluation_folder",
    "first_step_file",
    "history_file",
    "model_folder",
    "profile_folder",
    "published_folder",
    "questions_folder",
    "results_file",
    "tensorboard_folder",
    "tracking_folder",
    "trained_draft",
]

PARTS = ("train", "validation", "test")
"""The folders of a prepared dataset."""
REJECTS = "rejects.jsonl"
"""In a prepared dataset: every row that was left out, and why."""
REPORT = "report.html"
"""In a prepared dataset, and in an evaluation."""
METRICS = "metrics.json"
"""In an evaluation."""
ANSWERS = "answers.jsonl"
"""In an evaluation: each row, and what each model answered."""


def base_folder(plan: Plan) -> Path:
    """The model that training starts from."""
    return plan.workspace / "base"


def dataset_folder(plan: Plan, key: str) -> Path:
    """The dataset prepared under a key."""
    return plan.workspace / "data" / key


def current_dataset_file(plan: Plan) -> Path:
    """The key of the dataset that the plan asked for, and the digest of the rules it was made by."""
    return plan.workspace / "data/current"


def copies_folder(plan: Plan) -> Path:
    """Copies of remote sources, while they are prepared."""
    return plan.workspace / "data/.sources"


def cases_folder(plan: Plan) -> Path:
    """The cases of evaluation's suites that have their own."""
    return plan.workspace / "cases"


def cases_name(path: str) -> str:
    """What the cases that come from this path are called in there."""
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def checkpoints_folder(plan: Plan) -> Path:
    """The training's checkpoints."""
    return plan.workspace / "checkpoints"


def first_step_file(plan: Plan) -> Path:
    """The step that read the data's first row, where training goes on from a checkpoint that learnt other data."""
    return checkpoints_folder(plan) / ".first-step"


def trained_draft(plan: Plan) -> Path:
    """What Trainer saves at its end, before it is committed."""
    return plan.workspace / ".trained.draft"


def adapter_folder(plan: Plan) -> Path:
    """The trained adapter, where one was trained."""
    return plan.workspace / "adapter"


def model_folder(plan: Plan) -> Path:
    """The finished model: an adapter is merged in."""
    return plan.workspace / "model"


def checkpoint_name(step: int) -> str:
    """A checkpoint's folder among the checkpoints."""
    return f"step-{step:08d}"


def history_file(plan: Plan) -> Path:
    """The numbers that training logged, each with its step."""
    return plan.workspace / "history.json"


def results_file(plan: Plan) -> Path:
    """What a person compares runs by."""
    return plan.workspace / "train_results.json"


def tensorboard_folder(plan: Plan) -> Path:
    """The event files that TensorBoard reads."""
    return plan.workspace / "tensorboard"


def profile_folder(plan: Plan) -> Path:
    """Traces of torch's profiler."""
    return plan.workspace / "profile"


def cache_folder(plan: Plan) -> Path:
    """Rows as training maps them into memory."""
    return plan.workspace / ".cache"


def tracking_folder(plan: Plan) -> Path:
    """Metrics on their way to MLflow."""
    return plan.workspace / "tracking"


def questions_folder(plan: Plan) -> Path:
    """What vLLM is asked, as token ids."""
    return plan.workspace / "questions"


def answers_folder(plan: Plan, model: str) -> Path:
    """What a model answered to that: `tuned` or `base`."""
    return plan.workspace / "answers" / model


def evaluation_folder(plan: Plan) -> Path:
    """Metrics, answers and the report of the evaluation."""
    return plan.workspace / "evaluation"


def published_folder(plan: Plan, name: str) -> Path:
    """A folder as it is published: `model` or `adapter`."""
    return plan.workspace / "published" / name
