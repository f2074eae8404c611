"""What a recorder tells of an experiment's copies."""

import dataclasses
from typing import Any

from anneal_operator.decide.compared import Compared

__all__ = ["compared_in"]

_MOST = 10**18
_PARTS = ("similarity", "logarithm")


def compared_in(found: dict[str, Any]) -> dict[str, Compared]:
    """Return the sums of each challenger; raise an error of a value or type for what no recorder of ours tells."""
    parts = {f"{name}_parts": _number(found["parts"][name], 1) for name in _PARTS}
    names = [field.name for field in dataclasses.fields(Compared) if field.name not in parts]
    return {str(variant): _compared(told, names, parts) for variant, told in found["variants"].items()}


def _compared(told: dict[str, Any], names: list[str], parts: dict[str, int]) -> Compared:
    made = Compared(**{name: _number(told.get(name, 0)) for name in names}, **parts)
    counted = made.timed, made.firsts, made.counted, made.json_asked, made.equal
    if made.compared > made.requests or made.failures > made.requests or max(counted) > made.compared:
        raise ValueError("more was counted than was sent")
    return made


def _number(told: Any, least: int = 0) -> int:  # noqa: ANN401 - whatever is told
    number = int(told)
    if not least <= number <= _MOST:
        raise ValueError(f"{number} was not counted")
    return number
