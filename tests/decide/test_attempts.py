"""How often training was begun: what the attempts' Jobs tell, and what only the status before knows."""

from typing import Any

import pytest

from anneal_operator.api.fine_tune_job_status import Attempt, Attempts
from anneal_operator.decide.attempts import merged_attempts, pause_seconds
from anneal_operator.decide.observed_job import ObservedStage
from anneal_operator.decide.progress import Report, progress_of

Manifest = dict[str, Any]
NOW = "2026-03-01T12:10:00Z"
TRAINED = '{"step": 9, "loss": 1.0, "eval_loss": null}'


def _at(minute: int) -> str:
    return f"2026-03-01T12:{minute:02}:00Z"


def _pod(minute: int, ended: int | None = None, index: int = 0, **terminated: Any) -> Manifest:
    state: Manifest = {"running": {"startedAt": _at(minute)}}
    if ended is not None:
        state = {"terminated": {"startedAt": _at(minute), "finishedAt": _at(ended), **terminated}}
    metadata = {"name": "p", "annotations": {"batch.kubernetes.io/job-completion-index": str(index)}}
    phase = "Running" if ended is None else "Succeeded" if terminated.get("exitCode") == 0 else "Failed"
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [{"state": state}]}}


def _training(number: int, *pods: Manifest) -> ObservedStage:
    """An attempt with these pods; its Job has ended where all of them have."""
    phases = {pod["status"]["phase"] for pod in pods}
    end = "" if "Running" in phases or not pods else "Failed" if "Failed" in phases else "Complete"
    job: Manifest = {"metadata": {"name": f"job-train-{number}", "creationTimestamp": _at(0)}, "status": {}}
    if end:
        job["status"]["conditions"] = [{"type": end, "status": "True", "lastTransitionTime": _at(59)}]
    return ObservedStage(job, pods, number)


def _told(found: Attempts | None) -> list[tuple[int, str, int]]:
    return [(attempt.number, attempt.reason, attempt.gpu_seconds) for attempt in (found.last if found else [])]


def test_an_attempt_begins_when_its_pod_does() -> None:
    assert merged_attempts(None, [_training(1)], 8, NOW) is None


def test_each_job_is_an_attempt() -> None:
    found = merged_attempts(None, [_training(1, _pod(1, 3, exitCode=70)), _training(2, _pod(5))], 8, NOW)
    assert _told(found) == [(1, "Internal", 960), (2, "Running", 0)]
    assert found is not None
    assert (found.total, found.failed, found.gpu_seconds) == (2, 1, 960)


def test_pods_that_train_together_are_one_attempt() -> None:
    pods = [_pod(1, 2, index, exitCode=0, message=TRAINED) for index in (0, 1)]
    assert _told(merged_attempts(None, [_training(1, *pods)], 16, NOW)) == [(1, "Completed", 960)]


def test_an_attempt_ends_when_all_its_pods_have() -> None:
    pods = [_pod(1, 2, exitCode=70, index=0), _pod(1, index=1)]
    assert _told(merged_attempts(None, [_training(1, *pods)], 16, NOW)) == [(1, "Running", 0)]


def test_an_attempt_lasts_from_the_first_of_its_pods_to_the_last_that_ended() -> None:
    pending: Manifest = {"metadata": {"name": "p"}, "status": {"phase": "Pending"}}
    replaced = _training(1, _pod(2, 3, exitCode=70))
    assert replaced.job is not None
    replaced.job["status"] = {}
    found = merged_attempts(None, [ObservedStage(replaced.job, (pending, *replaced.pods), 1)], 1, NOW)
    assert found is not None
    assert found.last[0].started_at == _at(2)
    refused: Manifest = {"metadata": {"name": "p"}, "status": {"phase": "Failed"}}
    failed = _training(1, _pod(2, 3, exitCode=70), _pod(2, 5, 1, exitCode=75))
    found = merged_attempts(None, [ObservedStage(failed.job, (*failed.pods, refused), 1)], 1, NOW)
    assert found is not None
    assert (found.last[0].ended_at, found.gpu_seconds) == (_at(5), 180)


