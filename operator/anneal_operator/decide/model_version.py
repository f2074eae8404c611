"""Where a ModelVersion stands: registered, served, routed.

How many pods it should have says `wanted_pods.py`. A backend has none: it is asked as long as there is a version of it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from anneal_operator.api.model_version import ANSWERING, PRODUCTION, ModelVersionStatus, Registry, VersionPhase
from anneal_operator.api.quantities import seconds
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .autoscaling import ASKED_EVERY_SECONDS
from .backend import LOOK_AGAIN_SECONDS as BACKEND_SECONDS
from .backend import backend_ready
from .cold_start import newest_start
from .conditions import Finding, merged, without
from .cost import due_in, settled
from .downloading import LOOK_AGAIN_SECONDS, brings_since, slowest_download
from .engine_update import update_waits_for, waits_for_router
from .loaded import loaded
from .observed_version import ObservedVersion
from .serving_engine import standing
from .shared_base import with_adapter
from .verdict import Call, Deletion, Progress, Verdict
from .version_conditions import asleep, registered, routed, why_dropped
from .wanted_pods import WITHOUT_PODS, Wanted, ends_at, is_left, is_named, replaced_at_of, wanted_pods

__all__ = [
    "GiveProduction",
    "Register",
    "Serve",
    "SetAliases",
    "decide",
]

_OF_SERVING = (
    ConditionType.LOADED,
    ConditionType.READY,
    ConditionType.ROUTABLE,
    ConditionType.ALIAS_DRIFTED,
    ConditionType.CAPACITY_READY,
)
"""Conditions that go where nothing is told of them any more."""


@dataclass(frozen=True)
class Serve:
    """So many pods, as this build makes them, or as they are."""

    replicas: int
    as_they_are: bool = False
    fetches: bool = False
    """Whether a Job is to bring the weights to their claim, as no pod has a node."""
    fewest: int | None = None
    """Where KEDA says how many there are, the fewest that it may leave; None where it does not, for the time being."""


@dataclass(frozen=True)
class Register(Call):
    """Have MLflow know the version."""


@dataclass(frozen=True)
class SetAliases(Call):
    """Set the spec's aliases that were not set before."""

    version: str


@dataclass(frozen=True)
class GiveProduction(Call):
    """Give `production` to the first version that answers, where nobody holds it."""

    version: str


Effect = Register | SetAliases | GiveProduction
Effects = tuple[Effect, ...]


