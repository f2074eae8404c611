"""Conditions as every Kubernetes tool reads them (metav1.Condition)."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from .schema import Schema, Time

__all__ = ["Condition", "Conditions"]

_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_Type = Annotated[
    str,
    StringConstraints(
        max_length=316, pattern=rf"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?({_NAME})$"
    ),
]
_Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
]


class Condition(Schema):
    """One fact about the object."""

    model_config = ConfigDict(extra="allow")

    type: _Type
    """What the fact is about, for example `Succeeded`."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: _Reason
    """One word for why, made for programs."""
    message: Annotated[str, StringConstraints(max_length=32768)]
    """A sentence for people; where something is wrong it names the remedy."""
    last_transition_time: Time
    """When `status` last changed (RFC 3339, UTC)."""
    observed_generation: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]
    """The generation of the spec that this was judged on."""


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
