"""When a job's time is up, and how its Jobs are told."""

from datetime import timedelta
from typing import Any

import pytest

from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus
from anneal_operator.api.resources import DEADLINE_ANNOTATION
from anneal_operator.decide.fine_tune_job import MoveDeadline, StartStage, decide
from anneal_operator.decide.observed_job import ObservedStage, Obstacle

from .test_fine_tune_job import ABSENT, ACTIVE, AT, NOW, OBSTACLE, SUSPENDED, _seen, _training, _work


def _deadline(told: int | None, allowed: int | None = None, started: str | None = AT, **job: Any) -> ObservedStage:
    """Training at work in a Job that was made for a deadline, and that has one of its own."""
    annotations = {} if told is None else {DEADLINE_ANNOTATION: str(told)}
    work = _work(pods=ACTIVE.pods, metadata={"annotations": annotations}, **job)
    assert work.job is not None
    work.job["status"]["startTime"] = started
    work.job["spec"] |= {} if allowed is None else {"activeDeadlineSeconds": allowed}
    return work


@pytest.mark.parametrize(
    ("work", "deadline", "moved"),
    [
        (_deadline(None), None, ()),
        (_deadline(100, 60), 100, ()),
        (_deadline(50, 10), 100, (MoveDeadline("train", 60 + 30),)),
        (_deadline(None), 100, (MoveDeadline("train", 60 + 30),)),
        (_deadline(50, 10, started=None), 100, (MoveDeadline("train", 60),)),
        (_deadline(50, 10), None, (MoveDeadline("train", None),)),
        # Kueue took it back, and its clock begins anew
        (_deadline(100, 90, suspend=True), 100, (MoveDeadline("train", 60),)),
        (_deadline(100, 60, suspend=True), 100, ()),
        (_deadline(None, suspend=True), None, ()),
        (_deadline(50, 10, suspend=True), None, (MoveDeadline("train", None),)),
    ],
)
def test_a_job_s_own_deadline_follows_the_spec_s(
    work: ObservedStage, deadline: int | None, moved: tuple[MoveDeadline, ...]
) -> None:
    """It began 30 s ago; of the 40 s that count ten are from before."""
    previous = FineTuneJobStatus(active_seconds=10, active_since=AT)
    seen = _training(work, previous=previous, spec={"activeDeadlineSeconds": deadline})
    assert decide(seen, NOW + timedelta(seconds=30)).apply == moved


@pytest.mark.parametrize(("seconds", "again"), [(None, None), (61, 61.5), (1, 1.5)])
@pytest.mark.parametrize("obstacle", [OBSTACLE, None], ids=["held up", "beginning"])
def test_a_job_is_looked_at_again_when_its_deadline_has_passed(
    seconds: int | None, again: float | None, obstacle: Obstacle | None
) -> None:
    previous = FineTuneJobStatus(active_since=AT)
    seen = _seen(previous=previous, obstacle=obstacle, spec={"activeDeadlineSeconds": seconds})
    assert decide(seen, NOW + timedelta(seconds=0.5)).again == again


def test_only_active_time_counts_for_the_deadline() -> None:
    spec = {"activeDeadlineSeconds": 100}
    status, now = FineTuneJobStatus(), NOW
    for work, seconds in ((ACTIVE, 30), (SUSPENDED, 1000), (ACTIVE, 30), (SUSPENDED, 1000), (ACTIVE, 39)):
        status = decide(_training(work, previous=status, spec=spec), now).status
        assert status.phase in {"Running", "Queued"}
        now += timedelta(seconds=seconds)
    for rest in (0.0, 0.5):
        due = decide(_training(ABSENT, previous=status, spec=spec), now + timedelta(seconds=rest)).apply
        assert due == (StartStage("train", 2, seconds_left=1),), "a Job takes whole seconds, and at least one"
    assert decide(_training(ABSENT, previous=status, spec=spec), now + timedelta(seconds=1)).status.phase == "Failed"
