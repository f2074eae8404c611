"""DeepSpeed's configuration: what the plan's own fields give, and the user's settings merged into it.

The plan's fields stay the only place where what they say is said: a setting that contradicts one of them is refused,
where DeepSpeed would follow it in silence.
"""

from collections.abc import Mapping
from typing import Any

from .errors import PlanError
from .plan import Plan

__all__ = ["check_deepspeed", "deepspeed_settings"]

_FIELDS = {
    "zero_optimization.stage": "distributed.strategy",
    "zero_optimization.offload_optimizer.device": "distributed.offload",
    "zero_optimization.offload_param.device": "distributed.offload",
    "zero_allow_untested_optimizer": "training.optimizer",
    "zero_force_ds_cpu_optimizer": "training.optimizer",
    "optimizer": "training.optimizer",
    "scheduler": "training.scheduler",
    "bf16.enabled": "training.precision",
    "fp16.enabled": "training.precision",
    "gradient_accumulation_steps": "training.gradientAccumulation",
    "gradient_clipping": "training.maxGradNorm",
    "train_batch_size": "training.perDeviceBatchSize",
    "train_micro_batch_size_per_gpu": "training.perDeviceBatchSize",
}
"""What a setting of DeepSpeed is called here: the field that decides it."""
_GATHERED = "zero_optimization.stage3_gather_16bit_weights_on_model_save"


def check_deepspeed(plan: Plan) -> None:
    """Raise PlanError where the user's settings contradict the plan."""
    if plan.distributed.strategy.startswith("ZeRO"):
        deepspeed_settings(plan, int(plan.distributed.strategy[-1]))


def deepspeed_settings(plan: Plan, stage: int) -> dict[str, Any]:
    """Return the whole configuration; raise PlanError where the user's part of it contradicts the plan.

    The optimizer stays PyTorch's, so that the plan's choice holds and no operator is compiled but for offloading.
    """
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": True, "contiguous_gradients": True}
    if stage == 3:
        zero |= {"stage3_gather_16bit_weights_on_model_save": True, "stage3_param_persistence_threshold": "auto"}
        zero |= {"reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto"}
    offload = plan.distributed.offload
    if offload != "None":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if offload == "Parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    made: dict[str, Any] = {
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }
    return _merged(made, plan.distributed.deepspeed_config or {}, "")


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any], above: str) -> dict[str, Any]:
    made = dict(ours)
    for name, value in theirs.items():
        key, known = f"{above}{name}", ours.get(name)
        if key in _FIELDS and value != known:
            raise PlanError(
                f"distributed.deepspeedConfig sets {key} to {value}, which {_FIELDS[key]} decides: leave it out, and "
                f"set {_FIELDS[key]}"
            )
        if key == _GATHERED and known and not value:
            raise PlanError(
                f"distributed.deepspeedConfig sets {key} to {value}: without it no model is saved; leave it out"
            )
        if isinstance(known, dict) and not isinstance(value, dict):
            raise PlanError(f"distributed.deepspeedConfig: {key} is {value}, and must be an object")
        made[name] = _merged(known or {}, value, f"{key}.") if isinstance(value, dict) else value
    return made
