"""How often training was begun: what the pods tell, and what only the status before knows."""

from typing import Any

import pytest

from anneal_operator.api.fine_tune_job_status import Attempts
from anneal_operator.decide.attempts import merged_attempts

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
