"""The base's architecture, built from its configuration without a single weight: how large it is, and which layers an
adapter finds in it. So preparation, which has no GPU, already refuses what training could not do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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
        raise PlanError(f"{plan.base.uri} cannot be built from its configuration: {told}") from error


def count_parameters(model: "PreTrainedModel") -> int:
    """Return how many weights a model has."""
    return sum(parameter.numel() for parameter in model.parameters())


def check_adapter(lora: LoraPlan, model: "PreTrainedModel") -> list[str]:
    """Return a sentence on each part of the model that the adapter does not reach, though one may think so.

    Raises PlanError where it names a layer that is not there: PEFT passes over such a name once another one matches.
    Raises it, too, where it names a layer whose weight is another's: once merged, both would have changed.
    """
    if lora.target_modules == _ALL_LINEAR:
        return _unreached_experts(model)
    layers = {name: module for name, module in model.named_modules() if _takes_adapter(module)}
    found = {wanted: [name for name in layers if f".{name}".endswith(f".{wanted}")] for wanted in lora.target_modules}
    missing = [wanted for wanted, names in found.items() if not names]
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


def _unreached_experts(model: "PreTrainedModel") -> list[str]:
    """`all-linear` passes over experts that are parameters without a word."""
    found = expert_parameters(model)
    if not found:
        return []
    percent = 100 * sum(found.values()) / count_parameters(model)
    told = f"the adapter does not reach the experts, {percent:.0f} % of the weights: they are parameters"
    return [f"{told} ({next(iter(found))}), where all-linear finds layers; the layers around them are trained"]
