"""Where a model's clients go: which version is the default, what each alias names, and which experiments split them.

One function of what is there, whatever has changed: a first version, weights, a promotion, a rollback, an alias moved
by hand, a version deleted. What follows from a change (the alias in MLflow, the end of the loser's pods) waits until
every router has it: `decide/acknowledgement.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.model_version import PRODUCTION
from anneal_operator.api.route import Route, Split
from anneal_operator.reasons import ConditionType, Reason

from .experiment_bake import bake_uid
from .experiment_end import is_followed
from .layers import clash

__all__ = [
    "Capacity",
    "Experiment",
    "Last",
    "Version",
    "compared",
    "is_baking",
    "promoted",
    "route_of",
    "split_by",
    "winner_of",
]


@dataclass(frozen=True)
class Capacity:
    """The pods of a version, against those that it needs for all clients of its model."""

    ready: int
    needed: int
    patience_seconds: int
    """How long these are waited for."""


@dataclass(frozen=True)
class Version:
    """A ModelVersion, served or only registered."""

    name: str
    model: str
    number: int
    """Its version in MLflow; 0 until that is known."""
    aliases: tuple[str, ...]
    ready: bool
    is_served: bool = True
    """Whether clients may be sent to it: it has a server that is not about to end."""
    is_asleep: bool = False
    """Whether it has no pods until a request wakes it: so it keeps its number, whatever was known before."""
    capacity: Capacity | None = None
    """Where it has pods of its own."""


@dataclass(frozen=True)
class Experiment:
    """An ABExperiment as its status stands."""

    name: str
    namespace: str
    uid: str
    spec: ABExperimentSpec
    status: ABExperimentStatus


@dataclass(frozen=True)
class Last:
    """Where a model's clients go until now."""

    default: str | None = None
    named: Mapping[str, str] = field(default_factory=dict)
    split_by: Mapping[str, int] = field(default_factory=dict)
    """The uids of the experiments that split them, each with the step of its ramp."""
    covered: Mapping[str, int] = field(default_factory=dict)
    """Of each, before which second place its users take part."""


def route_of(model: str, versions: Iterable[Version], experiments: Sequence[Experiment], last: Last) -> Route:
    """Return where the clients of a model go; nobody is sent to what does not answer who was not sent there before.

    Nor is anybody sent anywhere before it is known whether an experiment splits them, as after a restore.
    """
    own = [version for version in versions if version.model == model]
    served = {version.name: version for version in own if version.is_served}
    experiments = [experiment for experiment in experiments if experiment.spec.model_name == model]
    is_unread = last.default is None and any(experiment.status.is_new for experiment in experiments)
    default = None if is_unread else _default(own, served, experiments, last.default)
    named = {alias: to for alias in _aliases(own) if (to := _effective(alias, own, served, last.named.get(alias)))}
    if PRODUCTION in _aliases(own) and default:
        named[PRODUCTION] = default
    known = set(last.named.values())
    numbers = {
        str(version.number): name
        for name, version in served.items()
        if version.ready or version.is_asleep or name in known
    }
    return Route(default, {**named, **numbers}, _splits(served, experiments, default, last))


def _aliases(versions: Iterable[Version]) -> set[str]:
    return {alias for version in versions for alias in version.aliases}


def _effective(alias: str, own: Iterable[Version], served: Mapping[str, Version], before: str | None) -> str | None:
    """What an alias names: its holder, once that answers; until then what it named before, as long as that is served.

    So also where the holder has no server, for as long as it has none. Where two claim it, what one of them has read
    is old: it stays where it is, or goes to the newer one. One that sleeps answers whoever wakes it.
    """
    holders = {name: version for name, version in served.items() if alias in version.aliases}
    ready = {name: one for name, one in holders.items() if one.ready or (one.is_asleep and name == before)}
    if ready and before not in ready:
        return max(ready.values(), key=lambda version: version.number).name
    return before if before in served and alias in _aliases(own) else None


def _default(
    own: Sequence[Version], served: Mapping[str, Version], experiments: Sequence[Experiment], last: str | None
) -> str | None:
    """Return who answers the bare name.

    An experiment's winner does from its promotion, once it answers, until the alias has followed; not where another
    version than it and its control has that by now: it was not compared with that as what is in production. Of two
    winners the one does that had the clients, or was found, first. Otherwise the holder of `production` does, and until
    it answers, or while it has no server, clients stay where they are: nobody chose another for them. Where no version
    here holds it (its ModelVersion was deleted, or nothing was given it yet), they stay, too, or go to the newest that
    answers; but to none while one may turn out to hold it, as after a restore.
    """
    before = served.get(last or "")
    holders = {version.name for version in own if PRODUCTION in version.aliases}
    for experiment in _promotions(experiments, last):
        winner = served.get(promoted(experiment) or "")
        both = {promoted(experiment), experiment.spec.version_of(experiment.spec.control)}
        if winner and holders <= both and (winner.ready or winner is before):
            return winner.name
    if PRODUCTION in _aliases(own):
        return _effective(PRODUCTION, own, served, last)
    ready = [version for version in served.values() if version.ready]
    if before and (before.ready or before.is_asleep or not ready):
        return before.name
    if any(version.number == 0 for version in own):
        return None
    return max(ready, key=lambda version: version.number).name if ready else None


