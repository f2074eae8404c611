"""The base's architecture, built from its configuration without a single weight: how large it is, and which layers an
adapter finds in it. So preparation, which has no GPU, already refuses what training could not do.
"""

from copy import deepcopy
from typing import TYPE_CHECKING

from .errors import PlanError
from .plan import LoraPlan, Plan
from .workspace import base_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["check_adapter", "check_packing", "count_parameters", "empty_model"]

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
        return _unreached(lora, model)
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


def _unreached(lora: LoraPlan, model: "PreTrainedModel") -> list[str]:
    """What `all-linear` passes over without a word: experts that are one parameter, and layers of the same names."""
    reached, every = _reached(lora, model), count_parameters(model)
    experts, layers = dict[str, int](), dict[str, int]()
    for name, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if name in reached or f"{name}.{own}" in reached or module is model.get_output_embeddings():
                continue
            if _is_linear(module):
                layers[name] = layers.get(name, 0) + parameter.numel()
            elif parameter.dim() >= _EXPERT_DIMENSIONS and not _takes_adapter(module):
                experts[f"{name}.{own}"] = parameter.numel()
    told = []
    if experts:
        share = 100 * sum(experts.values()) / every
        told.append(
            f"the adapter does not reach the experts, {share:.0f} % of the weights: they are parameters "
            f"({next(iter(experts))}), where all-linear finds layers; the layers around them are trained"
        )
    if layers:
        share = 100 * sum(layers.values()) / every
        told.append(
            f"the adapter does not reach {len(layers)} layers, {share:.0f} % of the weights ({next(iter(layers))}): "
            "all-linear takes their names for those of the experts, which it trains"
        )
    return told


def _reached(lora: LoraPlan, model: "PreTrainedModel") -> set[str]:
    """The layers and parameters that `all-linear` finds, by trying: PEFT takes the experts of some families, which are
    parameters, for the layers that they once were.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    config = LoraConfig(r=1, lora_dropout=lora.dropout, target_modules=_ALL_LINEAR[0], task_type="CAUSAL_LM")
    try:
        adapted = inject_adapter_in_model(config, deepcopy(model), low_cpu_mem_usage=True)
    except ValueError as error:
        remedy = "set tuning.lora.dropout to 0" if "dropout" in str(error) else "name layers in targetModules"
        raise PlanError(f"tuning.lora: the model's experts cannot be trained so: {remedy} ({error})") from error
    found = [(name, module) for name, module in adapted.named_modules() if isinstance(module, BaseTunerLayer)]
    return {
        ".".join(part for part in (name.replace(".base_layer", ""), getattr(module, "parameter_name", "")) if part)
        for name, module in found
    }


def _is_linear(module: "torch.nn.Module") -> bool:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D))


def check_packing(plan: Plan, model: "PreTrainedModel") -> None:
    """Raise PlanError where the rows of a pack would see each other: another attention than SDPA is told no borders."""
    if plan.training.packing and not model._supports_sdpa:  # noqa: SLF001 - where transformers keeps it
        raise PlanError(
            f"training.packing: the attention of {type(model).__name__} cannot keep the rows of a pack apart: set it "
            "to false"
        )