def test_an_attempt_that_ended_as_it_began_held_no_gpu() -> None:
    assert _told(merged_attempts(None, [_training(1, _pod(1, 1, exitCode=70))], 8, NOW)) == [(1, "Internal", 0)]


def test_an_attempt_whose_result_is_lost_with_its_pod_was_completed() -> None:
    done = _training(1, _pod(1, 3, exitCode=0, message=TRAINED))
    assert _told(merged_attempts(None, [ObservedStage(done.job, (), 1)], 1, NOW)) == [(1, "Completed", 59 * 60)]


def test_attempts_that_began_in_one_second_are_two() -> None:
    begun = [_training(number, _pod(1, 3, exitCode=70)) for number in (1, 2)]
    assert _told(merged_attempts(None, begun, 1, NOW)) == [(1, "Internal", 120), (2, "Internal", 120)]


@pytest.mark.parametrize("exit_code", [75, 137, 143])
@pytest.mark.parametrize("is_gone", [False, True])
def test_an_attempt_whose_pod_was_deleted_by_hand_is_not_counted(exit_code: int, is_gone: bool) -> None:
    known = merged_attempts(None, [_training(1, _pod(1))], 8, NOW)
    pod = _pod(1, 3, exitCode=exit_code)
    pod["metadata"]["deletionTimestamp"] = _at(2)
    ended = _training(1, pod)
    assert ended.job is not None
    ended.job["status"]["conditions"][0]["message"] = (
        f"Container train for pod team/p failed with exit code {exit_code}"
    )
    found = merged_attempts(known, [ObservedStage(ended.job, () if is_gone else (pod,), 1)], 8, NOW)
    assert found is not None
    assert (found.total, found.failed, found.last[0].reason) == (1, 0, "Preempted")


def test_an_attempt_that_no_pod_began_took_no_longer_than_its_job() -> None:
    job = _training(1, _pod(1, 2, exitCode=70)).job
    assert job is not None
    job["status"]["startTime"] = _at(58)
    never = {"type": "Suspended", "status": "False", "lastTransitionTime": "2026-03-01T14:00:00Z"}
    job["status"]["conditions"].append(never)
    assert _told(merged_attempts(None, [ObservedStage(job, (), 1)], 2, NOW)) == [(1, "Preempted", 120)]


@pytest.mark.parametrize(("is_suspended", "reason"), [(False, "Preempted"), (True, "Suspended")])
def test_an_attempt_whose_job_is_gone_was_taken_away_once(is_suspended: bool, reason: str) -> None:
    first = merged_attempts(None, [_training(1, _pod(1))], 1, NOW)
    second = merged_attempts(first, [_training(2, _pod(9))], 1, NOW, is_suspended=is_suspended)
    assert _told(second) == [(1, reason, 540), (2, "Running", 0)]
    assert second is not None
    assert second.failed == 0
    assert merged_attempts(second, [_training(2, _pod(9))], 1, "2026-03-01T13:00:00Z") == second


@pytest.mark.parametrize("gpus", [0, 4])
def test_only_the_last_ten_are_told_and_none_is_forgotten_in_the_totals(gpus: int) -> None:
    found = None
    for number in range(1, 13):
        found = merged_attempts(found, [_training(number, _pod(number, number + 1, exitCode=70))], gpus, NOW)
    assert found is not None
    assert (found.total, found.failed, found.gpu_seconds) == (12, 12, 12 * 60 * gpus)
    assert [attempt.number for attempt in found.last] == list(range(3, 13))
    assert merged_attempts(found, [], gpus, NOW) == found


def _report(step: int, at: str, start: int | None = 0) -> Report:
    return Report(progress_of(step, 100, step, None, at, {}), start)


def test_an_attempt_tells_where_it_began_and_when_it_has_ended_how_far_it_came() -> None:
    runs, first = [_training(1, _pod(1))], _report(7, "2026-03-01T12:02:00.5+00:00", start=5)
    running = merged_attempts(None, runs, 8, NOW, report=first)
    assert _steps(running) == [(5, None)]
    quiet = merged_attempts(running, runs, 8, NOW)  # the operator was started anew
    assert _steps(quiet) == [(5, None)]
    last = _report(20, "2026-03-01T12:03:00.5+00:00", start=5)
    ended = merged_attempts(quiet, [_training(1, _pod(1, 3, exitCode=70))], 8, NOW, report=last)
    assert _steps(ended) == [(5, 20)]
    taken = merged_attempts(running, [], 8, NOW, report=_report(9, "2026-03-01T12:03:00+00:00", start=5))
    assert _steps(taken) == [(5, 9)]


