"""When training is tried again, and when it is not."""

from datetime import timedelta

import pytest

from anneal_operator.api.fine_tune_job_status import FailureClass, FineTuneJobStatus
from anneal_operator.decide.retries import Retry, is_spent, retry
from anneal_operator.decide.situation import Situation
from anneal_operator.decide.stages import StageState

from .test_fine_tune_job import ABSENT, ATTEMPT_2, NOW, _training

CRASHED, LOST = StageState("Failed"), StageState("Lost")
IDLE = ATTEMPT_2.having(total=1, failed=1, last=[ATTEMPT_2.last[0].having(end_step=0)])


def _situation(previous: FineTuneJobStatus, seconds: float = 0.0, maximum: int = 3) -> Situation:
    seen = _training(ABSENT, previous=previous, spec={"maxAttempts": maximum})
    return Situation.of(seen, NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("seconds", "left"), [(0, 10), (4, 6), (9.5, 0.5), (10, 0), (600, 0), (-5, 10)], ids=lambda value: f"{value} s"
)
def test_the_pause_runs_from_the_end_of_the_attempt_before(seconds: float, left: float) -> None:
    """At most all of it is waited for, whatever another operator's clock told."""
    assert retry(_situation(FineTuneJobStatus(attempts=IDLE), seconds), CRASHED) == Retry(2, left, 10)


def test_the_pause_is_waited_for_in_full_after_an_attempt_whose_end_nobody_told() -> None:
    situation = _situation(FineTuneJobStatus())
    untold = IDLE.having(last=[IDLE.last[0].having(ended_at=None)])
    assert retry(Situation(situation.seen, situation.states, untold, None, NOW), CRASHED) == Retry(2, 10, 10)


def test_an_attempt_whose_result_is_lost_is_followed_at_once() -> None:
    assert retry(_situation(FineTuneJobStatus(attempts=IDLE)), LOST) == Retry(2, 0.0, 0.0)


@pytest.mark.parametrize(
    ("failure_class", "failed", "maximum", "spent"),
    [
        ("Internal", None, 1, False),
        ("Internal", 1, 2, False),
        ("Internal", 2, 2, True),
        ("Internal", 3, 2, True),
        ("Preempted", 3, 2, False),
    ],
)
def test_attempts_are_spent_by_failures_of_their_own(
    failure_class: FailureClass, failed: int | None, maximum: int, *, spent: bool
) -> None:
    attempts = None if failed is None else ATTEMPT_2.having(failed=failed)
    situation = _situation(FineTuneJobStatus(attempts=attempts), maximum=maximum)
    assert is_spent(situation, StageState("Failed", failure_class=failure_class)) is spent
