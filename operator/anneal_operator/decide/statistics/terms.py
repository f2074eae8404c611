"""What an experiment's start freezes of its verdict: with the sums, all that a decision follows from."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from anneal_operator.api.amounts import LOGARITHMS, SCORES, MetricSource

from .comparison import rho2_of
from .cuped import History
from .guarded import EVENTS, Guardrail, Guards
from .sums import Scale, Sums

__all__ = [
    "EQUALS_RULE",
    "GUARDED_RULE",
    "MEASURED_RULE",
    "RULE",
    "RULES",
    "SCORED_EQUALS_RULE",
    "SCORED_RULE",
    "Counts",
    "Cut",
    "Histogram",
    "Method",
    "Missing",
    "Terms",
    "rule_of",
]

Method = Literal["Sequential", "FixedHorizon"]
Missing = Literal["Ignore", "Zero"]
_WHOLE = Scale(1)
RULES = RULE, GUARDED_RULE, EQUALS_RULE, MEASURED_RULE, SCORED_RULE, SCORED_EQUALS_RULE = 1, 2, 3, 4, 5, 6
"""The version of the rule: another one would decide otherwise from the same numbers. Who knows only the first is not to
judge what has guardrails, which it would not see, nor where users who said nothing count as 0; without these, both are
the same. The third asks whether variants that are the same look the same, whatever the metric. The fourth is of a
metric that is measured of answers, where others would look for what users said, of guardrails of what users say, and of
those of times and tokens, which from the third on say nothing by answers that a few users have. Before, the latter
began by the second, too, and silent users counted by the first. The last two are of scores, which are users' means as
what they say is, where others would look for what is measured of answers; the sixth asks what the third does.
"""


@dataclass(frozen=True)
class Terms:
    """All lists are in the order of the variants."""

    method: Method
    level: float
    """By how much chance may promote, over all challengers."""
    control: int
    """Its place among the variants."""
    shares: tuple[int, ...]
    """The variants' buckets."""
    least: int
    """Of no variant may there be fewer users with a value."""
    planned: int
    """The users of a pair of arms for which the confidence sequence is narrowest."""
    increases: bool
    """Whether more is better."""
    width: float | None = None
    """How far two values can be apart, where that is known."""
    effect: float | None = None
    """The least difference that matters; of geometric means a part of the control's."""
    closed: bool = False
    """Whether a user's values count once their window is over, and not before."""
    missing: Missing = "Ignore"
    """What becomes of users without a value: with `Zero` the sums are of everybody, and who has one is not judged."""
    guardrails: tuple[Guardrail, ...] = ()
    """What no challenger may worsen by more than is allowed."""
    source: MetricSource = "Feedback"
    """What users said, what is measured of their answers, or what these are worth."""
    scored_by: str = ""
    """The digest of what made scores of answers, such as a schema: those by another are no numbers of this."""
    rule: int = RULE

    @property
    def is_known(self) -> bool:
        """Whether this build knows the rule."""
        return self.rule in RULES

    @property
    def is_of_equals(self) -> bool:
        """Whether the variants are the same, and nobody is to win."""
        return self.rule in {EQUALS_RULE, SCORED_EQUALS_RULE}

    @property
    def asks_for_many(self) -> bool:
        """Whether guardrails say nothing by answers most of which a few users have."""
        return self.rule not in {RULE, GUARDED_RULE}

    @property
    def share_of_level(self) -> float:
        """What one challenger has of the level."""
        return self.level / (len(self.shares) - 1)

    @property
    def rho2(self) -> float:
        """The confidence sequence's parameter; it follows from the start alone, never from what was counted."""
        return rho2_of(self.share_of_level, self.planned)

    def told(self) -> dict[str, Any]:
        """Return it for JSON, without what is not said."""
        told = _told(self, {"rule"})
        return told | {"guardrails": [_told(one) for one in self.guardrails]} if self.guardrails else told

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """Return it from JSON, without what only another rule knows; raise an error of a value, type or key where it is
        none.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        found = {name: value for name, value in told.items() if name in known} | {"shares": tuple(told["shares"])}
        limits = told.get("guardrails", ()) if told.get("rule", RULE) != RULE else ()
        is_later = told.get("rule", RULE) not in RULES
        found["guardrails"] = _held_to(limits) if is_later else tuple(Guardrail(**one) for one in limits)
        terms = cls(**found)
        if terms.is_known and not terms._can_be():
            raise ValueError("nothing can be judged by these terms")
        return terms

    def _can_be(self) -> bool:
        is_shared = len(self.shares) > 1 and min(self.shares) > 0 and 0 <= self.control < len(self.shares)
        is_limited = all(one.can_be() for one in self.guardrails)
        earlier = GUARDED_RULE if self.guardrails else RULE
        is_earlier = self.rule == earlier and self.source == "Feedback"
        ruled = rule_of(self.source, self.guardrails, missing=self.missing, of_equals=self.is_of_equals)
        is_ruled = is_earlier or self.rule == ruled
        is_possible = self.effect is None or 0 < self.effect < (1 if self.source in LOGARITHMS else math.inf)
        is_judged = is_shared and is_limited and is_ruled and is_possible
        return is_judged and 0 < self.level < 1 and self.least > 0 and self.planned > 0


def _held_to(limits: Sequence[Mapping[str, Any]]) -> tuple[Guardrail, ...]:
    """Of a later rule's guardrails, those that this build could tell of: it judges nothing by them."""
    names = {field.name for field in dataclasses.fields(Guardrail)}
    plain = [one for one in limits if {"name", "source"} <= one.keys() <= names]
    return tuple(filter(Guardrail.can_be, (Guardrail(**one) for one in plain)))


