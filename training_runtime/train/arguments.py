"""The plan's settings as Transformers, TRL, PEFT and DeepSpeed name them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from training_runtime.deepspeed_settings import deepspeed_settings
from training_runtime.errors import PlanError
from training_runtime.plan import Optimizer, Plan, Scheduler

from .strategy import Strategy

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig
    from trl import SFTConfig

__all__ = ["adapter_config", "precision", "quantization_config", "trainer_arguments", "weight_type"]

_DEFAULT_EPOCHS = 3
_ALL_LINEAR = "all-linear"
_SCHEDULERS: dict[Scheduler, str] = {
    "Linear": "linear",
    "Cosine": "cosine",
    "CosineWithRestarts": "cosine_with_restarts",
    "Polynomial": "polynomial",
    "Constant": "constant",
    "ConstantWithWarmup": "constant_with_warmup",
    "InverseSqrt": "inverse_sqrt",
}
_OPTIMIZERS: dict[Optimizer, str] = {
    "AdamWFused": "adamw_torch_fused",
    "AdamW": "adamw_torch",
    "AdamW8bit": "adamw_8bit",
    "PagedAdamW8bit": "paged_adamw_8bit",
    "PagedAdamW32bit": "paged_adamw_32bit",
    "Adafactor": "adafactor",
    "SGD": "sgd",
}


def precision(plan: Plan) -> Literal["FP32", "BF16", "FP16"]:
    """Return the precision of the computation; raise PlanError where the device cannot."""
    import torch

    wanted = plan.training.precision
    if wanted == "Auto":
        return "BF16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "FP32"
    if wanted == "FP16" and not torch.cuda.is_available():
        raise PlanError("training.precision: FP16 needs a GPU: use FP32 or BF16")
    return wanted


def weight_type(plan: Plan) -> "torch.dtype":
    """Return torch's name for the precision of the computation, which the finished weights have too."""
    import torch

    return {"FP32": torch.float32, "BF16": torch.bfloat16, "FP16": torch.float16}[precision(plan)]


def adapter_config(plan: Plan) -> "LoraConfig | None":
    """Return the adapter's shape, None where all weights are trained."""
    from peft import LoraConfig, TaskType

    if not plan.lora:
        return None
    modules = plan.lora.target_modules
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=plan.lora.rank,
        lora_alpha=plan.lora.alpha,
        lora_dropout=plan.lora.dropout,
        target_modules=_ALL_LINEAR if modules == [_ALL_LINEAR] else modules,
    )


def quantization_config(plan: Plan) -> "BitsAndBytesConfig | None":
    """Return how the frozen base is held, None for full precision (Dettmers et al. 2023, arXiv:2305.14314)."""
    from transformers import BitsAndBytesConfig

    if not plan.quantization:
        return None
    if plan.quantization.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=weight_type(plan),
    )


def trainer_arguments(plan: Plan, output: Path, strategy: Strategy, *, watched: bool, on_terminal: bool) -> "SFTConfig":
    """Return the trainer's settings; raise PlanError for names that it does not know."""
    import torch
    from trl import SFTConfig

    settings, on_gpu, kind = plan.training, torch.cuda.is_available(), precision(plan)
    checkpointing = on_gpu if settings.gradient_checkpointing == "Auto" else settings.gradient_checkpointing == "Full"
    evaluate = settings.evaluate_every_steps or settings.save_every_steps
    try:
        return SFTConfig(
            output_dir=str(output),
            num_train_epochs=settings.epochs or _DEFAULT_EPOCHS,
            max_steps=settings.max_steps or -1,
            learning_rate=settings.learning_rate,
            lr_scheduler_type=_SCHEDULERS[settings.scheduler],
            warmup_steps=settings.warmup_ratio or settings.warmup_steps,
            optim=_OPTIMIZERS[settings.optimizer],
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            per_device_train_batch_size=settings.per_device_batch_size,
            per_device_eval_batch_size=settings.per_device_batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation,
            max_length=settings.max_sequence_length,
            packing=settings.packing,
            eval_packing=settings.packing,
            dataset_kwargs={"skip_prepare_dataset": True},
            save_strategy="steps",
            save_steps=settings.save_every_steps,
            eval_strategy="steps" if watched else "no",
            eval_steps=evaluate,
            logging_steps=settings.log_every_steps,
            logging_nan_inf_filter=False,
            seed=settings.seed,
            data_seed=settings.seed,
            bf16=kind == "BF16",
            fp16=kind == "FP16",
            use_cpu=not on_gpu,
            gradient_checkpointing=checkpointing and strategy != "FSDP",
            deepspeed=deepspeed_settings(plan, int(strategy[-1])) if strategy.startswith("ZeRO") else None,
            fsdp=True if strategy == "FSDP" else None,
            fsdp_config={"version": 2, "activation_checkpointing": checkpointing} if strategy == "FSDP" else None,
            ddp_find_unused_parameters=False,
            dataloader_num_workers=0,
            report_to=["tensorboard", *_progress()],
            disable_tqdm=not on_terminal,
        )
    except ValueError as error:
        raise PlanError(f"the trainer refuses the settings: {' '.join(str(error).split())[:500]}") from error


def _progress() -> list[str]:
    """Trainer's own progress reporter, where somebody listens."""
    return ["kubeflow"] if "KUBEFLOW_TRAINER_SERVER_URL" in os.environ else []
