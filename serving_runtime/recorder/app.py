"""The recorder's HTTP interface: feedback from clients, statistics for the operator.

Whatever touches the disk has a thread, so a slow disk does not hold up the event loop. What routers send is taken by
`ingest.py`.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from .database import Database
from .experiments import experiments_router
from .feedback import Outcome
from .inbox import Inbox
from .ingest import records_router
from .posted import Feedback, answer_of, refusal_of
from .retention import RETENTION_DAYS
from .scored import scores_router

__all__ = ["create_app"]

_CLOSE_SECONDS, _TIDY_SECONDS = 60.0, 3600.0
log = logging.getLogger("recorder")


def create_app(folder: Path, retention_days: float = RETENTION_DAYS) -> FastAPI:
    """Return the application; `folder` is durable and holds the database."""
    database = Database(folder / "recorder.sqlite", retention_days)
    inbox = Inbox(database.record_feedback)

    @asynccontextmanager
    async def tidying(_: FastAPI) -> AsyncIterator[None]:
        ending = asyncio.Event()
        prune, close = partial(database.prune, ending.is_set), partial(database.close_windows, ending.is_set)
        tasks = [_repeat(prune, _TIDY_SECONDS, ending), _repeat(close, _CLOSE_SECONDS, ending)]
        under_way = asyncio.gather(*tasks)
        yield
        ending.set()
        await under_way

    app = FastAPI(title="Anneal recorder", lifespan=tidying, docs_url=None, redoc_url=None)
    app.include_router(records_router(database))
    app.include_router(experiments_router(database))
    app.include_router(scores_router(inbox))

    @app.get("/versions/{name}")
    def answered(name: Annotated[str, PathParameter(max_length=512)]) -> dict[str, int]:
        return database.answered(name)

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

    return app


async def _repeat(work: Callable[[], None], seconds: float, ending: asyncio.Event) -> None:
    """Do what has to be done every so often."""
    while not ending.is_set():
        try:
            await asyncio.to_thread(work)
        except Exception:  # whatever it is: else neither would be done again until a restart, and nobody be told
            log.exception("what is too old cannot be deleted, or windows cannot be closed, now; it is tried again")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), seconds)
