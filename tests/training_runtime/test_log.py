"""Every stage's log has one shape, and says what the stage takes of the machine."""

import json
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from toolbox.polling import poll
from training_runtime.__main__ import main
from training_runtime.log import begin_stage, log_event, pass_on
from training_runtime.usage import Usage, gpu_usage, usage_told

from .conftest import ROOT, MakePlan


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_says_what_when_and_of_which_stage(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANNEAL_STAGE", "")
    begin_stage("evaluate")
    log_event("answered", rows=3, share=float("nan"), of="메일")
    [line] = _lines(capfd.readouterr().out)
    assert time.strptime(line.pop("time"), "%Y-%m-%dT%H:%M:%S.%fZ")
    assert line == {"event": "answered", "stage": "evaluate", "rows": 3, "share": None, "of": "메일"}


def test_every_line_of_a_stage_has_that_shape(make_plan: MakePlan, capfd: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(dataset__max_rejected_percent=50.0)
    with (plan.workspace.parent / "rows.jsonl").open("a") as file:
        file.write("no row\n")
    path = plan.workspace / "plan.json"
    path.write_text(plan.model_dump_json())
    assert main(["prepare", "--plan", str(path)]) == 0
    lines = _lines(capfd.readouterr().out)
    assert {line["event"] for line in lines} >= {"template", "rejected", "done"}
    assert all(list(line)[:3] == ["event", "time", "stage"] and line["stage"] == "prepare" for line in lines)
    assert lines[-1]["digest"].startswith("sha256:")


_SPEAKER = """
import logging, sys, warnings
from training_runtime.log import begin_stage, log_event, take_over_output
begin_stage("train")
take_over_output()
take_over_output()
print("printed")
print("half", end=" ")
print("a line")
sys.stderr.write("  0%\\r 50%\\r100%\\n\\n")
warnings.warn("too old", DeprecationWarning, stacklevel=1)
logging.getLogger("library").warning("logged")
log_event("log", step=1)
raise ValueError("the end")
"""


def test_what_libraries_print_warn_of_and_log_has_that_shape_too() -> None:
    command = [sys.executable, "-W", "always", "-c", _SPEAKER]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = _lines(said.stdout + said.stderr)
    assert all(list(line)[:3] == ["event", "time", "stage"] and line["stage"] == "train" for line in lines)
    texts = [line.get("text", line["event"]) for line in lines]
    assert texts[:3] == ["printed", "half a line", "100%"]
    assert texts[3].startswith("DeprecationWarning: too old (")
    assert texts[4:6] == ["logged", "log"]
    assert texts[-1] == "ValueError: the end"


def test_what_another_process_says_is_passed_on_in_that_shape(capfd: pytest.CaptureFixture[str]) -> None:
    pass_on(['{"event": "log", "time": "then", "stage": "train", "step": 1}\n', "W1130 c10d: a word of C++\n", "\n"])
    first, second = _lines(capfd.readouterr().out)
    assert (first["time"], first["step"]) == ("then", 1)
    assert (second["event"], second["text"]) == ("output", "W1130 c10d: a word of C++")


def test_what_a_stage_takes_is_told_again_and_again(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[dict[str, Any]] = []

    def some() -> bool:
        told.extend(_lines(capfd.readouterr().out))
        return len(told) > 1

    with usage_told(0.02):
        assert poll(some, 20)
    assert {line["event"] for line in told} == {"system"}
    assert told[0]["memory_gib"] > 0


def test_processors_are_told_since_the_time_before() -> None:
    usage = Usage()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert usage.measured()["cpu_percent"] > 1


def test_without_a_driver_nothing_is_said_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    assert gpu_usage() == {}


def test_each_gpu_is_told_and_of_a_slice_what_the_driver_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    def rates(handle: int) -> SimpleNamespace:
        if handle:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=87)

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda number: number)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda _: SimpleNamespace(used=3 * 2**30))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", rates)
    assert gpu_usage() == {"gpu_0_memory_gib": 3.0, "gpu_0_utilisation_percent": 87.0, "gpu_1_memory_gib": 3.0}


def test_a_terminal_is_left_in_peace(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with usage_told(0.01):
        time.sleep(0.05)
    assert capfd.readouterr().out == ""
