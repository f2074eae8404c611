"""How many users take part in an experiment: one step of its ramp after the other, and never back.

A step follows once all routers have had the one before for its time, and while every variant answers. Where a status
was lost, the step is the one that the time since counting began allows: none that was taken is taken back.
"""

from datetime import datetime, timedelta
from itertools import accumulate

from anneal_operator.api.ab_experiment import ABExperimentStatus, Assignment
from anneal_operator.api.quantities import seconds
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType

from .observed_experiment import ObservedExperiment

__all__ = ["ramped"]


def ramped(seen: ObservedExperiment, status: ABExperimentStatus, now: datetime) -> ABExperimentStatus:
    """Return the status that is told, with the coverage that follows; after a decision, with the last."""
    assignment, before, route = seen.spec.assignment, seen.previous, seen.route
    if status.phase not in {"WarmingUp", "Running"}:
        return status
    step, since = assignment.step_of(before.coverage), before.coverage_since
    started = seen.started_at or status.started_at
    if before.coverage is None and started:
        step, since = _allowed(assignment, now - datetime.fromisoformat(started)), None
    if status.phase == "Running" and route.split_by.get(seen.identity) == step:
        if since is None:
            since = timestamp(now) if route.has_arrived else None
        elif _is_over(assignment, step, since, now) and _answer(status):
            step, since = step + 1, None
    return status.having(coverage=assignment.coverage_at(step), coverage_since=since if assignment.ramp else None)


def _is_over(assignment: Assignment, step: int, since: str, now: datetime) -> bool:
    duration = assignment.ramp[step - 1].duration if step else None
    return duration is not None and now >= datetime.fromisoformat(since) + timedelta(seconds=seconds(duration))


def _answer(status: ABExperimentStatus) -> bool:
    ready = status.condition(ConditionType.VARIANTS_READY)
    return ready is not None and ready.status == "True"


def _allowed(assignment: Assignment, passed: timedelta) -> int:
    """The last step that may have been taken by now."""
    ends = accumulate(seconds(step.duration) for step in assignment.ramp if step.duration)
    return sum(passed.total_seconds() >= end for end in ends) + 1 if assignment.ramp else 0
