"""Asking a model: greedy answers in batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training_runtime.log import log_event
from training_runtime.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["answers", "load"]

_BATCH_ROWS = 64

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
