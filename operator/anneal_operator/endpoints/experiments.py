"""What people and other systems read of an ABExperiment: `GET /experiments/NAMESPACE/NAME/report.html`, and
`verdict.json`.

Numbers of an experiment are not everybody's: whoever asks brings a token of a service account that may `get`
abexperiments in that namespace. Its audience is this endpoint's alone, so that whoever gets hold of one can read
reports with it and do nothing else; the API server itself accepts it for nothing. A browser, which cannot send a bearer
token, asks for a password: the token is one, with any name.
"""

import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from anneal_operator.errors import ApiError

from .reviews import Review

__all__ = ["AUDIENCE", "Find", "Report", "add_experiments"]

AUDIENCE = "experiments.anneal.dev"
_PATH = "/experiments/{namespace:[a-z0-9-]+}/{name:[a-z0-9-]+}"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_REFUSED = (
    f"bring a token of audience {AUDIENCE}, of a service account that may get abexperiments in this namespace: "
    f"kubectl create token ACCOUNT --audience {AUDIENCE}"
)
log = logging.getLogger("anneal.reports")


@dataclass(frozen=True)
class Report:
    """What is told of an experiment."""

    page: str
    verdict: Mapping[str, Any]


Find = Callable[[str, str], Awaitable[Report | None]]
"""The report of an experiment, by namespace and name: None where there is none; raises ApiError, and ValueError where
it cannot be read.
"""


def add_experiments(app: web.Application, review: Review, find: Find) -> None:
    """Have an application serve reports."""

    async def asked(request: web.Request) -> Report | web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        try:
            if not await review(_token(request), namespace, AUDIENCE):
                return _error(401, _REFUSED, **{"WWW-Authenticate": 'Basic realm="token as password", charset="UTF-8"'})
            found = await find(namespace, name)
        except ApiError as error:
            log.warning("the report of %s/%s was not told: %s", namespace, name, error)
            return _error(503, "the API server does not answer; try again", **{"Retry-After": "5"})
        except ValueError:
            return _error(409, f"ABExperiment {name} cannot be read: its conditions say why")
        return found or _error(404, f"there is no ABExperiment {name} in namespace {namespace}")

    async def page(request: web.Request) -> web.Response:
        found = await asked(request)
        if isinstance(found, web.Response):
            return found
        return web.Response(text=found.page, content_type="text/html", charset="utf-8", headers=_HEADERS)

    async def verdict(request: web.Request) -> web.Response:
        found = await asked(request)
        return found if isinstance(found, web.Response) else web.json_response(found.verdict, headers=_HEADERS)

    app.router.add_get(f"{_PATH}/report.html", page)
    app.router.add_get(f"{_PATH}/verdict.json", verdict)


def _token(request: web.Request) -> str:
    """The bearer token, or the password in its place."""
    scheme, _, told = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return told.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(told, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _error(status: int, message: str, **headers: str) -> web.Response:
    return web.json_response({"error": message}, status=status, headers={**_HEADERS, **headers})
