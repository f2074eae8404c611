"""The dataset that preparation left on the volume: which one the plan asked for, and how later stages read it."""

from pathlib import Path
from typing import Any, NamedTuple

from prompts import TEMPLATE_FILE

from .committed import facts_of, verified_digest
from .errors import DataError
from .plan import Plan
from .workspace import current_dataset_file, dataset_folder, first_step_file

__all__ = [
    "Current",
    "PreparedPrompt",
    "current_dataset",
    "dataset_facts",
    "first_step",
    "part_files",
    "prepared_prompt",
    "set_current_dataset",
    "verified_dataset",
]


class Current(NamedTuple):
    """The dataset that was asked for last."""

    key: str
    rules: str
    """The digest of the plan's rules that it was made by."""


class PreparedPrompt(NamedTuple):
    """How the rows of a dataset were written."""

    template: str | None
    """The chat template; None where the base has none, and the rows are plain text."""
    source: str
    """The digest of the template that the base's tokenizer had then."""
    end: str
    """The token that ends an answer, where the base would not stop at it; else empty."""


def current_dataset(plan: Plan) -> Current | None:
    """Return which dataset was asked for last, None before the first."""
    pointer = current_dataset_file(plan)
    return Current(*pointer.read_text().split()) if pointer.exists() else None


def set_current_dataset(plan: Plan, current: Current) -> None:
    """Point at another dataset, in one step."""
    pointer = current_dataset_file(plan)
    draft = pointer.with_name(f"{pointer.name}.draft")
    draft.write_text(" ".join(current))
    draft.rename(pointer)


def verified_dataset(plan: Plan) -> Path:
    """Return the folder of the prepared dataset; raise DataError where there is none that is whole.

    Every byte is read for that, so a stage asks once, when it begins.
    """
    folder = _folder(plan)
    if not verified_digest(folder):
        raise DataError("there is no prepared data on the volume: run the prepare stage first")
    return folder


def dataset_facts(plan: Plan) -> dict[str, Any]:
    """Return what the manifest says of the dataset: its numbers, labels and the answers' fields."""
    return facts_of(_folder(plan))


def first_step(plan: Plan) -> int:
    """Return the step that reads the data's first row: 0 but where training goes on from what learnt other data."""
    path = first_step_file(plan)
    return int(path.read_text()) if path.exists() else 0


def part_files(plan: Plan, part: str) -> list[str]:
    """Return the shards of a part, in the order of their rows."""
    return [str(path) for path in sorted((_folder(plan) / part).glob("*.parquet"))]


def prepared_prompt(plan: Plan) -> PreparedPrompt:
    """Return how the current dataset's rows were written."""
    path, told = _folder(plan) / TEMPLATE_FILE, dataset_facts(plan)["prompt"]
    return PreparedPrompt(path.read_text(encoding="utf-8") if path.exists() else None, told["source"], told["end"])


def _folder(plan: Plan) -> Path:
    current = current_dataset(plan)
    return dataset_folder(plan, current.key if current else "none")
