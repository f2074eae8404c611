"""What every part of a custom resource is built on: strict parsing, and rules that hold here and in the API server.

Two things decide whether a spec is accepted: this package, when the operator reads it, and the CRD made from it by
`crdgen`, when the API server stores it. Both must agree, so a cross-field rule is written once, as a `Rule` with the
CEL expression for the server and the same sentence in Python. A differential test holds them together.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import override

__all__ = [
    "ALIASES_RULE",
    "CHARACTER",
    "WORD",
    "Alias",
    "DottedPath",
    "FreeObject",
    "LabelValue",
    "LocalReference",
    "MapByName",
    "ModelName",
    "ObjectName",
    "QualifiedName",
    "Rule",
    "Schema",
    "SetOf",
    "SubdomainName",
    "Time",
    "immutable",
    "timestamp",
    "unchanged",
    "whole",
]

_WRITTEN_BY_A_USER = object()


@dataclass(frozen=True)
class Rule:
    """One cross-field rule: in CEL for the API server, in Python for us, with the sentence a user reads.

    A rule without `holds` compares with the stored object (`oldSelf`): only the server can judge it.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None


def whole(value: Any) -> Any:  # noqa: ANN401 - a user's
    """Return a number without a fraction as an integer, as JSON makes no difference; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Schema(BaseModel):
    """Base of every object of the API: camelCase names, no coercion, unknown fields dropped as by the server."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        frozen=True,
        populate_by_name=True,
        strict=True,
        use_attribute_docstrings=True,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def parse(cls, data: object) -> Self:
        """Read what a user wrote or the API stored; raise ValidationError where the server would refuse it."""
        return cls.model_validate(data, context=_WRITTEN_BY_A_USER)

    @model_validator(mode="before")
    @classmethod
    def _read_json_as_the_server_does(cls, data: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - a user's
        """A field that is null counts as left out, and 1.0 is an integer. Code of ours says None by its own names,
        which stay.
        """
        if info.context is not _WRITTEN_BY_A_USER or not isinstance(data, dict):
            return data
        return {name: whole(value) for name, value in data.items() if value is not None}

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.rules:
            if rule.holds is not None and not rule.holds(self):
                raise ValueError(rule.message)
        return self

    @classmethod
    @override
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Carry the rules into the JSON schema, from where `crdgen` takes them."""
        json_schema = handler(schema)
        if cls.rules:
            target = handler.resolve_ref_schema(json_schema)
            target["x-kubernetes-validations"] = [{"rule": rule.cel, "message": rule.message} for rule in cls.rules]
        return json_schema

    def dump(self) -> dict[str, Any]:
        """Return it as the API stores it: camelCase, unset optionals left out."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


CHARACTER = r"[^\x00-\x20\x7f]"
"""Any visible character, in a pattern: `\\S` means other things in Python, in Rust and in Go."""
WORD = r"[^/@\x00-\x20\x7f]"
"""A visible character of a name in an address."""
ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
SubdomainName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
ModelName = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?$")
]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?)?$")]
QualifiedName = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?$",
    ),
]
DottedPath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[^.\x00-\x20\x7f]+(\.[^.\x00-\x20\x7f]+)*$"),
]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339, in UTC, as `timestamp` writes it."""
FreeObject = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]


def timestamp(moment: datetime) -> str:
    """Return a moment, in UTC, as a `Time`: whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _without_repetitions(items: list[Any]) -> list[Any]:
    if any(item in items[:number] for number, item in enumerate(items)):
        raise ValueError("each item may stand in the list once")
    return items


def _with_names_of_their_own(items: list[Any]) -> list[Any]:
    if len({item.name for item in items}) < len(items):
        raise ValueError("each item of the list needs a name of its own")
    return items


_Item = TypeVar("_Item")
# Who applies such a list owns its items one by one; any other list is replaced as a whole.
SetOf = Annotated[
    list[_Item],
    AfterValidator(_without_repetitions),
    Field(json_schema_extra={"x-kubernetes-list-type": "set"}),
]
MapByName = Annotated[
    list[_Item],
    AfterValidator(_with_names_of_their_own),
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
]

Alias = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9_]*[a-z0-9])?$")]
ALIASES_RULE = Rule(
    "!has(self.aliases) || self.aliases.all(alias, alias != 'latest' && !alias.matches('^v[0-9]+$'))",
    "MLflow keeps `latest` and aliases like `v3` to itself: choose other names",
    lambda holder: not any(alias == "latest" or re.fullmatch("v[0-9]+", alias) for alias in holder.aliases),
)


def unchanged(field: str) -> str:
    """CEL for: a field, or path of fields, is as it was, also where it is left out."""
    new, old = f"self.{field}", f"oldSelf.{field}"
    return f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"


def immutable(field: str, why: str) -> Rule:
    """A field that keeps what the object was created with."""
    return Rule(unchanged(field), f"`{field}` cannot change: {why}")


class LocalReference(Schema):
    """Another object of this namespace."""

    name: SubdomainName
    """Its name."""
