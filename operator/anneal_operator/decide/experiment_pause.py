"""An ABExperiment that rests, as its `suspend` says: all users get the default version, and nothing is decided.

Who gets what follows from the users' names, so once it goes on all are where they were; what they say meanwhile of
earlier answers counts. Its time does not run, as that of a Job that is suspended does not, and a step of its ramp
begins anew. Where the status was lost, so was how long it rested, and it may end earlier than it would have.
"""

from datetime import datetime

from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding, merged
from .observed_experiment import ExperimentVerdict, ObservedExperiment
from .verdict import Verdict

__all__ = ["resting", "with_pause"]

_PERIOD_SECONDS = 2.0


def resting(seen: ObservedExperiment, now: datetime, *, waits_for: str = "") -> ExperimentVerdict:
    """Return what follows while it rests: nothing, once no router splits by it. `waits_for` is what delays its end."""
    reason, has_left = Reason.SUSPENDED, _has_left(seen)
    message = "`suspend` is set, so all users get the default version, and nothing is counted or decided"
    if not has_left:
        reason, why = Reason.ROUTER_BEHIND, seen.route.waits_for or "the routers are being told"
        message = f"`suspend` is set, and all users are to get the default version: {why}"
    finding = Finding(ConditionType.ROUTE_PROGRAMMED, "False", reason, message)
    if waits_for:
        finding = Finding(ConditionType.TRACKED, "False", Reason.REGISTRY_UNREACHABLE, waits_for)
    status = seen.previous.having(
        phase="Paused",
        reason=Reason.SUSPENDED.value,
        observed_generation=seen.generation,
        conditions=merged(seen.previous.conditions, [finding], seen.generation, timestamp(now)),
    )
    if has_left and not waits_for:
        return Verdict(status, "Settled")
    return Verdict(status, "Working", again=_PERIOD_SECONDS)


def _has_left(seen: ObservedExperiment) -> bool:
    """Whether no router splits by it; once none did, a change of other routes, on its way, changes nothing."""
    known = seen.previous.condition(ConditionType.ROUTE_PROGRAMMED)
    was = seen.started_at is None or (known is not None and known.reason == Reason.SUSPENDED)
    return seen.identity not in seen.route.split_by and (was or seen.route.has_arrived)


def with_pause(status: ABExperimentStatus, previous: ABExperimentStatus, now: datetime) -> ABExperimentStatus:
    """Return the status with the time that it rested, as its phase wants; before it began there is none."""
    if status.phase == "Paused" and status.started_at:
        return status.having(paused_at=previous.paused_at or timestamp(now))
    if previous.paused_at is None:
        return status
    return status.having(paused_at=None, paused_seconds=int(previous.paused_for(now).total_seconds()))
