"""The base's architecture, built from its configuration without a single weight: how large it is, and which layers an
adapter finds in it. So preparation, which has no GPU, already refuses what training could not do.
"""

from typing import TYPE_CHECKING

from .errors import PlanError
from .plan import LoraPlan, Plan
from .workspace import base_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["check_adapter", "count_parameters", "empty_model"]

_ALL_LINEAR = ["all-linear"]
_EXPERT_DIMENSIONS = 3
"""Of a parameter that holds a matrix for each expert."""


def empty_model(plan: Plan) -> "PreTrainedModel":
    """Return the base on no device; raise PlanError where it cannot be built from its configuration."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    folder, trust = base_folder(plan), plan.base.trust_remote_code
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
        with init_empty_weights():
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
    except (ImportError, OSError, ValueError) as error:
        told = " ".join(str(error).split())[:500]
        raise PlanError(f"{plan.base.uri} cannot be built from its configuration: {told}") from error
    model.tie_weights()  # weights that two layers share are one, which is lost where they are made empty
    return model


def count_parameters(model: "PreTrainedModel") -> int:
    """Return how many weights a model has."""
    return sum(parameter.numel() for parameter in model.parameters())


def check_adapter(lora: LoraPlan, model: "PreTrainedModel") -> list[str]:
    """Return a sentence on each part of the model that the adapter does not reach, though one may think so.

    Raises PlanError where it names a layer that is not there: PEFT passes over such a name once another one matches.
    """
    if lora.target_modules == _ALL_LINEAR:
        return _unreached_experts(model)
    layers = [name for name, module in model.named_modules() if _takes_adapter(module)]
    missing = [
        wanted
        for wanted in lora.target_modules
        if not any(name == wanted or name.endswith(f".{wanted}") for name in layers)
    ]
    if missing:
        there = sorted({name.rpartition(".")[2] for name in layers})
        raise PlanError(
            f"tuning.lora.targetModules: the model has no layer {', '.join(missing)}: name some of "
            f"{', '.join(there)}, or all-linear alone"
        )
    return []


def _takes_adapter(module: "torch.nn.Module") -> bool:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv1D))


def _unreached_experts(model: "PreTrainedModel") -> list[str]:
    """Experts that are one parameter instead of a layer each: `all-linear` passes over them without a word."""
    found = {
        f"{name}.{own}": parameter.numel()
        for name, module in model.named_modules()
        if not _takes_adapter(module)
        for own, parameter in module.named_parameters(recurse=False)
        if parameter.dim() >= _EXPERT_DIMENSIONS
    }
    if not found:
        return []
    percent = 100 * sum(found.values()) / count_parameters(model)
    told = f"the adapter does not reach the experts, {percent:.0f} % of the weights: they are parameters"
    return [f"{told} ({next(iter(found))}), where all-linear finds layers; the layers around them are trained"]
