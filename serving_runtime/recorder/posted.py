"""Feedback as clients post it, and what they are told of it, in OpenAI's shape where it is refused."""

from typing import Annotated, Self

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .feedback import MOST_OF_AN_ANSWER, Outcome, Outside, Said, Told
from .sums import scaled, unscaled

__all__ = ["COUNTED", "METRIC", "Feedback", "answer_of", "refusal_of", "refused"]

METRIC = r"^[a-z][a-z0-9_]{0,62}$"
"""What clients may call what they say."""
COUNTED = r"^(score[.])?[a-z][a-z0-9_]{0,62}$"
"""What values are called: scores, too."""
_FREE_TEXT = "free text is not taken, as it may name people; send `metric` and `value`"
_NOT_COUNTED = (
    "the answer's request named no user, or a version instead of the model, or the recorder's volume had no room for"
    " its record"
)
_REFUSED = {
    Outcome.LATE: (410, "the answer is older than what is kept of answers; feedback about it is not counted"),
    Outcome.UNKNOWN: (404, "what was known of this answer was erased; feedback about it is not counted"),
    Outcome.AMBIGUOUS: (409, "several answers have this id; say `exposureId`, the answer's header X-Exposure-Id"),
    Outcome.TOO_MANY: (429, f"an answer has {MOST_OF_AN_ANSWER} values at most; repeat an `eventId` to replace one"),
    Outcome.FULL: (503, "feedback cannot be stored now; try again"),
}


class Feedback(BaseModel):
    """What a user says about one answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    exposure_id: Annotated[str | None, Field(alias="exposureId", pattern=r"^[0-9a-f]{32}$")] = None
    completion_id: Annotated[str | None, Field(alias="completionId", min_length=1, max_length=512)] = None
    event_id: Annotated[str | None, Field(alias="eventId", min_length=1, max_length=128)] = None
    metric: Annotated[str, Field(pattern=METRIC)]
    value: Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if (self.exposure_id is None) == (self.completion_id is None):
            raise ValueError("say one of `exposureId` and `completionId`")
        return self

    def said(self) -> Said:
        """Return it as it is counted."""
        value = scaled(self.value)
        return Said(self.metric, value, self.exposure_id or "", self.completion_id or "", self.event_id or "")


def answer_of(outcome: Told, posted: Feedback) -> JSONResponse:
    """Return what a client is told: 200, counted, or why not; 202, stored, and counted when the record comes."""
    if outcome is Outcome.RECORDED:
        return JSONResponse({"status": "recorded"})
    if outcome is Outcome.NOT_COUNTED:
        return JSONResponse({"status": "not counted", "reason": _NOT_COUNTED})
    if outcome is Outcome.HELD:
        return JSONResponse({"status": "held"}, 202)
    if isinstance(outcome, Outside):
        low, high = (f"{unscaled(end):.12g}" for end in (outcome.low, outcome.high))
        why = f"{posted.value:.12g} is outside {low} to {high}, the `range` of `{posted.metric}` in the experiment"
        return refused(422, f"`value`: {why}", "value")
    code, message = _REFUSED[outcome]
    return refused(code, message, "exposureId" if posted.exposure_id else "completionId")


def refusal_of(error: RequestValidationError) -> JSONResponse:
    """Say what is wrong with a request, the field first."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:] if first["type"] != "json_invalid")
    why = str(first["msg"]).removeprefix("Value error, ")
    if place == "comment":
        why = _FREE_TEXT
    return refused(422, f"`{place}`: {why}" if place else why, place or None)


def refused(code: int, message: str, param: str | None) -> JSONResponse:
    """Say what is wrong as the router does."""
    kind = "server_error" if code >= 500 else "invalid_request_error"
    told = {"message": message, "type": kind, "param": None if code >= 500 else param, "code": code}
    return JSONResponse({"error": told}, code, {"Retry-After": "5"} if code == 503 else None)
