"""What adapters answer as PEFT reckons it: `python -m tests.training_runtime.adapter_answers BASE PROMPT ADAPTER …`.

So the tests on the cluster, which have none of these libraries, know what an engine must answer. It writes, for each
adapter's folder, the three likeliest tokens after the prompt with their log-probabilities, as a line of JSON; with
`--make`, the folders are made first: a tiny base and adapters with weights of their own.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runtime.committed import MANIFEST, committing, verified_digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["likeliest", "make"]

_TEXTS = ["the quick brown fox jumps over the lazy dog", "a mail about a prize that nobody has won"]
_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "vocab_size": 512,
    "torch_dtype": "float32",
}


def likeliest(base: Path, adapter: Path, prompt: str, count: int = 3) -> dict[str, float]:
    """Return the likeliest next tokens after a prompt, by their ids, with their log-probabilities."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    served = PeftModel.from_pretrained(model, adapter).eval()
    with torch.no_grad():
        last = served(**tokenizer(prompt, return_tensors="pt")).logits[0, -1]
    best = torch.log_softmax(last.float(), dim=-1).topk(count)
    return {str(token): value for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)}


def make(base: Path, adapters: list[Path]) -> None:
    """Write a base with new weights, and adapters on it that change what it says, as they would be published."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, set_seed

    from training_runtime.prepare.base import _new_tokenizer

    with committing(base) as draft:
        tokenizer = _new_tokenizer(_TEXTS, _CONFIG["vocab_size"])
        tokenizer.save_pretrained(draft)
        ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        config = Qwen3Config(**{**_CONFIG, **ids, "vocab_size": len(tokenizer)})
        set_seed(7)
        AutoModelForCausalLM.from_config(config).save_pretrained(draft)
    for seed, adapter in enumerate(adapters):
        set_seed(seed)
        settings: Any = LoraConfig(r=8, lora_alpha=64, target_modules="all-linear", init_lora_weights=False)
        made: PreTrainedModel = get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
        with committing(adapter) as draft:
            made.save_pretrained(draft)
            AutoTokenizer.from_pretrained(base).save_pretrained(draft)
            (draft / MANIFEST).write_text(json.dumps({"base": {"uri": "", "digest": verified_digest(base)}}))


def main() -> None:
    """Write a line for each adapter."""
    parser = argparse.ArgumentParser(prog="python -m tests.training_runtime.adapter_answers", description=__doc__)
    parser.add_argument("--make", action="store_true", help="make base and adapters first")
    parser.add_argument("base", type=Path)
    parser.add_argument("prompt")
    parser.add_argument("adapters", type=Path, nargs="+")
    options = parser.parse_args()
    if options.make:
        make(options.base, options.adapters)
    for adapter in options.adapters:
        print(json.dumps({"answer": likeliest(options.base, adapter, options.prompt)}), flush=True)


if __name__ == "__main__":
    main()