@pytest.mark.parametrize(
    "at",
    [
        "2026-03-01T12:00:59.900+00:00",
        "2026-03-01T12:03:01.500+00:00",
        "2026-03-01T12:04:00+00:00",
        "2026-03-01T12:04:00",
        "yesterday",
    ],
)
def test_what_another_attempt_reported_is_not_this_one_s(at: str) -> None:
    trainings = [_training(1, _pod(1, 3, exitCode=70)), _training(2, _pod(5))]
    assert _steps(merged_attempts(None, trainings, 8, NOW, report=_report(20, at))) == [(None, None), (None, None)]


@pytest.mark.parametrize("at", ["2026-03-01T12:01:00+00:00", "2026-03-01T12:04:00+00:00"], ids=["first", "last"])
def test_what_was_reported_in_the_seconds_of_its_begin_and_end_is_an_attempt_s_own(at: str) -> None:
    """The kubelet tells whole seconds, so that its end may have been a second later."""
    ended = _training(1, _pod(1, 4, exitCode=70))
    assert _steps(merged_attempts(None, [ended], 8, NOW, report=_report(20, at))) == [(0, 20)]
    until = at.replace("12:04:00", "12:04:01")
    assert _steps(merged_attempts(None, [ended], 8, NOW, report=_report(20, until))) == [(0, 20)]


def _steps(found: Attempts | None) -> list[tuple[int | None, int | None]]:
    return [(attempt.start_step, attempt.end_step) for attempt in (found.last if found else [])]


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [
        ([], 0),
        ([("Internal", 0, None)], 10),
        ([("Internal", 0, 0)], 10),
        ([("Internal", 5, 5), ("Preempted", 5, 5)], 20),
        ([("Internal", 0, 5)], 0),
        ([("Internal", 0, 1)], 0),
        ([("Internal", None, 1)], 0),
        ([("Completed", 0, None), ("Internal", 0, None)], 10),
        ([("Internal", 0, 0), ("Internal", 0, 5), ("Access", 5, None)], 10),
        ([("Internal", 0, 0), ("Suspended", 0, 0)], 0),
        ([("Internal", 0, 0)] * 9, 300),
    ],
)
def test_the_pause_doubles_with_each_attempt_that_made_no_step(
    attempts: list[tuple[str, int, int | None]], seconds: float
) -> None:
    last = [
        Attempt(number=n, reason=reason, started_at=_at(0), ended_at=_at(1), start_step=start, end_step=end)
        for n, (reason, start, end) in enumerate(attempts, 1)
    ]
    assert pause_seconds(Attempts(total=len(last), gpu_seconds=0, last=last)) == seconds


def test_an_attempt_that_kueue_took_back_is_told_of_twice_under_its_number() -> None:
    first = merged_attempts(None, [_training(1, _pod(1))], 2, NOW)
    queued = merged_attempts(first, [_training(1)], 2, NOW)
    assert _told(queued) == [(1, "Preempted", 1080)]
    assert merged_attempts(queued, [_training(1)], 2, "2026-03-01T13:00:00Z") == queued
    again = merged_attempts(queued, [_training(1, _pod(20))], 2, NOW)
    assert _told(again) == [(1, "Preempted", 1080), (1, "Running", 0)]
    done = merged_attempts(again, [_training(1, _pod(20, 21, exitCode=0, message=TRAINED))], 2, NOW)
    assert _told(done) == [(1, "Preempted", 1080), (1, "Completed", 120)]
    assert done is not None
    assert (done.total, done.failed, done.gpu_seconds) == (1, 0, 1200)


def test_an_attempt_that_has_ended_is_told_as_before_when_its_pods_are_gone() -> None:
    ended = _training(1, _pod(1, 3, exitCode=70))
    told = merged_attempts(None, [ended], 8, NOW)
    assert merged_attempts(told, [ObservedStage(ended.job, (), 1)], 8, NOW) == told
