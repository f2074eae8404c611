"""The prepared rows as the trainer reads them."""

import random
from typing import TYPE_CHECKING

from training_runtime.plan import Plan
from training_runtime.prepared import part_files
from training_runtime.workspace import cache_folder

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["packed", "sampled", "token_rows"]


def token_rows(plan: Plan, part: str) -> "Dataset":
    """Token ids and labels of a part, mapped from disk: several processes share one copy."""
    from datasets import Dataset

    files = part_files(plan, part)
    if not files:
        return Dataset.from_dict({"input_ids": [], "labels": []})
    cache = str(cache_folder(plan))
    rows: Dataset = Dataset.from_parquet(files, columns=["input_ids", "labels"], cache_dir=cache, split=part)
    return rows


def sampled(plan: Plan, rows: "Dataset") -> "Dataset":
    """As many of the rows as the plan has looked at while training, drawn by its seed, in their order."""
    most = plan.training.max_evaluation_rows
    if len(rows) <= most:
        return rows
    drawn: Dataset = rows.select(sorted(random.Random(plan.training.seed).sample(range(len(rows)), most)))  # noqa: S311
    return drawn


def packed(plan: Plan, rows: "Dataset") -> "Dataset":
    """Rows laid end to end to the full length, each attending to itself alone."""
    from trl import pack_dataset

    if not plan.training.packing or not len(rows):
        return rows
    shuffled = rows.shuffle(seed=plan.training.seed)
    filled: Dataset = pack_dataset(shuffled, plan.training.max_sequence_length, "bfd", {"num_proc": None})
    return filled