def decide(seen: ObservedVersion, now: datetime) -> Verdict[ModelVersionStatus, Serve, Effect]:
    """Return the status, the pods that are wanted, and what MLflow is to be told."""
    replaced_at = replaced_at_of(seen, now)
    wanted = wanted_pods(seen, now, replaced_at)
    has_left, warm_until = is_left(seen), wanted.warm_until
    ends = None if wanted.pods or wanted.is_asleep else ends_at(seen, now)
    pods = seen.engine.replicas if seen.engine and ends and (not has_left or now < ends) else wanted.pods
    registry = seen.registry
    phase, ready = _ready(seen, replace(wanted, pods=pods), is_ending=ends is not None and pods > 0)
    if ready and warm_until:
        stays = (
            f"{ready.message}; `{PRODUCTION}` left it, and its pods stay until {timestamp(warm_until)} for a rollback"
        )
        ready = replace(ready, message=stays)
    phase, idle_since, retires_at = _retired(seen, phase, now, is_left=has_left)
    is_up = ready is not None and phase not in {"Draining", "Sleeping"} and seen.spec.backend is None
    served = [*([loaded(seen.engine, seen.pods, seen.adapter_problem)] if is_up else []), *([ready] if ready else [])]
    findings = [registered(seen, registry), *served, *routed(seen, registry, phase)]
    main = findings[0] if registry is None else ready or findings[0]
    stamp = timestamp(now)
    held = seen.held if pods or not seen.spec.shares_base else ()
    cost = settled(seen.previous.cost, held, seen.recorded, now)
    told = {finding.type for finding in findings}
    kept = without(seen.previous.conditions, [kind for kind in _OF_SERVING if kind not in told])
    status = seen.previous.having(
        phase=phase if registry else "Registering",
        reason=(_idle_reason(seen, wanted.pods, phase) if registry and phase in WITHOUT_PODS else main.reason).value,
        observed_generation=seen.generation,
        conditions=merged(kept, findings, seen.generation, stamp),
        registry=registry,
        replicas=0 if seen.is_refused else pods,
        ready_replicas=min(seen.engine.ready, pods) if seen.engine else 0,
        download=slowest_download(seen.downloads),
        loaded_on=list(seen.loaded_on) or None,
        cold_start=newest_start(seen.previous.cold_start, seen.pods),
        cost=cost,
        replaced_at=replaced_at,
        idle_since=timestamp(idle_since) if idle_since and registry else None,
        warm_until=timestamp(warm_until) if warm_until else None,
        selector=seen.selector,
        endpoint=seen.endpoint if seen.spec.serving or seen.spec.backend else None,
    )
    next_at = warm_until or (ends if pods and has_left else None) or retires_at
    return Verdict(
        status,
        _progress(phase, registry),
        delete=(
            *(seen.server_to_end if has_left and not pods and (phase == "Retired" or not seen.spec.serving) else ()),
            *_fetching_to_end(seen, wanted.pods),
            *(seen.scaled_object if not pods and not wanted.is_asleep else ()),
        ),
        apply=(_served(seen, pods, wanted),)
        if seen.spec.serving and phase != "Retired" and not seen.is_refused
        else (),
        effects=_effects(seen, registry, phase),
        again=_again(seen, pods > 0 or phase == "Sleeping", next_at, due_in(cost, held, now), now),
        polls=waits_for_router(seen),
    )


def _again(
    seen: ObservedVersion, is_asked: bool, next_at: datetime | None, cost_due: float | None, now: datetime
) -> float | None:
    """After how many seconds there is something to look at that no watch tells of; None where there is nothing."""
    waits = [(next_at - now).total_seconds() + 0.5] if next_at else []
    waits += [ASKED_EVERY_SECONDS] if is_asked and seen.spec.serving and seen.spec.serving.autoscaling else []
    waits += [cost_due] if cost_due is not None else []
    waits += [LOOK_AGAIN_SECONDS] if any(map(brings_since, seen.bringing)) else []
    waits += [BACKEND_SECONDS] if seen.spec.backend else []
    return min(waits, default=None)


def _retired(
    seen: ObservedVersion, phase: VersionPhase, now: datetime, *, is_left: bool
) -> tuple[VersionPhase, datetime | None, datetime | None]:
    """Return the phase, since when there have been no pods, and when what would make them is to go."""
    before, serving = seen.previous, seen.spec.serving
    since = min(now, datetime.fromisoformat(before.idle_since)) if before.idle_since else now  # a clock was ahead
    if phase != "Idle":
        return phase, since if phase == "Sleeping" else None, None
    if serving is None or serving.retire_after is None:
        return phase, since, None
    if before.phase == "Retired" and not is_named(seen):
        return "Retired", since, None  # also while routers have not told
    due = since + timedelta(seconds=seconds(serving.retire_after))
    return ("Retired", since, None) if now >= due and is_left else (phase, since, due if is_left else None)


def _served(seen: ObservedVersion, pods: int, wanted: Wanted) -> Serve:
    """An engine stays what it was in an experiment, and while another or the router is being brought up to date: a pod
    that is evicted or ends there is made again as it was.
    """
    fetches = wanted.pods > 0 and seen.may_fetch and seen.fetching is None
    return Serve(pods, as_they_are=bool(update_waits_for(seen)), fetches=fetches, fewest=_fewest(seen, pods, wanted))


