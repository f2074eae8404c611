"""Which way the work is shared out: chosen from the model's size and the GPU's memory, and explained.

The estimate counts bytes per parameter: weights, gradients and Adam's states with their 32-bit master copy (16 in all
for mixed precision; Rajbhandari et al. 2020, arXiv:1910.02054, section 3). Activations are what three tenths of the
memory are left for; with gradient checkpointing that holds for usual batches, but a choice can still be too bold.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from training_runtime.errors import PlanError
from training_runtime.plan import Plan, Sharing

if TYPE_CHECKING:
    from trl import SFTTrainer

__all__ = ["Choice", "Strategy", "check_applied", "choose"]

Strategy = Literal["Single"] | Sharing
_USABLE_SHARE = 0.7
_WEIGHT_BYTES, _GRADIENT_BYTES, _STATE_BYTES = 2, 2, 12
_WRAPPERS = {
    "DDP": "DistributedDataParallel",
    "ZeRO1": "DeepSpeedEngine",
    "ZeRO2": "DeepSpeedEngine",
    "ZeRO3": "DeepSpeedEngine",
}


@dataclass(frozen=True)
class Choice:
    """A strategy, and the sentence that says why."""

    strategy: Strategy
    why: str


def choose(plan: Plan, parameters: int, gpu_bytes: int) -> Choice:
    """Return the plan's strategy, or for `Auto` the simplest that fits; `gpu_bytes` is 0 without GPUs.

    Raises PlanError for what cannot work together.
    """
    wanted, processes = plan.distributed, plan.distributed.nodes * plan.distributed.processes_per_node
    if wanted.offload != "None" and wanted.strategy not in ("ZeRO2", "ZeRO3"):
        raise PlanError(f"distributed.offload needs strategy ZeRO2 or ZeRO3, not {wanted.strategy}")
    if wanted.offload == "Parameters" and wanted.strategy != "ZeRO3":
        raise PlanError("distributed.offload: Parameters needs strategy ZeRO3")
    if plan.quantization and wanted.strategy in ("FSDP", "ZeRO3"):
        raise PlanError(f"quantized weights cannot be sharded: use DDP, ZeRO1 or ZeRO2 instead of {wanted.strategy}")
    if wanted.strategy != "Auto":
        if processes == 1 and wanted.strategy in ("DDP", "FSDP"):
            return Choice("Single", f"{wanted.strategy} of one process is that process")
        return Choice(wanted.strategy, "the plan names it")
    if processes == 1:
        return Choice("Single", "there is one process")
    return _fitting(plan, parameters, gpu_bytes, processes)


def _fitting(plan: Plan, parameters: int, gpu_bytes: int, processes: int) -> Choice:
    weights = parameters * (plan.quantization.bits / 8 if plan.quantization else _WEIGHT_BYTES)
    trained = 0 if plan.lora else parameters  # an adapter's share is lost in the reserve
    room = gpu_bytes * _USABLE_SHARE
    whole = weights + trained * (_GRADIENT_BYTES + _STATE_BYTES)
    told = f"{parameters / 1e9:.2f} billion parameters, {gpu_bytes / 2**30:.0f} GiB per GPU, {processes} processes"
    if not gpu_bytes or whole <= room or plan.quantization:
        return Choice("DDP", f"{told}: a whole copy fits each")
    if weights + trained * (_GRADIENT_BYTES + _STATE_BYTES) / processes <= room and trained:
        return Choice("ZeRO2", f"{told}: the weights fit each, gradients and optimizer states only shared out")
    return Choice("ZeRO3", f"{told}: only shared-out weights fit")


def check_applied(plan: Plan, strategy: Strategy, trainer: "SFTTrainer") -> None:
    """Raise PlanError where the libraries did not share the work out as asked, which some do silently."""
    processes = plan.distributed.nodes * plan.distributed.processes_per_node
    if trainer.accelerator.num_processes != processes:
        raise PlanError(f"{trainer.accelerator.num_processes} processes train where the plan asks for {processes}")
    wrapper = type(trainer.model_wrapped)
    if strategy == "FSDP":
        from torch.distributed.fsdp import FSDPModule

        applied = issubclass(wrapper, FSDPModule)
    else:
        applied = strategy not in _WRAPPERS or wrapper.__name__ == _WRAPPERS[strategy]
    if not applied:
        raise PlanError(f"the model is wrapped in {wrapper.__name__}, which is not {strategy}")
    if strategy.startswith("ZeRO") and (stage := trainer.model_wrapped.zero_optimization_stage()) != int(strategy[-1]):
        raise PlanError(f"DeepSpeed shares out at stage {stage}, which is not {strategy}")
