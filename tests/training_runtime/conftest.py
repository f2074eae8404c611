"""What the runtime's tests share: plans, tiny data, a tiny base, and the real servers that the stages talk to.

These tests run in the trainer's own environment (`make runtime-test`): they train for real.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from training_runtime.plan import Plan, Prepared

os.environ["HF_HUB_OFFLINE"] = "1"
# Models as small as these gain nothing from threads, which on a busy machine lose minutes waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[2]
CONFIG = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 600,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "tie_word_embeddings": True,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
}
MakePlan = Callable[..., Plan]
Prepare = Callable[[Plan], Prepared]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The libraries' own warnings are not ours to mend; ours still are errors in `make check`."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore"))


def rows(count: int) -> list[dict[str, Any]]:
    """Questions that differ in every word, each with one of two answers."""
    made = []
    for number in range(count):
        words = " ".join(
            f"{'가나다라마바사아자차'[(number * k) % 10]}{(number * 7919 * k) % 9973:04d}" for k in range(1, 9)
        )
        action = "BLOCK" if number % 3 == 0 else "ALLOW"
        made.append({"instruction": "판단하라.", "input": words, "output": {"action": action, "n": number % 5}})
    return made


def write_rows(path: Path, content: list[dict[str, Any]]) -> Path:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), encoding="utf-8")
    return path


@contextmanager
def signals_given_back() -> Iterator[None]:
    """A training in this process listens to its signals: give them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    with signals_given_back():
        yield


@pytest.fixture
def make_plan(tmp_path: Path) -> MakePlan:
    """Make a plan of a small full training in this test's folder.

    Keywords change it, `training__max_steps=5`; `format` is that of its source.
    """
    return plans_in(tmp_path)


def plans_in(folder: Path) -> MakePlan:
    """Return what makes plans in a folder."""
    config = folder / "config"
    config.mkdir()
    (config / "config.json").write_text(json.dumps(CONFIG))

    def make(content: list[dict[str, Any]] | None = None, **changes: Any) -> Plan:
        source = write_rows(folder / "rows.jsonl", rows(80) if content is None else content)
        plan: dict[str, Any] = {
            "job": {"name": "job", "namespace": "tests", "uid": folder.name},
            "workspace": str(folder / "workspace"),
            "base": {"initialize": "Random", "uri": str(config)},
            "dataset": {
                "sources": [{"uri": str(source), "format": changes.pop("format", "Auto")}],
                "duplicate_threshold": None,
                "split": {"validation": 0.1, "test": 0.1, "stratify_by": None, "seed": 42},
            },
            "lora": None,
            "training": {
                "epochs": None,
                "max_steps": 8,
                "learning_rate": 2e-3,
                "per_device_batch_size": 4,
                "max_sequence_length": 256,
                "save_every_steps": 4,
                "keep_checkpoints": 2,
                "log_every_steps": 1,
                "seed": 42,
            },
            "evaluation": {"suites": [], "max_rows": 8, "max_new_tokens": 12},
            "tracking": {"uri": "http://127.0.0.1:9", "experiment": "tests"},
            "model_name": "tests",
        }
        for name, value in changes.items():
            *path, last = name.split("__")
            place = plan
            for part in path:
                place = place[part] if isinstance(place.get(part), dict) else place.setdefault(part, {})
            place[last] = value
        made = Plan.model_validate(plan)
        made.workspace.mkdir(exist_ok=True)
        return made

    return make


@pytest.fixture(scope="session")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Prepare for a training from `base`, on a volume with what earlier tests prepared: the stage finds it by key."""
    volume = tmp_path_factory.mktemp("prepared")

    def prepare_once(plan: Plan) -> Prepared:
        from training_runtime.prepare import stage

        assert plan.base.initialize == "Pretrained"  # a new base is made of the rows
        shutil.copytree(volume, plan.workspace, dirs_exist_ok=True)
        found = stage.prepare(plan)
        shutil.copytree(plan.workspace, volume, dirs_exist_ok=True)
        return found

    return prepare_once


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny pretrained model and its tokenizer, as a user would name it."""
    from training_runtime.plan import BasePlan
    from training_runtime.prepare.base import new_base
    from training_runtime.train.model import draw_weights
    from training_runtime.workspace import base_folder

    folder = tmp_path_factory.mktemp("base")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    plan = Plan.model_validate(
        {
            "job": {"name": "base", "namespace": "tests", "uid": "base"},
            "workspace": str(folder),
            "base": BasePlan(initialize="Random", uri=str(folder)),
            "dataset": {"sources": [], "split": {"validation": 0.1, "test": 0.1, "stratify_by": None, "seed": 1}},
            "lora": None,
            "training": {
                "epochs": 1,
                "max_steps": None,
                "learning_rate": 1e-3,
                "per_device_batch_size": 1,
                "max_sequence_length": 64,
                "save_every_steps": 1,
                "keep_checkpoints": 1,
                "log_every_steps": 1,
                "seed": 1,
            },
            "evaluation": {"suites": [], "max_rows": 1, "max_new_tokens": 1},
            "tracking": {"uri": "", "experiment": ""},
            "model_name": "base",
        }
    )
    new_base(plan, (json.dumps(row, ensure_ascii=False) for row in rows(300)))
    draw_weights(plan)
    target = base_folder(plan)
    (target / "manifest.json").unlink()
    return target


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    """Wait until a server that was just started answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL of our own, on a port of its own; its address."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    # Not under pytest's folders: every other run of pytest makes those its user's alone again.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    folder.chmod(0o755)
    data, port = folder / "data", free_port()
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    user: list[str | Path] = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    subprocess.run([*user, programs / "initdb", "-D", data, "-A", "trust"], check=True, capture_output=True, cwd="/")
    settings: list[str | Path] = ["-D", data, "-p", str(port), "-k", "", "-h", "127.0.0.1", "-c", "fsync=off"]
    server = subprocess.Popen([*user, programs / "postgres", *settings], cwd="/")
    address = f"postgresql+psycopg2://postgres@127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    ready: list[str | Path] = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-q"]
    while subprocess.run(ready, check=False).returncode and time.monotonic() < deadline:
        time.sleep(0.2)
    yield f"{address}/postgres"
    server.terminate()
    server.wait(30)
    shutil.rmtree(folder)


class MlflowServer:
    """A real MLflow server that can be ended and started again on the same port."""

    def __init__(self, database: str, artifacts: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._command: list[str | Path] = [ROOT / ".envs/mlflow/bin/mlflow", "server", "--backend-store-uri", database]
        self._command += [
            "--artifacts-destination",
            str(artifacts),
            "--workers",
            "1",
            "--port",
            self.url.rpartition(":")[2],
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment["PATH"] = f"{ROOT}/.envs/mlflow/bin:{environment['PATH']}"
        self._process = subprocess.Popen(self._command, env=environment, start_new_session=True)
        wait_for(f"{self.url}/health", self._process)

    def stop(self) -> None:
        """End it and everything that it started."""
        if self._process:
            os.killpg(self._process.pid, 15)
            self._process.wait(30)
            self._process = None


@pytest.fixture(scope="session")
def mlflow_server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server on PostgreSQL."""
    server = MlflowServer(postgres, tmp_path_factory.mktemp("artifacts"))
    server.start()
    yield server
    server.stop()
