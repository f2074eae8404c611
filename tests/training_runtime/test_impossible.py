"""What cannot work is refused by preparation, with the remedy, where `kubectl apply` cannot know it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.desired.plan import Base, make_plan
from tests.impossible import ANSWERED, IMPOSSIBLE, Impossible
from training_runtime.committed import committing
from training_runtime.errors import DataError, PlanError
from training_runtime.plan import Plan
from training_runtime.prepare.stage import prepare

from .conftest import write_rows
from .families import ORIGINALS

LATE = [row for row in IMPOSSIBLE if row.by == "prepare"]
POSSIBLE = Impossible("the least", "prepare", "", "")


def _base_of(row: Impossible, tiny: Path, folder: Path) -> Path:
    shutil.copytree(tiny, folder)
    config = {**json.loads((folder / "config.json").read_bytes()), **row.base.config}
    (folder / "config.json").write_text(json.dumps(config))
    template = folder / "chat_template.jinja"
    assert template.exists()
    if row.base.template is None:
        template.unlink()
    elif row.base.template != "own":
        template.write_text(ORIGINALS[row.base.template])
    for name, content in row.base.files.items():
        (folder / name).write_text(content)
    for name in row.base.without:
        (folder / name).unlink()
    return folder


def _checkpoint_of(row: Impossible, folder: Path) -> Path:
    """What another job leaves, as far as this one looks at it before it goes on."""
    with committing(folder / "step-00000004") as draft:
        (draft / "adapter_config.json").write_text(json.dumps(row.adapter))
        (draft / "trainer_state.json").write_text(json.dumps({"global_step": 4, "epoch": 1.0}))
    return folder


def _plan_of(row: Impossible, tiny: Path, folder: Path) -> Plan:
    """The operator's plan, with what it mounts on this machine."""
    base = str(_base_of(row, tiny, folder / "base"))
    metadata = {"name": "job", "namespace": "tests", "uid": "job"}
    spec = FineTuneJobSpec.parse(row.spec)
    plan: dict[str, Any] = make_plan(metadata, spec, Base(base, base), "http://127.0.0.1:9", "", "").model_dump(
        mode="json"
    )
    plan["workspace"] = str(folder / "workspace")
    plan["dataset"]["sources"][0]["uri"] = str(write_rows(folder / "rows.jsonl", row.rows))
    if row.adapter:
        plan["training"]["resume_from"]["checkpoints"] = str(_checkpoint_of(row, folder / "checkpoints"))
    (folder / "workspace").mkdir()
    return Plan.model_validate(plan)


@pytest.mark.parametrize("row", LATE, ids=lambda row: row.wish)
def test_preparation_refuses_it_and_says_what_to_do(row: Impossible, base: Path, tmp_path: Path) -> None:
    plan = _plan_of(row, base, tmp_path)
    with pytest.raises((PlanError, DataError)) as caught:
        prepare(plan)
    assert row.told in str(caught.value)


def test_nothing_else_is_wrong_with_them(base: Path, tmp_path: Path) -> None:
    """So it is each row's own change that is refused."""
    assert prepare(_plan_of(POSSIBLE, base, tmp_path)).rows == len(ANSWERED)
