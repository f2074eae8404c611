"""How often training was begun, from its pods; what pods no longer tell, the status before does."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from anneal_operator.api.fine_tune_job_status import Attempt, Attempts

from .failures import classify
from .progress import Report

__all__ = ["first_pods", "merged_attempts"]

Manifest = dict[str, Any]
_KEPT = 10
_A_SECOND = timedelta(seconds=1)
_INDEX = "batch.kubernetes.io/job-completion-index"


def first_pods(pods: Sequence[Manifest]) -> list[Manifest]:
    """Return those that speak for a stage, one an attempt: the only pod, or the first of several nodes'."""
    return [pod for pod in pods if pod["metadata"].get("annotations", {}).get(_INDEX, "0") == "0"]


def merged_attempts(
    previous: Attempts | None, pods: Sequence[Manifest], gpus: int, now: str, report: Report | None = None
) -> Attempts | None:
    """Return the attempts: those of the pods that are there, and those that were told of before.

    The pod of the first node stands for all that train together. An attempt that ran when last seen, and whose pod is
    gone, was taken away: its node was drained or lost, or the job was suspended. Steps are those that `report` tells.
    """
    known = {attempt.started_at: attempt for attempt in (previous.last if previous else [])}
    found = [attempt for attempt in (_of(pod, gpus) for pod in first_pods(pods)) if attempt]
    seen = {attempt.started_at: _with_steps(attempt, known.get(attempt.started_at), report) for attempt in found}
    if not seen and not known:
        return previous
    gone = {
        started: attempt if attempt.ended_at else _with_steps(_ended(attempt, "Preempted", now, gpus), attempt, report)
        for started, attempt in known.items()
        if started not in seen
    }
    ordered = [attempt for _, attempt in sorted((gone | seen).items())]
    earlier = previous.total - len(previous.last) if previous else 0
    numbered = [attempt.model_copy(update={"number": earlier + i}) for i, attempt in enumerate(ordered, 1)]
    dropped = previous.gpu_seconds - sum(attempt.gpu_seconds for attempt in previous.last) if previous else 0
    return Attempts(
        total=numbered[-1].number,
        gpu_seconds=dropped + sum(attempt.gpu_seconds for attempt in numbered),
        last=numbered[-_KEPT:],
    )


def _with_steps(attempt: Attempt, known: Attempt | None, report: Report | None) -> Attempt:
    """The attempt with what it reported, while it is the one that reports, or what was known of it before."""
    start, end = (known.start_step, known.end_step) if known else (None, None)
    if report and _reported(attempt, report):
        start = report.start_step if start is None else start
        end = report.progress.step if end is None and attempt.ended_at else end
    return attempt.model_copy(update={"start_step": start, "end_step": end})


def _reported(attempt: Attempt, report: Report) -> bool:
    try:
        at = datetime.fromisoformat(report.progress.updated_at or "")
        ended = datetime.fromisoformat(attempt.ended_at) if attempt.ended_at else at
        return datetime.fromisoformat(attempt.started_at) <= at <= ended + _A_SECOND  # the kubelet tells whole ones
    except (ValueError, TypeError):  # whoever reports may write down time as he likes
        return False


def _of(pod: Manifest, gpus: int) -> Attempt | None:
    status = pod.get("status", {})
    state = (status.get("containerStatuses") or [{}])[0].get("state", {})
    ended = state.get("terminated")
    started = (ended or state.get("running") or {}).get("startedAt")
    if not started:
        return None
    attempt = Attempt(number=1, reason="Running", started_at=started)
    if not ended:
        return attempt
    reason = "Completed" if ended.get("exitCode") == 0 else classify(pod, ended)
    return _ended(attempt, reason, ended.get("finishedAt") or started, gpus)


def _ended(attempt: Attempt, reason: str, at: str, gpus: int) -> Attempt:
    held = datetime.fromisoformat(at) - datetime.fromisoformat(attempt.started_at)
    return attempt.model_copy(
        update={"reason": reason, "ended_at": at, "gpu_seconds": max(0, int(held.total_seconds())) * gpus}
    )
