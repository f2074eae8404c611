"""Conditions as every Kubernetes tool reads them (metav1.Condition)."""

from typing import Annotated, Literal

from pydantic import Field

from .schema import Schema

__all__ = ["Condition", "Conditions"]


class Condition(Schema):
    """One fact about the object."""

    type: str
    """What the fact is about, for example `Succeeded`."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str
    """One word for why, made for programs."""
    message: str
    """A sentence for people; where something is wrong it names the remedy."""
    last_transition_time: str
    """When `status` last changed (RFC 3339, UTC)."""
    observed_generation: int
    """The generation of the spec that this was judged on."""


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
