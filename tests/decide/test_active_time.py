"""How long a job has been active: what counts for its deadline."""

from datetime import UTC, datetime
from typing import Any

import pytest

from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus
from anneal_operator.decide.active_time import active_seconds, with_active_time

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
SINCE, LATER = "2026-03-01T12:00:00Z", "2026-03-01T12:00:45Z"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({}, 0),
        ({"active_seconds": 10}, 10),
        ({"active_seconds": 10, "active_since": SINCE}, 40),
        ({"active_seconds": 10, "active_since": LATER}, 10),  # another operator's clock is ahead
    ],
)
def test_active_is_what_was_counted_and_what_runs_now(told: dict[str, Any], seconds: float) -> None:
    assert active_seconds(FineTuneJobStatus(**told), NOW) == seconds


@pytest.mark.parametrize("phase", ["Queued", "Suspended", "Succeeded", "Failed"])
def test_the_clock_stops_while_a_job_rests_and_when_it_has_ended(phase: str) -> None:
    running = FineTuneJobStatus(active_seconds=10, active_since=SINCE)
    found = with_active_time(FineTuneJobStatus(phase=phase), running, NOW)
    assert (found.phase, found.active_since, found.active_seconds) == (phase, None, 40)


@pytest.mark.parametrize(("before", "since"), [(SINCE, SINCE), (None, "2026-03-01T12:00:30Z")])
def test_the_clock_runs_on_while_a_job_is_at_work(before: str | None, since: str) -> None:
    previous = FineTuneJobStatus(active_seconds=10, active_since=before)
    found = with_active_time(FineTuneJobStatus(phase="Running"), previous, NOW)
    assert (found.active_since, found.active_seconds) == (since, 10)
