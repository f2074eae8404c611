"""Taking what routers send: lines of JSON, one per answer or copy, from a position in a source of theirs.

Lines and the position that they reach to are stored in one transaction, and what begins elsewhere than at the position
that is known is not stored: the sender is told that position, and goes on from there. So nothing counts twice, whatever
is sent again. What tells no answer is left out and told, and holds up nothing.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Request
from pydantic import ValidationError

from serving_runtime.records import LARGEST_BATCH, POSITION, RECORDS_PATH, SOURCE

from .database import Database
from .line import Exposure
from .shadows import COPY, Copy

__all__ = ["Ingest", "records_router"]

_SOURCE = r"^[a-zA-Z0-9.-]{1,253}/[0-9]{8}T[0-9]{4}-[0-9a-f]{16}-[0-9a-f]{8}$"
_FARTHEST = 1 << 50
_LONGEST_LINE = 8192
_PATIENCE_SECONDS = 10.0
log = logging.getLogger("recorder")


class Ingest:
    """Stores lines; from several threads, in turn."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()

    def take(self, source: str, position: int, lines: bytes) -> int:
        """Store the lines if they begin where the last of this source ended; return up to where it is stored now."""
        with self._turn:
            stored = self._database.position(source)
            if stored != position or not lines:
                return stored
            reached = position + len(lines)
            self._database.record_exposures(source, reached, *_told(source, lines))
            return reached


def _told(source: str, lines: bytes) -> tuple[list[Mapping[str, Any]], list[Copy]]:
    """What the lines tell of answers, and of copies."""
    told: list[Exposure | Copy] = []
    wrong = []
    for line in filter(None, lines.split(b"\n")):
        try:
            told.append(_read(line))
        except ValueError as error:
            wrong.append((error, line))
    if wrong:
        why = wrong[0][0]
        first = why.errors()[0]["msg"] if isinstance(why, ValidationError) else why
        text = "%d lines of %s tell no answer and were left out: %s: %r"
        log.warning(text, len(wrong), source, first, wrong[0][1][:200])
    exposures: list[Mapping[str, Any]] = [one.model_dump() for one in told if isinstance(one, Exposure)]
    return exposures, [one for one in told if isinstance(one, Copy)]


def _read(line: bytes) -> Exposure | Copy:
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"it is longer than {_LONGEST_LINE} bytes")
    return Copy.model_validate_json(line) if line.startswith(COPY) else Exposure.model_validate_json(line)


def records_router(database: Database) -> APIRouter:
    """Return the route that takes records."""
    routes, ingest = APIRouter(), Ingest(database)

    @routes.post(RECORDS_PATH)
    async def take(
        request: Request,
        source: Annotated[str, Header(alias=SOURCE, pattern=_SOURCE)],
        position: Annotated[int, Header(alias=POSITION, ge=0, le=_FARTHEST)],
    ) -> dict[str, int]:
        lines = await _body(request)
        try:
            return {"position": await asyncio.to_thread(ingest.take, source, position, lines)}
        except sqlite3.Error as error:
            log.warning("records of %s cannot be stored now: %s", source, error)
            raise HTTPException(503, f"records cannot be stored now: {error}", {"Retry-After": "1"}) from error

    return routes


async def _body(request: Request) -> bytes:
    """The body, if it is small enough and comes soon."""
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > LARGEST_BATCH:
                    raise HTTPException(413, f"send at most {LARGEST_BATCH} bytes at once")
    except TimeoutError as error:
        raise HTTPException(408, f"the lines did not come within {_PATIENCE_SECONDS:g} s") from error
    return bytes(body)
