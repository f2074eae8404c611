"""The numbers that a decision follows from, as they are kept with it, and the decision as it follows from them alone:
whoever reads them again comes to the same words.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from anneal_operator.api.amounts import difference
from anneal_operator.api.minimum_effect import beside_minimum

from .comparison import LEAST_P, Comparison
from .guard_responses import unevenly_said
from .guardrails import HARM_LEVEL, Guarded
from .judgement import RESPONSE, SPREAD, Judgement, Outcome, judge
from .terms import RULES, Counts, Terms

__all__ = ["Conclusion", "Snapshot", "shown", "stands"]


@dataclass(frozen=True)
class Conclusion:
    """What was decided, in words."""

    outcome: Outcome
    winner: str | None
    rule: str
    reason: str
    beside: str = ""
    """How the interval stands to the least difference that matters, where that says more than the reason."""

    @property
    def sentence(self) -> str:
        """The reason with that. An earlier build told the reason alone."""
        return f"{self.reason}; {self.beside}" if self.beside else self.reason


@dataclass(frozen=True)
class Snapshot:
    """What an experiment measures, by which terms, and what was counted."""

    metric: str
    variants: tuple[str, ...]
    terms: Terms
    counts: Counts

    def text(self) -> str:
        """Return it as it is kept."""
        told = {"metric": self.metric, "variants": self.variants, "terms": self.terms.told()}
        return json.dumps({**told, "counts": self.counts.told()}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """Return it as it was kept; raise ValueError where another rule than this build's is to be applied."""
        if "terms" not in told:
            raise ValueError("it was made by a build that kept means, and no whole numbers")
        if (rule := told["terms"]["rule"]) not in RULES:
            raise ValueError(f"it was made by rule {rule}, and this build knows rules up to {RULES[-1]}")
        terms, counts = Terms.read(told["terms"]), Counts.read(told["counts"])
        return cls(str(told["metric"]), tuple(told["variants"]), terms, counts)

    def conclusion(self) -> Conclusion | None:
        """Return the decision; None where the numbers are not sound, not enough, or show nothing yet."""
        judged = judge(self.terms, self.counts)
        if self.terms.is_of_equals:
            return self._equality(judged)
        if judged.outcome == "GuardrailBreach":
            return self._returned(judged)
        found = None if judged.basis is None else judged.compared[judged.basis]
        if judged.outcome is None or judged.basis is None or found is None:
            return None
        winner = None if judged.winner is None else self.variants[judged.winner]
        rule = f"{'sequence' if self.terms.method == 'Sequential' else 'welch'}-{1 - self.terms.level:g}"
        why = self._why(judged, judged.basis, found)
        reason = f"{why}: {self.metric} {shown(found, self.terms.source)}"
        return Conclusion(judged.outcome, winner, rule, reason, self._beside(judged.outcome, found))

    def _equality(self, judged: Judgement) -> Conclusion | None:
        if judged.outcome is None:
            return None
        control = self.variants[self.terms.control]
        head = f"nothing tells the variants apart; the furthest from {control} is"
        if judged.outcome == "Unsound":
            head = "the variants are the same, and something tells them apart:"
        rule = f"equals-{1 - self.terms.level:g}"
        return Conclusion(judged.outcome, None, rule, f"{head} {'; '.join(self._told_apart(judged))}")

    def _told_apart(self, judged: Judgement) -> Iterator[str]:
        if SPREAD in judged.latched:
            yield f"users are not spread as the weights say (p = {judged.spread_p:.2g} now)"
        if judged.too_many_moved:
            yield f"{self.counts.moved} users were given more than one variant"
        if RESPONSE in judged.latched:
            verb = "give" if self.terms.source == "Feedback" else "have"
            yield f"users of one variant {verb} {self.metric} more often than those of another"
        for name in unevenly_said(judged.latched):
            yield f"users of one variant give {name} more often than those of another"
        if judged.dropped:
            verb = "was" if len(judged.dropped) == 1 else "were"
            yield f"{self._named(judged.dropped)} {verb} shown to be beyond {self._beyond(judged)}"
        if judged.has_sample and judged.fell_back:
            yield f"other servers answered more than 5 % of the requests of {self._named(judged.fell_back)}"
        if judged.basis is not None and (found := judged.compared[judged.basis]):
            yield f"{self.variants[judged.basis]}: {self.metric} {shown(found, self.terms.source)}"

    def _named(self, places: Iterable[int]) -> str:
        return ", ".join(self.variants[place] for place in places)

    def _beside(self, outcome: Outcome, found: Comparison) -> str:
        """Of a control that is better nothing was asked; a sequence that ends without a winner says it anyway."""
        is_futile = outcome == "Inconclusive" and self.terms.method == "Sequential" and not self._looks_better(found)
        if self.terms.effect is None or outcome == "ControlWins" or is_futile:
            return ""
        terms, effect = self.terms, self.terms.effect
        return beside_minimum(found.lower, found.upper, effect, increases=terms.increases, source=terms.source)

    def _looks_better(self, found: Comparison) -> bool:
        return found.lower > 0 if self.terms.increases else found.upper < 0

    def _returned(self, judged: Judgement) -> Conclusion:
        several = f"; every challenger was beyond one of {self._beyond(judged)}" if len(judged.dropped) > 1 else ""
        first, names = next(iter(judged.dropped.items()))
        beyond = ((place, one) for place in judged.dropped for one in judged.guarded[place] if one.is_breached)
        place, found = next(beyond, (first, None))
        name = found.guardrail.name if found else names[0]
        why = f"{self.variants[place]} was shown to be beyond {name}{f': {stands(found)}' if found else ''}"
        control = self.variants[self.terms.control]
        return Conclusion("GuardrailBreach", control, f"guardrail-{1 - HARM_LEVEL:g}", f"{why}{several}")

    def _beyond(self, judged: Judgement) -> str:
        return ", ".join(sorted({name for names in judged.dropped.values() for name in names}))

    def _why(self, judged: Judgement, place: int, found: Comparison) -> str:
        name, control, several = self.variants[place], self.variants[self.terms.control], len(self.variants) > 2
        nearest = f"; {name} came nearest" if several else ""
        if judged.outcome == "Winner":
            return f"{name} is better than {control}"
        if judged.outcome == "ControlWins":
            return f"{control} is better than {'every challenger' if several else name}{nearest}"
        if self._looks_better(found):
            return f"{name} looks better than {control}, but {self._withheld(judged, place)}"
        if self.terms.method == "Sequential":
            nobody = "no challenger is" if several else f"{name} is not"
            least = difference(self.terms.source, self.terms.effect or 0.0, "g")
            return f"{nobody} better than {control} by {least}{nearest}"
        return f"no difference between {'any challenger' if several else name} and {control} is shown{nearest}"

    def _withheld(self, judged: Judgement, place: int) -> str:
        if place in judged.fell_back:
            return "other variants' servers answered too many of its requests"
        if place in judged.left:
            return "its users leave answers before their end more often"
        if unshown := judged.unshown(place, self.terms.level):
            return f"is not shown to keep within {', '.join(unshown)}"
        have = "give" if self.terms.source == "Feedback" else "have"
        return f"users of one variant {have} {self.metric} more often than those of another"


def stands(found: Guarded) -> str:
    """Return how a challenger stands by a guardrail, for people."""
    limit = found.guardrail
    if limit.least is not None:
        allowed = f"at least {limit.least:.3g}"
    elif limit.most is not None:
        allowed = f"at most {limit.most:.3g}"
    else:
        factor = 1 + (limit.regression or 0.0) * (-1 if limit.increases else 1)
        allowed = f"{'at least' if limit.increases else 'at most'} {factor:.4g} times the control's"
    if found.value is None or found.control is None:
        return f"nothing is known yet of {limit.source}, of which {allowed} is allowed"
    return f"{limit.source} {found.value:.3g}, the control's {found.control:.3g}, where {allowed} is allowed"


def shown(found: Comparison, source: str) -> str:
    """Return a comparison for people."""
    p_value = f"p < {LEAST_P:g}" if found.p_value <= LEAST_P else f"p = {found.p_value:.2g}"
    lift, lower, upper = (difference(source, one) for one in (found.lift, found.lower, found.upper))
    return f"{lift} [{lower}, {upper}], {p_value}"
