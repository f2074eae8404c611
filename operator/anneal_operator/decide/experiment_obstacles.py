"""What keeps an ABExperiment from running: its variants' versions, MLflow, another experiment, the routers."""

import json
from datetime import datetime, timedelta

from anneal_operator.api.ab_experiment import Variant
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding
from .experiment_equals import artifacts_differ
from .layers import clash
from .observed_experiment import ObservedExperiment, VariantSeen

__all__ = ["GRACE", "obstacle", "routing_told"]

GRACE = timedelta(seconds=30)
"""For how long a variant may not answer before its users are sent to the default version, or a winner before everybody
returns from it.
"""


def obstacle(seen: ObservedExperiment, now: datetime, *, started: bool) -> Finding | None:
    """Return what keeps it from running; one that has started is not kept by what concerns only a start."""
    kind = ConditionType.VARIANTS_READY
    variants = [variant for variant in seen.spec.variants if variant.name not in seen.dropped]
    for variant in variants:
        version = seen.variants.get(variant.name, VariantSeen(None, ready=False))
        if version.model is None:
            message = f"there is no ModelVersion {variant.model_version_ref.name} yet"
            return _lost(seen, now, Finding(kind, "False", Reason.VERSION_NOT_FOUND, message), started=started)
        if version.model != seen.spec.model_name:
            message = (
                f"ModelVersion {variant.model_version_ref.name} is of model {version.model}, not {seen.spec.model_name}"
            )
            return Finding(kind, "False", Reason.VERSION_OF_ANOTHER_MODEL, message + ": create the experiment anew")
        if found := _takes_no_copies(seen, variant):
            return found
    if busy := _busy_with(seen):
        return Finding(kind, "False", Reason.MODEL_BUSY, busy)
    for variant in variants:
        if not seen.variants[variant.name].ready:
            message = f"ModelVersion {variant.model_version_ref.name} does not answer"
            return _lost(seen, now, Finding(kind, "False", Reason.VERSION_NOT_READY, message), started=started)
    return None if started else _not_to_begin(seen)


def _takes_no_copies(seen: ObservedExperiment, variant: Variant) -> Finding | None:
    """Of a Shadow that runs, too: every copy for such a challenger is dropped, so nothing would ever be compared."""
    is_asked = seen.spec.type != "Shadow" or variant.name == seen.spec.control
    if is_asked or seen.variants[variant.name].takes_copies:
        return None
    message = (
        f"ModelVersion {variant.model_version_ref.name} has `backend.caCertificateRef`, and routers send copies only "
        "to backends whose certificates the usual authorities vouch for: have the chart's `server.authorities` name "
        "this one and leave `caCertificateRef` out, or set `type: AB`"
    )
    return Finding(ConditionType.VARIANTS_READY, "False", Reason.VERSION_CANNOT_SHADOW, message)


def _not_to_begin(seen: ObservedExperiment) -> Finding | None:
    """What MLflow says, or does not say, that keeps one from beginning."""
    kind, model, control = ConditionType.VARIANTS_READY, seen.spec.model_name, seen.number_of(seen.spec.control)
    if not seen.is_heard:
        message = f"{seen.registry_problem}; an experiment begins once it is known not to have begun before"
        return Finding(kind, "False", Reason.REGISTRY_UNREACHABLE, message)
    if seen.production not in {None, control}:
        message = (
            f"the control must hold `production` in MLflow, which version {seen.production} of {model} has: compare "
            f"with that one, or move the alias to version {control}"
        )
        return Finding(kind, "False", Reason.CONTROL_NOT_IN_PRODUCTION, message)
    for metric in seen.spec.metrics.scored:
        if metric.response_schema and (why := _unreadable(metric.response_schema)):
            message = f"`responseSchema` of {metric.name} is no JSON: {why}; create the experiment with one that is"
            return Finding(kind, "False", Reason.SCHEMA_UNREADABLE, message)
    return artifacts_differ(seen)


def _unreadable(schema: str) -> str:
    try:
        json.loads(schema)
    except (RecursionError, ValueError) as error:
        return str(error)
    return ""


def _busy_with(seen: ObservedExperiment) -> str:
    """Which experiment has its users, and the remedy: one that has started, else the oldest that only waits to.

    One that cannot start holds up nobody; nobody holds up one that has started, which may be younger after a restore.
    """
    own = seen.created_at, seen.name
    for rival in () if seen.started_at else seen.rivals:
        is_first = rival.has_started or ((rival.created_at, rival.name) < own and rival.phase == "WarmingUp")
        if is_first and (why := clash(seen.spec, rival.name, rival.spec)):
            return why
    return ""


def _lost(seen: ObservedExperiment, now: datetime, finding: Finding, *, started: bool) -> Finding:
    """A variant that has not answered for a while loses its users to the default version, until it does again.

    At once where none are led to it now, as after a pause.
    """
    known = seen.previous.condition(finding.type)
    since = known.last_transition_time if known and known.status == "False" else timestamp(now)
    is_waited_for = seen.identity in seen.route.split_by and now - datetime.fromisoformat(since) < GRACE
    if not started or is_waited_for:
        return finding
    message = f"{finding.message}; meanwhile all users get the default version and nothing is counted"
    return Finding(finding.type, "False", Reason.VARIANT_LOST, message)


def routing_told(seen: ObservedExperiment, *, started: bool) -> Finding:
    """Say whether all routers split by it; once they did, a change of other routes, on its way, changes nothing."""
    kind, before = ConditionType.ROUTE_PROGRAMMED, seen.previous.condition(ConditionType.ROUTE_PROGRAMMED)
    was = started and before is not None and before.status == "True"
    if seen.identity in seen.route.split_by and (was or seen.route.has_arrived):
        return Finding(kind, "True", Reason.PROGRAMMED, f"every router {_routed(seen)}{_late(seen)}")
    return Finding(kind, "False", Reason.ROUTER_BEHIND, _route_waits_for(seen))


def _routed(seen: ObservedExperiment) -> str:
    return "copies requests" if seen.spec.type == "Shadow" else "splits users by weight"


def _route_waits_for(seen: ObservedExperiment) -> str:
    if seen.identity in seen.route.split_by:
        return seen.route.waits_for
    return "the routers are being told" if seen.spec.is_plain else seen.route.holds_up


def _late(seen: ObservedExperiment) -> str:
    arrival = seen.route.arrival
    return f"; {arrival.waits_for}" if arrival and arrival.late else ""
