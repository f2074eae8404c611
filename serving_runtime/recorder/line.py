"""What the router's line says of one answer (docs/router.md)."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Exposure", "is_counted"]

_Name = Annotated[str, Field(max_length=512)]
_Seconds = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e11)]
_Tokens = Annotated[int, Field(ge=0, le=1 << 31)]


class Exposure(BaseModel):
    """One answer; other fields are for later releases, and absent ones of earlier ones."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    exposure: Annotated[str, Field(min_length=1, max_length=512)]
    completion: _Name | None = None
    """What the answer calls itself; an engine of ours puts the exposure's id in it."""
    model: _Name | None = None
    version: _Name | None = None
    """The ModelVersion that answered, or was to."""
    experiment: _Name | None = None
    variant: _Name | None = None
    user: _Name | None = None
    """A hash; who names no user is counted nowhere."""
    at: _Seconds
    status: Annotated[int, Field(ge=0, le=999)]
    outcome: _Name | None = None
    """`complete`, `broken`, `left` or `error`; serving_runtime/router/answer.lua says when."""
    first: _Seconds | None = None
    """When the first of the answer came, in seconds after `at`."""
    last: _Seconds | None = None
    stream: bool = False
    prompt_tokens: Annotated[_Tokens | None, Field(alias="promptTokens")] = None
    completion_tokens: Annotated[_Tokens | None, Field(alias="completionTokens")] = None
    fallback: bool = False
    """Whether another variant than the user's answered, as that had no server."""


def is_counted(answer: Mapping[str, Any]) -> bool:
    """Whether a sum waits for it: one of an experiment's variant, or of a user of a model outside experiments."""
    return bool(answer["user"] and (answer["variant"] if answer["experiment"] else answer.get("model")))
