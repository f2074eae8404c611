"""Asking a model: greedy answers in batches, by vLLM on a GPU where it is installed, by Transformers elsewhere."""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runtime.log import log_event
from training_runtime.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["answers", "load", "losses"]

_BATCH_ROWS = 64
_LOSS_BATCH_TOKENS = 16384
"""Tokens of one batch when losses are measured."""

Message = dict[str, str]


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


def answers(folder: Path, prompts: Sequence[list[Message]], limit: int, *, seed: int, trust: bool) -> list[str]:
    """Return one answer per conversation, of at most `limit` tokens."""
    import torch

    if torch.cuda.is_available() and importlib.util.find_spec("vllm"):
        return _by_vllm(folder, prompts, limit, seed=seed, trust=trust)
    from transformers import set_seed

    set_seed(seed)
    tokenizer = load_tokenizer(folder)
    tokenizer.padding_side = "left"
    model = load(folder, trust_remote_code=trust)
    order = sorted(range(len(prompts)), key=lambda i: -sum(len(message["content"]) for message in prompts[i]))
    found: dict[int, str] = {}
    for start in range(0, len(order), _BATCH_ROWS):
        part = order[start : start + _BATCH_ROWS]
        batch = tokenizer.apply_chat_template(
            [prompts[i] for i in part], add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        ).to(model.device)
        with torch.inference_mode():
            output = model.generate(**batch, max_new_tokens=limit, do_sample=False)
        texts = tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        found |= dict(zip(part, texts, strict=True))
        log_event("answered", model=folder.name, rows=len(found), of=len(order))
    return [found[i] for i in range(len(prompts))]


def _by_vllm(folder: Path, prompts: Sequence[list[Message]], limit: int, *, seed: int, trust: bool) -> list[str]:
    from vllm import LLM, SamplingParams

    engine = LLM(model=str(folder), dtype="bfloat16", seed=seed, trust_remote_code=trust)
    outputs = engine.chat(list(prompts), SamplingParams(temperature=0.0, max_tokens=limit), use_tqdm=False)
    return [output.outputs[0].text for output in outputs]


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
