"""Taking scores of answers, from the scorer alone: as what users say is taken, under names that these cannot say."""

import asyncio
import logging
import sqlite3

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from serving_runtime.scoring import SCORES_PATH

from .feedback import Outcome
from .inbox import Inbox
from .posted import refused
from .scorings import Scores

__all__ = ["scores_router"]

log = logging.getLogger("recorder")


def scores_router(inbox: Inbox) -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.post(SCORES_PATH)
    async def take(posted: Scores) -> JSONResponse:
        try:
            told = await asyncio.gather(*map(inbox.put, posted.said()))
        except sqlite3.Error as error:
            log.warning("scores cannot be recorded now: %s", error)
            told = [Outcome.FULL]
        if Outcome.FULL in told:
            return refused(503, "scores cannot be stored now; send all of them again, each counts once", None)
        return JSONResponse({"recorded": sum(one in {Outcome.RECORDED, Outcome.HELD} for one in told)})

    return routes
