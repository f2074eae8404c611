"""What the status of every kind has in common."""

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field

from .conditions import Condition, Conditions
from .schema import Schema

__all__ = ["ObjectStatus"]


class ObjectStatus(Schema):
    """Where an object stands. Enumerations are open strings and unknown fields are kept: a newer operator's words
    outlive an older one's reading.
    """

    model_config = ConfigDict(extra="allow")
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
