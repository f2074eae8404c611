"""What the operator tells and asks of an experiment."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from .database import Database
from .definition import Definition
from .posted import COUNTED, refused
from .scorings import Report

__all__ = ["experiments_router"]

_Uid = Annotated[str, Path(max_length=63)]
_Metric = Annotated[str, Query(pattern=COUNTED)]


def experiments_router(database: Database) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/experiments")

    @routes.put("/{uid}")
    def define(uid: _Uid, definition: Definition) -> JSONResponse:
        if database.define(uid, definition):
            return JSONResponse({"status": "defined"})
        return refused(409, "the experiment measures something else already, and that never changes", None)

    @routes.get("/{uid}/statistics")
    def statistics(uid: _Uid, metric: _Metric) -> dict[str, Any]:
        return database.statistics(uid, metric)

    @routes.get("/{uid}/sums")
    def sums(uid: _Uid, metric: _Metric) -> dict[str, Any]:
        return database.sums(uid, metric)

    @routes.get("/{uid}/shadow")
    def shadowed(uid: _Uid) -> dict[str, Any]:
        return database.shadowed(uid)

    @routes.post("/{uid}/scorings")
    def report(uid: _Uid, told: Report) -> dict[str, str]:
        database.report_scoring(uid, told)
        return {"status": "added"}

    return routes
