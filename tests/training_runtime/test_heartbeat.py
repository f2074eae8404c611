"""Signs of life: when the probe says that a training stands still."""

import json
from pathlib import Path

import pytest

from training_runtime import HEARTBEAT_VARIABLE
from training_runtime.errors import StalledError
from training_runtime.train import heartbeat
from training_runtime.train.heartbeat import Heartbeat


class _Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(heartbeat, "time", made)
    monkeypatch.setattr(heartbeat, "_TERMINATION_LOG", tmp_path / "termination-log")
    monkeypatch.setattr("sys.argv", ["heartbeat", str(tmp_path / "beat")])
    monkeypatch.setenv(HEARTBEAT_VARIABLE, str(tmp_path / "beat"))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return made


def test_before_the_first_step_nothing_is_overdue(clock: _Clock) -> None:
    Heartbeat(60)
    clock.now += 10_000
    assert heartbeat.main() == 0


def test_each_part_of_the_end_may_take_ten_times_as_long(clock: _Clock, tmp_path: Path) -> None:
    beats = Heartbeat(60)
    beats.step()
    for _ in range(2):
        beats.begin_end()
        clock.now += 599
        assert heartbeat.main() == 0
    clock.now += 2
    assert heartbeat.main() == 1
    assert "part of the finished model was made for 600 s" in (tmp_path / "termination-log").read_text()


def test_a_process_that_waits_for_the_first_one_s_end_is_not_overdue(clock: _Clock) -> None:
    beats = Heartbeat(60)
    beats.begin_end()
    beats.stop()
    clock.now += 10_000
    assert heartbeat.main() == 0


def test_a_training_without_a_step_is_told_of_as_stalled(clock: _Clock, tmp_path: Path) -> None:
    beats = Heartbeat(60)
    beats.step()
    clock.now += 59
    assert heartbeat.main() == 0
    clock.now += 2
    assert heartbeat.main() == 1
    said = json.loads((tmp_path / "termination-log").read_text())
    assert said["error"] == StalledError.__name__
    assert "for 60 s" in said["message"]
    assert not beats.was_late
    beats.step()
    assert beats.was_late
    assert heartbeat.main() == 0


def test_long_steps_are_waited_for_ten_times_over(clock: _Clock) -> None:
    beats = Heartbeat(60)
    for _ in range(4):
        beats.step()
        clock.now += 30
    clock.now += 260
    assert heartbeat.main() == 0
    clock.now += 20
    assert heartbeat.main() == 1


def test_validation_and_checkpoints_are_signs_of_life(clock: _Clock) -> None:
    beats = Heartbeat(60)
    beats.step()
    for _ in range(5):
        clock.now += 50
        beats.beat()
        assert heartbeat.main() == 0


def test_one_process_of_a_pod_speaks_for_it(clock: _Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    Heartbeat(60).step()
    assert not (tmp_path / "beat").exists()
    assert clock.now == 1000.0
