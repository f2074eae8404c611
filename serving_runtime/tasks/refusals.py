"""Why a request gets no answer, told in OpenAI's shape, as the router tells it."""

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from .refused import RefusedError

__all__ = ["refusal", "refusal_of"]

_SERVER_ERROR, _UNAVAILABLE = 500, 503
_SECONDS = "5"


def refusal(error: RefusedError) -> JSONResponse:
    """Return what a client is told."""
    kind = "server_error" if error.status >= _SERVER_ERROR else "invalid_request_error"
    told = {"message": error.message, "type": kind, "param": error.param, "code": error.status}
    headers = {"Retry-After": _SECONDS} if error.status == _UNAVAILABLE else {}
    return JSONResponse({"error": told}, error.status, {**headers, **error.headers})


def refusal_of(error: RequestValidationError) -> JSONResponse:
    """Say what is wrong with a request, the field first."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:] if first["type"] != "json_invalid")
    why = str(first["msg"]).removeprefix("Value error, ")
    return refusal(RefusedError(422, f"`{place}`: {why}" if place else why, place or None))
