"""The recorder's HTTP interface: feedback from clients, statistics for the operator."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from .database import Database
from .exposures import record_new_exposures

__all__ = ["create_app"]

_PERIOD = 0.5
_METRIC = r"^[a-z][a-z0-9_]{0,62}$"
log = logging.getLogger("recorder")


class Feedback(BaseModel):
    """What a user says about one answer."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    exposure_id: Annotated[str, Field(alias="exposureId", pattern=r"^[0-9a-f]{32}$")]
    metric: Annotated[str, Field(pattern=_METRIC)]
    value: Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]


def create_app(folder: Path) -> FastAPI:
    """Return the application; `folder` is durable and holds the database and nginx's exposures."""
    exposures = folder / "exposures"
    exposures.mkdir(parents=True, exist_ok=True)
    database = Database(folder / "recorder.sqlite")

    @asynccontextmanager
    async def following(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_follow(exposures, database))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPI(title="Anneal recorder", lifespan=following, docs_url=None, redoc_url=None)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/feedback")
    async def feedback(said: Feedback) -> dict[str, str]:
        database.record_feedback(said.exposure_id, said.metric, said.value)
        return {"status": "recorded"}

    @app.get("/experiments/{uid}/statistics")
    async def statistics(
        uid: Annotated[str, PathParameter(max_length=63)], metric: Annotated[str, Query(pattern=_METRIC)]
    ) -> dict[str, Any]:
        return database.statistics(uid, metric)

    return app


async def _follow(exposures: Path, database: Database) -> None:
    while True:
        try:
            record_new_exposures(exposures, database)
        except OSError as error:
            log.warning("exposures cannot be read now: %s", error)
        await asyncio.sleep(_PERIOD)