def _promotions(experiments: Iterable[Experiment], last: str | None) -> list[Experiment]:
    """Those that are not over: the one that has the clients already, then in the order of the decisions."""
    found = [(one.status.decision.decided_at, one) for one in experiments if one.status.decision and promoted(one)]
    return [one for _, one in sorted(found, key=lambda each: (promoted(each[1]) != last, each[0]))]


def _splits(
    served: Mapping[str, Version], experiments: Iterable[Experiment], default: str | None, last: Last
) -> tuple[Split, ...]:
    """Return the experiments that split the clients; one that lost a variant sends everybody to the default.

    One whose status was lost splits them as it did until its own reconcile has looked at it.

    Each has other users than the rest: of two that share some, the one has them that had them, or else has begun.
    """
    found: list[Split] = []
    known = last.split_by
    for experiment in sorted(experiments, key=lambda one: (one.uid not in known, one.status.phase != "Running")):
        was_split = experiment.status.is_new and experiment.status.decision is None and experiment.uid in known
        has_split = was_split or _is_split(experiment) or is_baking(experiment, default)
        if not has_split or not _to_answer(experiment) <= set(served):
            continue
        if not any(clash(experiment.spec, other.name, other.spec) for other in found):
            found.append(split_by(experiment, last, is_baking=is_baking(experiment, default)))
    return tuple(sorted(found, key=lambda split: split.name))


def split_by(experiment: Experiment, last: Last, *, is_baking: bool = False) -> Split:
    """Return how an experiment splits the clients, by the coverage that its status tells, else by the last.

    A slash more than any experiment's own salt by its name has keeps a layer's apart from all of these.
    """
    assignment, status, uid = experiment.spec.assignment, experiment.status, experiment.uid
    layer_salt = f"{experiment.namespace}/layers/{assignment.layer.name}" if assignment.layer else ""
    salt = assignment.salt or f"{experiment.namespace}/{experiment.name}"
    if is_baking and status.decision:
        winner = str(status.decision.winner)
        return Split(experiment.name, bake_uid(uid), experiment.spec, salt, layer_salt=layer_salt, baking=winner)
    had = assignment.coverage_of(last.covered.get(uid, 0)) if status.coverage is None else status.coverage
    step = assignment.step_of(had)
    coverage, dropped = max(had, assignment.coverage_at(step)), frozenset(status.dropped or ())
    return Split(experiment.name, uid, experiment.spec, salt, step, layer_salt, coverage, dropped=dropped)


def is_baking(experiment: Experiment, default: str | None) -> bool:
    """Whether its winner has all clients but for those held back."""
    return experiment.status.phase == "Baking" and default is not None and winner_of(experiment) == default


def _to_answer(experiment: Experiment) -> set[str]:
    """The versions without which it splits nobody: while a winner bakes, those that lost may be gone."""
    spec, winner = experiment.spec, winner_of(experiment)
    return {spec.version_of(spec.control), winner} if winner else compared(experiment)


def compared(experiment: Experiment) -> set[str]:
    """Return the versions of its variants, but of those that were dropped."""
    dropped = experiment.status.dropped or ()
    return {variant.model_version_ref.name for variant in experiment.spec.variants if variant.name not in dropped}


def _is_split(experiment: Experiment) -> bool:
    status = experiment.status
    if status.decision is not None:
        return False
    ready = status.condition(ConditionType.VARIANTS_READY)
    if status.phase == "Running":
        return ready is None or ready.reason != Reason.VARIANT_LOST
    return status.phase == "WarmingUp" and ready is not None and ready.status == "True"


def promoted(experiment: Experiment) -> str | None:
    """Return the winner, while MLflow has yet to move the alias."""
    return None if is_followed(experiment.status) else winner_of(experiment)


def winner_of(experiment: Experiment) -> str | None:
    """Return the version that a promotion is for, whether it is over or not."""
    status = experiment.status
    if status.decision is None or status.phase not in {"Promoted", "Baking"}:
        return None
    return experiment.spec.version_of(status.decision.winner)
