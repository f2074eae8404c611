"""A training goes on from the checkpoint of another one: with its data, as if that had been longer from the start."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from training_runtime.committed import MANIFEST, commit
from training_runtime.errors import PlanError
from training_runtime.plan import Plan
from training_runtime.prepare.stage import prepare as prepare_stage
from training_runtime.train.stage import train
from training_runtime.workspace import checkpoints_folder

from .conftest import MakePlan, Prepare, plans_in, rows, signals_given_back

LORA = {"rank": 8, "alpha": 64, "dropout": 0.0, "target_modules": ["all-linear"]}


def _losses(plan: Plan) -> dict[int, float]:
    history = json.loads((plan.workspace / "history.json").read_bytes())
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, base: Path, prepare: Prepare) -> Plan:
    """A finished training of an adapter, with the checkpoints of steps 4 and 8."""
    plan = plans_in(tmp_path_factory.mktemp("other"))(
        base={"initialize": "Pretrained", "uri": str(base)}, lora=LORA, training__scheduler="Constant"
    )
    prepare(plan)
    with signals_given_back():
        train(plan)
    return plan


def _resumed(make_plan: MakePlan, base: Path, other: Plan, **changes: Any) -> Plan:
    resumed = {"checkpoints": str(checkpoints_folder(other)), "step": changes.pop("step", None)}
    given = {"lora": LORA, "training__scheduler": "Constant", "training__max_steps": 12, **changes}
    return make_plan(base={"initialize": "Pretrained", "uri": str(base)}, training__resume_from=resumed, **given)


@pytest.mark.parametrize("step", [4, 8, None])
def test_it_makes_the_steps_that_a_longer_training_would_have_made(
    make_plan: MakePlan, base: Path, other: Plan, tmp_path_factory: pytest.TempPathFactory, step: int | None
) -> None:
    plan = _resumed(make_plan, base, other, step=step)
    prepare_stage(plan)
    prepare_stage(plan)
    assert [path.name for path in sorted(checkpoints_folder(plan).iterdir())] == [f"step-{step or 8:08d}"]
    assert train(plan).step == 12
    longer = plans_in(tmp_path_factory.mktemp("longer"))(
        base={"initialize": "Pretrained", "uri": str(base)},
        lora=LORA,
        training__scheduler="Constant",
        training__max_steps=12,
    )
    prepare_stage(longer)
    train(longer)
    assert _losses(plan) == {at: loss for at, loss in _losses(longer).items() if at > (step or 8)}


class _Steps:
    """What each step of a training read, and the weight decay that it made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from trl import SFTTrainer

        self.rows: list[list[list[int]]] = []
        self.decays: list[list[float]] = []
        step = SFTTrainer.training_step

        def told(trainer: Any, model: Any, inputs: dict[str, Any], *given: Any) -> Any:
            self.rows.append(inputs["input_ids"].tolist())
            self.decays.append([group["weight_decay"] for group in trainer.optimizer.param_groups])
            return step(trainer, model, inputs, *given)

        monkeypatch.setattr(SFTTrainer, "training_step", told)

    def of(self, plan: Plan) -> list[list[list[int]]]:
        self.rows, self.decays = [], []
        with signals_given_back():
            train(plan)
        return self.rows


