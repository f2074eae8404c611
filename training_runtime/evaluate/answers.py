"""Asking a model: greedy answers in batches, by vLLM on a GPU where it is installed, by Transformers elsewhere."""

import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .asking import Question

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["answers", "load", "losses"]

_BATCH_ROWS = 64
_LOSS_BATCH_TOKENS = 16384
"""Tokens of one batch when losses are measured."""


def load(folder: Path, *, trust_remote_code: bool) -> "PreTrainedModel":
    """Return a model ready to answer."""
    import torch
    from transformers import AutoModelForCausalLM

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
    import torch

    if torch.cuda.is_available() and importlib.util.find_spec("vllm"):
        return _by_vllm(folder, questions, ends, limit, seed=seed, trust=trust)
    from transformers import set_seed

    set_seed(seed)
    model = load(folder, trust_remote_code=trust)
    order = sorted(range(len(questions)), key=lambda i: -len(questions[i].ids))
    found: dict[int, list[int]] = {}
    for start in range(0, len(order), _BATCH_ROWS):
        part = order[start : start + _BATCH_ROWS]
        padding = ends[0] if ends else 0
        ids, mask = _padded([questions[i].ids for i in part], padding, model.device)
        settings: dict[str, Any] = {"max_new_tokens": limit, "eos_token_id": ends or None, "pad_token_id": padding}
        with torch.inference_mode():
            output = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, **settings)
        found |= dict(zip(part, output[:, ids.shape[1] :].tolist(), strict=True))
        print(json.dumps({"event": "answered", "model": folder.name, "rows": len(found), "of": len(order)}), flush=True)
    return [found[i] for i in range(len(questions))]


def _padded(rows: Sequence[list[int]], padding: int, device: "torch.device") -> "tuple[torch.Tensor, torch.Tensor]":
    """Rows of one length, padded in front, and where they are rows."""
    import torch

    longest = max(map(len, rows))
    ids = [[padding] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _by_vllm(
    folder: Path, questions: Sequence[Question], ends: list[int], limit: int, *, seed: int, trust: bool
) -> list[list[int]]:
    from vllm import LLM, SamplingParams

    engine = LLM(model=str(folder), dtype="bfloat16", seed=seed, trust_remote_code=trust)
    prompts = [{"prompt_token_ids": question.ids} for question in questions]
    settings = SamplingParams(temperature=0.0, max_tokens=limit, stop_token_ids=ends)
    return [list(output.outputs[0].token_ids) for output in engine.generate(prompts, settings, use_tqdm=False)]


def losses(model: "PreTrainedModel", rows: Sequence[tuple[list[int], list[int]]]) -> Iterator[tuple[float, int]]:
    """Yield each row's summed loss and how many tokens it is of; rows are token ids and labels."""
    import torch
    from torch.nn.functional import cross_entropy

    for part in _batches(rows):
        longest = max(len(ids) for ids, _ in part)
        ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in part], device=model.device)
        labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in part], device=model.device)
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in part], device=model.device)
        with torch.inference_mode():
            logits: Any = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        wanted = labels[:, 1:]
        each = cross_entropy(logits.transpose(1, 2), wanted, reduction="none", ignore_index=-100).sum(dim=1)
        yield from zip(each.tolist(), (wanted != -100).sum(dim=1).tolist(), strict=True)


def _batches(rows: Sequence[tuple[list[int], list[int]]]) -> Iterator[list[tuple[list[int], list[int]]]]:
    batch: list[tuple[list[int], list[int]]] = []
    for row in rows:
        if batch and max(len(row[0]), *(len(ids) for ids, _ in batch)) * (len(batch) + 1) > _LOSS_BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
