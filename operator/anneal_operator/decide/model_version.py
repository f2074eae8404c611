"""Where a ModelVersion stands: registered, loading, ready; and how many pods it should have."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus
from anneal_operator.api.model_version import ModelVersionSpec, ModelVersionStatus, Registry, VersionPhase
from anneal_operator.api.quantities import seconds
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding, merged

__all__ = ["Contest", "ObservedVersion", "judge", "replicas_wanted", "scale_down_due"]


@dataclass(frozen=True)
class Contest:
    """An experiment that a version takes or took part in."""

    spec: ABExperimentSpec
    status: ABExperimentStatus


@dataclass(frozen=True)
class ObservedVersion:
    """The world around one version."""

    name: str
    generation: int
    spec: ModelVersionSpec
    previous: ModelVersionStatus
    registry: Registry | None
    registry_problem: str = ""
    wanted: int = 0
    ready: int = 0
    engine_problem: str = ""
    endpoint: str = ""
    selector: str = ""


def replicas_wanted(name: str, spec: ModelVersionSpec, contests: Sequence[Contest], now: datetime) -> int:
    """Return how many pods a version should have now.

    The loser of a promotion has none once the delay is over, unless another experiment still needs it.
    """
    if spec.serving is None:
        return 0
    decided = [contest for contest in contests if contest.status.decision]
    if len(decided) < len(contests) or not decided:
        return spec.serving.replicas
    last = max(decided, key=lambda contest: contest.status.decision.decided_at if contest.status.decision else "")
    return 0 if _lost(name, last, now) else spec.serving.replicas


def scale_down_due(contest: Contest) -> datetime | None:
    """When the delay after a decision is over; None while there is none."""
    if contest.status.decision is None:
        return None
    delay = timedelta(seconds=seconds(contest.spec.decision.scale_down_delay))
    return datetime.fromisoformat(contest.status.decision.decided_at) + delay


def _lost(name: str, contest: Contest, now: datetime) -> bool:
    decision, due = contest.status.decision, scale_down_due(contest)
    if decision is None or due is None or contest.status.phase != "Promoted":
        return False
    return name != contest.spec.version_of(decision.winner) and now >= due


def judge(seen: ObservedVersion, now: str) -> ModelVersionStatus:
    """Return the status."""
    registered = _registered(seen)
    phase, ready = _ready(seen)
    registry = seen.registry or seen.previous.registry
    return ModelVersionStatus(
        phase=phase if registry else "Registering",
        reason=(ready if registry else registered).reason.value,
        observed_generation=seen.generation,
        conditions=merged(seen.previous.conditions, [registered, ready], seen.generation, now),
        registry=registry,
        replicas=seen.wanted,
        ready_replicas=seen.ready,
        selector=seen.selector if seen.spec.serving else "",
        endpoint=seen.endpoint if seen.spec.serving else None,
    )


def _registered(seen: ObservedVersion) -> Finding:
    kind = ConditionType.REGISTERED
    registry = seen.registry or seen.previous.registry
    if registry is None:
        return Finding(kind, "False", Reason.REGISTRY_UNREACHABLE, seen.registry_problem or "registering in MLflow")
    return Finding(kind, "True", Reason.REGISTERED, f"version {registry.version} of {seen.spec.model_name} in MLflow")


def _ready(seen: ObservedVersion) -> tuple[VersionPhase, Finding]:
    kind = ConditionType.READY
    if seen.spec.serving is None or seen.spec.serving.replicas == 0:
        return "Idle", Finding(kind, "False", Reason.NOT_SERVED, "registered only: `serving` asks for no pod")
    if seen.wanted == 0:
        message = "lost an experiment and was scaled down; delete the experiment to serve it again"
        return "Idle", Finding(kind, "False", Reason.SCALED_DOWN, message)
    if seen.ready >= seen.wanted:
        return "Ready", Finding(kind, "True", Reason.ANSWERS, "weights are verified and the engine answers")
    if seen.engine_problem:
        return "Failed", Finding(kind, "False", Reason.ENGINE_FAILED, seen.engine_problem)
    return "Loading", Finding(kind, "False", Reason.STARTING, f"{seen.ready} of {seen.wanted} pods answer")