def test_other_data_is_read_from_its_first_row_on_also_after_a_kill(
    make_plan: MakePlan,
    base: Path,
    other: Plan,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = _Steps(monkeypatch)
    content = rows(160)[80:]
    new = plans_in(tmp_path_factory.mktemp("new"))(
        content,
        base={"initialize": "Pretrained", "uri": str(base)},
        training__max_steps=4,
        training__save_every_steps=4,
    )
    prepare_stage(new)
    read = steps.of(new)
    assert len(read) == 4
    plan = _resumed(make_plan, base, other, content=content, training__save_every_steps=2, training__weight_decay=0.25)
    prepare_stage(plan)
    assert steps.of(plan) == read
    assert {tuple(decays) for decays in steps.decays} == {(0.25, 0.0)}
    kept = [path.name for path in sorted(checkpoints_folder(plan).glob("step-*"))]
    assert kept == ["step-00000010", "step-00000012"], "saved as often as the new plan says"
    for late in ("model", "adapter", "checkpoints/step-00000012"):
        shutil.rmtree(plan.workspace / late)
    assert steps.of(plan) == read[2:]
    further = plans_in(tmp_path_factory.mktemp("further"))
    plan = _resumed(further, base, plan, content=content, step=10)
    prepare_stage(plan)
    assert steps.of(plan) == read[2:]


def test_epochs_of_other_data_are_not_those_that_the_checkpoint_has_seen(
    make_plan: MakePlan, base: Path, other: Plan, tmp_path: Path
) -> None:
    copied = other.model_copy(update={"workspace": tmp_path / "copied"})
    shutil.copytree(other.workspace, copied.workspace)
    folder, draft = checkpoints_folder(copied) / "step-00000008", tmp_path / "copied/draft"
    shutil.copytree(folder, draft, ignore=shutil.ignore_patterns(MANIFEST))
    state = json.loads((draft / "trainer_state.json").read_bytes())
    (draft / "trainer_state.json").write_text(json.dumps({**state, "epoch": 1.0}))
    commit(draft, folder)
    epoch: dict[str, Any] = {"training__max_steps": None, "training__epochs": 1}
    with pytest.raises(PlanError, match=r"training\.epochs is 1, and the checkpoint has seen 1: raise it"):
        prepare_stage(_resumed(make_plan, base, copied, **epoch))
    (tmp_path / "new").mkdir()
    prepare_stage(_resumed(plans_in(tmp_path / "new"), base, copied, content=rows(160), **epoch))


def test_the_other_volume_is_not_needed_any_more_once_it_has_begun(
    make_plan: MakePlan, base: Path, other: Plan, tmp_path: Path
) -> None:
    copied = other.model_copy(update={"workspace": tmp_path / "copied"})
    shutil.copytree(other.workspace, copied.workspace)
    plan = _resumed(make_plan, base, copied)
    prepare_stage(plan)
    shutil.rmtree(copied.workspace)
    prepare_stage(plan)
    assert train(plan).step == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"step": 5},
            "the other job has no intact checkpoint of step 5: name one of the steps that there are \\(4, 8\\)",
        ),
        ({"training__max_steps": 8}, r"training\.maxSteps is 8, and the checkpoint is of step 8: raise it"),
        ({"lora": {**LORA, "rank": 4}}, r"adapter's rank is 8: set tuning\.lora\.rank to it"),
        ({"lora": {**LORA, "alpha": 16}}, r"adapter's alpha is 64: set tuning\.lora\.alpha to it"),
        (
            {"lora": {**LORA, "target_modules": ["q_proj"]}},
            r"adapter's targetModules is .*: set tuning\.lora\.targetMod",
        ),
        ({"training__learning_rate": 1e-6}, r"the other job learns at .*: set training\.learningRate to it"),
        ({"lora": None}, r"trained an adapter: choose the same tuning\.method"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_before_training(
    make_plan: MakePlan, base: Path, other: Plan, changes: dict[str, Any], message: str
) -> None:
    plan = _resumed(make_plan, base, other, **changes)
    with pytest.raises(PlanError, match=message):
        prepare_stage(plan)
    assert not list(checkpoints_folder(plan).glob("step-*"))


def test_a_changed_checkpoint_is_passed_over(make_plan: MakePlan, base: Path, other: Plan, tmp_path: Path) -> None:
    copied = other.model_copy(update={"workspace": tmp_path / "copied"})
    shutil.copytree(other.workspace, copied.workspace)
    newest = checkpoints_folder(copied) / "step-00000008/adapter_model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    plan = _resumed(make_plan, base, copied)
    prepare_stage(plan)
    assert [path.name for path in checkpoints_folder(plan).iterdir()] == ["step-00000004"]


def test_another_base_is_refused(make_plan: MakePlan, base: Path, other: Plan, tmp_path: Path) -> None:
    changed = tmp_path / "another"
    shutil.copytree(base, changed)
    config = json.loads((changed / "config.json").read_bytes())
    (changed / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    with pytest.raises(PlanError, match="started from another base"):
        prepare_stage(_resumed(make_plan, changed, other))


def test_epochs_that_leave_nothing_to_train_on_this_data_are_refused(
    make_plan: MakePlan, base: Path, other: Plan
) -> None:
    """Fewer rows make fewer steps an epoch: by the other's epochs there would be something left."""
    plan = _resumed(
        make_plan, base, other, training__max_steps=None, training__epochs=1, training__gradient_accumulation=8
    )
    prepare_stage(plan)
    with pytest.raises(PlanError, match=r"the checkpoint is of step 8, and with this data the training has \d steps"):
        train(plan)
