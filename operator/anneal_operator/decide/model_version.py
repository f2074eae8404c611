"""Where a ModelVersion stands: registered, served, routed; and how many pods it should have.

A version is wanted while it holds `production` in MLflow, is the one that clients of the model's name get, takes part
in an experiment that is not decided, or its spec asks for pods and it has not lost an experiment. One that lost stays
without pods, also when the experiment is deleted; one that held `production` keeps them for a while, for a rollback.
What is not wanted any more keeps its pods until no router sends it requests, and for a while after that.
A backend has none: it is asked as long as there is a version of it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from anneal_operator.api.model_version import (
    ANSWERING,
    ENDING,
    PRODUCTION,
    ModelVersionStatus,
    Registry,
    VersionPhase,
)
from anneal_operator.api.quantities import seconds
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .autoscaling import ASKED_EVERY_SECONDS, replicas_for
from .backend import LOOK_AGAIN_SECONDS as BACKEND_SECONDS
from .backend import backend_ready
from .cold_start import newest_start
from .conditions import Finding, merged, without
from .cost import due_in, settled
from .downloading import LOOK_AGAIN_SECONDS, brings_since, slowest_download
from .experiment_end import is_followed
from .loaded import loaded
from .observed_version import Contest, ObservedVersion
from .serving_engine import Engine, standing
from .shared_base import with_adapter
from .verdict import Deletion, Progress, Verdict

__all__ = [
    "GiveProduction",
    "Register",
    "Serve",
    "SetAliases",
    "decide",
]

_OF_SERVING = (ConditionType.LOADED, ConditionType.READY, ConditionType.ROUTABLE, ConditionType.ALIAS_DRIFTED)
"""Conditions that go where nothing is told of them any more."""
_WITHOUT_PODS = frozenset({"Idle", "Retired"})
_DRAIN = timedelta(seconds=30)
"""For how long answers under way are waited for where no experiment says so."""


@dataclass(frozen=True)
class Serve:
    """So many pods, as this build makes them, or as they are."""

    replicas: int
    as_they_are: bool = False
    fetches: bool = False
    """Whether a Job is to bring the weights to their claim, as no pod has a node."""


@dataclass(frozen=True)
class Register:
    """Have MLflow know the version."""


@dataclass(frozen=True)
class SetAliases:
    """Set the spec's aliases that were not set before."""

    version: str


@dataclass(frozen=True)
class GiveProduction:
    """Give `production` to the first version that answers, where nobody holds it."""

    version: str


Effect = Register | SetAliases | GiveProduction
Effects = tuple[Effect, ...]


