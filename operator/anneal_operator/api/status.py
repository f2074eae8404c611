"""What every status has in common, and how it survives other versions of the operator.

A newer operator may write a phase, a reason or a field that this one does not know. Words are therefore open strings,
and unknown fields are kept when a status is read and written again.
"""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field

from .conditions import Conditions
from .schema import Schema

__all__ = ["Number", "Status", "StatusPart"]

_DIGITS = 4


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


Number = Annotated[float, AfterValidator(_rounded)]
"""A measurement, short enough to be read: four significant digits."""


class StatusPart(Schema):
    """An object inside a status."""

    model_config = ConfigDict(extra="allow")


class Status(StatusPart):
    """The status of any kind."""

    phase: str = ""
    """Where the object stands, in a word."""
    reason: str = ""
    """Why it stands there: the reason that matters now."""
    observed_generation: int = 0
    """The generation of the spec that this status speaks of."""
    conditions: Conditions = Field(default=[])
    """What holds, one fact each."""

    @classmethod
    def read(cls, status: dict[str, Any] | None) -> Self:
        """Read a stored status; one that cannot be read counts as none, as it is rebuilt from the world."""
        try:
            return cls.parse(status or {})
        except ValueError:
            return cls()
