"""The checkpoint of another training that this one goes on from: copied once, and from then on this training's own.

So training resumes from it as from any checkpoint, and does not need the other's volume any more. What only the other
training may say of itself, its last step and the course of its numbers, is left behind; and where it learnt other data,
training is told to begin with the first row.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from training_runtime.committed import MANIFEST, committing, verified_digest
from training_runtime.errors import PlanError
from training_runtime.log import log_event
from training_runtime.plan import LoraPlan, Plan, ResumePlan
from training_runtime.prepared import dataset_facts, first_step
from training_runtime.workspace import base_folder, checkpoint_name, checkpoints_folder, first_step_file

__all__ = ["take_checkpoint"]

_ADAPTER = "adapter_config.json"
_STATE = "trainer_state.json"


def take_checkpoint(plan: Plan) -> None:
    """Copy the checkpoint, unless there is one already; raise PlanError where it is gone, or does not fit."""
    wanted, own = plan.training.resume_from, checkpoints_folder(plan)
    if wanted is None or any(own.glob("step-*")):
        return
    source = _source(wanted)
    _check_fits(plan, wanted, source)
    state = json.loads((source / _STATE).read_bytes())
    step = int(state["global_step"])
    other = plan.model_copy(update={"workspace": wanted.checkpoints.parent})
    same_data = _data(other) == _data(plan)
    _check_length(plan, state, same_data=same_data)
    if first := first_step(other) if same_data else step:
        own.mkdir(parents=True, exist_ok=True)
        first_step_file(plan).write_text(str(first))
    with committing(own / checkpoint_name(step)) as draft:
        shutil.copytree(source, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        begun = {**state, "log_history": [], "max_steps": plan.training.max_steps or sys.maxsize}
        (draft / _STATE).write_text(json.dumps(begun))
    log_event("resumed", step=step, checkpoint=str(source))


def _source(wanted: ResumePlan) -> Path:
    there = sorted(wanted.checkpoints.glob("step-" + 8 * "[0-9]"), reverse=True)
    asked = [path for path in there if wanted.step in (None, int(path.name[-8:]))]
    whole = next((path for path in asked if verified_digest(path)), None)
    if whole is None:
        steps = ", ".join(str(int(path.name[-8:])) for path in reversed(there)) or "none"
        which = "no intact checkpoint" if wanted.step is None else f"no intact checkpoint of step {wanted.step}"
        raise PlanError(
            f"training.resumeFrom: the other job has {which}: name one of the steps that there are ({steps})"
        )
    return whole


def _check_fits(plan: Plan, wanted: ResumePlan, source: Path) -> None:
    """An adapter goes on as an adapter of the same shape, beside the same base; all weights with the same tokenizer."""
    adapter = json.loads((source / _ADAPTER).read_bytes()) if (source / _ADAPTER).exists() else None
    if (adapter is None) != (plan.lora is None):
        made = "all weights" if adapter is None else "an adapter"
        raise PlanError(f"training.resumeFrom: the other job trained {made}: choose the same tuning.method")
    if adapter and plan.lora:
        _check_adapter(plan.lora, adapter)
    _check_rate(plan, source)
    theirs, ours = _files(wanted.checkpoints.parent / "base"), _files(base_folder(plan))
    compared = {*theirs} & {*ours} if plan.lora else {"tokenizer.json"}
    if any(theirs.get(name) != ours.get(name) for name in compared):
        raise PlanError("training.resumeFrom: the other job started from another base: choose the same base")


def _check_adapter(ours: LoraPlan, theirs: dict[str, Any]) -> None:
    """The other adapter goes on, so it must be the one that the plan describes."""
    named = None if ours.target_modules == ["all-linear"] else sorted(ours.target_modules)
    for field, there, here in (
        ("rank", theirs["r"], ours.rank),
        ("alpha", theirs["lora_alpha"], ours.alpha),
        ("targetModules", named and sorted(theirs["target_modules"]), named),
    ):
        if there != here:
            raise PlanError(
                f"training.resumeFrom: the other adapter's {field} is {there}: set tuning.lora.{field} to it"
            )


def _check_rate(plan: Plan, source: Path) -> None:
    """The scheduler goes on at the rate that it began with, whatever the plan says."""
    file = source / "scheduler.pt"
    if not file.exists():
        return
    import torch

    rates = torch.load(file, weights_only=True).get("base_lrs") or [plan.training.learning_rate]
    if plan.training.learning_rate not in rates:
        raise PlanError(
            f"training.resumeFrom: the other job learns at {rates[0]:g}, and its optimizer goes on so: set "
            "training.learningRate to it"
        )


def _files(folder: Path) -> dict[str, str]:
    """The digests of a committed folder's files, as its manifest tells them."""
    path = folder / MANIFEST
    found: dict[str, str] = json.loads(path.read_bytes())["files"] if path.exists() else {}
    return found


def _data(plan: Plan) -> str | None:
    """What the rows are known by; None where there are none."""
    try:
        return str(dataset_facts(plan)["numbers"]["digest"])
    except OSError:
        return None


def _check_length(plan: Plan, state: dict[str, Any], *, same_data: bool) -> None:
    """There must be something left to train; of other data only training knows how many steps an epoch has."""
    settings = plan.training
    if settings.max_steps is not None and settings.max_steps <= state["global_step"]:
        raise PlanError(
            f"training.maxSteps is {settings.max_steps}, and the checkpoint is of step {state['global_step']}: raise it"
        )
    if same_data and settings.epochs is not None and settings.epochs <= (state.get("epoch") or 0):
        raise PlanError(
            f"training.epochs is {settings.epochs}, and the checkpoint has seen {state['epoch']:.2g}: raise it"
        )
