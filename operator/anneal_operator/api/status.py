"""What every status has in common, and how it survives other versions of the operator.

A newer operator may write a phase, a reason or a field that this one does not know. Words are therefore open strings,
and unknown fields are kept when a status is read and written again.
"""

from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, ConfigDict, Field

from .conditions import Condition, Conditions
from .schema import Schema

__all__ = ["Number", "ObjectStatus", "StatusPart"]

_DIGITS = 4


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


Number = Annotated[float, AfterValidator(_rounded)]
"""A measurement, short enough to be read: four significant digits."""


class StatusPart(Schema):
    """An object inside a status."""

    model_config = ConfigDict(extra="allow")

    def having(self, **changes: Any) -> Self:  # noqa: ANN401 - any field
        """Return it with these fields changed."""
        return self.model_copy(update=changes)


class ObjectStatus(StatusPart):
    """The status of any kind."""

    VOLATILE: ClassVar[frozenset[str]] = frozenset()
    """Fields that change all the time and that nothing follows from: written every ten seconds at most."""

    MEASURED: ClassVar[frozenset[str]] = frozenset()
    """Fields that say what was seen: written also where nothing can come of the verdict, as a step was refused."""

    phase: str = ""
    """Where the object stands, in a word."""
    reason: str = ""
    """Why it stands there: the reason that matters now."""
    observed_generation: int = 0
    """The generation of the spec that this status speaks of."""
    conditions: Conditions = Field(default=[])
    """What holds, one fact each."""

    @property
    def is_ended(self) -> bool:
        """Whether it tells of an end, which nothing that comes later takes back; most kinds have none."""
        return False

    @property
    def is_new(self) -> bool:
        """Whether the object was not looked at yet, or its status was lost."""
        return not self.observed_generation and not self.conditions

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of this type, None where nothing is said of it: Unknown."""
        return next((condition for condition in self.conditions if condition.type == kind), None)
