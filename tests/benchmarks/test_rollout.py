"""The rollout's benchmark measures what it says, on a small scale: real curl and nginx, and a router that is played."""

import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.api.serving import Serving
from anneal_operator.desired.serving import deployment
from benchmarks.rollout import moving
from benchmarks.rollout.cold_start import flags, plain_pod, plan_in
from benchmarks.rollout.download import download_rounds
from benchmarks.rollout.figures import Figure
from benchmarks.rollout.many import writes_in
from benchmarks.rollout.moving import move_alias
from tests.api.specs import GOOD
from tests.desired.test_serving import ENV, PARENT
from tests.support.http_server import playing

LATE_SECONDS = 0.6


def test_ours_and_curl_bring_the_same(tmp_path: Path) -> None:
    rounds = download_rounds(tmp_path, 1_000_000, 1, 8_000_000)
    assert all(0 < one.bare < one.same and one.ours > 0 for one in rounds)
    [ours] = (path for path in (tmp_path / "ours").iterdir() if path.is_dir())
    for path in ours.iterdir():
        assert path.read_bytes() == (tmp_path / "curl" / f"{path.name}.{0:012}").read_bytes()


@dataclass
class World:
    """A router: a while after the alias was moved the other version answers."""

    port: int = 0
    moved_at: float | None = None
    fails: int = 0
    """So many of the next requests."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def move(self) -> None:
        """As MLflow's answer has it."""
        self.moved_at = time.monotonic()


class WorldHandler(BaseHTTPRequestHandler):
    """Answers for it."""

    state: World

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.state.lock:
            fails = self.state.fails > 0
            self.state.fails -= fails
        moved = self.state.moved_at
        has_followed = moved is not None and time.monotonic() - moved > LATE_SECONDS
        self.send_response(503 if fails else 200)
        self.send_header("X-Anneal-Version", "new" if has_followed else "old")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    @override
    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_the_last_answer_of_another_version_and_what_failed_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_BEFORE_SECONDS", 0.1)
    monkeypatch.setattr(moving, "_QUIET_SECONDS", 1.0)
    with playing(World(fails=2), WorldHandler) as world:
        found = move_alias(f"http://127.0.0.1:{world.port}", "spam", "new", 2, world.move)
    assert LATE_SECONDS / 2 < found.seconds < LATE_SECONDS + 0.5
    assert (found.failed, found.requests > 10) == (2, True)


def test_a_version_that_never_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_BEFORE_SECONDS", 0.0)
    monkeypatch.setattr(moving, "_PATIENCE_SECONDS", 0.3)
    refused = pytest.raises(RuntimeError, match="other answered nothing: is it where spam was moved to")
    with playing(World(), WorldHandler) as world, refused:
        move_alias(f"http://127.0.0.1:{world.port}", "spam", "other", 1, world.move)


@pytest.mark.parametrize(
    ("figure", "row"),
    [
        (Figure("start", [3.0, 1.0, 1.5], "s", at_most=2.0), "| start | <= 2 s | 1.5 s | 1 s | 3 s |"),
        (Figure("start", [2.5], "s", at_most=2.0), "| start | <= 2 s | missed: 2.5 s |  |  |"),
        (Figure("speed", [0.7, 0.9, 0.75], at_least=0.8), "| speed | >= 0.8 | missed: 0.75 | 0.7 | 0.9 |"),
        (Figure("memory", [212.345], "MiB"), "| memory |  | 212 MiB |  |  |"),
    ],
)
def test_a_figure_is_a_line_that_says_what_was_missed(figure: Figure, row: str) -> None:
    assert figure.row == row


def _event(user: str, verb: str, resource: str, at: str) -> str:
    told = {"user": {"username": user}, "verb": verb, "objectRef": {"resource": resource}, "stageTimestamp": at}
    return json.dumps({**told, "requestURI": f"/apis/{resource}"}, separators=(",", ":")) + "\n"


def test_only_what_the_operator_wrote_since_is_counted() -> None:
    operator, late, early = (
        "system:serviceaccount:anneal-system:anneal-operator",
        "2026-03-01T12:01:00Z",
        "2026-03-01T11:59:00Z",
    )
    lines = [
        _event(operator, "patch", "modelversions", late),
        _event(operator, "patch", "modelversions", early),
        _event("system:node:one", "patch", "pods", late),
        _event(operator, "create", "tokenreviews", late),
        _event(operator, "create", "pods", late)[:40],
    ]
    since = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
    assert list(writes_in(lines, since)) == ["patch /apis/modelversions"]


def _template() -> dict[str, Any]:
    """The pods of a version, as the operator makes them."""
    serving = {"engineArgs": [{"name": "enforce-eager", "value": "true"}], "dtype": "FP32"}
    spec = ModelVersionSpec.model_validate({**GOOD["ModelVersion"], "serving": serving})
    made = deployment(PARENT, spec, spec.serving or Serving(), 1, ENV, startup_seconds=900)
    found: dict[str, Any] = made["spec"]["template"]["spec"]
    return found


def test_plain_vllm_has_the_engines_flags_and_nothing_of_ours(tmp_path: Path) -> None:
    template = _template()
    plan = plan_in(template)
    command = flags(plan, tmp_path)
    assert command[:5] == ["python", "-m", "vllm.entrypoints.openai.api_server", "--model", "/model"]
    assert command[command.index("--dtype") + 1] == "float32"
    assert "--enforce-eager" in command
    assert not [word for word in command if "serving_runtime" in word or word == "--middleware"]
    pod = plain_pod("plain", template, command, {"HF_HUB_OFFLINE": "1", "ANNEAL_CANARY": "{}"}, tmp_path)["spec"]
    [engine] = pod["containers"]
    [ours] = template["containers"]
    assert (engine["command"], engine["image"], engine["resources"]) == (command, ours["image"], ours["resources"])
    assert not {"args", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"} & engine.keys()
    variables = [one["name"] for one in engine["env"]]
    assert "HF_HUB_OFFLINE" in variables
    assert not [name for name in variables if name.startswith("ANNEAL_")]
    assert "initContainers" not in pod
    [mount] = [mount for mount in engine["volumeMounts"] if mount["mountPath"] == "/model"]
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    assert volume["hostPath"]["path"] == str(tmp_path)
    assert "args" in ours
