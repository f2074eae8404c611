"""The progress endpoint: Hugging Face's Trainer reports here, by Kubeflow Trainer's protocol.

`POST /progress/NAMESPACE/JOB` with `{"trainerStatus": {progressPercentage, estimatedRemainingSeconds, metrics,
lastUpdatedTime}}`, as transformers' KubeflowCallback sends it. The bearer token is a projected one whose audience names
the job; the API server reviews it, and itself accepts it for nothing. What was said last is kept in memory: a restart
loses at most what the next report, seconds later, says again.
"""

import contextlib
import hashlib
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anneal_operator.errors import ApiError

__all__ = ["ProgressBook", "Review", "TrainerReport", "progress_app", "remembered", "start_server"]

_MAXIMUM_BODY = 64 * 1024
_ERROR_LIMIT = 200
_LARGEST = 1e15
"""Above this no status takes a number."""
_REMEMBERED_SECONDS = 60.0
Review = Callable[[str, str, str], Awaitable[bool]]
"""Whether a token may speak for a job: `(token, namespace, job)`."""
log = logging.getLogger("anneal.progress")


class _Metric(BaseModel):
    name: str = Field(max_length=64)
    value: str = Field(max_length=64)


class _TrainerStatus(BaseModel):
    model_config = ConfigDict(extra="ignore")

    progress_percentage: int = Field(alias="progressPercentage", default=0, ge=0, le=100)
    estimated_remaining_seconds: int | None = Field(alias="estimatedRemainingSeconds", default=None, ge=0)
    metrics: list[_Metric] = Field(default=[], max_length=64)
    last_updated_time: str = Field(alias="lastUpdatedTime", max_length=40)


class _Report(BaseModel):
    trainer_status: _TrainerStatus = Field(alias="trainerStatus")


@dataclass(frozen=True)
class TrainerReport:
    """What a training said, by the names that it used."""

    percent: int
    remaining_seconds: int | None
    updated_at: str
    """The pod's own clock (RFC 3339, UTC)."""
    numbers: Mapping[str, float]


class ProgressBook:
    """What each job said last."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], TrainerReport] = {}

    def note(self, namespace: str, job: str, report: TrainerReport) -> None:
        """Remember what a job said."""
        self._last[namespace, job] = report

    def last(self, namespace: str, job: str) -> TrainerReport | None:
        """Return what a job said last."""
        return self._last.get((namespace, job))

    def forget(self, namespace: str, job: str) -> None:
        """Drop what a job said: it ended, or is gone."""
        self._last.pop((namespace, job), None)


def _tells_of_steps(status: _TrainerStatus, known: TrainerReport | None) -> bool:
    """Whether a report is news: when training ends, for whatever reason, the last one says 100 % and no step."""
    told = {metric.name for metric in status.metrics}
    return "current_step" in told or (known is None and "total_steps" in told)


def _read(status: _TrainerStatus) -> TrainerReport:
    numbers: dict[str, float] = {}
    for metric in status.metrics:
        with contextlib.suppress(ValueError):
            value = float(metric.value)
            if abs(value) < _LARGEST:  # neither what no JSON holds, nor what no status takes
                numbers[metric.name] = value
    return TrainerReport(
        status.progress_percentage, status.estimated_remaining_seconds, status.last_updated_time, numbers
    )


def remembered(review: Review, clock: Callable[[], float] = time.monotonic) -> Review:
    """Ask once a minute, not for every report: a review is a request to the API server. A refusal is not kept."""
    until: dict[tuple[str, str, str], float] = {}

    async def ask(token: str, namespace: str, job: str) -> bool:
        key, now = (hashlib.sha256(token.encode()).hexdigest(), namespace, job), clock()
        if until.get(key, now) > now:
            return True
        for old in [known for known, end in until.items() if end <= now]:
            del until[old]
        good = await review(token, namespace, job)
        if good:
            until[key] = now + _REMEMBERED_SECONDS
        return good

    return ask


def progress_app(book: ProgressBook, review: Review, wake: Callable[[str, str], None]) -> web.Application:
    """Return the application."""

    async def post(request: web.Request) -> web.Response:
        namespace, job = request.match_info["namespace"], request.match_info["job"]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme != "Bearer" or not await review(token, namespace, job):
                return web.json_response({"error": "the token does not speak for this job"}, status=401)
            report = _Report.model_validate_json(await request.read())
        except ValidationError as error:
            return web.json_response({"error": str(error)[:_ERROR_LIMIT]}, status=400)
        except ApiError as error:
            log.warning("a report of %s/%s was not taken: %s", namespace, job, error)
            return web.json_response({"error": "try again"}, status=503)
        if _tells_of_steps(report.trainer_status, book.last(namespace, job)):
            book.note(namespace, job, _read(report.trainer_status))
            wake(namespace, job)
        return web.json_response({})

    app = web.Application(client_max_size=_MAXIMUM_BODY)
    app.router.add_post("/progress/{namespace}/{job}", post)
    return app


async def start_server(app: web.Application, port: int, tls: ssl.SSLContext | None = None) -> web.AppRunner:
    """Listen; the runner's `cleanup` ends it."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port, ssl_context=tls).start()
    return runner
