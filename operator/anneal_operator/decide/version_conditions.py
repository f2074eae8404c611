"""What is told of a version in MLflow and among the routes."""

from anneal_operator.api.model_version import PRODUCTION, Registry, VersionPhase
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .acknowledgement import Awaited
from .cold_start import expected_start
from .conditions import Finding
from .observed_version import ObservedVersion
from .wanted_pods import dropping, is_left, is_named

__all__ = ["asleep", "registered", "routed", "why_dropped"]


def registered(seen: ObservedVersion, registry: Registry | None) -> Finding:
    """Return whether MLflow knows it."""
    kind = ConditionType.REGISTERED
    if registry is None and seen.registry_problem:
        return Finding(kind, "False", Reason.REGISTRY_UNREACHABLE, seen.registry_problem)
    if registry is None:
        return Finding(kind, "False", Reason.REGISTERING, "it is being registered in MLflow")
    return Finding(kind, "True", Reason.REGISTERED, f"version {registry.version} of {seen.spec.model_name} in MLflow")


def routed(seen: ObservedVersion, registry: Registry | None, phase: VersionPhase) -> list[Finding]:
    """Return whether clients reach it, and whether they get it where MLflow's alias says so."""
    if registry is None or (seen.spec.serving is None and phase == "Idle"):
        return []
    found = [_routable(seen, registry, phase), *_capacity(seen)]
    if PRODUCTION not in registry.aliases:
        return found
    kind, model, default = ConditionType.ALIAS_DRIFTED, seen.spec.model_name, seen.route.default
    if default == seen.name and (seen.route.has_arrived or _was(seen, kind, "False")):
        return [*found, Finding(kind, "False", Reason.AS_ROUTED, f"clients of {model} get it")]
    awaited = _awaited(seen)
    until = f"it has pods for all of them: {awaited.in_words}" if awaited else "it answers"
    if any(contest.status.phase == "Baking" and contest.status.baking_since for contest in seen.contests):
        until = "the winner that bakes is given it, or they return"
    message = f"it holds `{PRODUCTION}`, but clients of {model} get {default or 'nobody'} until {until}"
    if default == seen.name:
        message = f"it holds `{PRODUCTION}`, but not all clients of {model} get it yet: {seen.route.waits_for}"
    return [*found, Finding(kind, "True", Reason.HELD_BY_ANOTHER, message)]


def _routable(seen: ObservedVersion, registry: Registry, phase: VersionPhase) -> Finding:
    """As far as all routers are known to have it: a change that does not concern it, on its way, changes nothing."""
    kind, model, route = ConditionType.ROUTABLE, seen.spec.model_name, seen.route
    is_ending = {"Idle": "it has no server", "Retired": "it has no server", "Draining": "it is to end"}.get(phase)
    is_ending = is_ending and f"{is_ending}{why_dropped(seen)}"
    if is_ending and not is_named(seen) and is_left(seen):  # whatever keeps the router from its next step
        return Finding(kind, "False", Reason.NOT_ROUTED, f"clients cannot reach it: {is_ending}")
    if seen.router_problem:
        message = f"the namespace's router is not as it should be: {seen.router_problem.message}"
        return Finding(kind, "Unknown", Reason(seen.router_problem.reason), message)
    if not is_named(seen):
        if route.has_left(seen.name) or not _was(seen, kind, "True", "Unknown"):
            why = is_ending or "it has not answered yet"
            return Finding(kind, "False", Reason.NOT_ROUTED, f"clients cannot reach it: {why}")
        return Finding(kind, "Unknown", Reason.ROUTER_BEHIND, f"not every router has left it: {route.waits_for}")
    if not route.has_arrived and not _was(seen, kind, "True"):
        return Finding(kind, "Unknown", Reason.ROUTER_BEHIND, f"not every router knows it yet: {route.waits_for}")
    names = f"{model}@{registry.version}" + (f" and {model}" if route.default == seen.name else "")
    late = f"; {route.waits_for}" if route.arrival and route.arrival.late else ""
    return Finding(kind, "True", Reason.ROUTED, f"clients reach it as {names}{late}")


def why_dropped(seen: ObservedVersion) -> str:
    """Why it has no pods, or is about to have none; empty where no experiment dropped it."""
    contest = dropping(seen)
    return f", as ABExperiment {contest.name} has shown it to be beyond a guardrail" if contest else ""


def _was(seen: ObservedVersion, kind: ConditionType, *statuses: str) -> bool:
    known = seen.previous.condition(kind)
    return known is not None and known.status in statuses


def asleep(seen: ObservedVersion) -> Finding:
    """Return what Ready says of a version that a request is to wake: nothing is missing, and nothing on its way."""
    quiet = f" for {seen.spec.serving.idles_for}" if seen.spec.serving else ""
    message = f"nobody asked it{quiet}, so it has no pods; a request starts one, which takes about"
    message += f" {expected_start(seen.previous.cold_start)} s"
    return Finding(ConditionType.READY, "True", Reason.SLEEPING, message)


def _awaited(seen: ObservedVersion) -> Awaited | None:
    found = seen.route.awaited
    return found if found and found.version == seen.name and seen.route.default != seen.name else None


def _capacity(seen: ObservedVersion) -> list[Finding]:
    """What it lacks to get all clients; nothing where it gets them, or nobody is to send it any.

    An operator that has not asked the routers yet does not know: what was told stays, as the wait goes on from there.
    """
    awaited, before = _awaited(seen), seen.previous.condition(ConditionType.CAPACITY_READY)
    if awaited is None and before and seen.route.arrival is None and seen.route.default != seen.name:
        return [Finding(ConditionType.CAPACITY_READY, before.status, Reason.PODS_MISSING, before.message)]
    if awaited is None:
        return []
    message = (
        f"clients of {seen.spec.model_name} stay with {seen.route.default} until it has pods for all of them, until "
        f"{timestamp(awaited.until)} at the latest: {awaited.in_words}"
    )
    return [Finding(ConditionType.CAPACITY_READY, "False", Reason.PODS_MISSING, message)]
