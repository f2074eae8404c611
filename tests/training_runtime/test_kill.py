"""A training that is killed at any moment, also between the files of a checkpoint, goes on to the same losses.

Importing torch and TRL takes far longer than the training: one process does, and each training is forked off it.
"""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from training_runtime.__main__ import main
from training_runtime.plan import Plan
from training_runtime.train.checkpoints import CommittedCheckpoints
from training_runtime.workspace import checkpoints_folder

from .conftest import MakePlan, Prepare

STEPS, SAVE = 60, 5
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["peft", "torch.utils.tensorboard", "transformers.models.qwen3.modeling_qwen3", "trl.trainer.sft_trainer"]
)


def _start(plan: Plan, path: Path) -> BaseProcess:
    path.write_text(plan.model_dump_json())
    process = _SERVER.Process(target=_train, args=(path,), daemon=True)  # one that hangs ends with the tests
    process.start()
    return process


def _train(path: Path) -> None:
    log = os.open(path.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    sys.exit(main(["train", "--plan", str(path)]))


def _ended(process: BaseProcess) -> int | None:
    process.join(300)
    return process.exitcode


def _losses(plan: Plan) -> list[float]:
    history = json.loads((plan.workspace / "history.json").read_bytes())
    return [entry["loss"] for entry in history if "loss" in entry]


def _reached(log: Path, event: str = "log") -> int:
    if not log.exists():
        return 0
    whole = log.read_text().rpartition("\n")[0].splitlines()  # the last line may be half written
    lines = [json.loads(line) for line in whole if line.startswith(f'{{"event": "{event}"')]
    return max((int(line["step"]) for line in lines), default=0)


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_random_kills_lose_no_more_than_the_steps_since_the_last_commit(
    make_plan: MakePlan, prepare: Prepare, base: Path, tmp_path: Path, kills: int
) -> None:
    lora = {"rank": 8, "alpha": 64, "dropout": 0.1, "target_modules": ["all-linear"]}
    changes = {"training__max_steps": STEPS, "training__save_every_steps": SAVE, "lora": lora}
    plan = make_plan(base={"initialize": "Pretrained", "uri": str(base)}, **changes)
    prepare(plan)
    assert _ended(_start(plan, tmp_path / "undisturbed.json")) == 0
    undisturbed = _losses(plan)
    (plan.workspace / "history.json").unlink()
    rng = random.Random(kills)
    done = beyond = 0
    while done < kills:
        for name in ("model", "adapter", "checkpoints"):
            subprocess.run(["rm", "-rf", plan.workspace / name], check=True)
        log = tmp_path / "killed.log"
        log.unlink(missing_ok=True)
        while done < kills:
            before = _reached(log)
            process = _start(plan, tmp_path / "killed.json")
            target = min(before + rng.randrange(2, 12), STEPS - 1)
            while _reached(log) < target and process.is_alive():
                time.sleep(0.01)
            if not process.is_alive():
                break
            time.sleep(rng.random() * 0.2)
            process.kill()
            process.join(30)
            done += 1
            told = _reached(log, "checkpoint")
            newest = CommittedCheckpoints(checkpoints_folder(plan), 2).newest()
            saved = int(newest.name[5:]) if newest else 0
            assert saved >= told
            assert _reached(log) - saved <= 2 * SAVE  # at most the interval in which the last one was being written
            beyond += _reached(log) - saved > SAVE
        assert _ended(_start(plan, tmp_path / "killed.json")) == 0
        assert _losses(plan) == undisturbed
        starts = [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"event": "start"')]
        resumed = [int((start["resumed_from"] or "step-0")[5:]) for start in starts]
        assert resumed == sorted(resumed)
        assert len(starts) > 1
    print(f"{beyond} of {kills} kills came while a checkpoint was being written")
