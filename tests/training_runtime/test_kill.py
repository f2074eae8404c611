"""A training that is killed at any moment, also between the files of a checkpoint, goes on to the same losses."""

import json
import random
import subprocess
import time
from pathlib import Path

import pytest

from training_runtime.plan import Plan
from training_runtime.train.checkpoints import CommittedCheckpoints
from training_runtime.workspace import checkpoints_folder

from .conftest import MakePlan, Prepare
from .forked import ended, reached, start_training, starts

STEPS, SAVE = 60, 5


def _losses(plan: Plan) -> list[float]:
    history = json.loads((plan.workspace / "history.json").read_bytes())
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_random_kills_lose_no_more_than_the_steps_since_the_last_commit(
    make_plan: MakePlan, prepare: Prepare, base: Path, tmp_path: Path, kills: int
) -> None:
    lora = {"rank": 8, "alpha": 64, "dropout": 0.1, "target_modules": ["all-linear"]}
    changes = {"training__max_steps": STEPS, "training__save_every_steps": SAVE, "lora": lora}
    plan = make_plan(base={"initialize": "Pretrained", "uri": str(base)}, **changes)
    prepare(plan)
    assert ended(start_training(plan, tmp_path / "undisturbed.json")) == 0
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
            before = reached(log)
            process = start_training(plan, tmp_path / "killed.json")
            target = min(before + rng.randrange(2, 12), STEPS - 1)
            while reached(log) < target and process.is_alive():
                time.sleep(0.01)
            if not process.is_alive():
                break
            time.sleep(rng.random() * 0.2)
            process.kill()
            process.join(30)
            done += 1
            told = reached(log, "checkpoint")
            newest = CommittedCheckpoints(checkpoints_folder(plan), 2).newest()
            saved = int(newest.name[5:]) if newest else 0
            assert saved >= told
            assert reached(log) - saved <= 2 * SAVE  # at most the interval in which the last one was being written
            beyond += reached(log) - saved > SAVE
        assert ended(start_training(plan, tmp_path / "killed.json")) == 0
        assert _losses(plan) == undisturbed
        resumed = starts(log)
        assert resumed == sorted(resumed)
        assert len(resumed) > 1
    print(f"{beyond} of {kills} kills came while a checkpoint was being written")