def _fewest(seen: ObservedVersion, pods: int, wanted: Wanted) -> int | None:
    """Pods that are to end go on until nobody is sent to them; then they are taken from KEDA."""
    if seen.spec.serving is None or not seen.spec.serving.triggers or not (pods or wanted.is_asleep):
        return None
    return wanted.fewest if wanted.pods or wanted.is_asleep else 1


def _fetching_to_end(seen: ObservedVersion, wanted: int) -> tuple[Deletion, ...]:
    """What brings weights where a pod goes on with that by now, elsewhere than they are to lie, or as it was told
    before somebody changed that: such as a proxy, after it could not bring them.
    """
    fetching, cache = seen.fetching, seen.spec.serving.cache if seen.spec.serving else None
    if fetching is None or fetching.is_leaving:
        return ()
    is_wanted = cache is not None and cache.claim_name == fetching.claim and wanted > 0 and seen.may_fetch
    is_as_told = fetching.is_complete or (fetching.build, fetching.wish) == (seen.build, seen.wish)
    return () if is_wanted and is_as_told else (fetching.deletion,)


def _effects(seen: ObservedVersion, registry: Registry | None, phase: VersionPhase) -> Effects:
    if seen.registry_problem:
        return ()  # it is asked on a cadence of its own, and this version is woken when it answers
    if registry is None:
        return (Register(),)
    made: Effects = ()
    if any(alias not in registry.aliases_set for alias in seen.spec.aliases):
        made += (SetAliases(registry.version),)
    answers = phase in ANSWERING or phase == "Sleeping"
    if answers and seen.aliases is not None and PRODUCTION not in seen.aliases and _may_begin(seen):
        made += (GiveProduction(registry.version),)
    return made


def _may_begin(seen: ObservedVersion) -> bool:
    """Whether it may take `production`, which nobody holds: not from a version that clients get, as where MLflow lost
    the alias, and not as what an experiment is there to find out about.
    """
    challenges = any(
        (contest.status.decision is None or contest.status.phase == "Baking")
        and contest.spec.version_of(contest.spec.control) != seen.name
        for contest in seen.contests
    )
    return seen.route.default in {None, seen.name} and not challenges


def _progress(phase: VersionPhase, registry: Registry | None) -> Progress:
    if registry is None:
        return "Working"
    return {"Ready": "Settled", "Idle": "Settled", "Sleeping": "Settled", "Retired": "Settled", "Failed": "Failed"}.get(
        phase, "Working"
    )  # type: ignore[return-value] # mypy widens the values


def _idle_reason(seen: ObservedVersion, wanted: int, phase: VersionPhase) -> Reason:
    if phase == "Retired":
        return Reason.RETIRED
    asked = seen.spec.serving is not None and seen.spec.serving.replicas > 0
    return Reason.SCALED_DOWN if asked and wanted == 0 else Reason.NOT_SERVED


def _ready(seen: ObservedVersion, wanted: Wanted, *, is_ending: bool) -> tuple[VersionPhase, Finding | None]:
    """The phase, and the condition Ready; what is Idle is neither ready nor on its way there."""
    kind = ConditionType.READY
    if seen.spec.backend:
        return backend_ready(seen)
    if is_ending:
        why = seen.route.waits_for or "routers are to leave it"
        why = "answers under way have their time" if is_left(seen) else why
        return "Draining", Finding(kind, "False", Reason.DRAINING, f"its pods are to end{why_dropped(seen)}: {why}")
    if wanted.is_asleep:
        return "Sleeping", asleep(seen)
    if wanted.pods == 0:
        return "Idle", None
    if seen.is_refused:
        return "Failed", Finding(kind, "False", Reason.SOURCE_REFUSED, seen.source_refusal)
    download = slowest_download(seen.downloads)
    stands = standing(
        seen.engine,
        wanted.pods,
        [*seen.pods, *seen.workers],
        seen.spec,
        update_waits_for(seen),
        download,
        seen.fetching,
    )
    return with_adapter(*stands, seen.adapter_problem, seen.adapter_waits)
