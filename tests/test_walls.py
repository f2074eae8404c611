"""The walls between rooms hold: imports that a newcomer might write by mistake are planted, and each is refused."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGES = (
    "benchmarks",
    "demo",
    "images",
    "local_cluster",
    "operator",
    "prompts",
    "serving_runtime",
    "toolbox",
    "tools",
    "training_runtime",
)
ROOMS = "operator/anneal_operator"
WRONG = (
    (f"{ROOMS}/__init__.py", "anneal_operator.reconcile.queue"),
    (f"{ROOMS}/reasons.py", "kubernetes"),
    (f"{ROOMS}/decide/gates.py", "anneal_operator.desired.pods"),
    (f"{ROOMS}/cluster/events.py", "anneal_operator.decide.gates"),
    (f"{ROOMS}/cluster/store.py", "mlflow"),
    (f"{ROOMS}/outside/routers.py", "anneal_operator.reconcile.queue"),
    (f"{ROOMS}/endpoints/status.py", "training_runtime.page"),
    (f"{ROOMS}/endpoints/status.py", "kopf"),
    (f"{ROOMS}/desired/pods.py", "tools.budgets"),
    (f"{ROOMS}/desired/plan.py", "benchmarks.prepare"),
    (f"{ROOMS}/handlers/watching.py", "kubernetes"),
    (f"{ROOMS}/reconcile/harness.py", "mlflow"),
    (f"{ROOMS}/reconcile/queue.py", "kopf"),
    (f"{ROOMS}/reconcile/queue.py", "toolbox.polling"),
    (f"{ROOMS}/reconcile/telling.py", "aiohttp"),
    (f"{ROOMS}/desired/plan.py", "prompts.template"),
    ("prompts/rendering.py", "prompts.fields"),
    ("prompts/thinking.py", "prompts.rendering"),
    ("prompts/canary.py", "prompts.clock"),
    ("prompts/template.py", "training_runtime.plan"),
    ("training_runtime/__init__.py", "training_runtime.workspace"),
    ("training_runtime/prepare/report.py", "training_runtime.publish.card"),
    ("training_runtime/train/dataset.py", "training_runtime.prepare.tokens"),
    ("training_runtime/evaluate/scores.py", "training_runtime.train.results"),
    ("training_runtime/rows/blocks.py", "training_runtime.prepare.spool"),
    ("training_runtime/committed.py", "training_runtime.prepared"),
    ("training_runtime/workspace.py", "training_runtime.train.stage"),
    ("training_runtime/tracking.py", "serving_runtime.plan"),
    ("training_runtime/page.py", "benchmarks.prepare"),
    ("serving_runtime/recorder/ingest.py", "serving_runtime.router.agent"),
    ("serving_runtime/router/agent.py", "kubernetes"),
    ("serving_runtime/plan.py", "serving_runtime.launch"),
    ("serving_runtime/terms.py", "serving_runtime.plan"),
    ("serving_runtime/weights/published.py", "serving_runtime.weights.cache"),
    ("local_cluster/layout.py", "tools.budgets"),
    ("toolbox/polling.py", "local_cluster.layout"),
    ("toolbox/polling.py", "tools.budgets"),
)
ROOMLESS = ("anneal_operator", "prompts", "training_runtime", "serving_runtime")

SAFE = {"collections.abc", "dataclasses", "itertools", "json", "math", "re", "typing", "typing_extensions"}
OURS = {
    "anneal_operator.api",
    "anneal_operator.reasons",
    "serving_runtime.plan",
    "serving_runtime.scoring",
    "training_runtime.HEARTBEAT_VARIABLE",
    "training_runtime.STALLED",
    "training_runtime.plan",
}
PURE = {
    f"{ROOMS}/api": SAFE | OURS | {"datetime", "decimal", "pydantic", "pydantic_core"},
    f"{ROOMS}/decide": SAFE | OURS | {"anneal_operator.decide", "base64", "datetime", "pydantic", "scipy", "zlib"},
    f"{ROOMS}/desired": SAFE
    | OURS
    | {"anneal_operator.desired", "base64", "datetime", "hashlib", "html", "pathlib.Path", "urllib.parse"},
    f"{ROOMS}/reasons.py": {"enum"},
    "prompts": SAFE | {"datetime", "functools", "itertools", "jinja2", "prompts", "pydantic"},
    "serving_runtime/plan.py": SAFE | {"hashlib", "pydantic", "serving_runtime.task_table", "serving_runtime.terms"},
    "serving_runtime/task_table.py": SAFE | {"pydantic"},
    "serving_runtime/scoring.py": {"hashlib", "json", "pydantic", "typing"},
    "training_runtime/plan.py": {"pathlib.Path", "pydantic", "training_runtime.HEARTBEAT_VARIABLE", "typing"},
}
"""All that the rooms without clock, chance and other systems may import, and the two plans that they share with the
runtimes; of a package, all below it. Which room may import which is the linter's to say."""
IMPURE = (
    "import subprocess",
    "import urllib.request",
    "import logging",
    "import prometheus_client",
    "import requests",
    "import tempfile",
    "import os",
    "from time import time",
    "from pathlib import PosixPath",
    "def f():\n    import random",
    "from anneal_operator.errors import Refused",
    "from .. import settings",
    "opened = datetime.now(UTC)",
    "opened = datetime.date.today()",
)


