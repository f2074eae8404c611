"""How often training was begun: what the pods tell, and what only the status before knows."""

from typing import Any

import pytest

from anneal_operator.api.fine_tune_job_status import Attempts
from anneal_operator.decide.attempts import merged_attempts
from anneal_operator.decide.progress import Report, progress_of

Manifest = dict[str, Any]
NOW = "2026-03-01T12:10:00Z"


def _pod(minute: int, ended: int | None = None, *, index: int = 0, **terminated: Any) -> Manifest:
    at = f"2026-03-01T12:{minute:02}:00Z"
    state = {"running": {"startedAt": at}}
    if ended is not None:
        state = {"terminated": {"startedAt": at, "finishedAt": f"2026-03-01T12:{ended:02}:00Z", **terminated}}
    metadata = {"annotations": {"batch.kubernetes.io/job-completion-index": str(index)}}
    return {"metadata": metadata, "status": {"containerStatuses": [{"state": state}]}}


def _told(found: Attempts | None) -> list[tuple[int, str, int]]:
    return [(attempt.number, attempt.reason, attempt.gpu_seconds) for attempt in (found.last if found else [])]


def test_a_pod_that_has_not_started_is_no_attempt() -> None:
    assert merged_attempts(None, [{"metadata": {}, "status": {}}], 8, NOW) is None


def test_each_pod_is_an_attempt_in_the_order_of_their_start() -> None:
    pods = [_pod(5), _pod(1, 3, exitCode=70)]
    found = merged_attempts(None, pods, 8, NOW)
    assert _told(found) == [(1, "Internal", 960), (2, "Running", 0)]
    assert found is not None
    assert (found.total, found.gpu_seconds) == (2, 960)


def test_pods_that_train_together_are_one_attempt() -> None:
    pods = [_pod(1, 2, exitCode=0, index=0), _pod(1, 2, exitCode=0, index=1)]
    assert _told(merged_attempts(None, pods, 16, NOW)) == [(1, "Completed", 960)]


def test_an_attempt_whose_pod_is_gone_was_taken_away_once() -> None:
    first = merged_attempts(None, [_pod(1)], 1, NOW)
    second = merged_attempts(first, [_pod(9)], 1, NOW)
    assert _told(second) == [(1, "Preempted", 540), (2, "Running", 0)]
    assert merged_attempts(second, [_pod(9)], 1, "2026-03-01T13:00:00Z") == second


@pytest.mark.parametrize("gpus", [0, 4])
def test_only_the_last_ten_are_told_and_none_is_forgotten_in_the_totals(gpus: int) -> None:
    found = None
    for minute in range(0, 24, 2):
        found = merged_attempts(found, [_pod(minute, minute + 1, exitCode=70)], gpus, NOW)
    assert found is not None
    assert (found.total, found.gpu_seconds) == (12, 12 * 60 * gpus)
    assert [attempt.number for attempt in found.last] == list(range(3, 13))
    assert merged_attempts(found, [], gpus, NOW) == found


def _report(step: int, at: str, start: int | None = 0) -> Report:
    return Report(progress_of(step, 100, step, None, at, {}), start)


def test_an_attempt_tells_where_it_began_and_when_it_has_ended_how_far_it_came() -> None:
    running = merged_attempts(None, [_pod(1)], 8, NOW, _report(7, "2026-03-01T12:02:00.5+00:00", start=5))
    assert _steps(running) == [(5, None)]
    quiet = merged_attempts(running, [_pod(1)], 8, NOW)  # the operator was started anew
    assert _steps(quiet) == [(5, None)]
    ended = merged_attempts(
        quiet, [_pod(1, 3, exitCode=70)], 8, NOW, _report(20, "2026-03-01T12:03:00.5+00:00", start=5)
    )
    assert _steps(ended) == [(5, 20)]
    taken = merged_attempts(running, [], 8, NOW, _report(9, "2026-03-01T12:03:00+00:00", start=5))
    assert _steps(taken) == [(5, 9)]


@pytest.mark.parametrize("at", ["2026-03-01T12:04:00+00:00", "2026-03-01T12:04:00", "yesterday"])
def test_what_another_attempt_reported_is_not_this_one_s(at: str) -> None:
    pods = [_pod(1, 3, exitCode=70), _pod(5)]
    assert _steps(merged_attempts(None, pods, 8, NOW, _report(20, at))) == [(None, None), (None, None)]


def _steps(found: Attempts | None) -> list[tuple[int | None, int | None]]:
    return [(attempt.start_step, attempt.end_step) for attempt in (found.last if found else [])]
