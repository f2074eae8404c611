"""A checkpoint written from a copy, by a thread, is the one that Trainer would have written."""

import threading
from pathlib import Path
from typing import Any

import pytest

from training_runtime.committed import MANIFEST
from training_runtime.plan import Plan
from training_runtime.train import snapshot
from training_runtime.train.checkpoints import CommittedCheckpoints
from training_runtime.train.device import memory_left
from training_runtime.train.stage import train

from .conftest import MakePlan, Prepare

LORA = {"rank": 8, "alpha": 64, "dropout": 0.0, "target_modules": ["all-linear"]}


def _checkpoints(plan: Plan) -> dict[str, bytes]:
    folder = plan.workspace / "checkpoints"
    files = [path for path in folder.glob("step-*/*") if path.suffix in (".safetensors", ".pt", ".pth", ".bin")]
    plain = {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != "training_args.bin"}
    assert all((folder / name).with_name(MANIFEST).exists() for name in plain)
    return plain


@pytest.mark.parametrize("changes", [{}, {"lora": LORA}, {"training__optimizer": "AdamW8bit"}])
def test_the_bytes_are_those_of_trainers_own_save(
    make_plan: MakePlan, prepare: Prepare, base: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for left in (memory_left(), 0):
        monkeypatch.setattr(snapshot, "memory_left", lambda left=left: left)
        plan = make_plan(base={"initialize": "Pretrained", "uri": str(base)}, **changes)
        prepare(plan)
        train(plan)
        found.append(_checkpoints(plan))
        plan.workspace.rename(plan.workspace.with_name(f"workspace-{left}"))
    assert len(found[0]) == 2 * 4  # weights, optimizer, scheduler, random states
    assert found[0] == found[1]


def test_the_loop_goes_on_while_a_checkpoint_is_written_and_the_next_one_waits(tmp_path: Path) -> None:
    made = CommittedCheckpoints(tmp_path, keep=2, in_thread=True)
    made.start()
    go_on, told = threading.Event(), []
    (made.draft / "checkpoint-5").mkdir()

    def write() -> None:
        assert go_on.wait(60)
        (made.draft / "checkpoint-5/weights").touch()

    made.defer(write)
    made.submit(5, on_commit=lambda: told.append(5))
    assert made.newest() is None
    go_on.set()
    made.wait()
    newest = made.newest()
    assert newest is not None
    assert sorted(path.name for path in newest.iterdir()) == [MANIFEST, "weights"]
    assert told == [5]


def test_what_kept_a_checkpoint_from_being_written_is_raised_by_the_next_one(tmp_path: Path) -> None:
    made = CommittedCheckpoints(tmp_path, keep=2, in_thread=True)
    made.start()

    def full() -> None:
        raise OSError(28, "No space left on device")

    made.defer(full)
    made.submit(5)
    with pytest.raises(OSError, match="No space"):
        made.submit(10)


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "3000\n", "memory.current": "1000\n"}, 2000),
        ({"memory/memory.limit_in_bytes": "3000\n", "memory/memory.usage_in_bytes": "2500\n"}, 500),
    ],
    ids=["cgroups 2", "cgroups 1"],
)
def test_a_containers_limit_counts(tmp_path: Path, files: dict[str, str], left: int) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert memory_left(tmp_path) == left


def test_a_container_without_a_limit_has_the_machines_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory_left(tmp_path) > 2**20
