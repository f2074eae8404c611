"""How often training was begun, from the attempts' Jobs; what they no longer tell, the status before does."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from anneal_operator.api.fine_tune_job_status import Attempt, Attempts
from anneal_operator.api.resources import Manifest

from .observed_job import ObservedStage
from .progress import Report
from .stages import StageState, first_pods, read_stage, terminated

__all__ = ["merged_attempts", "pause_seconds"]

_KEPT = 10
_A_SECOND = timedelta(seconds=1)
_UNCOUNTED = frozenset({"Running", "Completed", "Preempted", "Suspended"})
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 10.0, 300.0


def merged_attempts(
    previous: Attempts | None,
    trainings: Sequence[ObservedStage],
    gpus: int,
    now: str,
    *,
    is_suspended: bool = False,
    report: Report | None = None,
) -> Attempts | None:
    """Return the attempts: those whose Jobs are there, and those that were told of before.

    An attempt that ran when last seen, and whose pods are gone, was taken away, or suspended; one that Kueue took back
    goes on in the same Job, and is told of a second time under its number. Steps are those that `report` tells.
    """
    gone_for = "Suspended" if is_suspended else "Preempted"
    told = previous.last if previous else []
    known = {_key(attempt): attempt for attempt in told}
    latest = {attempt.number: attempt for attempt in told}
    runs = (_of(training, gpus, latest.get(training.attempt)) for training in trainings)
    seen = {_key(run): _with_steps(run, known.get(_key(run)), report) for run in runs if run}
    if not seen and not known:
        return None
    if_gone = {
        key: attempt if attempt.ended_at else _with_steps(_ended(attempt, gone_for, now, gpus), attempt, report)
        for key, attempt in known.items()
    }
    ordered = [attempt for _, attempt in sorted((if_gone | seen).items())]
    dropped_seconds = previous.gpu_seconds - sum(attempt.gpu_seconds for attempt in previous.last) if previous else 0
    dropped_failures = previous.failed - _failures(previous.last) if previous else 0
    return Attempts(
        total=ordered[-1].number,
        failed=dropped_failures + _failures(ordered),
        gpu_seconds=dropped_seconds + sum(attempt.gpu_seconds for attempt in ordered),
        last=ordered[-_KEPT:],
    )


def pause_seconds(attempts: Attempts | None) -> float:
    """Return how long after the last attempt's end the next may begin.

    At once after one that made a step; else 10 s, doubled for each more that made none, and at most 5 minutes.
    """
    idle = 0
    for attempt in reversed(attempts.last if attempts else []):
        if attempt.reason in {"Completed", "Suspended"} or (attempt.end_step or 0) > (attempt.start_step or 0):
            break
        idle += 1
    return min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** (idle - 1)) if idle else 0.0


def _key(attempt: Attempt) -> tuple[int, str]:
    return attempt.number, attempt.started_at


def _failures(attempts: Sequence[Attempt]) -> int:
    return sum(attempt.reason not in _UNCOUNTED for attempt in attempts)


def _with_steps(attempt: Attempt, known: Attempt | None, report: Report | None) -> Attempt:
    """The attempt with what it reported, while it is the one that reports, or what was known of it before."""
    start, end = (known.start_step, known.end_step) if known else (None, None)
    if report and _reported(attempt, report):
        start = report.start_step if start is None else start
        end = report.progress.step if end is None and attempt.ended_at else end
    return attempt.having(start_step=start, end_step=end)


def _reported(attempt: Attempt, report: Report) -> bool:
    try:
        at = datetime.fromisoformat(report.progress.updated_at or "")
        ended = datetime.fromisoformat(attempt.ended_at) if attempt.ended_at else at
        return datetime.fromisoformat(attempt.started_at) <= at <= ended + _A_SECOND  # the kubelet tells whole ones
    except (ValueError, TypeError):  # whoever reports may write down time as he likes
        return False


def _of(training: ObservedStage, gpus: int, known: Attempt | None) -> Attempt | None:
    """The attempt of a Job as it runs, or ran last; none while it has not begun."""
    state = read_stage("train", training)
    job = training.job or {}
    has_ended = state.state in {"Succeeded", "Failed", "Lost"}
    began = job.get("status", {}).get("startTime") or job.get("metadata", {}).get("creationTimestamp")
    started = _started(training.pods) or ((known.started_at if known else began) if has_ended else None)
    if not started:
        return None
    attempt = Attempt(number=training.attempt, reason="Running", started_at=started)
    if not has_ended:
        return attempt
    if known and known.ended_at and not training.pods:
        return known
    return _ended(attempt, _reason(state), _ended_at(job, training.pods) or started, gpus)


def _reason(state: StageState) -> str:
    return state.failure_class if state.state == "Failed" else "Completed"


def _started(pods: Sequence[Manifest]) -> str | None:
    """When the first container began; of the pods that speak for the attempt."""
    states = [(pod.get("status", {}).get("containerStatuses") or [{}])[0].get("state", {}) for pod in first_pods(pods)]
    times = [(state.get("terminated") or state.get("running") or {}).get("startedAt") for state in states]
    return min((time for time in times if time), default=None)


def _ended_at(job: Manifest, pods: Sequence[Manifest]) -> str | None:
    times = [terminated(pod).get("finishedAt") for pod in pods]
    told = [c.get("lastTransitionTime") for c in job.get("status", {}).get("conditions", ()) if c["status"] == "True"]
    return max((time for time in (times if any(times) else told) if time), default=None)


def _ended(attempt: Attempt, reason: str, at: str, gpus: int) -> Attempt:
    held = datetime.fromisoformat(at) - datetime.fromisoformat(attempt.started_at)
    return attempt.having(reason=reason, ended_at=at, gpu_seconds=max(0, int(held.total_seconds())) * gpus)