def decide(seen: ObservedVersion, now: datetime) -> Verdict[ModelVersionStatus, Serve, Effect]:
    """Return the status, the pods that are wanted, and what MLflow is to be told."""
    replaced_at = _replaced_at(seen, now)
    wanted, warm_until = _wanted(seen, now, replaced_at)
    is_left = _is_left(seen)
    ends_at = None if wanted else _ends_at(seen, now, is_left=is_left)
    pods = seen.engine.replicas if seen.engine and ends_at and (not is_left or now < ends_at) else wanted
    registry = seen.registry
    phase, ready = _ready(seen, pods, is_ending=ends_at is not None and pods > 0)
    if ready and warm_until:
        stays = (
            f"{ready.message}; `{PRODUCTION}` left it, and its pods stay until {timestamp(warm_until)} for a rollback"
        )
        ready = replace(ready, message=stays)
    phase, idle_since, retires_at = _retired(seen, phase, now, is_left=is_left)
    is_up = ready is not None and phase != "Draining" and seen.spec.backend is None
    served = [*([loaded(seen.engine, seen.pods, seen.adapter_problem)] if is_up else []), *([ready] if ready else [])]
    findings = [_registered(seen, registry), *served, *_routed(seen, registry, phase)]
    main = findings[0] if registry is None else ready or findings[0]
    stamp = timestamp(now)
    held = seen.held if pods or not seen.spec.shares_base else ()
    cost = settled(seen.previous.cost, held, seen.recorded, now)
    told = {finding.type for finding in findings}
    kept = without(seen.previous.conditions, [kind for kind in _OF_SERVING if kind not in told])
    status = seen.previous.having(
        phase=phase if registry else "Registering",
        reason=(_idle_reason(seen, wanted, phase) if registry and phase in _WITHOUT_PODS else main.reason).value,
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
    next_at = warm_until or (ends_at if pods and is_left else None) or retires_at
    return Verdict(
        status,
        _progress(phase, registry),
        delete=(
            *(seen.server_to_end if is_left and not pods and (phase == "Retired" or not seen.spec.serving) else ()),
            *_fetching_to_end(seen, wanted),
        ),
        apply=(_served(seen, pods, wanted),)
        if seen.spec.serving and phase != "Retired" and not seen.is_refused
        else (),
        effects=_effects(seen, registry, phase),
        again=_again(seen, pods, next_at, due_in(cost, held, now), now),
        polls=_waits_for_router(seen),
    )


def _again(
    seen: ObservedVersion, pods: int, next_at: datetime | None, cost_due: float | None, now: datetime
) -> float | None:
    """After how many seconds there is something to look at that no watch tells of; None where there is nothing."""
    waits = [(next_at - now).total_seconds() + 0.5] if next_at else []
    waits += [ASKED_EVERY_SECONDS] if pods and seen.spec.serving and seen.spec.serving.autoscaling else []
    waits += [cost_due] if cost_due is not None else []
    waits += [LOOK_AGAIN_SECONDS] if any(map(brings_since, seen.bringing)) else []
    waits += [BACKEND_SECONDS] if seen.spec.backend else []
    return min(waits, default=None)


def _retired(
    seen: ObservedVersion, phase: VersionPhase, now: datetime, *, is_left: bool
) -> tuple[VersionPhase, datetime | None, datetime | None]:
    """Return the phase, since when there have been no pods, and when what would make them is to go."""
    if phase != "Idle":
        return phase, None, None
    before, serving = seen.previous, seen.spec.serving
    since = datetime.fromisoformat(before.idle_since) if before.idle_since else now
    if serving is None or serving.retire_after is None:
        return phase, since, None
    if before.phase == "Retired" and not _is_named(seen):
        return "Retired", since, None  # also while routers have not told
    due = since + timedelta(seconds=seconds(serving.retire_after))
    return ("Retired", since, None) if now >= due and is_left else (phase, since, due if is_left else None)


def _ends_at(seen: ObservedVersion, now: datetime, *, is_left: bool) -> datetime | None:
    """When the pods of a version end that is not wanted any more; None where it has none, or they may end now.

    The time for answers under way begins when the last router has left it.
    """
    if seen.engine is None or seen.engine.replicas == 0 or seen.registry is None:
        return None
    if seen.previous.phase in _WITHOUT_PODS and not _is_named(seen):
        return None
    if not is_left:
        return now + _drain(seen)
    routable = seen.previous.condition(ConditionType.ROUTABLE)
    is_told = routable is not None and routable.status == "False" and routable.reason == Reason.NOT_ROUTED
    left = datetime.fromisoformat(routable.last_transition_time) if routable and is_told else now
    return left + _drain(seen)


def _is_named(seen: ObservedVersion) -> bool:
    return seen.is_routed_here and seen.name in seen.route.versions


def _is_left(seen: ObservedVersion) -> bool:
    return seen.route.has_left(seen.name) or not seen.is_routed_here


def _drain(seen: ObservedVersion) -> timedelta:
    last = _last_decided(seen)
    return timedelta(seconds=seconds(last.spec.decision.scale_down_delay)) if last else _DRAIN


def _wanted(seen: ObservedVersion, now: datetime, replaced_at: str | None) -> tuple[int, datetime | None]:
    """How many pods are wanted, and until when, where that is for a rollback alone."""
    if seen.spec.serving is None:
        return 0, None
    pods = replicas_for(seen.spec.serving, _current(seen), seen.samples, now, at_least=_at_least(seen, replaced_at))
    if not pods or _is_asked_for(seen) or not replaced_at:
        return (pods if _is_asked_for(seen) else 0), None
    window = timedelta(seconds=seconds(seen.spec.serving.rollback_window))
    until = datetime.fromisoformat(replaced_at) + window
    return (pods, until) if now < until else (0, None)


def _current(seen: ObservedVersion) -> int | None:
    return seen.engine.replicas if seen.engine else None


def _at_least(seen: ObservedVersion, replaced_at: str | None) -> int:
    """What nobody asks for yet: the pods for all clients, of one that is to get them, or may get them back."""
    if seen.route.default == seen.name:
        return 0
    holds_production = seen.registry is not None and PRODUCTION in seen.registry.aliases
    if holds_production or _is_to_follow(seen):
        return seen.default_replicas
    return (_current(seen) or 0) if replaced_at else 0


def _is_to_follow(seen: ObservedVersion) -> bool:
    """Whether it has won, and clients are yet to get it."""
    last = _last_decided(seen)
    decision = last.status.decision if last else None
    if last is None or decision is None or not decision.winner or is_followed(last.status):
        return False
    return last.spec.version_of(decision.winner) == seen.name


def _replaced_at(seen: ObservedVersion, now: datetime) -> str | None:
    """When `production` left it, as far as MLflow was heard."""
    before, registry = seen.previous, seen.registry
    if registry is None or before.registry is None or PRODUCTION in registry.aliases:
        return None
    return timestamp(now) if PRODUCTION in before.registry.aliases else before.replaced_at


def _is_asked_for(seen: ObservedVersion) -> bool:
    holds_production = seen.registry is not None and PRODUCTION in seen.registry.aliases
    undecided = any(contest.status.decision is None for contest in seen.contests)
    if seen.engine is None and not holds_production and any(contest.status.is_new for contest in seen.contests):
        return False  # as after a restore: it may turn out to have lost
    if holds_production or undecided or seen.route.default == seen.name:  # until another is: that one may yet load
        return True
    if last := _last_decided(seen):
        return not _lost(seen.name, last)
    return not _was_scaled_down(seen)


def _last_decided(seen: ObservedVersion) -> Contest | None:
    decided = [(contest.status.decision.decided_at, contest) for contest in seen.contests if contest.status.decision]
    return max(decided, key=lambda one: one[0])[1] if decided else None


def _was_scaled_down(seen: ObservedVersion) -> bool:
    """What lost stays as it is, until its spec changes: the experiment that it lost may be deleted."""
    before = seen.previous
    has_lost = before.phase in ENDING or before.warm_until is not None
    return has_lost and before.observed_generation == seen.generation


def _lost(name: str, contest: Contest) -> bool:
    """Whether it lost; the loser of a promotion is wanted until that is over."""
    status, decision = contest.status, contest.status.decision
    is_over = status.phase == "RolledBack" or (status.phase == "Promoted" and is_followed(status))
    return decision is not None and is_over and name != contest.spec.version_of(decision.winner)


def _served(seen: ObservedVersion, pods: int, wanted: int) -> Serve:
    """An engine stays what it was in an experiment, and while another or the router is being brought up to date: a pod
    that is evicted or ends there is made again as it was.
    """
    fetches = wanted > 0 and seen.may_fetch and seen.fetching is None
    return Serve(pods, as_they_are=bool(_update_waits_for(seen)), fetches=fetches)


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


def _update_waits_for(seen: ObservedVersion) -> str:
    """What keeps an engine from what this build would make of it; empty where nothing does, or people want another."""
    engine = seen.engine
    if engine is None or engine.build == seen.build:
        return ""
    is_edited = engine.wish != seen.wish if engine.wish else seen.previous.observed_generation != seen.generation
    if is_edited:
        return ""
    if any(contest.status.decision is None for contest in seen.contests):
        return "its experiment is decided"
    if _waits_for_router(seen):
        return "no router of an earlier build is left"
    other = _whose_turn(seen)
    return f"{other} is" if other else ""


def _waits_for_router(seen: ObservedVersion) -> bool:
    """An engine that demands no key begins to when the router sends it."""
    engine, router = seen.engine, seen.router
    if engine is None or engine.demands_key or router is None:
        return False
    return router.is_rolling or not router.sends_key


def _whose_turn(seen: ObservedVersion) -> str:
    """One engine is brought up to date after the other, in the order of their names: a bad image reaches one alone.

    One that never answered holds nobody up, nor does one that fails after it was brought up to date.
    """
    due = {
        name
        for name, engine in seen.other_engines.items()
        if (_is_brought_up(engine) if engine.build == seen.build else name < seen.name)
    }
    return min(due, default="")


def _is_brought_up(engine: Engine) -> bool:
    return engine.is_rolling and engine.has_answered and not engine.is_complete


def _effects(seen: ObservedVersion, registry: Registry | None, phase: VersionPhase) -> Effects:
    if seen.registry_problem:
        return ()  # it is asked on a cadence of its own, and this version is woken when it answers
    if registry is None:
        return (Register(),)
    made: Effects = ()
    if any(alias not in registry.aliases_set for alias in seen.spec.aliases):
        made += (SetAliases(registry.version),)
    if phase in ANSWERING and seen.aliases is not None and PRODUCTION not in seen.aliases and _may_begin(seen):
        made += (GiveProduction(registry.version),)
    return made


def _may_begin(seen: ObservedVersion) -> bool:
    """Whether it may take `production`, which nobody holds: not from a version that clients get, as where MLflow lost
    the alias, and not as what an experiment is there to find out about.
    """
    challenges = any(
        contest.status.decision is None and contest.spec.version_of(contest.spec.control) != seen.name
        for contest in seen.contests
    )
    return seen.route.default in {None, seen.name} and not challenges


def _progress(phase: VersionPhase, registry: Registry | None) -> Progress:
    if registry is None:
        return "Working"
    return {"Ready": "Settled", "Idle": "Settled", "Retired": "Settled", "Failed": "Failed"}.get(phase, "Working")  # type: ignore[return-value] # mypy widens the values


def _registered(seen: ObservedVersion, registry: Registry | None) -> Finding:
    kind = ConditionType.REGISTERED
    if registry is None and seen.registry_problem:
        return Finding(kind, "False", Reason.REGISTRY_UNREACHABLE, seen.registry_problem)
    if registry is None:
        return Finding(kind, "False", Reason.REGISTERING, "it is being registered in MLflow")
    return Finding(kind, "True", Reason.REGISTERED, f"version {registry.version} of {seen.spec.model_name} in MLflow")


def _idle_reason(seen: ObservedVersion, wanted: int, phase: VersionPhase) -> Reason:
    if phase == "Retired":
        return Reason.RETIRED
    asked = seen.spec.serving is not None and seen.spec.serving.replicas > 0
    return Reason.SCALED_DOWN if asked and wanted == 0 else Reason.NOT_SERVED


def _ready(seen: ObservedVersion, wanted: int, *, is_ending: bool) -> tuple[VersionPhase, Finding | None]:
    """The phase, and the condition Ready; what is Idle is neither ready nor on its way there."""
    kind = ConditionType.READY
    if seen.spec.backend:
        return backend_ready(seen)
    if is_ending:
        why = seen.route.waits_for or "routers are to leave it"
        why = "answers under way have their time" if _is_left(seen) else why
        return "Draining", Finding(kind, "False", Reason.DRAINING, f"its pods are to end: {why}")
    if wanted == 0:
        return "Idle", None
    if seen.is_refused:
        return "Failed", Finding(kind, "False", Reason.SOURCE_REFUSED, seen.source_refusal)
    download = slowest_download(seen.downloads)
    stands = standing(seen.engine, wanted, seen.pods, seen.spec, _update_waits_for(seen), download, seen.fetching)
    return with_adapter(*stands, seen.adapter_problem, seen.adapter_waits)


def _routed(seen: ObservedVersion, registry: Registry | None, phase: VersionPhase) -> list[Finding]:
    """Whether clients reach it, and whether they get it where MLflow's alias says so."""
    if registry is None or (seen.spec.serving is None and phase == "Idle"):
        return []
    found = [_routable(seen, registry, phase)]
    if PRODUCTION not in registry.aliases:
        return found
    kind, model, default = ConditionType.ALIAS_DRIFTED, seen.spec.model_name, seen.route.default
    if default == seen.name and (seen.route.has_arrived or _was(seen, kind, "False")):
        return [*found, Finding(kind, "False", Reason.AS_ROUTED, f"clients of {model} get it")]
    message = f"it holds `{PRODUCTION}`, but clients of {model} get {default or 'nobody'} until it answers"
    if default == seen.name:
        message = f"it holds `{PRODUCTION}`, but not all clients of {model} get it yet: {seen.route.waits_for}"
    return [*found, Finding(kind, "True", Reason.HELD_BY_ANOTHER, message)]


def _routable(seen: ObservedVersion, registry: Registry, phase: VersionPhase) -> Finding:
    """As far as all routers are known to have it: a change that does not concern it, on its way, changes nothing."""
    kind, model, route = ConditionType.ROUTABLE, seen.spec.model_name, seen.route
    is_ending = {"Idle": "it has no server", "Retired": "it has no server", "Draining": "it is to end"}.get(phase)
    if is_ending and not _is_named(seen) and _is_left(seen):  # whatever keeps the router from its next step
        return Finding(kind, "False", Reason.NOT_ROUTED, f"clients cannot reach it: {is_ending}")
    if seen.router_problem:
        message = f"the namespace's router is not as it should be: {seen.router_problem.message}"
        return Finding(kind, "Unknown", Reason(seen.router_problem.reason), message)
    if not _is_named(seen):
        if route.has_left(seen.name) or not _was(seen, kind, "True", "Unknown"):
            why = is_ending or "it has not answered yet"
            return Finding(kind, "False", Reason.NOT_ROUTED, f"clients cannot reach it: {why}")
        return Finding(kind, "Unknown", Reason.ROUTER_BEHIND, f"not every router has left it: {route.waits_for}")
    if not route.has_arrived and not _was(seen, kind, "True"):
        return Finding(kind, "Unknown", Reason.ROUTER_BEHIND, f"not every router knows it yet: {route.waits_for}")
    names = f"{model}@{registry.version}" + (f" and {model}" if route.default == seen.name else "")
    late = f"; {route.waits_for}" if route.arrival and route.arrival.late else ""
    return Finding(kind, "True", Reason.ROUTED, f"clients reach it as {names}{late}")


def _was(seen: ObservedVersion, kind: ConditionType, *statuses: str) -> bool:
    known = seen.previous.condition(kind)
    return known is not None and known.status in statuses