def test_a_wrong_import_and_a_module_of_no_room_are_refused(tmp_path: Path) -> None:
    """In one copy, for the linter's sake, and in one test, as each of pytest's workers would lint again."""
    for name in PACKAGES:
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "go"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    for path, module in WRONG:
        with (tmp_path / path).open("a") as source:
            source.write(f"\n\ndef planted_{module.replace('.', '_')}():\n    import {module}\n")
    for package in ROOMLESS:
        folder = tmp_path / "operator" / package if package == "anneal_operator" else tmp_path / package
        (folder / f"helpers_of_{package}.py").write_text('"""Of no room."""\n')
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "operator", "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    let_through = [(path, module) for path, module in WRONG if not is_named(path, module, done.stdout)]
    let_through += [(name, "") for name in ROOMLESS if f"helpers_of_{name}" not in done.stdout]
    assert not let_through, done.stdout


def is_named(path: str, module: str, told: str) -> bool:
    importer = path.removeprefix("operator/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return f"{importer} -> {module}" in told or f"{importer} imports {module}" in told


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_imports_nothing_but_what_is_listed(room: str) -> None:
    modules = sorted((CHECKOUT / room).rglob("*.py")) if (CHECKOUT / room).is_dir() else [CHECKOUT / room]
    assert modules
    found = {str(path.relative_to(CHECKOUT)): [*impurities(path, path.read_text(), PURE[room])] for path in modules}
    assert not {path: impure for path, impure in found.items() if impure}


@pytest.mark.parametrize("line", IMPURE)
def test_an_impure_line_is_refused_in_each_of_them(line: str) -> None:
    paths = {room: CHECKOUT / (room if room.endswith(".py") else f"{room}/module.py") for room in PURE}
    assert [room for room, path in paths.items() if [*impurities(path, line, PURE[room])]] == list(PURE)


def impurities(path: Path, source: str, allowed: set[str]) -> Iterator[str]:
    """What a module imports beside that, anywhere in it, and where it asks for the time."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"now", "today"}:
            yield ast.unparse(node)
        yield from (name for name in imported(path, node) if not is_within(name, allowed))


def imported(path: Path, node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        package = path.relative_to(CHECKOUT).parts[: -node.level] if node.level else ()
        module = ".".join([*package, *([node.module] if node.module else [])]).removeprefix("operator.")
        return [f"{module}.{alias.name}" for alias in node.names]
    return []


def is_within(name: str, allowed: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in allowed)
