"""How many pods a version is to have, and when those end that are wanted no more.

A version is wanted while it holds `production` in MLflow, is the one that clients of the model's name get, takes part
in an experiment that is not decided, or its spec asks for pods and it has not lost an experiment. A challenger that was
shown to be beyond a guardrail has lost at once, in every mode: nobody gets its answers, whatever becomes of the others.
One that lost stays without pods, also when the experiment is deleted; one that held `production` keeps them for a
while, for a rollback.
What is not wanted any more keeps its pods until no router sends it requests, and for a while after that.

One whose `autoscaling` says so is asleep while nobody asks it (`is_asleep`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from anneal_operator.api.model_version import ANSWERING, ENDING, PRODUCTION
from anneal_operator.api.quantities import seconds
from anneal_operator.api.schema import timestamp
from anneal_operator.api.serving import Serving
from anneal_operator.reasons import ConditionType, Reason

from .autoscaling import fewest, replicas_for
from .cold_start import expected_start
from .experiment_end import is_followed, kept_versions
from .observed_version import Contest, ObservedVersion

__all__ = ["WITHOUT_PODS", "Wanted", "dropping", "ends_at", "is_left", "is_named", "replaced_at_of", "wanted_pods"]

WITHOUT_PODS = frozenset({"Idle", "Retired"})
"""The phases of a version that nobody wants."""
_DRAIN = timedelta(seconds=30)
"""For how long answers under way are waited for where no experiment says so."""
_COMES_AGAIN_SECONDS = 30
"""How much later than it was told a client may come, who was to come when a start should be over."""


@dataclass(frozen=True)
class Wanted:
    """How many pods a version is to have, and why there are some, or none."""

    pods: int
    warm_until: datetime | None = None
    """Until when, where they are there for a rollback alone."""
    is_asleep: bool = False
    """Whether there are none as nobody asks it, so that a request is to bring them back."""
    fewest: int = 0
    """Of what KEDA scales, the fewest that it may leave."""


def wanted_pods(seen: ObservedVersion, now: datetime, replaced_at: str | None) -> Wanted:
    """Return how many pods are wanted; `replaced_at` is when `production` left it."""
    if seen.spec.serving is None:
        return Wanted(0)
    serving, current = seen.spec.serving, _current(seen)
    at_least = _at_least(seen, serving, now, replaced_at)
    may_sleep = _is_asked_for(seen) and is_asleep(seen, now, replaced_at)
    if may_sleep:
        return Wanted(current or 0, is_asleep=not current) if serving.triggers else Wanted(0, is_asleep=True)
    pods, least = replicas_for(serving, current, seen.samples, now, at_least=at_least), fewest(serving, at_least)
    if not pods or _is_asked_for(seen) or not replaced_at:
        return Wanted(pods, fewest=least) if _is_asked_for(seen) else Wanted(0)
    until = _rollback_until(serving, replaced_at)
    return Wanted(pods, until, fewest=least) if now < until else Wanted(0)


def _rollback_until(serving: Serving, replaced_at: str) -> datetime:
    return datetime.fromisoformat(replaced_at) + timedelta(seconds=seconds(serving.rollback_window))


def _current(seen: ObservedVersion) -> int | None:
    return seen.engine.replicas if seen.engine else None


def _at_least(seen: ObservedVersion, serving: Serving, now: datetime, replaced_at: str | None) -> int:
    """What nobody asks for yet: the pods for all clients, of one that is to get them, or may get them back."""
    if seen.route.default == seen.name:
        return (_current(seen) or 0) if _takes_over(seen, serving, now) else 0
    holds_production = seen.registry is not None and PRODUCTION in seen.registry.aliases
    if holds_production or _is_to_follow(seen):
        return seen.replicas_to_take_over
    return (_current(seen) or 0) if replaced_at and now < _rollback_until(serving, replaced_at) else 0


def _takes_over(seen: ObservedVersion, serving: Serving, now: datetime) -> bool:
    """Whether all clients were just led to it, for as long as fewer pods have to suffice before there are fewer."""
    scaling, taken_at = serving.autoscaling, _taken_over_at(seen, now)
    if scaling is None or taken_at is None or scaling.triggers:  # KEDA waits by itself
        return False
    return now < taken_at + timedelta(seconds=seconds(scaling.scale_down_delay))


def _taken_over_at(seen: ObservedVersion, now: datetime) -> datetime | None:
    """When all clients had been led to it, or now, while they are: what it was asked before tells nothing of what it
    needs. None of what holds no `production`, nor is to.
    """
    if seen.route.default != seen.name:
        return None
    if seen.registry is None or PRODUCTION not in seen.registry.aliases:
        return now if _is_to_follow(seen) else None
    drifted = seen.previous.condition(ConditionType.ALIAS_DRIFTED)
    return datetime.fromisoformat(drifted.last_transition_time) if drifted and drifted.status == "False" else now


def _is_to_follow(seen: ObservedVersion) -> bool:
    """Whether it has won, and clients are yet to get it, whatever another experiment on its model found since."""
    return any(
        contest.status.decision is not None
        and contest.status.phase in {"Promoted", "Baking"}
        and not is_followed(contest.status)
        and contest.spec.version_of(contest.status.decision.winner) == seen.name
        for contest in seen.contests
    )


def replaced_at_of(seen: ObservedVersion, now: datetime) -> str | None:
    """Return when `production` left it, as far as MLflow was heard."""
    before, registry = seen.previous, seen.registry
    if registry is None or before.registry is None or PRODUCTION in registry.aliases:
        return None
    return timestamp(now) if PRODUCTION in before.registry.aliases else before.replaced_at


def _is_asked_for(seen: ObservedVersion) -> bool:
    holds_production = seen.registry is not None and PRODUCTION in seen.registry.aliases
    if seen.engine is None and not holds_production and any(contest.status.is_new for contest in seen.contests):
        return False  # as after a restore: it may turn out to have lost
    if holds_production or _takes_part(seen) or _is_to_follow(seen):
        return True
    if seen.route.default == seen.name:  # until another is: that one may yet load
        return True
    if last := _last_left(seen):
        return not _lost(seen.name, last)
    return not _was_scaled_down(seen)


def _takes_part(seen: ObservedVersion) -> bool:
    """Whether an experiment is yet to decide about it, and leads users to it."""
    return any(one.status.decision is None and not one.has_dropped(seen.name) for one in seen.contests)


def dropping(seen: ObservedVersion) -> Contest | None:
    """Return the experiment that it left last, where that was as a challenger beyond a guardrail."""
    last = _last_left(seen)
    return last if last and last.has_dropped(seen.name) else None


def _last_left(seen: ObservedVersion) -> Contest | None:
    """One that goes on and has dropped it, before any that is decided."""
    left = (one for one in seen.contests if one.status.decision is None and one.has_dropped(seen.name))
    return next(left, None) or _last_decided(seen)


def _last_decided(seen: ObservedVersion) -> Contest | None:
    """One that was aborted as its control was replaced says nothing of the control: what replaced it does."""
    decided = [
        (contest.status.decision.decided_at, contest)
        for contest in seen.contests
        if contest.status.decision and not _was_replaced(seen.name, contest)
    ]
    return max(decided, key=lambda one: one[0])[1] if decided else None


def _was_replaced(name: str, contest: Contest) -> bool:
    spec, decision = contest.spec, contest.status.decision
    return decision is not None and decision.outcome == "ControlReplaced" and name == spec.version_of(spec.control)


def _was_scaled_down(seen: ObservedVersion) -> bool:
    """What lost stays as it is, until its spec changes: the experiment that it lost may be deleted."""
    before = seen.previous
    has_lost = before.phase in ENDING or before.warm_until is not None
    return has_lost and before.observed_generation == seen.generation


def _lost(name: str, contest: Contest) -> bool:
    """Whether it lost; the loser of a promotion is wanted until that is over, but for who was dropped before."""
    kept = kept_versions(contest.spec, contest.status)
    return contest.has_dropped(name) or (kept is not None and name not in kept)


def _drain(seen: ObservedVersion) -> timedelta:
    last = _last_left(seen)
    return timedelta(seconds=seconds(last.spec.decision.scale_down_delay)) if last else _DRAIN


def ends_at(seen: ObservedVersion, now: datetime) -> datetime | None:
    """Return when the pods of a version end that is not wanted any more; None where it has none, or they may end now.

    The time for answers under way begins when the last router has left it.
    """
    if seen.engine is None or seen.engine.replicas == 0 or seen.registry is None:
        return None
    if seen.previous.phase in WITHOUT_PODS and not is_named(seen):
        return None
    if not is_left(seen):
        return now + _drain(seen)
    routable = seen.previous.condition(ConditionType.ROUTABLE)
    is_told = routable is not None and routable.status == "False" and routable.reason == Reason.NOT_ROUTED
    left = datetime.fromisoformat(routable.last_transition_time) if routable and is_told else now
    return left + _drain(seen)


def is_named(seen: ObservedVersion) -> bool:
    """Return whether the newest table leads anybody to it."""
    return seen.is_routed_here and seen.name in seen.route.versions


def is_left(seen: ObservedVersion) -> bool:
    """Return whether no router sends it requests."""
    return seen.route.has_left(seen.name) or not seen.is_routed_here


def is_asleep(seen: ObservedVersion, now: datetime, replaced_at: str | None) -> bool:
    """Return whether it is to have no pods until a request wakes it: nobody has asked it for a while, and nobody is
    about to send it clients.
    """
    serving, before = seen.spec.serving, seen.previous
    if serving is None or serving.replicas == 0 or not serving.wakes or _is_awaited(seen, now, replaced_at):
        return False
    if before.phase == "Sleeping" and before.idle_since:
        return seen.asked_at is None or seen.asked_at <= datetime.fromisoformat(before.idle_since)
    least = max(seconds(serving.idles_for), expected_start(before.cold_start) + _COMES_AGAIN_SECONDS)
    quiet_since = seen.quiet_since and max(seen.quiet_since, _taken_over_at(seen, now) or seen.quiet_since)
    is_quiet = quiet_since is not None and now - quiet_since >= timedelta(seconds=least)
    has_answered = bool(_current(seen)) or before.phase in ANSWERING or bool(serving.triggers)
    return is_quiet and has_answered and is_named(seen)


def _is_awaited(seen: ObservedVersion, now: datetime, replaced_at: str | None) -> bool:
    """Whether it has to answer, asked or not: an arm of an experiment, what is to get clients, or may get them back."""
    if _takes_part(seen) or _is_to_follow(seen):
        return True
    held = seen.registry.aliases if seen.registry else ()
    routed = {**seen.route.named, PRODUCTION: seen.route.default}
    if any(routed.get(alias) != seen.name for alias in held):
        return True
    return bool(replaced_at and seen.spec.serving and now < _rollback_until(seen.spec.serving, replaced_at))
