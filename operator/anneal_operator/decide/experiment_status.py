"""What is told of an ABExperiment that has no decision yet."""

from datetime import datetime

from anneal_operator.api.ab_experiment_status import ABExperimentStatus, ExperimentPhase
from anneal_operator.api.schema import timestamp

from .conditions import Finding, merged
from .observed_experiment import ExperimentVerdict, Intent, ObservedExperiment
from .verdict import Verdict

__all__ = ["begun", "standing", "working"]

_PERIOD_SECONDS = 5.0


def standing(
    seen: ObservedExperiment,
    phase: ExperimentPhase,
    findings: list[Finding],
    now: datetime,
    main: Finding | None = None,
    **fields: object,
) -> ABExperimentStatus:
    """Return the status with these findings; `main` is the one that matters most, else the first."""
    reason = (main or findings[0]).reason.value if main or findings else seen.previous.reason
    return seen.previous.having(
        phase=phase,
        reason=reason,
        observed_generation=seen.generation,
        conditions=merged(seen.previous.conditions, findings, seen.generation, timestamp(now)),
        **fields,
    )


def working(status: ABExperimentStatus, *apply: Intent, period: float = _PERIOD_SECONDS) -> ExperimentVerdict:
    """Return what follows soon: nothing but the next look."""
    return Verdict(status, "Working", apply=apply, again=period)


def begun(seen: ObservedExperiment, started: str, now: datetime) -> datetime:
    """Return when it would have begun, had it never rested."""
    return datetime.fromisoformat(started) + seen.previous.paused_for(now)
