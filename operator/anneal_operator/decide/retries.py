"""Whether training is tried again after an attempt that brought no result."""

from dataclasses import dataclass
from datetime import datetime

from .attempts import pause_seconds
from .failures import RETRYABLE
from .situation import Situation
from .stages import StageState

__all__ = ["Retry", "is_spent", "retry"]


@dataclass(frozen=True)
class Retry:
    """Another attempt, after so many seconds."""

    attempt: int
    seconds: float
    pause_seconds: float
    """How long the pause is from the end of the attempt before."""


def retry(situation: Situation, state: StageState) -> Retry | None:
    """Return the next attempt; None where it would fail in the same way, or enough were made.

    What was preempted is tried again however often: it says nothing of the job. So is an attempt that was done and
    whose result went with its pod.
    """
    number = situation.next_attempt
    if state.state == "Lost":
        return Retry(number, 0.0, 0.0)
    if state.failure_class not in RETRYABLE or is_spent(situation, state):
        return None
    ended_at = situation.attempts.last[-1].ended_at if situation.attempts else None
    gone = (situation.now - datetime.fromisoformat(ended_at)).total_seconds() if ended_at else 0.0
    pause = pause_seconds(situation.attempts)
    return Retry(number, min(pause, max(0.0, pause - gone)), pause)


def is_spent(situation: Situation, state: StageState) -> bool:
    """Whether `maxAttempts` were made, not counting what was preempted."""
    made = situation.attempts.failed if situation.attempts else 0
    return state.failure_class != "Preempted" and made >= situation.seen.spec.max_attempts
