"""Whether a challenger keeps within its guardrails: not shown, shown, or shown to be beyond one.

A promotion takes a proof that it is not worse by more than is allowed, at the error that promotions have. A breach
takes a proof of the opposite, at an error of its own, shared out over guardrails and challengers, and is looked for as
soon as there are users: failures are counted exactly, anything else from a hundred users of each variant on.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from anneal_operator.api.amounts import LOGARITHMS

from .comparison import LEAST_P, welch_above
from .evidence import log_evidence_above, log_failure_evidence, odds_against
from .guarded import EVENTS, FEEDBACK, Guardrail, Guards, is_ratio, natural
from .sums import Arm
from .terms import Terms

__all__ = ["HARM_LEVEL", "Guarded", "breach", "breaches", "guarded"]

HARM_LEVEL = 0.05
"""By how much chance may return a challenger's users, over all guardrails and challengers."""
_LEAST_USERS = 100
_TWICE = 1.0
"""The regression by which failures are too many where the limit is no part of the control's."""
_HARM, _WIDEST, _STEPS = "harm:", 1e6, 60


@dataclass(frozen=True, slots=True)
class Guarded:
    """How a challenger stands by one guardrail; times are in seconds."""

    guardrail: Guardrail
    value: float | None = None
    """The challenger's; None while nothing can be said."""
    control: float | None = None
    p_value: float = 1.0
    """Of its being beyond the limit."""
    bound: float | None = None
    """What the challenger's is shown not to be worse than: a part of the control's, or by itself, as the limit is."""
    is_breached: bool = False
    """Whether these numbers show it; what an earlier look showed is latched."""

    @property
    def ratio(self) -> float | None:
        """The challenger's over the control's; nothing where both may be below 0."""
        has_ratio = self.guardrail.low is None or self.guardrail.low >= 0
        return self.value / self.control if self.value is not None and self.control and has_ratio else None


def breach(guardrail: str, place: int) -> str:
    """Return what is latched of a challenger that was shown to be beyond a limit."""
    return f"{_HARM}{guardrail}:{place}"


def breaches(latched: Iterable[str]) -> Mapping[int, list[str]]:
    """Return by a challenger's place the guardrails that it was shown to be beyond."""
    found: dict[int, list[str]] = {}
    for latch in sorted(latched):
        name, _, place = latch.removeprefix(_HARM).partition(":")
        if latch.startswith(_HARM) and place.isdecimal():
            found.setdefault(int(place), []).append(name)
    return found


def guarded(terms: Terms, guards: Guards | None, place: int) -> tuple[Guarded, ...]:
    """Return how a challenger stands by each guardrail; the control stands by none."""
    if place == terms.control:
        return ()
    return tuple(_guarded(terms, guards, guardrail, place) for guardrail in terms.guardrails)


def _guarded(terms: Terms, guards: Guards | None, guardrail: Guardrail, place: int) -> Guarded:
    pair = terms.control, place
    control, challenger = (_arm(guards, guardrail, one) for one in pair)
    if guards is None or control is None or challenger is None:
        return Guarded(guardrail)
    few = terms.asks_for_many and any(_hangs_on_few(terms, guards, guardrail, one) for one in pair)
    has_sample = min(control.n, challenger.n) >= terms.least and not few
    return Guarded(
        guardrail,
        value=natural(guardrail.source, challenger.mean),
        control=natural(guardrail.source, control.mean),
        p_value=_p_value(terms, _room(guardrail, control, challenger)) if has_sample else 1.0,
        bound=_bound(terms, guardrail, control, challenger) if has_sample else None,
        is_breached=not few and _is_breached(terms, guards, guardrail, place, (control, challenger)),
    )


def _arm(guards: Guards | None, guardrail: Guardrail, place: int) -> Arm | None:
    """A variant's number, as surely as it is known; nothing where the recorder does not tell it."""
    if guards is None:
        return None
    if not is_ratio(guardrail.source):
        said = guards.said.get(guardrail.name)
        return said.arm(place, guardrail.width) if said else None
    ratios = guards.ratios.get(guardrail.source)
    return ratios[place].arm(guards.parts[guardrail.source], guardrail.source) if ratios else None


def _hangs_on_few(terms: Terms, guards: Guards, guardrail: Guardrail, place: int) -> bool:
    """Whoever says much has one mean, as everybody has."""
    if not is_ratio(guardrail.source):
        return False
    return guards.ratios[guardrail.source][place].hangs_on_few(guardrail.source, terms.least)


