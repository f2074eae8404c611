"""Why a request gets no answer."""

from collections.abc import Mapping

from .router_client import RouterAnswer

__all__ = ["RefusedError", "refusal_of_router"]


class RefusedError(Exception):
    """A request that is not answered; `param` is the field that it is about."""

    def __init__(
        self, status: int, message: str, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param
        self.headers = dict(headers or {})


def refusal_of_router(answer: RouterAnswer, headers: Mapping[str, str]) -> RefusedError:
    """Return what the router, or the model's server, said; its fields are not the client's, but for `model`."""
    try:
        told = answer.json["error"]
        message, param = str(told["message"]), told.get("param")
    except (KeyError, TypeError, AttributeError):
        message, param = f"the model's server answered with status {answer.status}", None
    if "retry-after" in answer.headers:
        headers = {**headers, "Retry-After": answer.headers["retry-after"]}
    return RefusedError(answer.status, message, param if isinstance(param, str) else None, headers)
