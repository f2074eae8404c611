"""The recorder's HTTP interface: feedback from clients, statistics for the operator.

Whatever touches the disk has a thread, so a slow disk holds up neither the event loop nor the ending.
"""

import asyncio
import contextlib
import fcntl
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from serving_runtime.lock import LOCK

from .database import Database
from .exposures import forget_what_is_gone, record_new_exposures
from .feedback import Outcome
from .inbox import Inbox
from .posted import METRIC, Feedback, answer_of, refusal_of
from .retention import RETENTION_DAYS

__all__ = ["create_app"]

_PERIOD = 0.2
_LONGEST_END = 25.0  # the router takes 20 s, the pod 30 s
_TIDY_SECONDS = 3600.0
log = logging.getLogger("recorder")


def create_app(folder: Path, records: Path, retention_days: float = RETENTION_DAYS) -> FastAPI:
    """Return the application; `folder` is durable and holds the database, `records` is where the router writes.

    An earlier release's router wrote beside the database.
    """
    records.mkdir(parents=True, exist_ok=True)
    folders = (folder / "exposures", records)
    database = Database(folder / "recorder.sqlite", retention_days)
    inbox = Inbox(database.record_feedback)
    forget_what_is_gone(folders, database)

    @asynccontextmanager
    async def following(_: FastAPI) -> AsyncIterator[None]:
        ending = asyncio.Event()
        tasks = [asyncio.create_task(_follow(folders, database, ending)), asyncio.create_task(_tidy(database, ending))]
        yield
        ending.set()
        await asyncio.gather(*tasks)
        await _drain(folders, database, records / LOCK)

    app = FastAPI(title="Anneal recorder", lifespan=following, docs_url=None, redoc_url=None)

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
        return refusal_of(error)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/feedback")
    async def feedback(posted: Feedback) -> JSONResponse:
        try:
            return answer_of(await inbox.put(posted.said()), posted)
        except sqlite3.Error as error:
            log.warning("feedback cannot be recorded now: %s", error)
            return answer_of(Outcome.FULL, posted)

    @app.delete("/users/{user:path}")
    def erase(user: Annotated[str, PathParameter(max_length=512)]) -> dict[str, int]:
        return {"rows": database.erase(user)}

    @app.get("/experiments/{uid}/statistics")
    def statistics(
        uid: Annotated[str, PathParameter(max_length=63)], metric: Annotated[str, Query(pattern=METRIC)]
    ) -> dict[str, Any]:
        return database.statistics(uid, metric)

    return app


async def _follow(folders: Sequence[Path], database: Database, ending: asyncio.Event) -> None:
    """Record what appears, whatever goes wrong: what could not be recorded is, the next time."""
    while not ending.is_set():
        await asyncio.to_thread(_record, folders, database)
        await asyncio.sleep(_PERIOD)


async def _tidy(database: Database, ending: asyncio.Event) -> None:
    """Delete what is too old, once an hour."""
    while not ending.is_set():
        try:
            await asyncio.to_thread(database.prune, ending.is_set)
        except sqlite3.Error as error:
            log.warning("what is too old cannot be deleted now: %s", error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), _TIDY_SECONDS)


async def _drain(folders: Sequence[Path], database: Database, lock: Path) -> None:
    """Record up to what the router writes last, which ends with this pod, and at its leisure."""
    deadline = time.monotonic() + _LONGEST_END
    while _is_held(lock) and time.monotonic() < deadline:
        await asyncio.sleep(_PERIOD)
        await asyncio.to_thread(_record, folders, database)
    await asyncio.to_thread(_record, folders, database)


def _is_held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _record(folders: Sequence[Path], database: Database) -> None:
    for folder in folders:
        try:
            record_new_exposures(folder, database)
        except (OSError, sqlite3.Error) as error:
            log.warning("exposures in %s cannot be recorded now: %s", folder, error)
