"""The rule itself: what was counted, by the terms of the start, is a winner, an end without one, or not enough yet.

The first that applies decides. A challenger that was shown to be beyond a guardrail is out of it, whatever else is
wrong. What is found against the assignment withholds every other verdict, however good the numbers look. The current
evidence counts, not the best that ever was; only what is found against the data, or a challenger, stands for good.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from anneal_operator.api.amounts import TIMES

from .comparison import LEAST_P, Comparison
from .evidence import log_failure_evidence
from .guard_responses import uneven, unshown_by
from .guarded import unknown_to
from .guardrails import Guarded, breach, breaches, guarded
from .holm import adjusted
from .primary import compared, hangs_on_few, powered, tested, values
from .spread import LATCH, log_evidence
from .terms import Counts, Terms

__all__ = ["RESPONSE", "SPREAD", "Judgement", "Outcome", "judge"]

Outcome = Literal["Winner", "ControlWins", "GuardrailBreach", "Inconclusive", "Sound", "Unsound"]
SPREAD, RESPONSE = "sampleRatio", "response"
"""What is latched: users are not spread as their buckets say; those who have a value are not."""
_MOST_MOVED, _MOST_MOVED_SHARE = 5, 0.001
_MOST_FALLBACK = 0.05
"""What part of a winner's requests another variant's server may have answered."""


@dataclass(frozen=True)
class Judgement:
    """What follows from the counts."""

    compared: tuple[Comparison | None, ...]
    """In the order of the variants, nothing for the control and where nothing can be said."""
    spread: float
    """The logarithm of the evidence against the users' spread over the variants."""
    latched: frozenset[str]
    too_many_moved: bool
    needed: int
    """Users with a value that each variant must have before anything is looked at."""
    powered: int | None
    """Users with a value of the smallest variant by which a difference of `effect` is found four times in five."""
    has_sample: bool
    """Whether these are there, and are not a few who have most of the answers."""
    few: tuple[int, ...] = ()
    """The variants most of whose answers a few users have."""
    fell_back: tuple[int, ...] = ()
    """The challengers of whose requests another variant's server answered too many."""
    left: tuple[int, ...] = ()
    """The challengers whose users leave answers more often than the control's, so that the worst may be missing."""
    guarded: tuple[tuple[Guarded, ...], ...] = ()
    """How each variant stands by each guardrail."""
    outcome: Outcome | None = None
    winner: int | None = None
    basis: int | None = None
    """The challenger whose comparison the outcome rests on."""

    @property
    def spread_p(self) -> float:
        """The p-value of the users' spread, which holds however often it is looked at."""
        return max(math.exp(-max(self.spread, 0.0)), LEAST_P)

    def unshown(self, place: int, level: float) -> list[str]:
        """Return the guardrails that a challenger is not shown to keep within."""
        return [one.guardrail.name for one in self.guarded[place] if one.p_value > level]

    @property
    def dropped(self) -> Mapping[int, list[str]]:
        """The challengers that were shown to be beyond a guardrail, and beyond which."""
        return breaches(self.latched)

    @property
    def stands(self) -> bool:
        """Whether the outcome is one that nothing that is counted later could change: it waits for no duration."""
        return self.outcome == "GuardrailBreach" or (self.outcome == "Unsound" and bool(self.latched))

    @property
    def is_sound(self) -> bool:
        """Whether users are spread as their buckets say, each in one variant."""
        return SPREAD not in self.latched and not self.too_many_moved


def judge(terms: Terms, counts: Counts) -> Judgement:
    """Judge the counts by the terms."""
    spread = log_evidence(counts.users, terms.shares)
    stand = tuple(guarded(terms, counts.guards, place) for place in range(len(terms.shares)))
    latched = counts.latched | _found(terms, counts, spread, stand)
    stand = tuple(unshown_by(latched, one) for one in stand)
    users, enough = values(terms, counts), powered(terms, counts)
    needed = max(terms.least, enough or 0) if terms.method == "FixedHorizon" else terms.least
    left = [place for place in range(len(terms.shares)) if place not in breaches(latched)]
    few = tuple(place for place in left if hangs_on_few(terms, counts, place))
    judgement = Judgement(
        compared=tuple(compared(terms, counts, place) for place in range(len(terms.shares))),
        spread=spread,
        latched=latched,
        too_many_moved=counts.moved > max(_MOST_MOVED, _MOST_MOVED_SHARE * sum(counts.users)),
        needed=needed,
        powered=enough,
        has_sample=min(users[place] for place in left) >= needed and not few,
        few=few,
        fell_back=tuple(place for place in _challengers(terms) if place in left and _fell_back(counts, place)),
        left=tuple(place for place in _challengers(terms) if place in left and _leave(terms, counts, place)),
        guarded=stand,
    )
    if terms.is_of_equals:
        return _told_apart(terms, counts, judgement)
    if len(judgement.dropped) == len(_challengers(terms)):
        return replace(judgement, outcome="GuardrailBreach", winner=terms.control, basis=min(judgement.dropped))
    return _decided(terms, counts, judgement) if judgement.is_sound and judgement.has_sample else judgement


def _found(terms: Terms, counts: Counts, spread: float, stand: Sequence[Sequence[Guarded]]) -> set[str]:
    """What is latched by these numbers; a challenger's users who could not be answered gave no values, either."""
    beyond = {breach(one.guardrail.name, place) for place, all_ in enumerate(stand) for one in all_ if one.is_breached}
    left = [place for place in range(len(terms.shares)) if place not in breaches(counts.latched | beyond)]
    users = values(terms, counts)
    response = log_evidence([users[place] for place in left], [terms.shares[place] for place in left])
    looked_at = [(SPREAD, spread), *([(RESPONSE, response)] if terms.missing == "Ignore" else [])]
    found = {name for name, evidence in looked_at if evidence >= LATCH}
    return beyond | found | uneven(terms, counts.guards, left)


