"""The train stage: Hugging Face's trainer on the prepared rows, resumed from the newest verified checkpoint.

What it leaves in the workspace: `checkpoints/step-N` (committed), `history.json` (every logged number by step),
`model`, a complete model in safetensors (an adapter is merged in), and `adapter` where one was trained.
"""

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runtime.committed import committing, verified_digest
from training_runtime.errors import DataError, DivergedError, PlanError
from training_runtime.plan import Plan, Trained
from training_runtime.prepare.base import base_folder, load_tokenizer
from training_runtime.prepare.stage import data_folder

from .checkpoints import CommittedCheckpoints

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
    from trl import SFTConfig, SFTTrainer

__all__ = ["adapter_folder", "history_file", "model_folder", "train"]

_DEFAULT_EPOCHS = 3


def model_folder(plan: Plan) -> Path:
    """Where the finished model lies on the volume."""
    return plan.workspace / "model"


def adapter_folder(plan: Plan) -> Path:
    """Where the trained adapter lies on the volume, where one was trained."""
    return plan.workspace / "adapter"


def history_file(plan: Plan) -> Path:
    """The numbers that were logged, each with its step."""
    return plan.workspace / "history.json"


def train(plan: Plan) -> Trained:
    """Train, or hand back what an earlier run trained."""
    if not verified_digest(model_folder(plan)):
        _train(plan)
    history: list[dict[str, float]] = json.loads(history_file(plan).read_bytes())
    return Trained(
        step=int(history[-1]["step"]) if history else 0,
        loss=_last(history, "loss"),
        eval_loss=_last(history, "eval_loss"),
    )


def _last(history: list[dict[str, float]], name: str) -> float | None:
    return next((entry[name] for entry in reversed(history) if name in entry), None)


def _train(plan: Plan) -> None:
    from transformers import set_seed

    if not verified_digest(data_folder(plan)):
        raise DataError("there is no prepared data on the volume: run the prepare stage first")
    set_seed(plan.training.seed)
    checkpoints = CommittedCheckpoints(plan.workspace, plan.training.keep_checkpoints)
    checkpoints.start()
    newest = checkpoints.newest()
    print(f"resuming from {newest.name}" if newest else "starting at step 0", flush=True)
    tokenizer = load_tokenizer(base_folder(plan))
    trainer = _trainer(plan, checkpoints, tokenizer)
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    history_file(plan).write_text(json.dumps(trainer.state.log_history))
    _finish(plan, trainer, tokenizer)


def _trainer(plan: Plan, checkpoints: CommittedCheckpoints, tokenizer: "PreTrainedTokenizerBase") -> "SFTTrainer":
    from peft import LoraConfig, TaskType
    from transformers import PrinterCallback
    from trl import SFTTrainer

    adapter = plan.lora and LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=plan.lora.rank,
        lora_alpha=plan.lora.alpha,
        lora_dropout=plan.lora.dropout,
        target_modules="all-linear" if plan.lora.target_modules == ["all-linear"] else plan.lora.target_modules,
    )
    validation = _rows(plan, "validation")
    try:
        trainer = SFTTrainer(
            model=_model(plan),
            args=_arguments(plan, checkpoints.draft, watched=len(validation) > 0),
            train_dataset=_rows(plan, "train"),
            eval_dataset=validation if len(validation) else None,
            processing_class=tokenizer,
            peft_config=adapter,
            callbacks=[_callback(checkpoints)],
        )
    except ValueError as error:
        raise PlanError(f"the trainer refuses the settings: {error}") from error
    trainer.remove_callback(PrinterCallback)  # ours prints one JSON object per line
    return trainer


def _rows(plan: Plan, part: str) -> "Dataset":
    from datasets import Dataset

    lines = (data_folder(plan) / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
    return Dataset.from_list([json.loads(line) for line in lines])


def _model(plan: Plan) -> "PreTrainedModel":
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model: PreTrainedModel
    if plan.model.initialize == "Random":
        config = AutoConfig.from_pretrained(base_folder(plan))
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(base_folder(plan), dtype=torch.float32)
    return model


def _arguments(plan: Plan, output: Path, *, watched: bool) -> "SFTConfig":
    import torch
    from trl import SFTConfig

    settings = plan.training
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(output),
        num_train_epochs=settings.epochs or _DEFAULT_EPOCHS,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        per_device_train_batch_size=settings.per_device_batch_size,
        per_device_eval_batch_size=settings.per_device_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        max_length=settings.max_sequence_length,
        save_strategy="steps",
        save_steps=settings.save_every_steps,
        eval_strategy="steps" if watched else "no",
        eval_steps=settings.save_every_steps,
        logging_steps=settings.log_every_steps,
        seed=settings.seed,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        report_to=_reporters(),
        disable_tqdm=True,
        dataset_num_proc=1,
    )


def _reporters() -> list[str]:
    """Trainer's own progress reporter, where somebody listens."""
    return ["kubeflow"] if "KUBEFLOW_TRAINER_SERVER_URL" in os.environ else []


def _callback(checkpoints: CommittedCheckpoints) -> "TrainerCallback":
    from transformers import TrainerCallback

    class Commit(TrainerCallback):  # type: ignore[misc] # untyped base
        """Commits each checkpoint, and ends a training whose loss is no number."""

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
            checkpoints.take_over(state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
            print(json.dumps({"step": state.global_step, **logs}), flush=True)
            if not math.isfinite(logs.get("loss", 0.0)):
                raise DivergedError(f"the loss is {logs['loss']} at step {state.global_step}: lower the learning rate")

    return Commit()


def _finish(plan: Plan, trainer: "SFTTrainer", tokenizer: "PreTrainedTokenizerBase") -> None:
    model = trainer.accelerator.unwrap_model(trainer.model)
    if plan.lora:
        with committing(adapter_folder(plan)) as draft:
            model.save_pretrained(draft)
        model = model.merge_and_unload(safe_merge=True)
    with committing(model_folder(plan)) as draft:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
