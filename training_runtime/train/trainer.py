"""The trainer of the plan: TRL's, with the model, the rows and the settings, and how it saves."""

import os
import sys
from typing import TYPE_CHECKING

from training_runtime.errors import PlanError
from training_runtime.plan import Plan
from training_runtime.prepared import first_step
from training_runtime.workspace import tensorboard_folder

from .arguments import adapter_config, trainer_arguments
from .checkpoints import CommittedCheckpoints
from .dataset import packed, sampled, token_rows
from .model import load_model, with_full_adapters
from .processes import first_alone
from .resumption import resuming
from .strategy import Strategy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer

__all__ = ["make_trainer"]


def make_trainer(
    plan: Plan, strategy: Strategy, checkpoints: CommittedCheckpoints, tokenizer: "PreTrainedTokenizerBase"
) -> "SFTTrainer":
    """Return the trainer; raise PlanError where the libraries refuse what the plan asks for."""
    from transformers import PrinterCallback

    with first_alone():  # it lays the rows into the cache, where the others find them
        rows = packed(plan, token_rows(plan, "train"))
        validation = packed(plan, sampled(plan, token_rows(plan, "validation")))
    on_terminal = sys.stdout.isatty()
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(tensorboard_folder(plan))
    arguments = trainer_arguments(
        plan, checkpoints.draft, strategy, watched=len(validation) > 0, on_terminal=on_terminal
    )
    try:
        trainer = resuming(_trainer_class(strategy, checkpoints), first_step(plan))(
            model=load_model(plan, strategy),
            args=arguments,
            train_dataset=rows,
            eval_dataset=validation if len(validation) else None,
            processing_class=tokenizer,
            peft_config=adapter_config(plan),
        )
    except (ValueError, OSError) as error:
        raise PlanError(f"the training cannot be set up: {' '.join(str(error).split())[:500]}") from error
    with_full_adapters(plan, trainer.model)
    if not on_terminal:
        trainer.remove_callback(PrinterCallback)  # ours prints one JSON object per line
    return trainer


def _trainer_class(strategy: Strategy, checkpoints: CommittedCheckpoints) -> "type[SFTTrainer]":
    from trl import SFTTrainer

    from .fsdp import fsdp_trainer
    from .snapshot import snapshotting_trainer

    if strategy == "FSDP":
        return fsdp_trainer()
    if checkpoints.in_thread:
        return snapshotting_trainer(checkpoints)
    trainer: type[SFTTrainer] = SFTTrainer
    return trainer
