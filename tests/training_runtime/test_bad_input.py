"""Every bad input ends a stage with its exit code, one sentence and the remedy."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from training_runtime.__main__ import main
from training_runtime.plan import ExitCode
from training_runtime.prepare.stage import prepare
from training_runtime.workspace import checkpoints_folder

from .conftest import MakePlan, rows

LORA = {"rank": 8, "alpha": 64, "dropout": 0.0, "target_modules": ["all-linear"]}


def _run(stage: str, plan: Any, folder: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    path = folder / "plan.json"
    path.write_text(plan if isinstance(plan, str) else plan.model_dump_json())
    code = main([stage, "--plan", str(path)])
    return code, json.loads(capfd.readouterr().out.splitlines()[-1])


DATA: dict[str, tuple[bytes | None, dict[str, Any], int, str]] = {
    "missing file": (
        None,
        {"dataset__sources": [{"uri": "/nowhere"}]},
        65,
        "/nowhere is not there: check dataset.sources",
    ),
    "empty file": (b"", {}, 65, "rows.jsonl is empty"),
    "half a file": (b'[{"question": "a", "ans', {"format": "JSON"}, 65, "it may be cut off; copy it again"),
    "wrong encoding": (b"question,answer\n\xff\xff,\xff\n", {"format": "CSV"}, 65, "save it as UTF-8"),
    "a column that is not there": (None, {"dataset__columns__output": "reply"}, 65, "has no reply"),
    "all rows too long": (None, {"training__max_sequence_length": 4}, 65, "all rows are too long"),
    "no rows left for a part": (None, {"dataset__split__test": 0.001}, 65, "rows leave none for test"),
    "a wrong pattern": (None, {"dataset__clean__remove_pattern": "("}, 64, "clean.removePattern, which is no regular"),
}


@pytest.mark.parametrize("name", DATA)
def test_bad_data(make_plan: MakePlan, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    content, changes, expected, message = DATA[name]
    plan = make_plan(**changes)
    if content is not None:
        (tmp_path / "rows.jsonl").write_bytes(content)
    code, told = _run("prepare", plan, tmp_path, capfd)
    assert code == expected
    assert message in told["message"]


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _as_adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "team/other-base"}')


def _with_code(folder: Path) -> None:
    (folder / "modeling_own.py").write_text("raise SystemExit")


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _silent(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{# nothing #}")


BASES: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "a model folder without a tokenizer": (_without("tokenizer.json"), 64, "has no tokenizer.json"),
    "an adapter for another base": (_as_adapter, 64, "is an adapter for team/other-base, not a model"),
    "no configuration": (_without("config.json"), 64, "has no config.json"),
    "code beside the weights": (_with_code, 64, "set base.trustRemoteCode to run it"),
    "pickled weights": (_pickled, 64, "no weights in safetensors"),
    "a template that renders nothing": (_silent, 65, "the chat template renders no answer"),
}


@pytest.mark.parametrize("name", BASES)
def test_a_bad_base(
    make_plan: MakePlan, base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, expected, message = BASES[name]
    spoilt = tmp_path / "spoilt"
    shutil.copytree(base, spoilt)
    spoil(spoilt)
    plan = make_plan(base={"initialize": "Pretrained", "uri": str(spoilt)})
    code, told = _run("prepare", plan, tmp_path, capfd)
    assert code == expected
    assert message in told["message"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("{", "the plan's field  is wrong: Invalid JSON"),
        ('{"job": {"name": "x", "colour": "red"}}', "the plan's field job.namespace is wrong: Field required"),
        ("EXTRA", "the plan's field training.colour is wrong: Extra inputs are not permitted"),
    ],
)
def test_a_plan_that_cannot_be_read(
    make_plan: MakePlan, tmp_path: Path, capfd: pytest.CaptureFixture[str], plan: str, message: str
) -> None:
    if plan == "EXTRA":
        content = json.loads(make_plan().model_dump_json())
        content["training"]["colour"] = "red"
        plan = json.dumps(content)
    code, told = _run("train", plan, tmp_path, capfd)
    assert code == ExitCode.BAD_PLAN
    assert told["message"].startswith(message)


def test_a_plan_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--plan", str(tmp_path / "nothing.json")]) == ExitCode.BAD_PLAN
    assert "cannot be read: No such file" in capfd.readouterr().out


@pytest.mark.parametrize("stage", ["train", "evaluate", "publish"])
def test_a_stage_before_its_turn(
    make_plan: MakePlan, tmp_path: Path, capfd: pytest.CaptureFixture[str], stage: str
) -> None:
    code, told = _run(stage, make_plan(), tmp_path, capfd)
    assert code == ExitCode.BAD_DATA
    assert "stage first" in told["message"]


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A volume that holds the data and one checkpoint, not two."""
    folder = tmp_path / "volume"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_volume_that_is_full_names_the_remedy_and_keeps_the_last_checkpoint(
    make_plan: MakePlan, base: Path, small_volume: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from training_runtime.train.checkpoints import CommittedCheckpoints

    plan = make_plan(
        rows(40),
        base={"initialize": "Pretrained", "uri": str(base)},
        workspace=str(small_volume / "workspace"),
        training__keep_checkpoints=20,
        training__save_every_steps=1,
        training__max_steps=20,
        evaluation__suites=[],
    )
    prepare(plan)
    code, told = _run("train", plan, tmp_path, capfd)
    assert code == ExitCode.INTERNAL
    assert "the volume is full: raise storage.template.size, or lower training.keepCheckpoints" in told["message"]
    assert CommittedCheckpoints(checkpoints_folder(plan), 20).newest()
