"""Whether others changed what we applied: our fields compared with the object's, defaults of the server left aside."""

import re
from decimal import Decimal
from typing import Any

from .kinds import Manifest

__all__ = ["has_drifted"]

_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")
_FACTORS = {"": Decimal(1), "m": Decimal("0.001")}
_FACTORS |= {unit: Decimal(1000**power) for power, unit in enumerate("kMGTP", 1)}
_FACTORS |= {f"{unit}i": Decimal(1024**power) for power, unit in enumerate("KMGTP", 1)}


def has_drifted(manifest: Manifest, current: Manifest) -> bool:
    """Return whether a field that the manifest sets has another value in the object as the API server has it.

    Fields that the manifest does not set are not looked at: they are the server's defaults, or somebody else's.
    """
    parts = (name for name in manifest if name not in {"apiVersion", "kind", "metadata"})
    labels = manifest["metadata"].get("labels", {})
    return _differs(labels, current["metadata"].get("labels", {})) or any(
        _differs(manifest[name], current.get(name)) for name in parts
    )


def _differs(wanted: Any, found: Any) -> bool:  # noqa: ANN401 - any part of a manifest
    if isinstance(wanted, dict):
        if not wanted and not found:
            return False
        return not isinstance(found, dict) or any(_differs(value, found.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list):
        if not wanted and not found:
            return False
        return (
            not isinstance(found, list)
            or len(found) != len(wanted)
            or any(_differs(one, other) for one, other in zip(wanted, found, strict=True))
        )
    return bool(wanted != found) and _amount(wanted) != _amount(found)


def _amount(value: Any) -> Any:  # noqa: ANN401 - any leaf
    """A quantity as a number: the server writes `1000m` as `1`."""
    match = _QUANTITY.match(str(value)) if isinstance(value, str | int | float) else None
    return Decimal(match[1]) * _FACTORS[match[2] or ""] if match else value