@dataclass(frozen=True, slots=True)
class _Room:
    """How far it is to the limit, below 0 beyond it; and the arms that this is of, as surely as they are known."""

    value: float
    arms: tuple[Arm, ...]

    @property
    def variance(self) -> float:
        return sum(arm.variance for arm in self.arms)

    @property
    def users(self) -> int:
        return sum(arm.n for arm in self.arms)


def _room(guardrail: Guardrail, control: Arm, challenger: Arm) -> _Room:
    is_logarithm = guardrail.source in LOGARITHMS
    if guardrail.least is not None:
        return _Room(challenger.mean - guardrail.least, (challenger,))
    if guardrail.regression is None:
        most = guardrail.most or 0.0
        return _Room((math.log(most * 1000) if is_logarithm else most) - challenger.mean, (challenger,))
    if is_logarithm:
        return _Room(control.mean + math.log1p(guardrail.regression) - challenger.mean, (control, challenger))
    times = 1 - guardrail.regression if guardrail.increases else 1 + guardrail.regression
    above = challenger.mean - times * control.mean
    arms = replace(control, variance=times**2 * control.variance), challenger
    return _Room(above if guardrail.increases else -above, arms)


def _p_value(terms: Terms, room: _Room) -> float:
    """Of the challenger's being beyond the limit."""
    if terms.method == "FixedHorizon":
        return welch_above(room.value, room.arms)
    return max(math.exp(-max(_log_evidence(terms, room), 0.0)), LEAST_P)


def _log_evidence(terms: Terms, room: _Room) -> float:
    return log_evidence_above(room.value, room.variance, room.users, terms.rho2)


def _bound(terms: Terms, guardrail: Guardrail, control: Arm, challenger: Arm) -> float | None:
    """The narrowest limit that would be kept; nothing where none that is of any use would be."""

    def is_kept(limit: float) -> bool:
        return _p_value(terms, _room(_limited(guardrail, limit), control, challenger)) <= terms.share_of_level

    if guardrail.source == FEEDBACK and guardrail.regression is None:
        end = guardrail.low if guardrail.increases else guardrail.high
        return None if end is None else _narrowest(is_kept, challenger.mean, end)
    if guardrail.most is not None:
        least = natural(guardrail.source, challenger.mean)
        return _narrowest(is_kept, least, max(least, guardrail.most) * _WIDEST)
    of_control = natural(guardrail.source, control.mean)
    if not of_control:
        return None
    least = natural(guardrail.source, challenger.mean) / of_control
    return _narrowest(is_kept, least, 0.0 if guardrail.increases else max(least, 1.0) * _WIDEST)


def _limited(guardrail: Guardrail, limit: float) -> Guardrail:
    if guardrail.least is not None:
        return replace(guardrail, least=limit)
    if guardrail.most is not None:
        return replace(guardrail, most=limit)
    return replace(guardrail, regression=1 - limit if guardrail.increases else limit - 1)


def _narrowest(is_kept: Callable[[float], bool], near: float, far: float) -> float | None:
    if not is_kept(far):
        return None
    for _ in range(_STEPS):
        middle = math.sqrt(near * far) if near > 0 and far > 0 else (near + far) / 2
        near, far = (near, middle) if is_kept(middle) else (middle, far)
    return far


def _is_breached(terms: Terms, guards: Guards, guardrail: Guardrail, place: int, arms: tuple[Arm, Arm]) -> bool:
    """A limit that the control breaks, too, says nothing of the challenger. More failures of users who ask more are
    none: failures per request have to be beyond the limit, too.
    """
    room, (control, challenger) = _room(guardrail, *arms), arms
    if room.value >= 0 or (guardrail.regression is None and _room(guardrail, control, control).value < 0):
        return False
    needed = math.log(2 * len(terms.guardrails) * (len(terms.shares) - 1) / HARM_LEVEL)
    if guardrail.source == EVENTS:
        regression = _TWICE if guardrail.regression is None else guardrail.regression
        share = odds_against(regression, terms.shares[terms.control], terms.shares[place])
        return log_failure_evidence(guards.failed[place], guards.failed[terms.control], share) >= needed
    has_users = min(control.n, challenger.n) >= _LEAST_USERS
    return has_users and _log_evidence(terms, replace(room, value=-room.value)) >= needed
