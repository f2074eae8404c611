"""How often training was begun, from its pods; what pods no longer tell, the status before does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from anneal_operator.api.fine_tune_job_status import Attempt, Attempts

from .failures import classify

__all__ = ["first_pods", "merged_attempts"]

Manifest = dict[str, Any]
_KEPT = 10
_INDEX = "batch.kubernetes.io/job-completion-index"


def first_pods(pods: Sequence[Manifest]) -> list[Manifest]:
    """Return those that speak for a stage, one an attempt: the only pod, or the first of several nodes'."""
    return [pod for pod in pods if pod["metadata"].get("annotations", {}).get(_INDEX, "0") == "0"]


def merged_attempts(previous: Attempts | None, pods: Sequence[Manifest], gpus: int, now: str) -> Attempts | None:
    """Return the attempts: those of the pods that are there, and those that were told of before.

    The pod of the first node stands for all that train together. An attempt that ran when last seen, and whose pod is
    gone, was taken away: its node was drained or lost, or the job was suspended.
    """
    seen = {found.started_at: found for found in (_of(pod, gpus) for pod in first_pods(pods)) if found}
    known = {attempt.started_at: attempt for attempt in (previous.last if previous else [])}
    if not seen and not known:
        return previous
    gone = {
        started: attempt if attempt.ended_at else _ended(attempt, "Preempted", now, gpus)
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
