"""Where an ABExperiment stands, in plain sentences: for the page, and for whoever reads it aloud in a meeting."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus
from anneal_operator.api.amounts import difference
from anneal_operator.api.minimum_effect import beside_minimum
from anneal_operator.api.quantities import seconds
from anneal_operator.reasons import ConditionType, Reason

from .looks import primary_of

__all__ = ["duration_words", "may_compare", "standing", "to_minimum", "weekdays"]

_WEEK = timedelta(days=7)
_LEAST_SHARE = timedelta(hours=6)
"""What a duration may be off by: of so little no day of the week is left out, or weighs more."""
_HEADS = {
    "Inconclusive": "Ended without a winner",
    "Observed": "Ended",
    "Aborted": "Ended by hand",
    "ControlReplaced": "Ended",
}
"""By outcome; else it was decided."""
_FOLLOWED = {
    "Promoted": "The winner, {winner}, is promoted.",
    "Baking": "The winner, {winner}, bakes before it is promoted.",
    "RolledBack": "The control, {control}, stays.",
    "Observed": "Nothing follows from it, as `decision.mode` says.",
    "Inconclusive": "The control, {control}, stays.",
    "Aborted": "The control, {control}, stays.",
}
_REPLACED = "Users get what has `production` now."


def standing(spec: ABExperimentSpec, status: ABExperimentStatus, now: datetime) -> str:
    """Return where it stands: the verdict and what follows, or what it waits for."""
    if decision := status.decision:
        head = _HEADS.get(decision.outcome, "Decided")
        return f"{head}: {decision.reason}. {_followed(spec, status, decision)}"
    if status.phase == "Paused":
        since = f" since {status.paused_at}" if status.paused_at else ""
        return f"It is paused{since}: all users get what has `production`, and nothing is counted or decided."
    awaits = status.condition(ConditionType.AWAITING_APPROVAL)
    if status.recommended and awaits:
        return f"{status.recommended} is recommended: {awaits.message}."
    why = _why(status)
    if not status.started_at:
        return f"Counting has not begun: {why or 'it was not looked at yet'}."
    passed = now - datetime.fromisoformat(status.started_at) - status.paused_for(now)
    least = _lasting(spec.stopping.min_duration)
    waits = f" before {duration_words(least)} are over" if passed < least else " yet"
    return (
        f"It has been running for {duration_words(passed)}, and nothing is decided{waits}{f': {why}' if why else ''}."
    )


def _followed(spec: ABExperimentSpec, status: ABExperimentStatus, decision: DecisionStatus) -> str:
    """What follows, and what keeps it from coming or took it back."""
    if decision.outcome == "ControlReplaced":
        return _REPLACED
    baked, alias = status.condition(ConditionType.BAKED), status.condition(ConditionType.ALIAS_MOVED)
    said = _FOLLOWED.get(status.phase, f"It is {status.phase}.")
    said = said.format(winner=decision.winner or "", control=spec.control)
    if status.phase == "Promoted" and alias and alias.status != "True":
        return f"The winner, {decision.winner}, does not have `production`: {alias.message}."
    if status.phase == "Promoted" or baked is None or baked.status == "True":
        return said
    return f"{said.removesuffix('.')}: {baked.message}."


def _why(status: ABExperimentStatus) -> str:
    """What holds it; that the sample is there holds nothing, but a guardrail that is not shown to be kept may."""
    if status.reason != Reason.SUFFICIENT:
        return next((one.message for one in status.conditions if one.reason == status.reason), "")
    guards = status.condition(ConditionType.GUARDRAILS_HEALTHY)
    return guards.message if guards and guards.status == "Unknown" else ""


def may_compare(spec: ABExperimentSpec, status: ABExperimentStatus) -> bool:
    """Whether variants may be held against each other: with a fixed horizon not before its one look.

    That was taken, too, where somebody has yet to approve what it showed.
    """
    return spec.stopping.method != "FixedHorizon" or status.decision is not None or status.recommended is not None


def to_minimum(spec: ABExperimentSpec, status: ABExperimentStatus) -> Iterator[str]:
    """Yield how each challenger stands to `minimumDetectableEffect`, where that is asked for and known."""
    primary = spec.metrics.primary
    for variant in status.variants if primary.minimum_detectable_effect and spec.type == "AB" else ():
        told = primary_of(spec, variant.metrics)
        if told and told.lift is not None and told.lower is not None and told.upper is not None:
            sign = 1 if primary.increases else -1
            way = 1 if sign * told.lift >= 0 else -1
            low, high = sorted((way * sign * told.lower, way * sign * told.upper))
            least = primary.minimum_detectable_effect or 0.0
            said = beside_minimum(told.lower, told.upper, least, increases=sign > 0, source=primary.source)
            by, low_end, high_end = (difference(primary.source, one, ".3g") for one in (abs(told.lift), low, high))
            how = f"{'better' if way > 0 else 'worse'} by {by} ({low_end} to {high_end})"
            is_beaten = max(sign * told.lower, sign * told.upper) < 0
            yield f"{variant.name} is {how}{'' if is_beaten else f'; {said}'}."


def weekdays(spec: ABExperimentSpec, status: ABExperimentStatus) -> str:
    """Return what its duration does to the days of the week; empty where each weighs the same."""
    if status.decision and status.started_at:
        ran = datetime.fromisoformat(status.decision.decided_at) - datetime.fromisoformat(status.started_at)
        return _uneven(ran, f"It ran for {duration_words(ran)}")
    longest, shortest = _lasting(spec.stopping.max_duration), _lasting(spec.stopping.min_duration)
    if longest < _WEEK - _LEAST_SHARE:
        return _uneven(longest, f"It ends after {duration_words(longest)} at the latest")
    early = ""
    if shortest < _WEEK - _LEAST_SHARE:
        early = (
            f"The verdict may come after {duration_words(shortest)}, before every day of the week was seen: "
            "with `minDuration: 168h` it waits for a whole week."
        )
    return early or _uneven(longest, f"It ends after {duration_words(longest)} at the latest")


def _uneven(lasts: timedelta, said: str) -> str:
    if lasts < _WEEK - _LEAST_SHARE:
        return f"{said}, so days of the week are left out: what users do on those the numbers do not say."
    over = min(lasts % _WEEK, _WEEK - lasts % _WEEK)
    if over > _LEAST_SHARE:
        return f"{said}, which is no whole number of weeks, so some days of the week weigh more than others."
    return ""


def _lasting(duration: str) -> timedelta:
    return timedelta(seconds=seconds(duration))


def duration_words(lasts: timedelta) -> str:
    """Return a duration as people say it: its two greatest units."""
    total = max(0, int(lasts.total_seconds()))
    units = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
    parts: list[tuple[int, str]] = []
    for size, unit in units:
        count, total = divmod(total, size)
        if count or parts:
            parts.append((count, unit))
    told = [f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts[:2] if count]
    return " ".join(told) or "0 seconds"
