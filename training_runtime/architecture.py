"""The base's architecture, built from its configuration without a single weight: how large it is, and which layers an
adapter finds in it. So preparation, which has no GPU, already refuses what training could not do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING

from .errors import PlanError
from .plan import LoraPlan, Plan
from .workspace import base_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["base_config", "check_adapter", "count_parameters", "empty_model", "expert_parameters"]

_ALL_LINEAR = ["all-linear"]
_EXPERT_DIMENSIONS = 3
"""Of a parameter that holds a matrix for each expert."""


def base_config(plan: Plan) -> "PreTrainedConfig":
    """Return the base's configuration; raise PlanError where nobody knows what it describes."""
    from transformers import AutoConfig

    with _building(plan):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            base_folder(plan), trust_remote_code=plan.base.trust_remote_code
        )
        return config


def empty_model(plan: Plan) -> "PreTrainedModel":
    """Return the base on no device; raise PlanError where it cannot be built from its configuration."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    config = base_config(plan)
    with _building(plan), init_empty_weights():
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=plan.base.trust_remote_code)
    model.tie_weights()  # weights that two layers share are one, which is lost where they are made empty
    return model


@contextmanager
def _building(plan: Plan) -> Iterator[None]:
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        told = " ".join(str(error).split())[:500]
        raise PlanError(
            f"{plan.base.uri} cannot be built from its configuration: name a base that brings its code, and set "
            f"base.trustRemoteCode, or another base ({told})"
        ) from error


def count_parameters(model: "PreTrainedModel") -> int:
    """Return how many weights a model has."""
    return sum(parameter.numel() for parameter in model.parameters())


def check_adapter(lora: LoraPlan, model: "PreTrainedModel") -> list[str]:
    """Return a sentence on each part of the model that the adapter does not reach, though one may think so.

    Raises PlanError where it names a layer that is not there: PEFT passes over such a name once another one matches.
    Raises it, too, where it names a layer whose weight is another's: once merged, both would have changed.
    """
    if lora.target_modules == _ALL_LINEAR:
        return _unreached(lora, model)
    layers = {name: module for name, module in model.named_modules() if _takes_adapter(module)}
    found = {wanted: [name for name in layers if f".{name}".endswith(f".{wanted}")] for wanted in lora.target_modules}
    missing = [wanted for wanted, names in found.items() if not names]
    if expert_parameters(model) and not _reached(lora, model) <= layers.keys():
        missing = []  # experts that are parameters, which PEFT knows by the names of the layers that they once were
    if missing:
        there = sorted({name.rpartition(".")[2] for name in layers})
        raise PlanError(
            f"tuning.lora.targetModules: the model has no layer {', '.join(missing)}: name some of "
            f"{', '.join(there)}, or all-linear alone"
        )
    ends = _tied_ends(model)
    if shared := [wanted for wanted, names in found.items() if any(layers[name] in ends for name in names)]:
        raise PlanError(
            f"tuning.lora.targetModules: {', '.join(shared)} shares its weight with the other end of the model, so "
            "merging the adapter would change both: leave it out, or choose tuning.method: Full"
        )
    return []


def _tied_ends(model: "PreTrainedModel") -> tuple["torch.nn.Module", ...]:
    """Embeddings and head, where they are one weight."""
    start, end = model.get_input_embeddings(), model.get_output_embeddings()
    return (start, end) if end is not None and start.weight is end.weight else ()


def _takes_adapter(module: "torch.nn.Module") -> bool:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv1D))


def expert_parameters(model: "PreTrainedModel") -> dict[str, int]:
    """Return the experts that are one parameter instead of a layer each, with their sizes."""
    return {
        f"{name}.{own}": parameter.numel()
        for name, module in model.named_modules()
        if not _takes_adapter(module)
        for own, parameter in module.named_parameters(recurse=False)
        if parameter.dim() >= _EXPERT_DIMENSIONS
    }


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
    """The layers and parameters that the adapter finds, by trying: PEFT takes the experts of some families, which are
    parameters, for the layers that they once were.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    wanted = _ALL_LINEAR[0] if lora.target_modules == _ALL_LINEAR else lora.target_modules
    config = LoraConfig(r=1, lora_dropout=lora.dropout, target_modules=wanted, task_type="CAUSAL_LM")
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
