"""Trainings in processes of their own, that can be killed as Kubernetes kills them.

Importing torch and TRL takes far longer than the training: one process does, and each training is forked off it.
"""

import json
import multiprocessing
import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from training_runtime.__main__ import main
from training_runtime.plan import Plan

__all__ = ["ended", "reached", "start_training", "starts"]

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["peft", "torch.utils.tensorboard", "transformers.models.qwen3.modeling_qwen3", "trl.trainer.sft_trainer"]
)


def start_training(plan: Plan, path: Path, *, killed_at: int | None = None) -> BaseProcess:
    """Begin the train stage with its plan at `path` and its log beside it; SIGKILL ends it at the end of a step."""
    path.write_text(plan.model_dump_json())
    process = _SERVER.Process(target=_train, args=(path, killed_at), daemon=True)  # one that hangs ends with the tests
    process.start()
    return process


def _train(path: Path, killed_at: int | None) -> None:
    log = os.open(path.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    if killed_at:
        _die_at(killed_at)
    sys.exit(main(["train", "--plan", str(path)]))


def _die_at(step: int) -> None:
    from training_runtime.train.watch import StopRequest

    agreed, asked = StopRequest.agreed, []

    def counted(self: StopRequest) -> bool:  # it is asked once a step
        asked.append(1)
        if len(asked) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return agreed(self)

    StopRequest.agreed = counted  # type: ignore[method-assign]


def ended(process: BaseProcess) -> int | None:
    """Wait for its end; return the exit code."""
    process.join(300)
    return process.exitcode


def reached(log: Path, event: str = "log") -> int:
    """Return the greatest step that a log tells of."""
    if not log.exists():
        return 0
    whole = log.read_text().rpartition("\n")[0].splitlines()  # the last line may be half written
    lines = [json.loads(line) for line in whole if line.startswith(f'{{"event": "{event}"')]
    return max((int(line["step"]) for line in lines), default=0)


def starts(log: Path) -> list[int]:
    """Return the step that each training in a log began at."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"event": "start"')]
    return [int((line["resumed_from"] or "step-0")[5:]) for line in lines]