def rule_of(source: MetricSource, guardrails: Sequence[Guardrail], *, missing: Missing, of_equals: bool) -> int:
    """Return the rule that is needed: the first that knows of all this, so that earlier builds go on where they can."""
    if of_equals:
        return SCORED_EQUALS_RULE if source in SCORES else EQUALS_RULE
    if source in SCORES:
        return SCORED_RULE
    if source != "Feedback" or any(one.source != EVENTS for one in guardrails):
        return MEASURED_RULE
    return GUARDED_RULE if guardrails or missing == "Zero" else RULE


def _told(one: "Terms | Guardrail", always: Collection[str] = ()) -> dict[str, Any]:
    """What is not as it is left out."""
    unsaid = {field.name: field.default for field in dataclasses.fields(one) if field.name not in always}
    return {name: value for name, value in dataclasses.asdict(one).items() if value != unsaid.get(name, ...)}


@dataclass(frozen=True)
class Cut:
    """Of the pair of a challenger and the control, the one whose users answer more often, without its surplus."""

    place: int
    sums: Sums


@dataclass(frozen=True)
class Histogram:
    """Of users whose window is over: how many, and how many values are in each cell."""

    users: int
    cells: Mapping[int, int]


@dataclass(frozen=True)
class Counts:
    """What was counted of each variant, in the order of the terms' lists."""

    users: tuple[int, ...]
    requests: tuple[int, ...]
    fallbacks: tuple[int, ...]
    """Of the requests, those that another variant's server answered."""
    sums: tuple[Sums, ...]
    """Of the users' values."""
    scale: Scale = _WHOLE
    histories: tuple[History, ...] = ()
    """What the users were like before; nothing where that is not known."""
    cut: tuple[Cut | None, ...] = ()
    """Where users of one variant give a value more often: what is left when that is held against the challenger."""
    moved: int = 0
    """Users who were given more than one variant."""
    latched: frozenset[str] = field(default_factory=frozenset)
    """What an earlier look has found for good."""
    guards: Guards | None = None
    """What guardrails are judged by; None where the recorder does not tell."""
    histograms: tuple[Histogram, ...] = ()
    """What `cut` is made from; it is not kept."""

    def told(self) -> dict[str, Any]:
        """Return it for JSON."""
        lists: dict[str, Sequence[Any]] = {"users": self.users, "requests": self.requests, "fallbacks": self.fallbacks}
        lists |= {"sums": [dataclasses.astuple(one) for one in self.sums], "scale": dataclasses.astuple(self.scale)}
        if self.histories:
            lists["histories"] = [dataclasses.astuple(one) for one in self.histories]
        if self.cut:
            lists["cut"] = [one and (one.place, *dataclasses.astuple(one.sums)) for one in self.cut]
        guards = {"guards": self.guards.told()} if self.guards else {}
        return {**lists, **guards, "moved": self.moved, "latched": sorted(self.latched)}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """Return it from JSON; raise TypeError or KeyError where it is none."""
        return cls(
            users=tuple(told["users"]),
            requests=tuple(told["requests"]),
            fallbacks=tuple(told["fallbacks"]),
            sums=tuple(Sums(*one) for one in told["sums"]),
            scale=Scale(*told["scale"]),
            histories=tuple(History(*one) for one in told.get("histories", ())),
            cut=tuple(one and Cut(one[0], Sums(*one[1:])) for one in told.get("cut", ())),
            moved=told["moved"],
            latched=frozenset(told["latched"]),
            guards=Guards.read(told["guards"]) if "guards" in told else None,
        )
