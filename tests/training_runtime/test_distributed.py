"""Several processes train as one does: every strategy, two and four of them, on one node and on two."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

import psutil
import pytest
import torch
from safetensors.torch import load_file

from toolbox.polling import poll
from training_runtime.committed import verified_digest
from training_runtime.plan import ExitCode, Plan
from training_runtime.train.stage import train

from .conftest import ROOT, Prepare, free_port, plans_in, signals_given_back

HERE = {"PYTHONFAULTHANDLER": "1", "GLOO_SOCKET_IFNAME": "lo"}
"""Beside these tests, others make and remove the interfaces that a machine's name may resolve to."""
LORA = {"rank": 8, "alpha": 64, "dropout": 0.0, "target_modules": ["all-linear"]}
STEPS = 20


def _start(plan: Plan, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    path = folder / "plan.json"
    path.write_text(plan.model_dump_json())
    command = [sys.executable, "-m", "training_runtime", "train", "--plan", str(path)]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **HERE, **environment}, stdout=log, stderr=log)


def _ended(process: subprocess.Popen[bytes], folder: Path, code: int = 0) -> None:
    try:
        ended = process.wait(200)
    except subprocess.TimeoutExpired:
        _abort(process)
        pytest.fail(f"it did not end, and stood here: {(folder / 'log').read_text()[-12000:]}")
    assert ended == code, (folder / "log").read_text()[-30000:]


def _abort(process: subprocess.Popen[bytes]) -> None:
    """End a training that hangs; each process writes into its log where it stood."""
    stage = psutil.Process(process.pid)
    for one in (*stage.children(recursive=True), stage):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGABRT)
    process.wait(30)


def _losses(plan: Plan) -> list[float]:
    history = json.loads((plan.workspace / "history.json").read_bytes())
    return [entry["loss"] for entry in history if "loss" in entry]


