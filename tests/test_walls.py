"""The walls between rooms hold: imports that a newcomer might write by mistake are planted, and each is refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGES = ("demo", "images", "local_cluster", "operator", "serving_runtime", "toolbox", "tools", "training_runtime")
WRONG = {
    "operator/anneal_operator/decide/gates.py": "anneal_operator.desired.pods",
    "operator/anneal_operator/cluster/events.py": "anneal_operator.decide.gates",
    "operator/anneal_operator/outside/routers.py": "anneal_operator.reconcile.queue",
    "operator/anneal_operator/endpoints/status.py": "training_runtime.page",
    "operator/anneal_operator/desired/pods.py": "time",
    "operator/anneal_operator/api/serving.py": "anneal_operator.errors",
    "operator/anneal_operator/handlers/watching.py": "kubernetes",
    "training_runtime/prepare/report.py": "training_runtime.publish.card",
    "training_runtime/train/dataset.py": "training_runtime.prepare.tokens",
    "training_runtime/evaluate/scores.py": "training_runtime.train.results",
    "training_runtime/rows/blocks.py": "training_runtime.prepare.spool",
    "training_runtime/committed.py": "training_runtime.prepared",
    "training_runtime/workspace.py": "training_runtime.train.stage",
    "training_runtime/tracking.py": "serving_runtime.plan",
    "serving_runtime/recorder/exposures.py": "serving_runtime.router.agent",
    "serving_runtime/plan.py": "serving_runtime.launch",
    "operator/anneal_operator/reconcile/queue.py": "toolbox.polling",
    "toolbox/polling.py": "local_cluster.layout",
}


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a checkout with all of them."""
    copy = tmp_path_factory.mktemp("planted")
    for name in PACKAGES:
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "go"))
    shutil.copy(CHECKOUT / "pyproject.toml", copy)
    for path, module in WRONG.items():
        (copy / path).write_text((copy / path).read_text() + f"\nimport {module}\n")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": "operator", "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("path", "module"), WRONG.items())
def test_a_wrong_import_is_refused(verdict: str, path: str, module: str) -> None:
    importer = path.removeprefix("operator/").removesuffix(".py").replace("/", ".")
    assert f"{importer} -> {module}" in verdict or f"{importer} imports {module}" in verdict, verdict


@pytest.mark.parametrize("package", ["operator/anneal_operator", "training_runtime", "serving_runtime"])
def test_a_module_outside_every_room_is_refused(tmp_path: Path, package: str) -> None:
    for name in PACKAGES:
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "go"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    (tmp_path / package / "helpers.py").write_text('"""Of no room."""\n')
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": "operator"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "helpers" in done.stdout
