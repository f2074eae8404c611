"""Whether users of all variants say something of a guardrail of `Feedback` equally often.

Where they do not, its mean may be of others: then no challenger is shown to keep within it. A breach stays one, as it
only returns users, and that others speak is the challenger's doing, too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from .guarded import FEEDBACK, Guards
from .guardrails import Guarded
from .spread import LATCH, log_evidence
from .terms import Terms

__all__ = ["uneven", "unevenly_said", "unshown_by"]

_RESPONSE = "response:"


def uneven(terms: Terms, guards: Guards | None, places: Sequence[int]) -> set[str]:
    """Return what is latched of the users of these variants."""
    said = guards.said if guards else {}
    names = [one.name for one in terms.guardrails if one.source == FEEDBACK and one.name in said]
    shares = [terms.shares[place] for place in places]
    return {
        f"{_RESPONSE}{name}"
        for name in names
        if log_evidence([said[name].sums[place].n for place in places], shares) >= LATCH
    }


def unevenly_said(latched: Iterable[str]) -> list[str]:
    """Return the guardrails of which users of one variant say something more often than those of another."""
    return [latch.removeprefix(_RESPONSE) for latch in sorted(latched) if latch.startswith(_RESPONSE)]


def unshown_by(latched: Iterable[str], stand: Iterable[Guarded]) -> tuple[Guarded, ...]:
    """Return how a challenger stands: by these guardrails it is not shown to keep within anything."""
    names = unevenly_said(latched)
    return tuple(replace(one, p_value=1.0, bound=None) if one.guardrail.name in names else one for one in stand)
