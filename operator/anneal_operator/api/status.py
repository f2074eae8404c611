"""What the status of every kind has in common."""

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
    """An object inside a status. Words are open strings and unknown fields are kept: a newer operator's words outlive
    an older one's reading.
    """

    model_config = ConfigDict(extra="allow")


class ObjectStatus(StatusPart):
    """Where an object stands."""

    VOLATILE: ClassVar[frozenset[str]] = frozenset()
    """Fields that change all the time and that nothing follows from: written every ten seconds at most."""

    phase: str = ""
    """Where the object stands."""
    reason: str = ""
    """Why, in one word: the reason of the condition that matters now."""
    observed_generation: int = 0
    """The generation of the spec that this status speaks of."""
    conditions: Conditions = Field(default=[])
    """What is known of it, one fact each."""

    @classmethod
    def read(cls, status: dict[str, Any] | None) -> Self:
        """Read a stored status; one that cannot be read counts as none, as it is rebuilt from the world."""
        try:
            return cls.parse(status or {})
        except ValueError:
            return cls()

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of this type, None where nothing is said of it: Unknown."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def holds(self, kind: str) -> bool:
        """Whether the condition of this type is True."""
        found = self.condition(kind)
        return found is not None and found.status == "True"

    def having(self, **changes: Any) -> Self:  # noqa: ANN401 - any field
        """Return the status with these fields changed."""
        return self.model_copy(update=changes)
