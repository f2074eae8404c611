"""A figure and its goal, as a line of the table in benchmarks/README.md."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["HEAD", "Figure"]

HEAD = "| what | goal | median | least | greatest |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True)
class Figure:
    """What was measured once, or several times."""

    what: str
    values: Sequence[float]
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool:
        """Whether the median is what was aimed at; so is any where nothing was."""
        low = self.at_least is None or self.median >= self.at_least
        return low and (self.at_most is None or self.median <= self.at_most)

    @property
    def row(self) -> str:
        """The line."""
        several = (min(self.values), max(self.values)) if len(self.values) > 1 else ()
        shown = [self._shown(self.median), *map(self._shown, several)]
        shown[0] = shown[0] if self.is_met else f"missed: {shown[0]}"
        return "| " + " | ".join([self.what, self._goal, *shown, *[""] * (3 - len(shown))]) + " |"

    @property
    def _goal(self) -> str:
        if self.at_least is not None:
            return f">= {self._shown(self.at_least)}"
        return f"<= {self._shown(self.at_most)}" if self.at_most is not None else ""

    def _shown(self, value: float) -> str:
        return f"{value:.3g} {self.unit}".rstrip()
