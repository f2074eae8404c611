"""How many users take part in an experiment: one step of its ramp after the other, and never back.

A step follows once all routers have had the one before for its time, and while every variant answers. Where a status
was lost, the step is the one that the routers were told, and where they were told none, the one that the time since
counting began allows, but for known pauses: none that was taken is taken back.

Nor is any by a ramp that was changed. As many as took part do so, for the time of that of its steps which they have
reached, and the next is the first with more. After a pause the time of a step begins anew.
"""

from datetime import datetime, timedelta
from itertools import accumulate

from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.assignment import Assignment
from anneal_operator.api.quantities import seconds
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType

from .observed_experiment import ObservedExperiment

__all__ = ["ramped"]


def ramped(seen: ObservedExperiment, status: ABExperimentStatus, now: datetime) -> ABExperimentStatus:
    """Return the status that is told, with the coverage that follows; after a decision, with the last.

    By that users stay where they are until the winner has pods for all.
    """
    if seen.spec.type == "Shadow":
        return status
    assignment, before, route = seen.spec.assignment, seen.previous, seen.route
    started, is_told = seen.started_at or status.started_at, before.coverage is not None
    step, since, least = assignment.step_of(before.coverage), before.coverage_since, before.coverage or 0
    if started and not is_told:
        until = datetime.fromisoformat(status.decision.decided_at) if status.decision else now
        least = assignment.coverage_of(route.covered.get(seen.identity, 0))
        allowed = _allowed(assignment, until - datetime.fromisoformat(started) - before.paused_for(now))
        step, since = assignment.step_of(least) if least else allowed, None
    if status.phase not in {"WarmingUp", "Running"}:
        is_lost = assignment.ramp and status.decision and not is_told
        status = status.having(coverage_since=None) if status.phase == "Paused" else status
        return status.having(coverage=max(least, assignment.coverage_at(step))) if is_lost else status
    if status.phase == "Running" and route.split_by.get(seen.identity) == step:
        if since is None:
            since = timestamp(now) if route.has_arrived else None
        elif _is_over(assignment, step, since, now) and _answer(status):
            step, since = step + 1, None
    coverage = max(least, assignment.coverage_at(step))
    return status.having(coverage=coverage, coverage_since=since if assignment.ramp else None)


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
