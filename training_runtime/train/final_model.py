"""The finished model: the best weights where the plan stops early, an adapter merged in, committed to the volume."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from training_runtime.committed import committing
from training_runtime.plan import Plan
from training_runtime.workspace import adapter_folder, model_folder, trained_draft

from .checkpoints import CommittedCheckpoints
from .model import merged_model
from .processes import barrier, log_event
from .watch import best_step, watched_metric

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer

__all__ = ["commit_model", "load_best_weights", "save_weights"]


def load_best_weights(plan: Plan, trainer: "SFTTrainer", checkpoints: CommittedCheckpoints) -> int:
    """Go back to the best checkpoint where the plan stops early; return the step whose weights there are now."""
    last: int = trainer.state.global_step
    rule = plan.training.early_stopping
    best = best_step(trainer.state.log_history, watched_metric(rule)) if rule else None
    if best is None or best == last or not (folder := checkpoints.at(best)):
        return last
    trainer.state.best_model_checkpoint = str(folder)
    trainer._load_best_model()  # noqa: SLF001 - the only way that knows every strategy's weights
    log_event("best", step=best)
    return best


def save_weights(plan: Plan, trainer: "SFTTrainer") -> Path:
    """Save what was trained; all processes together, for each may hold a part. Return the folder."""
    saved = trained_draft(plan)
    trainer.save_model(str(saved))
    barrier()
    return saved


def commit_model(plan: Plan, saved: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Commit the trained folder, without the trainer's pickled settings, and the merged model."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config
    from transformers.trainer_utils import align_special_tokens

    (saved / "training_args.bin").unlink(missing_ok=True)
    (saved / "README.md").unlink(missing_ok=True)
    with committing(adapter_folder(plan) if plan.lora else model_folder(plan)) as draft:
        shutil.copytree(saved, draft, dirs_exist_ok=True)
        tokenizer.save_pretrained(draft)
    shutil.rmtree(saved)
    if plan.lora:
        # With DeepSpeed's third stage in force every model is loaded in shards, by all processes together.
        unset_hf_deepspeed_config()
        model = merged_model(plan, adapter_folder(plan))
        align_special_tokens(model, tokenizer)  # as Trainer did: where the model stops
        with committing(model_folder(plan)) as draft:
            model.save_pretrained(draft)
            tokenizer.save_pretrained(draft)
