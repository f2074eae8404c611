"""What is waited for before a version gets all clients of a model: that it has the pods for them.

A step between a version's first answer and the route that leads everybody to it, at a promotion and where `production`
is moved by hand. It is bounded: where no node has room for more pods, clients come in the end, as they were to: also
where another operator leads meanwhile, which goes by since when the version's `CapacityReady` is False.

A move to an older version is a rollback, and waits for nothing: what clients get now may be what is wrong. So is the
return from a winner that was not promoted after all. Nor is anything waited for where what they get now does not
answer, or is gone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from anneal_operator.api.model_version import PRODUCTION
from anneal_operator.api.route import Route

from .acknowledgement import Awaited
from .layers import clash
from .routing import Experiment, Last, Version, compared, promoted, split_by, winner_of

__all__ = ["awaited", "held_back"]


def awaited(
    route: Route,
    versions: Iterable[Version],
    experiments: Sequence[Experiment],
    last: Last,
    known: Awaited | None,
    now: datetime,
) -> Awaited | None:
    """Return what a change of the default waits for, or did for as long as it may; `known` is what it waited for."""
    found = {version.name: version for version in versions}
    before, following = found.get(last.default or ""), found.get(route.default or "")
    if before is None or following is None or before is following or not (before.is_served and before.ready):
        return None
    has_won = any(promoted(experiment) == following.name for experiment in experiments)
    capacity, returns = following.capacity, any(_returns(one, before.name, following.name) for one in experiments)
    is_rollback = returns or not (has_won or following.number > before.number)
    if capacity is None or capacity.ready >= capacity.needed or is_rollback:
        return None
    is_known = known is not None and known.version == following.name
    until = known.until if known and is_known else now + timedelta(seconds=capacity.patience_seconds)
    return Awaited(following.name, capacity.ready, capacity.needed, until)


def _returns(experiment: Experiment, before: str, following: str) -> bool:
    """Whether an experiment's winner was not promoted after all, and clients go from it to the control."""
    spec, status = experiment.spec, experiment.status
    if status.decision is None or status.decision.winner is None or status.phase not in {"Aborted", "RolledBack"}:
        return False
    return (spec.version_of(status.decision.winner), spec.version_of(spec.control)) == (before, following)


def held_back(
    route: Route,
    waits_for: Awaited | None,
    versions: Iterable[Version],
    experiments: Sequence[Experiment],
    last: Last,
    now: datetime,
) -> Route:
    """Return the route that holds meanwhile: the default stays, and whoever an experiment led elsewhere stays there.

    Not where one of its versions has no server any more: its users would be sent to nobody.
    """
    if waits_for is None or now >= waits_for.until or last.default is None:
        return route
    named = {**route.named, PRODUCTION: last.default} if PRODUCTION in route.named else route.named
    served = {version.name for version in versions if version.is_served}
    won = [one for one in experiments if winner_of(one) == waits_for.version and one.uid in last.split_by]
    won = [one for one in won if compared(one) <= served]
    begun = [split for split in route.splits if not split.baking]  # what bakes has not begun to
    others = [split for split in begun if not any(clash(one.spec, split.name, split.spec) for one in won)]
    splits = sorted((*(split_by(one, last) for one in won), *others), key=lambda split: split.name)
    return replace(route, default=last.default, named=named, splits=tuple(splits))
