"""What guardrails are held to, and what was counted: of answers ratios of totals, and users who had a failure; and what
users said.

The unit is the user here, too: a ratio's spread is that of users' totals and counts, which vary together.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any, Literal, Self, get_args

from typing_extensions import TypeIs

from anneal_operator.api.amounts import LOGARITHMS, SAID, MetricSource

from .sums import Arm, Scale, Sums, arm_of

__all__ = [
    "EVENTS",
    "FEEDBACK",
    "Guardrail",
    "Guards",
    "Ratio",
    "Said",
    "Source",
    "is_ratio",
    "joined",
    "natural",
    "unknown_to",
]

Source = Literal["Errors", "Latency", "TimeToFirstToken", "TimePerOutputToken", "OutputTokens"]
"""What is a ratio of users' totals."""
EVENTS = "Errors"
"""Of which each is 0 or 1."""
FEEDBACK: Literal["Feedback"] = "Feedback"
"""Of which each user has a mean, and not all have one."""
_LEAST_ALIKE = 50
"""Of fewer users the spread of those who ask most is not known, and intervals are too narrow. Measured."""


def is_ratio(source: MetricSource) -> TypeIs[Source]:
    """Whether it is a ratio of users' totals, and no mean of what users have of their own."""
    return source not in SAID


def natural(source: str, mean: float) -> float:
    """Return a mean in seconds, where the recorder keeps logarithms, of milliseconds."""
    return math.exp(mean) / 1000 if source in LOGARITHMS else mean


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A number, and how much worse than the control's it may be, or what it may be at most."""

    name: str
    source: MetricSource
    increases: bool = False
    """Whether more is better."""
    regression: float | None = None
    """As a part of the control's."""
    most: float | None = None
    least: float | None = None
    """Of what users say, where more is better."""
    low: float | None = None
    high: float | None = None
    """Between what values that lies which users say."""

    def can_be(self) -> bool:
        """Whether there is something to hold a challenger to."""
        limits = [limit for limit in (self.regression, self.most, self.least) if limit is not None]
        if len(limits) != 1 or (self.regression is not None and self.regression <= 0):
            return False
        if self.source == FEEDBACK:
            return self._is_of_means()
        return self.source in get_args(Source) and self.least is None and limits[0] > 0

    def _is_of_means(self) -> bool:
        if self.low is None or self.high is None or self.low >= self.high:
            return False
        if self.regression is not None:
            return self.low >= 0 and (self.regression < 1 or not self.increases)
        limit = self.least if self.increases else self.most
        return limit is not None and self.low < limit < self.high

    @property
    def width(self) -> float | None:
        """How far two values can be apart, where that is known."""
        return None if self.low is None or self.high is None else self.high - self.low


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of one variant's users: how many are measured, their totals `m`, counts `d`, and the squares and products."""

    n: int = 0
    m: int = 0
    d: int = 0
    mm: int = 0
    dd: int = 0
    md: int = 0

    def can_be(self) -> bool:
        """Whether there are users of whom these are the sums."""
        own = self.n >= 0 and self.d >= self.n and self.d**2 <= self.n * self.dd and self.dd <= self.d**2
        return own and self.m >= 0 and self.m**2 <= self.n * self.mm and self.md**2 <= self.mm * self.dd

    def hangs_on_few(self, source: Source, least: int) -> bool:
        """Whether a few users have most of the answers: the ratio follows them, and so seems to have no spread.

        They say less than so many who all ask equally often would (Kish). Of events the spread is no less than one more
        user would bring.
        """
        return source != EVENTS and 0 < self.d**2 < min(least, _LEAST_ALIKE) * self.dd

    def arm(self, parts: int, source: Source) -> Arm | None:
        """Return the ratio and its variance by the delta method (Deng 1803.06336, section 3); `parts` make one.

        Of events the variance is not below what one more user would bring all of whose requests are other ones. Of
        what has no bounds nothing is said where all users are alike.
        """
        if self.n < 2:
            return None
        spread = self.mm * self.d**2 - 2 * self.m * self.d * self.md + self.m**2 * self.dd
        variance = spread * self.n / ((self.n - 1) * self.d**4) / parts**2
        if source == EVENTS:
            variance = max(variance, self.dd / (self.n * self.d**2))
        return Arm(self.n, self.m / (self.d * parts), variance) if variance > 0.0 else None


def joined(ratios: Iterable[Ratio]) -> Ratio:
    """Return the sums of the users of all, whichever variant they are of."""
    return Ratio(*map(sum, zip(*map(astuple, ratios), strict=True)))


@dataclass(frozen=True)
class Said:
    """What users said, of each variant: their means in whole numbers, of which `parts` make one."""

    sums: tuple[Sums, ...]
    parts: int

    def arm(self, place: int, width: float | None) -> Arm | None:
        """Return a variant's mean and its variance, no surer than one more user a `width` away would leave it."""
        sums, scale = self.sums[place], Scale(self.parts)
        return arm_of(sums.mean(scale), sums.variance(scale), sums.n, width) if sums.n else None


@dataclass(frozen=True)
class Guards:
    """What was counted for guardrails, and for a metric that is measured of answers, in the order of the variants."""

    failed: tuple[int, ...]
    """Users who had a failure."""
    ratios: Mapping[str, tuple[Ratio, ...]]
    """By source."""
    parts: Mapping[str, int]
    """How many of a source's whole numbers make one."""
    left: tuple[int, ...] = ()
    """Users who left an answer before its end; nothing where that is not known."""
    said: Mapping[str, Said] = field(default_factory=dict)
    """By guardrail."""

    def told(self) -> dict[str, Any]:
        """Return it for JSON."""
        ratios = {source: [astuple(one) for one in arms] for source, arms in self.ratios.items()}
        told = {"failed": self.failed, "ratios": ratios, "parts": self.parts}
        said = {
            name: {"sums": [astuple(sums) for sums in one.sums], "parts": one.parts} for name, one in self.said.items()
        }
        return told | ({"left": self.left} if self.left else {}) | ({"said": said} if said else {})

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """Return it from JSON; raise TypeError or KeyError where it is none."""
        ratios = {source: tuple(Ratio(*one) for one in arms) for source, arms in told["ratios"].items()}
        said = {
            name: Said(tuple(Sums(*sums) for sums in one["sums"]), one["parts"])
            for name, one in told.get("said", {}).items()
        }
        return cls(tuple(told["failed"]), ratios, dict(told["parts"]), tuple(told.get("left", ())), said)


def unknown_to(guards: Guards | None, guardrails: Iterable[Guardrail]) -> list[str]:
    """Return the sources of guardrails that the recorder does not tell of."""
    known: Collection[str] = guards.ratios if guards else ()
    said: Collection[str] = guards.said if guards else ()
    return sorted(
        {
            one.source
            for one in guardrails
            if (one.name not in said if one.source == FEEDBACK else one.source not in known)
        }
    )
