"""How several processes are started on a node."""

import os
import subprocess
from typing import Any

import pytest

from training_runtime.train.stage import train
from training_runtime.workspace import history_file

from .conftest import MakePlan


class _Agent:
    """In torchrun's place: it keeps what it was started with, and ends well."""

    environment: dict[str, str]
    stdout = ("a library says this\n", '{"event": "log", "step": 1}\n')

    def __init__(self, command: list[str], env: dict[str, str], **settings: Any) -> None:
        del command, settings
        type(self).environment = env

    def wait(self) -> int:
        return 0


@pytest.mark.parametrize(("processors", "processes", "threads"), [(64, 8, 8), (64, 1, 64), (6, 4, 1), (2, 8, 1)])
def test_each_process_has_its_share_of_the_processors_for_an_optimizer_in_the_machine_s_memory(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, processors: int, processes: int, threads: int
) -> None:
    shared: dict[str, Any] = {"strategy": "ZeRO2", "offload": "Optimizer", "nodes": 2, "processes_per_node": processes}
    plan = make_plan(distributed=shared)
    history_file(plan).write_text("[]")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setattr("training_runtime.train.stage.verified_dataset", lambda _: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    monkeypatch.setattr(subprocess, "Popen", _Agent)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    train(plan)
    assert _Agent.environment["OMP_NUM_THREADS"] == str(threads)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    train(plan)
    assert _Agent.environment["OMP_NUM_THREADS"] == "3", "who says so himself is heard"
