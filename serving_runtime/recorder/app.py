"""The recorder's HTTP interface: feedback from clients, statistics for the operator.

Whatever touches the disk has a thread, so a slow disk does not hold up the event loop. What routers send is taken by
`ingest.py`.
"""

from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from .database import Database
from .ingest import records_router

__all__ = ["create_app"]

_METRIC = r"^[a-z][a-z0-9_]{0,62}$"


class Feedback(BaseModel):
    """What a user says about one answer."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    exposure_id: Annotated[str, Field(alias="exposureId", pattern=r"^[0-9a-f]{32}$")]
    metric: Annotated[str, Field(pattern=_METRIC)]
    value: Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]


def create_app(folder: Path) -> FastAPI:
    """Return the application; `folder` is durable and holds the database."""
    database = Database(folder / "recorder.sqlite")
    app = FastAPI(title="Anneal recorder", docs_url=None, redoc_url=None)
    app.include_router(records_router(database))

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
