"""The recorder's HTTP interface: feedback from clients, statistics for the operator.

Whatever touches the disk has a thread, so a slow disk holds up neither the event loop nor the ending.
"""

import asyncio
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
from pydantic import BaseModel, ConfigDict, Field

from serving_runtime.lock import LOCK

from .database import Database
from .exposures import forget_what_is_gone, record_new_exposures

__all__ = ["create_app"]

_PERIOD = 0.2
_LONGEST_END = 25.0  # the router takes 20 s, the pod 30 s
_METRIC = r"^[a-z][a-z0-9_]{0,62}$"
log = logging.getLogger("recorder")


class Feedback(BaseModel):
    """What a user says about one answer."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    exposure_id: Annotated[str, Field(alias="exposureId", pattern=r"^[0-9a-f]{32}$")]
    metric: Annotated[str, Field(pattern=_METRIC)]
    value: Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]


def create_app(folder: Path, records: Path) -> FastAPI:
    """Return the application; `folder` is durable and holds the database, `records` is where the router writes.

    An earlier release's router wrote beside the database.
    """
    records.mkdir(parents=True, exist_ok=True)
    folders = (folder / "exposures", records)
    database = Database(folder / "recorder.sqlite")
    forget_what_is_gone(folders, database)

    @asynccontextmanager
    async def following(_: FastAPI) -> AsyncIterator[None]:
        ending = asyncio.Event()
        task = asyncio.create_task(_follow(folders, database, ending))
        yield
        ending.set()
        await task
        await _drain(folders, database, records / LOCK)

    app = FastAPI(title="Anneal recorder", lifespan=following, docs_url=None, redoc_url=None)

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
        return _refusal(error)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/feedback")
    def feedback(said: Feedback) -> dict[str, str]:
        database.record_feedback(said.exposure_id, said.metric, said.value)
        return {"status": "recorded"}

    @app.get("/experiments/{uid}/statistics")
    def statistics(
        uid: Annotated[str, PathParameter(max_length=63)], metric: Annotated[str, Query(pattern=_METRIC)]
    ) -> dict[str, Any]:
        return database.statistics(uid, metric)

    return app


def _refusal(error: RequestValidationError) -> JSONResponse:
    """Say what is wrong as the router does, in OpenAI's shape."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:] if first["type"] != "json_invalid")
    message = f"`{place}`: {first['msg']}" if place else str(first["msg"])
    told = {"message": message, "type": "invalid_request_error", "param": place or None, "code": 422}
    return JSONResponse({"error": told}, 422)


async def _follow(folders: Sequence[Path], database: Database, ending: asyncio.Event) -> None:
    """Record what appears, whatever goes wrong: what could not be recorded is, the next time."""
    while not ending.is_set():
        await asyncio.to_thread(_record, folders, database)
        await asyncio.sleep(_PERIOD)


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
