"""What a recorder tells of answers, by which guardrails and what is measured of them are judged; an earlier build of it
tells nothing.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from anneal_operator.decide.statistics.guarded import EVENTS, Guards, Ratio, Said, Source
from anneal_operator.decide.statistics.sums import Sums

__all__ = ["guards_in", "said_in", "with_said"]

_MEASURES: Mapping[Source, str] = {
    "Errors": "answers.errors",
    "Latency": "answers.latency",
    "TimeToFirstToken": "answers.first",
    "TimePerOutputToken": "answers.pace",
    "OutputTokens": "answers.tokens",
}
_MOST_PARTS, _LARGEST = 10**13, 10**40
"""What is believed of the parts that make one, and of a sum of squares."""


def guards_in(found: Mapping[str, Any], variants: Sequence[str], sources: Sequence[Source]) -> Guards | None:
    """Return what a recorder's statistics say of these variants; None where it does not know.

    Raise an error of a value, type or key of what no recorder of ours tells.
    """
    told = found.get("open")
    if not sources or told is None:
        return None
    arms = [told["variants"].get(name, {}) for name in variants]
    exposed, failed = (tuple(_whole(arm.get(name, 0)) for arm in arms) for name in ("exposed", "failed"))
    if any(some > all_ for some, all_ in zip(failed, exposed, strict=True)):
        raise ValueError("more users had a failure than there are")
    known = [source for source in sources if _MEASURES[source] in told["parts"]]
    ratios: dict[str, tuple[Ratio, ...]] = {source: _ratios(arms, exposed, source) for source in known}
    parts: dict[str, int] = {
        source: max(1, min(_whole(told["parts"][_MEASURES[source]]), _MOST_PARTS)) for source in known
    }
    return Guards(failed, ratios, parts, _left(arms, exposed))


def _left(arms: Sequence[Mapping[str, Any]], exposed: Sequence[int]) -> tuple[int, ...]:
    """Who left answers: nothing where a recorder counts them not yet."""
    if any(users and "left" not in arm for arm, users in zip(arms, exposed, strict=True)):
        return ()
    left = tuple(_whole(arm.get("left", 0)) for arm in arms)
    if any(some > all_ for some, all_ in zip(left, exposed, strict=True)):
        raise ValueError("more users left answers than there are")
    return left


def _ratios(arms: Sequence[Mapping[str, Any]], exposed: Sequence[int], source: Source) -> tuple[Ratio, ...]:
    found = []
    for arm, users in zip(arms, exposed, strict=True):
        sums = arm.get("ratios", {}).get(_MEASURES[source], {})
        ratio = Ratio(**{field.name: _whole(sums.get(field.name, 0)) for field in dataclasses.fields(Ratio)})
        if not ratio.can_be() or ratio.n > users or (source == EVENTS and ratio.m > ratio.d):
            raise ValueError(f"{ratio} was not counted")
        found.append(ratio)
    return tuple(found)


def said_in(found: Mapping[str, Any], variants: Sequence[str]) -> Said:
    """Return what a recorder's statistics say of a metric of feedback; of variants by which nobody spoke, nothing.

    Raise an error of a value, type or key of what no recorder of ours tells.
    """
    metrics = [found["variants"].get(name, {}).get("metric") or {"sums": {}} for name in variants]
    parts = max(1, *(min(_whole(metric.get("parts", 1)), _MOST_PARTS) for metric in metrics))
    return Said(tuple(_sums(metric["sums"]) for metric in metrics), parts)


def _sums(told: Mapping[str, Any]) -> Sums:
    y = int(told.get("y", 0))
    sums = Sums(_whole(told.get("n", 0)), y, _whole(told.get("yy", 0)))
    if abs(y) > _LARGEST or y**2 > sums.n * sums.yy:
        raise ValueError(f"{sums} was not counted")
    return sums


def with_said(guards: Guards | None, said: Mapping[str, Said]) -> Guards | None:
    """Return what is known of answers with what users said."""
    return dataclasses.replace(guards or Guards((), {}, {}), said=said) if said else guards


def _whole(told: Any) -> int:  # noqa: ANN401 - whatever is told
    number = int(told)
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"{number} was not counted")
    return number