def _decided(terms: Terms, counts: Counts, judgement: Judgement) -> Judgement:
    """Who was dropped counts among those of the start, and is nothing any more."""
    places = [place for place in _challengers(terms) if place not in judgement.dropped]
    out = [1.0] * len(judgement.dropped)
    wanted = [_wanted(terms, judgement.compared[place]) for place in places]
    kept = [max((one.p_value for one in judgement.guarded[place]), default=0.0) for place in places]
    gained = [one.p_value if one and one.lift > 0 else 1.0 for one in wanted]
    better = adjusted([*map(max, gained, kept), *out])[: len(places)]
    worse = adjusted([*(one.p_value if one and one.lift < 0 else 1.0 for one in wanted), *out])[: len(places)]
    candidates = [
        (one.lower, place)
        for place, one, p_value in zip(places, wanted, better, strict=True)
        if one and p_value <= terms.level and _may_be_promoted(terms, counts, judgement, place)
    ]
    if candidates:
        best = max(candidates, key=lambda candidate: candidate[0])[1]
        return replace(judgement, outcome="Winner", winner=best, basis=best)
    basis = _nearest(places, wanted)
    if all(p_value <= terms.level for p_value in worse):
        return replace(judgement, outcome="ControlWins", winner=terms.control, basis=basis)
    is_futile = terms.effect is not None and all(one and one.upper < terms.effect for one in wanted)
    is_over = terms.method == "FixedHorizon" and any(wanted)
    if is_futile or is_over:
        return replace(judgement, outcome="Inconclusive", basis=basis)
    return judgement


def _told_apart(terms: Terms, counts: Counts, judgement: Judgement) -> Judgement:
    """Of variants that are the same, whatever tells them apart says that something is wrong with what counts them.

    Nothing does once there is the sample, and, where a least difference is named, a sequence shows that none is as
    large. A look takes what guardrails are judged by, too: a fixed horizon has no other.
    """
    found = {place: judgement.compared[place] for place in _challengers(terms)}
    p_values = adjusted([one.p_value if one else 1.0 for one in found.values()])
    furthest = min(zip(p_values, found, strict=True))[1]
    is_due = judgement.has_sample and not unknown_to(counts.guards, terms.guardrails)
    differs = is_due and min(p_values) <= terms.level
    is_answered_by_others = is_due and bool(judgement.fell_back)
    if judgement.latched or not judgement.is_sound or differs or is_answered_by_others:
        return replace(judgement, outcome="Unsound", basis=furthest if differs else None)
    least = terms.effect if terms.effect is not None and terms.method == "Sequential" else math.inf
    is_within = all(one and max(-one.lower, one.upper) < least for one in found.values())
    return replace(judgement, outcome="Sound", basis=furthest) if is_due and is_within else judgement


def _wanted(terms: Terms, found: Comparison | None) -> Comparison | None:
    """Return a comparison so that above 0 is better."""
    if found is None or terms.increases:
        return found
    return Comparison(-found.lift, -found.upper, -found.lower, found.p_value)


def _may_be_promoted(terms: Terms, counts: Counts, judgement: Judgement, place: int) -> bool:
    """Whether it answered by itself, and is better whoever else would have given a value."""
    if place in judgement.fell_back or place in judgement.left:
        return False
    return RESPONSE not in judgement.latched or _is_better_at_worst(terms, counts, place)


def _challengers(terms: Terms) -> list[int]:
    return [place for place in range(len(terms.shares)) if place != terms.control]


def _fell_back(counts: Counts, place: int) -> bool:
    return counts.fallbacks[place] > _MOST_FALLBACK * counts.requests[place]


def _leave(terms: Terms, counts: Counts, place: int) -> bool:
    """Whether more of a challenger's users leave answers, where it would look better by that: each user's first such
    answer is a coin, as of failures.
    """
    is_asked = terms.asks_for_many and not terms.is_of_equals and _is_flattered(terms)
    if not (is_asked and counts.guards and counts.guards.left):
        return False
    own, control = terms.shares[place], terms.shares[terms.control]
    left = counts.guards.left
    return log_failure_evidence(left[place], left[terms.control], own / (own + control)) >= -math.log(terms.level)


def _is_flattered(terms: Terms) -> bool:
    """Whether anything is measured of which answers that were left have none, or, where fewer are better, not all."""
    measured = [(terms.source, terms.increases), *((one.source, one.increases) for one in terms.guardrails)]
    return any(source in TIMES or (source == "OutputTokens" and not increases) for source, increases in measured)


def _is_better_at_worst(terms: Terms, counts: Counts, place: int) -> bool:
    cut = counts.cut[place] if counts.cut else None
    if cut is None:
        return False
    pair = [cut.sums if cut.place == one else counts.sums[one] for one in (terms.control, place)]
    if min(sums.n for sums in pair) < 2:
        return False
    told = [(sums.mean(counts.scale), sums.variance(counts.scale), sums.n) for sums in pair]
    found = _wanted(terms, tested(terms, told))
    return found is not None and found.lower > 0


def _nearest(places: Sequence[int], wanted: Sequence[Comparison | None]) -> int | None:
    """The challenger that came nearest to winning."""
    known = [(one.lower, place) for place, one in zip(places, wanted, strict=True) if one]
    return max(known)[1] if known else None
