"""The model that is trained, loaded as the plan's method and precision ask."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runtime.committed import committing
from training_runtime.plan import Plan
from training_runtime.workspace import base_folder

from .arguments import precision, quantization_config
from .packed_attention import register_packed_attention
from .strategy import Strategy

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["count_parameters", "draw_weights", "load_model", "merged_model", "trainable_parameters"]


def count_parameters(plan: Plan) -> int:
    """Return how many weights the base has, from its configuration, without loading one."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(base_folder(plan), trust_remote_code=plan.base.trust_remote_code)
    with init_empty_weights():
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())


def load_model(plan: Plan, strategy: Strategy) -> "PreTrainedModel":
    """Return the base in training's precision."""
    from transformers import AutoModelForCausalLM

    settings: dict[str, Any] = {"dtype": _dtype(plan, strategy), "attn_implementation": _attention(plan)}
    if quantization := quantization_config(plan):
        settings |= {"quantization_config": quantization, "device_map": {"": _device()}}
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        base_folder(plan), trust_remote_code=plan.base.trust_remote_code, **settings
    )
    return model


def draw_weights(plan: Plan) -> None:
    """Give a new (Random) base its weights, drawn from the plan's seed, unless it has them.

    Drawn once and stored, they are the same for every strategy: DeepSpeed's third stage would draw each shard anew.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    folder = base_folder(plan)
    if plan.base.initialize != "Random" or any(folder.glob("*.safetensors")):
        return
    set_seed(plan.training.seed)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=plan.base.trust_remote_code)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=plan.base.trust_remote_code)
    with committing(folder) as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        model.save_pretrained(draft)


def merged_model(plan: Plan, adapter: Path) -> "PreTrainedModel":
    """Return base and adapter as one model, in 16 bit on a GPU's machine, in 32 bit elsewhere."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    base = AutoModelForCausalLM.from_pretrained(
        base_folder(plan), dtype=dtype, trust_remote_code=plan.base.trust_remote_code
    )
    model: PreTrainedModel = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
    return model


def _dtype(plan: Plan, strategy: Strategy) -> "torch.dtype":
    """Trained weights stay in 32 bit, but for DeepSpeed, which keeps a master copy; frozen ones need less."""
    import torch

    kind = precision(plan)
    if kind == "FP32" or not (plan.lora or strategy.startswith("ZeRO")):
        return torch.float32
    return torch.float16 if kind == "FP16" else torch.bfloat16


def _attention(plan: Plan) -> str:
    import torch
    from transformers.utils import is_flash_attn_2_available

    if torch.cuda.is_available() and is_flash_attn_2_available():
        return "flash_attention_2"
    return register_packed_attention() if plan.training.packing else "sdpa"


def _device() -> "int | str":
    import torch

    return int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else "cpu"


def trainable_parameters(model: "PreTrainedModel") -> tuple[int, int]:
    """Return how many weights are trained, and how many there are."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in counts if trained), sum(n for n, _ in counts)
