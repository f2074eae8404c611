"""One process of a training: `python -m training_runtime.train.worker --plan plan.json`, or called by the stage alone.

It leaves in the workspace: `checkpoints/step-N` (committed), `history.json` (every logged number by step),
`train_results.json`, `model`, a complete model in safetensors (an adapter is merged in), and `adapter` where one was
trained. Of several processes the first writes.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runtime.committed import committing
from training_runtime.errors import GpuMemoryError, PlanError, PreemptedError, StageError, StalledError
from training_runtime.plan import ExitCode, Failed, Plan
from training_runtime.prepare.base import base_folder, load_tokenizer
from training_runtime.prepare.stage import data_facts, part_files

from .arguments import adapter_config, precision, trainer_arguments
from .callback import Course, make_callback, say
from .checkpoints import CommittedCheckpoints, barrier, is_first
from .device import device_metrics, gpu_bytes
from .model import count_parameters, draw_weights, load_model, merged_model, trainable_parameters
from .strategy import Choice, choose
from .watch import best_step, is_done

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer

__all__ = ["adapter_folder", "history_file", "model_folder", "results_file", "train_here"]

_LAST_METRICS_SECONDS = 10.0


def model_folder(plan: Plan) -> Path:
    """Where the finished model lies on the volume."""
    return plan.workspace / "model"


def adapter_folder(plan: Plan) -> Path:
    """Where the trained adapter lies on the volume, where one was trained."""
    return plan.workspace / "adapter"


def history_file(plan: Plan) -> Path:
    """The numbers that were logged, each with its step."""
    return plan.workspace / "history.json"


def results_file(plan: Plan) -> Path:
    """What a person compares runs by."""
    return plan.workspace / "train_results.json"


def train_here(plan: Plan, *, profile: bool = False) -> None:
    """Train in this process, one of as many as the plan asks for, from the newest verified checkpoint."""
    import torch

    choice = choose(plan, count_parameters(plan), gpu_bytes())
    _join(plan, choice)
    if is_first():
        draw_weights(plan)
    barrier()
    say("strategy", strategy=choice.strategy, why=choice.why)
    whole = choice.strategy in {"Single", "DDP"}
    checkpoints = CommittedCheckpoints(plan.workspace, plan.training.keep_checkpoints, in_thread=whole)
    checkpoints.start()
    newest = checkpoints.newest()
    barrier()
    say("start", resumed_from=newest.name if newest else None)
    tokenizer = load_tokenizer(base_folder(plan))
    course = Course(plan, checkpoints, choice.strategy)
    began = time.monotonic()
    try:
        trainer = _trainer(plan, course, tokenizer)
        if newest and is_done(json.loads((newest / "trainer_state.json").read_bytes()), plan.training.early_stopping):
            # Killed before the model was committed. Trainer would make one step more than asked for.
            trainer._run_epoch = lambda **_: None  # noqa: SLF001
        with _profiled(plan, wanted=profile):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        checkpoints.settle()
        barrier()  # the best checkpoint may be the one that was just being written
    except torch.OutOfMemoryError as error:
        raise GpuMemoryError(
            "the GPU's memory does not hold the training: halve training.perDeviceBatchSize and double "
            f"gradientAccumulation, or use ZeRO3 or QLoRA ({' '.join(str(error).split())[:200]})"
        ) from error
    finally:
        if course.spool:
            course.spool.close(_LAST_METRICS_SECONDS)
    if course.preempted:
        kind = StalledError if course.heartbeat.was_late else PreemptedError
        raise kind(f"asked to end: step {trainer.state.global_step} is saved, running again goes on from it")
    _finish(plan, course, trainer, tokenizer, time.monotonic() - began)


def _join(plan: Plan, choice: Choice) -> None:
    """Meet the other processes; DeepSpeed must be met before the model is loaded (on a CPU with gloo)."""
    import torch
    from transformers import set_seed

    set_seed(plan.training.seed)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if choice.strategy.startswith("ZeRO"):
        if not torch.cuda.is_available():
            os.environ["DS_ACCELERATOR"] = "cpu"
        for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "127.0.0.1")):
            os.environ.setdefault(name, value)
        os.environ.setdefault("MASTER_PORT", "29500")
        import deepspeed

        # DeepSpeed would compile its shared-memory exchange at first use, which needs a compiler: gloo does without.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_backend="nccl" if torch.cuda.is_available() else "gloo", verbose=False)
    elif world > 1:
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))


def _trainer(plan: Plan, course: Course, tokenizer: "PreTrainedTokenizerBase") -> "SFTTrainer":
    from transformers import PrinterCallback

    validation = _rows(plan, "validation")
    on_terminal = sys.stdout.isatty()
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(plan.workspace / "tensorboard")
    arguments = trainer_arguments(
        plan, course.checkpoints.draft, course.strategy, watched=len(validation) > 0, on_terminal=on_terminal
    )
    try:
        trainer = _trainer_class(course)(
            model=load_model(plan, course.strategy),
            args=arguments,
            train_dataset=_packed(plan, _rows(plan, "train")),
            eval_dataset=_packed(plan, validation) if len(validation) else None,
            processing_class=tokenizer,
            peft_config=adapter_config(plan),
        )
    except (ValueError, OSError) as error:
        raise PlanError(f"the training cannot be set up: {' '.join(str(error).split())[:500]}") from error
    if not on_terminal:
        trainer.remove_callback(PrinterCallback)  # ours prints one JSON object per line
    callback = make_callback(course, trainer)
    trainer.callback_handler.callbacks.insert(1, callback)  # before those that report what it adds
    return trainer


def _trainer_class(course: Course) -> "type[SFTTrainer]":
    from trl import SFTTrainer

    from .fsdp import fsdp_trainer
    from .snapshot import snapshotting_trainer

    if course.strategy == "FSDP":
        return fsdp_trainer()
    if course.checkpoints.in_thread:
        return snapshotting_trainer(course.checkpoints)
    trainer: type[SFTTrainer] = SFTTrainer
    return trainer


def _rows(plan: Plan, part: str) -> "Dataset":
    """Token ids and labels of a part, mapped from disk: several processes share one copy."""
    from datasets import Dataset

    files = part_files(plan, part)
    if not files:
        return Dataset.from_dict({"input_ids": [], "labels": []})
    cache = plan.workspace / ".cache"
    rows: Dataset = Dataset.from_parquet(files, columns=["input_ids", "labels"], cache_dir=str(cache), split=part)
    return rows


def _packed(plan: Plan, rows: "Dataset") -> "Dataset":
    """Rows laid end to end to the full length, each attending to itself alone."""
    from trl import pack_dataset

    if not plan.training.packing or not len(rows):
        return rows
    shuffled = rows.shuffle(seed=plan.training.seed)
    packed: Dataset = pack_dataset(shuffled, plan.training.max_sequence_length, "bfd", {"num_proc": None})
    return packed


def _profiled(plan: Plan, *, wanted: bool) -> Any:  # noqa: ANN401 - a context of torch's, or none
    if not wanted:
        return contextlib.nullcontext()
    from torch.profiler import profile, tensorboard_trace_handler

    return profile(on_trace_ready=tensorboard_trace_handler(str(plan.workspace / "profile")), record_shapes=True)


def _finish(
    plan: Plan, course: Course, trainer: "SFTTrainer", tokenizer: "PreTrainedTokenizerBase", seconds: float
) -> None:
    best = best_step(trainer.state.log_history, course.metric) if plan.training.early_stopping else None
    last = trainer.state.global_step
    if best is not None and best != last and (folder := course.checkpoints.at(best)):
        trainer.state.best_model_checkpoint = str(folder)
        trainer._load_best_model()  # noqa: SLF001 - the only way that knows every strategy's weights
        say("best", step=best)
    else:
        best = last
    saved = plan.workspace / ".trained.draft"
    trainer.save_model(str(saved))
    barrier()
    if is_first():
        _commit(plan, saved, tokenizer)
        results = _results(plan, course, trainer, best, seconds)
        results_file(plan).write_text(json.dumps(results, indent=1, ensure_ascii=False))
    barrier()


def _commit(plan: Plan, saved: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """The trained folder, without the trainer's pickled settings, and the merged model."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

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
        with committing(model_folder(plan)) as draft:
            model.save_pretrained(draft)
            tokenizer.save_pretrained(draft)


