"""The task API's HTTP interface."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from .answering import answer_to
from .asked import Answered, Batch, BatchAnswered, Chat, Predict
from .batches import Batches
from .fitting import Preparation
from .page import page
from .question import asked_by
from .refusals import refusal, refusal_of
from .refused import RefusedError
from .router_client import Headers, RouterClient, UnansweredError
from .served import Health, Service, served
from .versions import Versions

__all__ = ["create_app"]

_KEPT_BACK = frozenset(
    b"accept accept-encoding connection content-encoding content-length content-type expect host idempotency-key "
    b"keep-alive proxy-authorization te trailer transfer-encoding upgrade x-anneal-tasks".split()
)
"""What is of one connection, or of this body; all else of a request goes on, as who asks may stand anywhere in it."""
_WHO = frozenset({b"authorization", b"cookie", b"x-user-id"})
_Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]
T = TypeVar("T")


class _ErrorTold(BaseModel):
    message: str
    type: str
    param: str | None
    code: int


class Refused(BaseModel):
    """Why there is no answer."""

    error: _ErrorTold


_REFUSALS: dict[int | str, dict[str, Any]] = {
    404: {"model": Refused, "description": "There is no such model, or several and none is named"},
    422: {"model": Refused, "description": "A field is wrong; `param` says which"},
    503: {"model": Refused, "description": "No model answers now; `Retry-After` says when to try again"},
}


def create_app(router: RouterClient, versions: Versions) -> FastAPI:
    """Return the application before a namespace's router."""
    app = FastAPI(title="Anneal tasks", docs_url=None, redoc_url=None)
    tasks = _Tasks(router, versions)
    app.include_router(_about(app, router))
    app.include_router(tasks.routes(""))
    app.include_router(tasks.routes("/models/{model}"))

    @app.exception_handler(RefusedError)
    async def refuse(_: Request, error: RefusedError) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(UnansweredError)
    async def unanswered(_: Request, error: UnansweredError) -> JSONResponse:
        return refusal(RefusedError(503, str(error)))

    @app.exception_handler(HTTPException)
    async def unheard(_: Request, error: HTTPException) -> JSONResponse:
        """What is no JSON in UTF-8, no path, or no method of one."""
        return refusal(RefusedError(error.status_code, str(error.detail), headers=error.headers))

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> JSONResponse:
        return refusal_of(error)

    return app


def _about(app: FastAPI, router: RouterClient) -> APIRouter:
    made = APIRouter(responses={503: _REFUSALS[503]})

    @made.get("/")
    async def service() -> Service:
        """What is served: the models, and what their versions are called (`claims@3`, `claims@production`)."""
        return Service(models=await served(router))

    @made.get("/health")
    async def health() -> Health:
        """Whether a model answers; 503 says why none does."""
        models = await served(router)
        ready = sorted(name for name, model in models.items() if model.ready)
        if not ready:
            why = "; ".join(f"`{name}`: {model.problem}" for name, model in sorted(models.items()))
            raise RefusedError(503, f"no model is ready: {why or 'none is served here yet'}")
        return Health(ready=ready)

    @made.get("/alive", include_in_schema=False)
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @made.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()))

    return made


class _Tasks:
    """What is asked of one model."""

    def __init__(self, router: RouterClient, versions: Versions) -> None:
        self._router, self._versions = router, versions
        self._batches = Batches()

    def routes(self, prefix: str) -> APIRouter:
        """Return the paths of a model that is named, or of the only one."""
        made = APIRouter(prefix=prefix, responses=_REFUSALS, dependencies=[Depends(_named)] if prefix else [])

        @made.post("/predict")
        async def predict(posted: Predict, request: Request, response: Response) -> Answered:
            """Ask for a task, as the version was trained for it."""
            return await self._answer(posted, request, response)

        @made.post("/chat")
        async def chat(posted: Chat, request: Request, response: Response) -> Answered:
            """Ask for a task with an instruction of your own."""
            return await self._answer(posted, request, response)

        @made.post("/batch")
        async def batch(posted: Batch, request: Request, key: _Key = None) -> BatchAnswered:
            """Ask for many tasks, each answered for itself; some may fail.

            With an `Idempotency-Key` a batch that is sent again within an hour is answered as it was: no model is
            asked once more.
            """
            preparation = self._preparation(request)
            if key is None:
                return await while_there(request, self._batches.answer(posted, preparation))
            own = repr([preparation.model, key, [one for one in preparation.headers if one[0].lower() in _WHO]])
            content = posted.model_dump_json()
            return await self._batches.once(own, content, lambda: self._batches.answer(posted, preparation))

        return made

    async def _answer(self, posted: Predict, request: Request, response: Response) -> Answered:
        outcome = await while_there(request, answer_to(asked_by(posted, posted), self._preparation(request)))
        response.headers.update(outcome.headers)
        return outcome.answered

    def _preparation(self, request: Request) -> Preparation:
        model = request.path_params.get("model") or self._only()
        return Preparation(self._router, self._versions, model, own_headers(request))

    def _only(self) -> str:
        """The one model that there is: which of several is meant only the client knows."""
        models = self._versions.table().models()
        if len(models) == 1:
            return models[0]
        told = f"there are several: {', '.join(models)}" if models else "no version is served here yet"
        raise RefusedError(404 if models else 503, f"{told}; ask at /models/NAME/predict", "model" if models else None)


def _named(model: Annotated[str, Path(min_length=1, max_length=256, examples=["claims"])]) -> str:
    """The model, or a version of it (`claims@3`)."""
    return model


def own_headers(request: Request) -> Headers:
    """What a client sent that is not of its connection with us."""
    return [(name, value) for name, value in request.headers.raw if name.lower() not in _KEPT_BACK]


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do it as long as somebody waits for it: the model stops, too, where the client has left."""
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(_leaves(request))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RefusedError(499, "the client left")
        return task.result()
    finally:
        task.cancel()
        left.cancel()


async def _leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
