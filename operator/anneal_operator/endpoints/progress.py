"""The progress endpoint: Hugging Face's Trainer reports here, by Kubeflow Trainer's protocol.

`POST /progress/NAMESPACE/JOB/UID` with `{"trainerStatus": {progressPercentage, estimatedRemainingSeconds, metrics,
lastUpdatedTime}}`, as transformers' KubeflowCallback sends it. The bearer token is a projected one whose audience names
the job, uid included, so that no pod speaks for a later job of that name; the API server reviews it, and itself accepts
it for nothing. What was said last is kept in memory: a restart loses at most what the next report says again.
"""

import contextlib
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anneal_operator.api.schema import timestamp
from anneal_operator.errors import ApiError

from .reviews import Review

__all__ = ["ProgressBook", "TrainerReport", "progress_app", "start_server"]

_MAXIMUM_BODY = 64 * 1024
_ERROR_LIMIT = 200
_LARGEST = 1e15
"""Above this no status takes a number."""
_MOST_JOBS = 10_000
log = logging.getLogger("anneal.progress")


class _Metric(BaseModel):
    name: str = Field(max_length=64)
    value: str = Field(max_length=64)


class _TrainerStatus(BaseModel):
    model_config = ConfigDict(extra="ignore")

    progress_percentage: int = Field(alias="progressPercentage", default=0, ge=0, le=100)
    estimated_remaining_seconds: int | None = Field(alias="estimatedRemainingSeconds", default=None, ge=0)
    metrics: list[_Metric] = Field(default=[], max_length=64)
    last_updated_time: datetime = Field(alias="lastUpdatedTime")


class _Report(BaseModel):
    trainer_status: _TrainerStatus = Field(alias="trainerStatus")


@dataclass(frozen=True)
class TrainerReport:
    """What a training said, by the names that it used."""

    percent: int
    remaining_seconds: int | None
    updated_at: str
    """The pod's own clock (RFC 3339, UTC), as a status takes it: a time without a zone is held to be UTC."""
    numbers: Mapping[str, float]


class ProgressBook:
    """What each job said last, by its uid; of too many, those that have been silent longest are forgotten."""

    def __init__(self) -> None:
        self._last: dict[str, TrainerReport] = {}

    def note(self, uid: str, report: TrainerReport) -> None:
        """Remember what a job said."""
        self._last.pop(uid, None)
        self._last[uid] = report
        if len(self._last) > _MOST_JOBS:  # a job that is gone is not always told of by its uid
            del self._last[next(iter(self._last))]

    def last(self, uid: str) -> TrainerReport | None:
        """Return what a job said last."""
        return self._last.get(uid)

    def forget(self, uid: str) -> None:
        """Drop what a job said: it ended, or is gone."""
        self._last.pop(uid, None)

    def clear(self) -> None:
        """Drop what all jobs said."""
        self._last.clear()


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
    told = status.last_updated_time
    moment = told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
    return TrainerReport(status.progress_percentage, status.estimated_remaining_seconds, timestamp(moment), numbers)


def progress_app(
    book: ProgressBook, review: Review, audience: Callable[[str, str, str], str], wake: Callable[[str, str], None]
) -> web.Application:
    """Return the application; `audience` names that of a job's tokens: `(namespace, job, uid)`."""

    async def post(request: web.Request) -> web.Response:
        namespace, job, uid = (request.match_info[part] for part in ("namespace", "job", "uid"))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme != "Bearer" or not await review(token, namespace, audience(namespace, job, uid)):
                return web.json_response({"error": "the token is not valid for this job"}, status=401)
            report = _Report.model_validate_json(await request.read())
        except ValidationError as error:
            return web.json_response({"error": str(error)[:_ERROR_LIMIT]}, status=400)
        except ApiError as error:
            log.warning("a report of %s/%s was not taken: %s", namespace, job, error)
            return web.json_response({"error": "try again"}, status=503)
        if _tells_of_steps(report.trainer_status, book.last(uid)):
            book.note(uid, _read(report.trainer_status))
            wake(namespace, job)
        return web.json_response({})

    app = web.Application(client_max_size=_MAXIMUM_BODY)
    app.router.add_post("/progress/{namespace}/{job}/{uid}", post)
    return app


async def start_server(app: web.Application, port: int, tls: ssl.SSLContext | None = None) -> web.AppRunner:
    """Listen; the runner's `cleanup` ends it."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port, ssl_context=tls).start()
    return runner