def _results(plan: Plan, course: Course, trainer: "SFTTrainer", best: int, seconds: float) -> dict[str, Any]:
    import torch

    trained, parameters = trainable_parameters(trainer.accelerator.unwrap_model(trainer.model))
    log = trainer.state.log_history
    history_file(plan).write_text(json.dumps(log))

    def last(name: str) -> Any:  # noqa: ANN401 - whatever the log holds
        return next((entry[name] for entry in reversed(log) if name in entry), None)

    return {
        "job": plan.job.name,
        "model": plan.base.uri,
        "method": _method(plan),
        "strategy": course.strategy,
        "processes": trainer.accelerator.num_processes,
        "precision": precision(plan),
        "parameters": parameters,
        "trained_parameters": trained,
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "best_step": best,
        "loss": last("loss"),
        "eval_loss": last("eval_loss"),
        "eval_perplexity": last("eval_perplexity"),
        "tokens": last("num_tokens"),
        "tokens_per_second": last("tokens_per_second"),
        "seconds_of_this_attempt": round(seconds, 1),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        **device_metrics(),
        "dataset": data_facts(plan)["numbers"]["digest"],
        "settings": plan.training.model_dump(mode="json"),
        "torch": torch.__version__,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _method(plan: Plan) -> str:
    if plan.quantization:
        return f"QLoRA-{plan.quantization.bits}bit"
    return "LoRA" if plan.lora else "Full"


def main() -> int:
    """Run one of several processes; leave the reason of a failure where the stage finds it."""
    parser = argparse.ArgumentParser(prog="python -m training_runtime.train.worker")
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--failures", type=Path, required=True, help="folder for the reason of a failure")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    plan = Plan.model_validate_json(options.plan.read_bytes())
    try:
        train_here(plan, profile=options.profile)
    except StageError as error:
        failed = Failed(error=type(error).__name__, message=str(error)[:2000])
        (options.failures / f"{os.environ['RANK']}.json").write_text(failed.model_dump_json())
        return error.exit_code
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
