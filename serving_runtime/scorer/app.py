"""The scorer's HTTP interface: routers hand answers on, and are told at once that they were heard."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from pydantic import ValidationError

from serving_runtime.scoring import ANSWERS_PATH, Answered

from .desk import Desk

__all__ = ["create_app"]

_LARGEST = 2 << 20
"""An answer of 256 KiB, where JSON writes each byte in up to six."""


def create_app(desk: Desk) -> FastAPI:
    """Return the application."""

    @asynccontextmanager
    async def working(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(desk.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app = FastAPI(title="Anneal scorer", lifespan=working, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post(ANSWERS_PATH)
    async def take(request: Request) -> dict[str, str]:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _LARGEST:
                raise HTTPException(413, f"send at most {_LARGEST} bytes")
        try:
            desk.take(Answered.model_validate_json(bytes(body)))
        except ValidationError as error:  # what it holds is told to nobody
            raise HTTPException(422, "it tells of no answer") from error
        return {"status": "heard"}

    return app
