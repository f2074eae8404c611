"""One process of a training: `python -m training_runtime.train.worker --plan plan.json`, or called by the stage alone.

It leaves in the workspace: committed checkpoints, the history of every logged number, the results, a complete model in
safetensors (an adapter is merged in), and the adapter where one was trained. Of several processes the first writes.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runtime.architecture import check_adapter, count_parameters, empty_model
from training_runtime.errors import GpuMemoryError, PreemptedError, StageError, StalledError
from training_runtime.log import take_over_output
from training_runtime.plan import ExitCode, Failed, Plan
from training_runtime.rows.prompted import prompted_tokenizer
from training_runtime.tracking import Spool
from training_runtime.workspace import checkpoints_folder, profile_folder

from .callback import add_callback
from .checkpoints import CommittedCheckpoints
from .device import gpu_bytes
from .final_model import commit_model, load_best_weights, save_weights
from .model import draw_weights
from .processes import barrier, is_first, join, log_event
from .results import write_results
from .strategy import Strategy, choose
from .trainer import make_trainer
from .watch import StopRequest, is_done

if TYPE_CHECKING:
    from trl import SFTTrainer

__all__ = ["main", "train_here"]

_FLUSH_METRICS_SECONDS = 10.0


def train_here(plan: Plan, *, profile: bool = False) -> None:
    """Train in this process, one of as many as the plan asks for, from the newest verified checkpoint."""
    strategy = _join(plan)
    checkpoints, newest = _open_checkpoints(plan, strategy)
    tokenizer = prompted_tokenizer(plan)
    stop = StopRequest()
    began = time.monotonic()
    with _tracked(plan) as spool, _memory_told():
        trainer = make_trainer(plan, strategy, checkpoints, tokenizer)
        callback = add_callback(trainer, plan, strategy, checkpoints, stop, spool)
        with _profiled(plan, wanted=profile):
            _run(plan, trainer, newest)
        checkpoints.wait()
        barrier()  # the best checkpoint may be the one that was just being written
        if callback.preempted:
            kind = StalledError if callback.heartbeat.was_late else PreemptedError
            raise kind(f"asked to end: step {trainer.state.global_step} is saved, the next run resumes from it")
    callback.heartbeat.begin_end()
    seconds = time.monotonic() - began
    best = load_best_weights(plan, trainer, checkpoints)
    callback.heartbeat.begin_end()
    saved = save_weights(plan, trainer)
    if is_first():
        callback.heartbeat.begin_end()
        commit_model(plan, saved, tokenizer)
        write_results(plan, strategy, trainer, best, seconds)
    else:
        callback.heartbeat.stop()
    barrier()


@contextmanager
def _tracked(plan: Plan) -> Iterator[Spool | None]:
    """Give the first process the spool, and have the run in MLflow tell how the training went, where it went wrong."""
    spool = Spool(plan) if is_first() else None
    if spool:
        spool.add_status("RUNNING")
        spool.start()
    try:
        yield spool
    except PreemptedError:
        if spool:
            spool.add_status("KILLED")
        raise
    except Exception:
        if spool:
            spool.add_status("FAILED")
        raise
    finally:
        if spool:
            spool.close(_FLUSH_METRICS_SECONDS)


@contextmanager
def _memory_told() -> Iterator[None]:
    """Say what to do about a GPU's memory that is full."""
    from torch import OutOfMemoryError

    try:
        yield
    except OutOfMemoryError as error:
        raise GpuMemoryError(
            "the GPU's memory does not hold the training: halve training.perDeviceBatchSize and double "
            f"gradientAccumulation, or use ZeRO3 or QLoRA ({' '.join(str(error).split())[:200]})"
        ) from error


def _join(plan: Plan) -> Strategy:
    """Meet the other processes and agree on the strategy; a new base has its weights when this returns."""
    from transformers import set_seed

    model = empty_model(plan)
    if plan.lora:
        check_adapter(plan.lora, model)
    choice = choose(plan, count_parameters(model), gpu_bytes())
    set_seed(plan.training.seed)
    join(choice.strategy)
    if is_first():
        draw_weights(plan)
    barrier()
    log_event("strategy", strategy=choice.strategy, why=choice.why)
    return choice.strategy


def _open_checkpoints(plan: Plan, strategy: Strategy) -> tuple[CommittedCheckpoints, Path | None]:
    """Take the checkpoints' folder; return it, and the checkpoint to go on from."""
    checkpoints = CommittedCheckpoints(
        checkpoints_folder(plan), plan.training.keep_checkpoints, in_thread=strategy in {"Single", "DDP"}
    )
    checkpoints.start()
    newest = checkpoints.newest()
    barrier()
    log_event("start", resumed_from=newest.name if newest else None)
    return checkpoints, newest


def _run(plan: Plan, trainer: "SFTTrainer", newest: Path | None) -> None:
    if newest and is_done(json.loads((newest / "trainer_state.json").read_bytes()), plan.training.early_stopping):
        # Killed before the model was committed. Trainer would make one step more than asked for.
        trainer._run_epoch = lambda **_: None  # noqa: SLF001
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)


def _profiled(plan: Plan, *, wanted: bool) -> Any:  # noqa: ANN401 - a context of torch's, or none
    if not wanted:
        return nullcontext()
    from torch.profiler import profile, tensorboard_trace_handler

    return profile(on_trace_ready=tensorboard_trace_handler(str(profile_folder(plan))), record_shapes=True)


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
    take_over_output()
    sys.exit(main())
