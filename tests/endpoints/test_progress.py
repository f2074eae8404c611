"""The progress endpoint: who may speak for a job, what a report says, what is no news."""

import asyncio
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from anneal_operator.decide.progress import read_report
from anneal_operator.endpoints import progress as module
from anneal_operator.endpoints.progress import ProgressBook, TrainerReport, progress_app
from anneal_operator.errors import ApiError

BEGIN = {"progressPercentage": 0, "metrics": [{"name": "total_steps", "value": "40"}]}
STEP = {
    "progressPercentage": 12,
    "estimatedRemainingSeconds": 30,
    "metrics": [
        {"name": "current_step", "value": "5"},
        {"name": "total_steps", "value": "40"},
        {"name": "loss", "value": "1.5"},
        {"name": "oddity", "value": "n/a"},
    ],
}
END = {"progressPercentage": 100, "metrics": [{"name": "loss", "value": "1.4"}]}


def _audience(namespace: str, job: str, uid: str) -> str:
    return f"for {namespace} {job} {uid}"


def _post(*reports: dict[str, Any], **options: Any) -> tuple[list[int], str | None, int]:
    """Post reports for one job; return the answers, the progress that is known then, and how often it was woken."""
    answers, known, woken = _posted(*reports, **options)
    return answers, _summary(known) if known else None, woken


def _posted(
    *reports: dict[str, Any], authorization: str = "Bearer good", fails: bool = False
) -> tuple[list[int], TrainerReport | None, int]:
    book, woken = ProgressBook(), []

    async def review(given: str, namespace: str, audience: str) -> bool:
        if fails:
            raise ApiError(0, "no answer")
        return (given, namespace, audience) == ("good", "team", "for team job uid-1")

    async def run() -> list[int]:
        app = progress_app(book, review, _audience, lambda namespace, job: woken.append((namespace, job)))
        async with TestClient(TestServer(app)) as client:
            answers = []
            for report in reports:
                body = {"trainerStatus": {"lastUpdatedTime": "2026-03-01T12:00:00Z", **report}}
                headers = {"Authorization": authorization}
                answers.append((await client.post("/progress/team/job/uid-1", json=body, headers=headers)).status)
            return answers

    return asyncio.run(run()), book.last("uid-1"), len(woken)


def _summary(said: TrainerReport) -> str:
    return read_report(said.percent, said.remaining_seconds, said.updated_at, said.numbers).progress.summary


@pytest.mark.parametrize(
    ("reports", "summary", "woken"),
    [
        ([BEGIN], "0/40 0%", 1),
        ([BEGIN, STEP], "5/40 12%", 2),
        ([BEGIN, STEP, END], "5/40 12%", 2),
        ([BEGIN, STEP, END, BEGIN], "5/40 12%", 2),
        ([END], None, 0),
    ],
    ids=["begins", "goes on", "is ended early", "begins again", "only its end is heard"],
)
def test_what_is_known_of_a_training_that(reports: list[dict[str, Any]], summary: str | None, woken: int) -> None:
    answers, known, times = _post(*reports)
    assert answers == [200] * len(reports)
    assert (known, times) == (summary, woken)


@pytest.mark.parametrize(
    ("report", "options", "status"),
    [
        (STEP, {"authorization": "Bearer of-another-job"}, 401),
        (STEP, {"authorization": "Basic good"}, 401),
        (STEP, {"authorization": ""}, 401),
        (STEP, {"fails": True}, 503),
        ({"progressPercentage": 101}, {}, 400),
        ({"metrics": "many"}, {}, 400),
        ({**STEP, "more": "x" * 100_000}, {}, 413),
    ],
)
def test_a_report_is_refused(report: dict[str, Any], options: dict[str, Any], status: int) -> None:
    assert _post(report, **options) == ([status], None, 0)


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("2026-03-01T12:00:01Z", "2026-03-01T12:00:01Z"),
        ("2026-03-01 12:00:01", "2026-03-01T12:00:01Z"),
        ("2026-03-01T12:00:01.123456", "2026-03-01T12:00:01Z"),
        ("2026-03-01T21:00:01+09:00", "2026-03-01T12:00:01Z"),
    ],
)
def test_a_time_is_kept_as_a_status_takes_it(told: str, kept: str) -> None:
    assert _reported({**STEP, "lastUpdatedTime": told}) == ([200], kept)
    assert _reported({**STEP, "lastUpdatedTime": "yesterday"}) == ([400], None)


def _reported(report: dict[str, Any]) -> tuple[list[int], str | None]:
    answers, known, _ = _posted(report)
    return answers, known.updated_at if known else None


def test_a_job_made_again_is_not_spoken_for_by_its_namesakes_pods() -> None:
    book = ProgressBook()
    book.note("uid-1", TrainerReport(12, None, "t", {}))
    assert book.last("uid-2") is None
    book.forget("uid-1")
    assert book.last("uid-1") is None


def test_of_too_many_jobs_those_silent_longest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_JOBS", 2)
    book = ProgressBook()
    for uid in ("one", "two", "one", "three"):
        book.note(uid, TrainerReport(12, None, "t", {}))
    assert [uid for uid in ("one", "two", "three") if book.last(uid)] == ["one", "three"]
    book.clear()
    assert not book.last("one")


def test_numbers_that_no_status_takes_are_left_out() -> None:
    book = ProgressBook()
    values = {"current_step": "5", "loss": "nan", "grad_norm": "1e300", "learning_rate": "-inf", "epoch": "1e-5"}

    async def review(*_: str) -> bool:
        return True

    async def run() -> None:
        app = progress_app(book, review, _audience, lambda *_: None)
        metrics = [{"name": name, "value": value} for name, value in values.items()]
        body = {"trainerStatus": {"lastUpdatedTime": "2026-03-01T12:00:00Z", "metrics": metrics}}
        async with TestClient(TestServer(app)) as client:
            await client.post("/progress/team/job/uid-1", json=body, headers={"Authorization": "Bearer t"})

    asyncio.run(run())
    known = book.last("uid-1")
    assert known
    assert known.numbers == {"current_step": 5.0, "epoch": 1e-5}