def _with(plan: Plan, workspace: Path, processes: int, **distributed: Any) -> Plan:
    """The same training by several processes: the same rows in each step, shared out."""
    shutil.copytree(plan.workspace, workspace)
    for name in ("model", "adapter", "checkpoints", "tracking"):
        shutil.rmtree(workspace / name, ignore_errors=True)
    training = plan.training.model_copy(update={"per_device_batch_size": 8 // processes})
    shared = plan.distributed.model_copy(update={"processes_per_node": processes, **distributed})
    return plan.model_copy(update={"workspace": workspace, "training": training, "distributed": shared})


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, base: Path, prepare: Prepare) -> dict[str, Plan]:
    """What one process comes to, for full training and for an adapter."""
    done: dict[str, Plan] = {}
    for name, lora in (("full", None), ("lora", LORA)):
        plan = plans_in(tmp_path_factory.mktemp(name))(
            base={"initialize": "Pretrained", "uri": str(base)},
            lora=lora,
            training__max_steps=STEPS,
            training__save_every_steps=10,
            training__per_device_batch_size=8,
        )
        prepare(plan)
        with signals_given_back():
            train(plan)
        done[name] = plan
    return done


class Case(NamedTuple):
    """A way to share the work out."""

    method: str
    strategy: str
    processes: int
    offload: str = "None"
    precision: str = "Auto"
    packing: bool = False


CASES = [
    Case("full", "DDP", 2),
    Case("full", "FSDP", 2),
    Case("full", "ZeRO2", 2),
    Case("full", "ZeRO3", 2),
    Case("full", "ZeRO3", 2, offload="Optimizer"),
    Case("lora", "ZeRO3", 2),
]
HALF_CASES = [Case("full", strategy, 2, precision="BF16") for strategy in ("DDP", "FSDP", "ZeRO3")]
PACKED_CASE = Case("full", "DDP", 2, packing=True)
BRIEF_STEPS = 2
"""Of cases that no losses are compared of."""
LONG_CASES = [
    Case("full", "ZeRO1", 2),
    Case("lora", "DDP", 2),
    Case("lora", "ZeRO2", 2),
    *(Case("full", strategy, 4) for strategy in ("DDP", "FSDP", "ZeRO3")),
]


@pytest.fixture(scope="module")
def trained(
    request: pytest.FixtureRequest, alone: dict[str, Plan], tmp_path_factory: pytest.TempPathFactory
) -> dict[Case, Plan]:
    """Every case that was asked for, trained by as few launches of torchrun as there are numbers of processes."""
    asked: list[Case] = [
        cast("Case", item.callspec.params["case"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and "case" in item.fixturenames
    ]
    plans: dict[Case, Plan] = {}
    for processes in sorted({case.processes for case in asked}):
        folder = tmp_path_factory.mktemp(f"processes-{processes}")
        for case in (case for case in asked if case.processes == processes):
            shared: dict[str, Any] = {"strategy": case.strategy, "offload": case.offload}
            plan = _with(alone[case.method], folder / "-".join(map(str, case)), processes, **shared)
            if (case.precision, case.packing) != ("Auto", False):
                changed = {"precision": case.precision, "packing": case.packing, "max_steps": BRIEF_STEPS}
                plan = plan.model_copy(update={"training": plan.training.model_copy(update=changed)})
            _file(plan).write_text(plan.model_dump_json())
            plans[case] = plan
        _launch([plan for case, plan in plans.items() if case.processes == processes], processes, folder / "log")
    return plans


def _file(plan: Plan) -> Path:
    return plan.workspace.with_suffix(".json")


def _launch(plans: list[Plan], processes: int, log: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), Path(__file__).with_name("many_plans.py")]
    command += [argument for plan in plans for argument in (str(free_port()), _file(plan))]
    with log.open("wb") as output:
        launched = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=output,
            timeout=120 + 120 * len(plans),
            check=False,
        )
    assert launched.returncode == 0, log.read_text()[-6000:]


@pytest.mark.parametrize(
    "case",
    [*CASES, *(pytest.param(case, marks=pytest.mark.soak) for case in LONG_CASES)],
    ids=lambda case: "-".join(map(str, case)),
)
def test_losses_are_those_of_one_process(alone: dict[str, Plan], trained: dict[Case, Plan], case: Case) -> None:
    plan = _ended_well(trained[case], case)
    expected, found = _losses(alone[case.method]), _losses(plan)
    assert len(found) == STEPS
    assert max(abs(a - b) for a, b in zip(expected, found, strict=True)) <= 1e-3
    results = json.loads((plan.workspace / "train_results.json").read_bytes())
    assert (results["processes"], results["strategy"]) == (case.processes, case.strategy)
    single = json.loads((alone[case.method].workspace / "train_results.json").read_bytes())
    counted = ("parameters", "trained_parameters", "weights")
    assert [results[name] for name in counted] == [single[name] for name in counted], "whoever holds which part"
    assert verified_digest(plan.workspace / "model")
    assert _precisions(plan) == {torch.float32}
    assert train(plan).step == STEPS  # handed back


def _ended_well(plan: Plan, case: Case) -> Plan:
    codes = [Path(f"{_file(plan)}.{rank}.code").read_text() for rank in range(case.processes)]
    assert codes == ["0"] * case.processes, Path(f"{_file(plan)}.log").read_text()[-6000:]
    return plan


def _precisions(plan: Plan) -> set[torch.dtype]:
    return {weight.dtype for weight in load_file(plan.workspace / "model/model.safetensors").values()}


@pytest.mark.parametrize("case", HALF_CASES, ids=lambda case: case.strategy)
def test_weights_trained_in_half_precision_are_saved_in_it_whatever_the_strategy(
    trained: dict[Case, Plan], case: Case
) -> None:
    plan = _ended_well(trained[case], case)
    assert _precisions(plan) == {torch.bfloat16}
    assert json.loads((plan.workspace / "model/config.json").read_bytes())["dtype"] == "bfloat16"


@pytest.mark.parametrize("case", [PACKED_CASE], ids=["packed"])
def test_rows_are_packed_into_the_cache_by_the_first_process_alone(trained: dict[Case, Plan], case: Case) -> None:
    plan = _ended_well(trained[case], case)
    written = [Path(f"{_file(plan)}.{rank}.wrote").read_text().splitlines() for rank in range(case.processes)]
    assert written[0]
    assert written[1] == []
    assert len(_losses(plan)) == BRIEF_STEPS


def test_two_nodes_are_two_agents(alone: dict[str, Plan], tmp_path: Path) -> None:
    plan = _with(alone["full"], tmp_path / "workspace", 2, strategy="DDP", nodes=2, processes_per_node=1)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for node in [_start(plan, tmp_path, JOB_COMPLETION_INDEX=str(index), **meeting) for index in range(2)]:
        _ended(node, tmp_path)
    assert max(abs(a - b) for a, b in zip(_losses(alone["full"]), _losses(plan), strict=True)) <= 1e-3


@pytest.mark.parametrize(
    "strategy", ["ZeRO3", *(pytest.param(s, marks=pytest.mark.soak) for s in ("DDP", "ZeRO2", "FSDP"))]
)
def test_processes_that_are_asked_to_stop_save_one_step_and_go_on_from_it(
    alone: dict[str, Plan], tmp_path: Path, strategy: str
) -> None:
    plan = _with(alone["full"], tmp_path / "workspace", 2, strategy=strategy)
    stage = _start(plan, tmp_path)
    deadline = time.monotonic() + 200
    while '"step": 4,' not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
        assert stage.poll() is None, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.05)
    stage.send_signal(signal.SIGTERM)
    _ended(stage, tmp_path, ExitCode.PREEMPTED)
    assert "is saved, the next run resumes from it" in (tmp_path / "log").read_text()
    [checkpoint] = sorted((plan.workspace / "checkpoints").glob("step-*"))[-1:]
    assert verified_digest(checkpoint)
    _ended(_start(plan, tmp_path), tmp_path)
    assert f'"resumed_from": "{checkpoint.name}"' in (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"train"}, "torchrun's words and the libraries' have that shape, too"
    assert max(abs(a - b) for a, b in zip(_losses(alone["full"]), _losses(plan), strict=True)) <= 1e-3


