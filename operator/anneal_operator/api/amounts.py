"""What a metric measures, and its numbers as people read them: values, and differences between two variants'."""

from collections.abc import Mapping
from typing import Literal

__all__ = ["LOGARITHMS", "SAID", "SCORES", "TIMES", "MetricSource", "amount", "difference"]

MetricSource = Literal[
    "Feedback",
    "Errors",
    "Latency",
    "TimeToFirstToken",
    "TimePerOutputToken",
    "OutputTokens",
    "SchemaValidity",
    "Refusals",
]
LOGARITHMS = ("Latency", "TimeToFirstToken")
"""Of which means are geometric, so that two of them differ by a part of the control's."""
TIMES = {*LOGARITHMS, "TimePerOutputToken"}
"""Which an answer that its client left has none of."""
SCORES = ("SchemaValidity", "Refusals")
"""What answers are worth, from 0 to 1, as the scorer finds it: a user's value is the mean of those that were scored."""
SAID = ("Feedback", *SCORES)
"""Of which a user's value is a mean of values about single answers."""
_AMOUNTS: Mapping[str, tuple[int, str]] = {
    "Errors": (100, " %"),
    "Latency": (1, " s"),
    "TimeToFirstToken": (1, " s"),
    "TimePerOutputToken": (1, " s"),
    "OutputTokens": (1, " tokens"),
    **dict.fromkeys(SCORES, (100, " %")),
}
_POINTS, _PERCENT = (100, " points"), (100, " %")
_DIFFERENCES = {**_AMOUNTS, **dict.fromkeys(("Errors", *SCORES), _POINTS), **dict.fromkeys(LOGARITHMS, _PERCENT)}


def amount(source: str, value: float, shown: str = ".3g") -> str:
    """Return a metric's value; `shown` is how its number is to be written."""
    return _words(_AMOUNTS, source, value, shown)


def difference(source: str, value: float, shown: str = "+.3g") -> str:
    """Return by how much two values differ, or what is asked for."""
    return _words(_DIFFERENCES, source, value, shown)


def _words(units: Mapping[str, tuple[int, str]], source: str, value: float, shown: str) -> str:
    times, unit = units.get(source, (1, ""))
    return f"{times * value:{shown}}{unit}"
