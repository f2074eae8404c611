"""How long a FineTuneJob has been active: as a Job's, its deadline does not run while it is queued or suspended."""

from datetime import datetime

from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus
from anneal_operator.api.schema import timestamp

__all__ = ["active_seconds", "with_active_time"]

_RESTING = frozenset({"Queued", "Suspended", "Succeeded", "Failed"})


def active_seconds(previous: FineTuneJobStatus, now: datetime) -> float:
    """Return the seconds of activity until now; the first began when the job was first seen."""
    since = _active_since(previous)
    running = (now - since).total_seconds() if since else 0.0
    return previous.active_seconds + max(0.0, running)


def with_active_time(status: FineTuneJobStatus, previous: FineTuneJobStatus, now: datetime) -> FineTuneJobStatus:
    """Return the status with the clock running or stopped, as its phase wants."""
    since = _active_since(previous)
    if status.phase in _RESTING:
        return status.having(active_since=None, active_seconds=int(active_seconds(previous, now)))
    return status.having(active_since=timestamp(since or now), active_seconds=previous.active_seconds)


def _active_since(previous: FineTuneJobStatus) -> datetime | None:
    return datetime.fromisoformat(previous.active_since) if previous.active_since else None
