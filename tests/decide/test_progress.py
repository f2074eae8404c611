"""Progress, as a training reports it and as people read it."""

from typing import Any

import pytest

from anneal_operator.api.fine_tune_job_status import Checkpoint
from anneal_operator.decide.progress import progress_of, read_report

AT = "2026-03-01T12:00:00Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0, None),
        (42, "42s"),
        (59, "59s"),
        (60, "1m0s"),
        (125, "2m5s"),
        (3599, "59m59s"),
        (3600, "1h0m"),
        (7384, "2h3m"),
    ],
)
def test_the_remaining_time_reads_like_an_age(seconds: int | None, text: str | None) -> None:
    assert progress_of(1, 10, 10, seconds, AT, {}).remaining == text


def test_losses_are_rounded() -> None:
    assert progress_of(1, 10, 10, 5, AT, {"loss": 0.14927289485931397}).loss == 0.1493


@pytest.mark.parametrize(
    ("numbers", "summary"),
    [
        ({}, "0 7%"),
        ({"current_step": 3.0}, "3 7%"),
        ({"current_step": 3.0, "total_steps": 0.0}, "3 7%"),
        ({"current_step": 3.0, "total_steps": 40.0}, "3/40 7%"),
    ],
)
def test_a_summary_says_how_many_steps_there_are_where_that_is_known(numbers: dict[str, float], summary: str) -> None:
    assert read_report(7, 60, AT, numbers).progress.summary == summary


def test_a_report_tells_what_the_training_did() -> None:
    numbers = {
        "current_step": 3.0, "total_steps": 40.0, "current_epoch": 0.5, "loss": 1.5, "eval_loss": 1.25,
        "learning_rate": 0.001, "tokens_per_second": 900.0, "gpu_memory_gib": 12.0, "resumed_from_step": 2.0,
    }  # fmt: skip
    found = read_report(7, 60, AT, numbers)
    assert (found.start_step, found.checkpoint) == (2, None)
    assert found.progress.dump() == {
        "summary": "3/40 7%", "remaining": "1m0s", "step": 3, "totalSteps": 40, "percent": 7, "etaSeconds": 60,
        "updatedAt": AT, "epoch": 0.5, "loss": 1.5, "evalLoss": 1.25, "learningRate": 0.001, "tokensPerSecond": 900.0,
        "gpuMemoryGib": 12.0,
    }  # fmt: skip
    assert read_report(7, 60, AT, {}).start_step is None, "it has not said where it began"
    assert read_report(7, 60, AT, {"resumed_from_step": 0.0}).start_step == 0


@pytest.mark.parametrize(
    ("time", "told"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00Z"),
        (1772366400.5, AT),
        (253402300799.0, "9999-12-31T23:59:59Z"),
        (253402300800.0, None),  # no time of a status has five digits for the year
        (-1.0, None),
        (float("nan"), None),
    ],
)
def test_a_checkpoint_is_told_with_its_time_where_that_is_one(time: float | None, told: str | None) -> None:
    numbers: dict[str, Any] = {"checkpoint_step": 5.0} | ({} if time is None else {"checkpoint_time": time})
    assert read_report(7, 60, AT, numbers).checkpoint == Checkpoint(step=5, committed_at=told)
