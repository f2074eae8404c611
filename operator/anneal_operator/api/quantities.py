"""Amounts as Kubernetes writes them: durations (metav1.Duration) and quantities (resource.Quantity)."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from .schema import Rule, whole

__all__ = ["Duration", "Quantity", "amount", "bounded_duration", "seconds", "worded"]

_UNIT_SECONDS = {"h": 3600, "m": 60, "s": 1}
_SUFFIXES = {"m": Decimal("0.001"), "": Decimal(1)}
_SUFFIXES |= {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)}
_SUFFIXES |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_QUANTITY = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_MOST = 10**15

Duration = Annotated[
    str, StringConstraints(min_length=2, max_length=20, pattern=r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$")
]
"""Whole hours, minutes and seconds, in this order, for example `1h30m`."""
Quantity = Annotated[
    Annotated[int, Field(ge=0, le=_MOST)] | Annotated[str, StringConstraints(max_length=20, pattern=_QUANTITY)],
    BeforeValidator(whole),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": _QUANTITY,
            "maxLength": 20,
            "minimum": 0,
            "maximum": _MOST,
        }
    ),
]
"""A number, or a text such as `500m` or `4Gi`."""


def seconds(duration: str) -> int:
    """Return a duration such as `1h30m` in seconds."""
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in re.findall("([0-9]+)([hms])", duration))


def worded(total: int) -> str:
    """Return whole seconds as a duration such as `1h30m`."""
    parts = ((total // 3600, "h"), (total // 60 % 60, "m"), (total % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def amount(quantity: int | str) -> Decimal:
    """Return a quantity such as `4Gi` as a number."""
    number, suffix = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity)).groups()  # type: ignore[union-attr] # by its pattern
    return Decimal(number) * _SUFFIXES[suffix]


def bounded_duration(name: str, field: str, low: str, high: str, *, is_optional: bool = False) -> Rule:
    """A duration's bounds, which a pattern cannot say; `name` is the field's in manifests."""
    bounds = f"duration(self.{name}) >= duration('{low}') && duration(self.{name}) <= duration('{high}')"
    return Rule(
        f"!has(self.{name}) || ({bounds})" if is_optional else bounds,
        f"`{name}` must be from {low} to {high}",
        lambda holder: (said := getattr(holder, field)) is None or seconds(low) <= seconds(said) <= seconds(high),
    )
