"""Asking a model: greedy answers in batches."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runtime.log import log_event

from .asking import Question

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["answers", "load"]

_BATCH_ROWS = 64


def load(folder: Path, *, trust_remote_code: bool) -> "PreTrainedModel":
    """Return a model ready to answer, once the one before has given its memory back: a model refers to itself."""
    import torch
    from transformers import AutoModelForCausalLM

    gc.collect()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, trust_remote_code=trust_remote_code
    )
    return model.to(device).eval()


def answers(
    folder: Path, questions: Sequence[Question], ends: list[int], limit: int, *, seed: int, trust: bool
) -> list[list[int]]:
    """Return the tokens that follow each question, up to one of `ends` or at most `limit`."""
    from transformers import set_seed

    set_seed(seed)
    model = load(folder, trust_remote_code=trust)
    order = sorted(range(len(questions)), key=lambda i: -len(questions[i].ids))
    found: dict[int, list[int]] = {}
    for start in range(0, len(order), _BATCH_ROWS):
        part = order[start : start + _BATCH_ROWS]
        padding = ends[0] if ends else 0
        settings: dict[str, Any] = {"max_new_tokens": limit, "eos_token_id": ends or None, "pad_token_id": padding}
        answered = _generated(model, [questions[i].ids for i in part], settings)
        found |= dict(zip(part, answered, strict=True))
        log_event("answered", model=folder.name, rows=len(found), of=len(order))
    return [found[i] for i in range(len(questions))]


def _generated(model: "PreTrainedModel", rows: Sequence[list[int]], settings: dict[str, Any]) -> list[list[int]]:
    """Answer rows together, or in halves where the GPU's memory does not hold them; one alone has to fit."""
    import torch

    try:
        ids, mask = _padded(rows, settings["pad_token_id"], model.device)
        with torch.inference_mode():
            output = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, **settings)
        return [list(row) for row in output[:, ids.shape[1] :].tolist()]
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    torch.cuda.empty_cache()  # not while the error still holds what it was computing with
    half = len(rows) // 2
    return [*_generated(model, rows[:half], settings), *_generated(model, rows[half:], settings)]


def _padded(rows: Sequence[list[int]], padding: int, device: "torch.device") -> "tuple[torch.Tensor, torch.Tensor]":
    """Rows of one length, padded in front, and where they are rows."""
    import torch

    longest = max(map(len, rows))
    ids = [[padding] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
