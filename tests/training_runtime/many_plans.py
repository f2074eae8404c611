"""A worker of torchrun that trains by one plan after the other: `torchrun … many_plans.py PORT PLAN [PORT PLAN …]`.

Importing torch, TRL and DeepSpeed takes far longer than training a tiny model. Each process imports them once and forks
for every plan, so that no training sees what another left in its libraries; processes of a plan meet at its port.
The exit code of each lies beside the plan, in `PLAN.RANK.code`, what both said in `PLAN.log`, and which files of the
rows' cache each has written in `PLAN.RANK.wrote`.
"""

import os
import sys
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Train by every plan, whatever becomes of the one before."""
    _import_libraries()
    for port, name in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        child = os.fork()
        if not child:
            os._exit(_train(Path(name), port))
        _, status = os.waitpid(child, 0)
        Path(f"{name}.{os.environ['RANK']}.code").write_text(str(os.waitstatus_to_exitcode(status)))


def _import_libraries() -> None:
    import torch

    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    import accelerate
    import deepspeed
    import peft
    import torch.distributed.fsdp
    import torch.utils.tensorboard
    from transformers import AutoModelForCausalLM, Trainer
    from transformers.models.qwen3 import Qwen3ForCausalLM
    from trl import SFTTrainer

    assert all((accelerate, deepspeed, peft, AutoModelForCausalLM, Trainer, Qwen3ForCausalLM, SFTTrainer))


def _note_writes(folder: str, notes: Path) -> None:
    """Note each file of a folder that this process opens to write, but for locks, which all of them take."""
    notes.touch()

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not str(arguments[0]).startswith(folder) or str(arguments[0]).endswith(".lock"):
            return
        if int(arguments[2]) & (os.O_WRONLY | os.O_RDWR):
            with notes.open("a") as file:
                file.write(f"{arguments[0]}\n")

    sys.addaudithook(note)


def _train(path: Path, port: str) -> int:
    from training_runtime.plan import Plan
    from training_runtime.train.worker import train_here
    from training_runtime.workspace import cache_folder

    plan = Plan.model_validate_json(path.read_bytes())
    _note_writes(str(cache_folder(plan)), Path(f"{path}.{os.environ['RANK']}.wrote"))
    log = os.open(f"{path}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    # The agent's store holds the keys of the plan before.
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "False", "MASTER_PORT": port}
    try:
        train_here(plan)
    except BaseException:  # noqa: BLE001 - a child must never return into its parent's loop
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main()