def test_a_node_that_waits_for_the_others_ends_when_it_is_asked_to(alone: dict[str, Plan], tmp_path: Path) -> None:
    plan = _with(alone["full"], tmp_path / "workspace", 2, strategy="DDP", nodes=2, processes_per_node=1)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    stage = _start(plan, tmp_path, JOB_COMPLETION_INDEX="0", **meeting)
    assert poll(lambda: bool(psutil.Process(stage.pid).children()), 60)
    stage.send_signal(signal.SIGTERM)
    assert stage.wait(30) == ExitCode.PREEMPTED, (tmp_path / "log").read_text()[-6000:]
    assert "asked to end before its first step" in (tmp_path / "log").read_text()


def test_the_first_failure_is_the_one_that_is_told(alone: dict[str, Plan], tmp_path: Path) -> None:
    plan = _with(alone["full"], tmp_path / "workspace", 2, strategy="DDP")
    wrong = plan.training.model_copy(update={"precision": "FP16"})
    _ended(_start(plan.model_copy(update={"training": wrong}), tmp_path), tmp_path, ExitCode.BAD_PLAN)
    assert "training.precision: FP16 needs a GPU" in (tmp_path / "log").read_text()


def test_a_node_without_the_first_ones_address_says_so(alone: dict[str, Plan], tmp_path: Path) -> None:
    plan = _with(alone["full"], tmp_path / "workspace", 2, strategy="DDP", nodes=2, processes_per_node=1)
    _ended(_start(plan, tmp_path), tmp_path, ExitCode.BAD_PLAN)
    assert "several nodes need MASTER_ADDR" in (tmp_path / "log").read_text()
