"""What of a status did not survive another build of the operator."""

from collections.abc import Collection
from typing import Any

__all__ = ["lost"]


def lost(known: dict[str, Any], now: dict[str, Any], rejudged: Collection[str] = ()) -> list[str]:
    """Return a sentence for each value that is gone or another; what was added does not count.

    `rejudged` are the fields and the types of conditions that every build tells anew of the world as it is.
    """
    fields = [line for name in known if name not in rejudged for line in _differing(name, known[name], now.get(name))]
    return [line for line in fields if not line.startswith("conditions:")] + [
        line
        for condition in known.get("conditions", ())
        if "conditions" not in rejudged and condition["type"] not in rejudged
        for line in _differing(condition["type"], condition, _of_type(condition["type"], now))
    ]


def _of_type(kind: str, status: dict[str, Any]) -> dict[str, Any]:
    return next((found for found in status.get("conditions", ()) if found["type"] == kind), {})


def _differing(path: str, known: Any, now: Any) -> list[str]:
    if isinstance(known, dict) and isinstance(now, dict):
        return [line for name in known for line in _differing(f"{path}.{name}", known[name], now.get(name))]
    return [] if known == now else [f"{path}: {known!r} became {now!r}"]
