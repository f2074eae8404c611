"""How much of a GPU a training takes, reckoned from the model's shape; a gigabyte is 10^9 bytes.

Weights, gradients and the optimizer's states are those of ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054, section 3),
4-bit weights those of QLoRA (Dettmers et al. 2023, arXiv:2305.14314, section 3). Activations are counted as Korthikanti
et al. do (2022, arXiv:2205.05198, sections 4 and 5), for layers with grouped queries and a gated MLP: with
checkpointing each layer keeps its input, and one layer at a time has everything. The square of attention is never kept.
The head's logits come in tiles, as TRL computes them.
"""

from dataclasses import astuple, dataclass

import torch
from transformers import PreTrainedModel

from training_runtime.architecture import count_parameters
from training_runtime.evaluate.losses import portions
from training_runtime.plan import Optimizer, Plan
from training_runtime.train.strategy import Strategy

__all__ = ["Memory", "answering", "training"]

_GIGA = 1e9
_HALF, _FULL = 2, 4
_CONSTANTS_OF_FOUR_BITS = 0.127 / 8
"""Bytes per weight for the double-quantized scales."""
_STATES: dict[Optimizer, float] = {
    "AdamWFused": 8,
    "AdamW": 8,
    "AdamW8bit": 2,
    "PagedAdamW8bit": 2,
    "PagedAdamW32bit": 8,
    "Adafactor": 0,
    "SGD": 0,
}
"""Bytes per trained weight; Adafactor's are a row and a column of each matrix."""
_TILE_TOKENS = 4096
_GATHERED_BYTES = 2 * _HALF * 10**9
"""ZeRO-3 holds at most 10^9 weights whole, and fetches as many ahead."""
_RESERVE = 2.0
"""The CUDA context, NCCL's and cuBLAS's buffers, and what the allocator cannot use."""
_CONTEXT = 0.8
"""The same where one process only answers."""


@dataclass(frozen=True)
class Memory:
    """Gigabytes of each GPU."""

    weights: float
    gradients: float
    states: float
    activations: float
    logits: float
    reserve: float = _RESERVE

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(astuple(self)))


def training(plan: Plan, model: PreTrainedModel, trained: int, strategy: Strategy) -> Memory:
    """Reckon a training of `trained` weights; `model` is the base without an adapter."""
    processes = plan.distributed.nodes * plan.distributed.processes_per_node
    zero = int(strategy[-1]) if strategy.startswith("ZeRO") else 0
    of_weights = processes if zero == 3 or strategy == "FSDP" else 1
    of_gradients = processes if zero >= 2 or strategy == "FSDP" else 1
    of_states = processes if zero >= 1 or strategy == "FSDP" else 1
    tokens = plan.training.per_device_batch_size * plan.training.max_sequence_length
    gathered = _GATHERED_BYTES if zero == 3 else 0
    return Memory(
        weights=(_weights(plan, model, whole=not zero) / of_weights + gathered) / _GIGA,
        gradients=trained * (_HALF if zero else _FULL) / of_gradients / _GIGA,
        states=trained * (_STATES[plan.training.optimizer] + (_FULL if zero else 0)) / of_states / _GIGA,
        activations=_activations(plan, model, tokens) / _GIGA,
        logits=min(tokens, _TILE_TOKENS) * model.config.vocab_size * 2 * _FULL / _GIGA,
    )


def answering(model: PreTrainedModel, tokens: int, longest_row: int, gpu: float) -> float:
    """Gigabytes of a model in 16 bits on a GPU of so many: its weights, and the most that either of its tasks takes.

    It reads and writes `tokens`, of which each layer keeps keys and values; or a batch of test rows goes through the
    layers and the head, which is as large as what is free and holds the longest row at least.
    """
    config = model.config
    pairs = 2 * int(config.num_hidden_layers) * int(config.num_key_value_heads) * _head(model)
    held = count_parameters(model) * _HALF / _GIGA + _CONTEXT
    batch = portions(model, int((gpu - held) * _GIGA))
    rows = batch._replace(hidden=max(batch.hidden, longest_row)).taken
    return held + max(pairs * tokens * _HALF, rows) / _GIGA


def _head(model: PreTrainedModel) -> int:
    config = model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _weights(plan: Plan, model: PreTrainedModel, *, whole: bool) -> float:
    everything = count_parameters(model)
    if plan.quantization:
        head = model.get_output_embeddings()
        layers = [one for one in model.modules() if type(one) is torch.nn.Linear and one is not head]
        held = sum(int(layer.weight.numel()) for layer in layers)
        constants = _CONSTANTS_OF_FOUR_BITS if plan.quantization.bits == 4 else 0
        return held * (plan.quantization.bits / 8 + constants) + (everything - held) * _HALF
    return everything * (_FULL if whole and not plan.lora else _HALF)


def _activations(plan: Plan, model: PreTrainedModel, tokens: int) -> float:
    config, head = model.config, _head(model)
    queries, pairs = config.num_attention_heads * head, 2 * config.num_key_value_heads * head
    inputs = 2 * config.hidden_size  # the layer's and the MLP's, each before and after its norm
    layer = 2 * inputs + 2 * queries + pairs + 4 * config.intermediate_size
    if plan.lora and plan.lora.dropout:
        layer += 6 * config.hidden_size + config.intermediate_size  # each adapted layer's input once more
    return float(
        tokens * _HALF * (config.num_hidden_layers * config.hidden_size + 2 * layer)
    )  # the layer's gradients, too
