"""The model that is trained, loaded as the plan's method and precision ask."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runtime.committed import committing
from training_runtime.plan import Plan
from training_runtime.workspace import base_folder

from .arguments import precision, quantization_config, weight_type
from .packed_attention import register_packed_attention
from .strategy import Strategy

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["draw_weights", "load_model", "merged_model", "parameter_counts", "with_full_adapters"]


def load_model(plan: Plan, strategy: Strategy) -> "PreTrainedModel":
    """Return the base in training's precision."""
    from transformers import AutoModelForCausalLM

    settings: dict[str, Any] = {"dtype": _dtype(plan, strategy), "attn_implementation": _attention()}
    if quantization := quantization_config(plan):
        settings |= {"quantization_config": quantization, "device_map": {"": _device()}}
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        base_folder(plan), trust_remote_code=plan.base.trust_remote_code, **settings
    )
    if plan.training.packing and model.config._attn_implementation == "sdpa":  # noqa: SLF001 - where it is kept
        model.set_attn_implementation(register_packed_attention())
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
    """Return base and adapter as one model, in the precision of the training."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(
        base_folder(plan), dtype=weight_type(plan), trust_remote_code=plan.base.trust_remote_code
    )
    model: PreTrainedModel = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
    return model


def _dtype(plan: Plan, strategy: Strategy) -> "torch.dtype":
    """Trained weights stay in 32 bit, but for DeepSpeed, which keeps a master copy; frozen ones need less."""
    import torch

    return weight_type(plan) if plan.lora or strategy.startswith("ZeRO") else torch.float32


def _attention() -> str | None:
    """None takes the model's own: SDPA, but for a model whose attention is none, as that of gpt-oss with its sinks."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    return "flash_attention_2" if torch.cuda.is_available() and is_flash_attn_2_available() else None


def _device() -> "int | str":
    import torch

    return int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else "cpu"


def with_full_adapters(plan: Plan, model: "torch.nn.Module") -> None:
    """Give an adapter beside a quantized base its 32 bits back, unless the computation is in BF16.

    TRL casts such an adapter to bf16, whose gradients the scaler of FP16 refuses.
    """
    import torch

    if not plan.quantization or precision(plan) == "BF16":
        return
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


def parameter_counts(model: "PreTrainedModel | PeftModel") -> tuple[int, int]:
    """Return how many weights are trained, and how many there are, whatever part of them this process holds.

    Of weights that DeepSpeed shares out a process may hold none; of quantized ones several are one number.
    """
    if hasattr(model, "get_nb_trainable_parameters"):
        trained, total = model.get_nb_trainable_parameters()
        return int(trained), int(total)
    counts = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in counts if trained), sum(n for n, _ in counts)
