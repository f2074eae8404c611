"""Where a model's clients go: which version is the default, and which experiment splits them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus
from anneal_operator.api.model_version import PRODUCTION
from anneal_operator.reasons import ConditionType, Reason

from .experiment_end import is_followed

__all__ = ["Experiment", "Split", "Version", "default_of", "split_of"]


@dataclass(frozen=True)
class Version:
    """A ModelVersion that is served."""

    name: str
    model: str
    number: int
    """Its version in MLflow."""
    aliases: tuple[str, ...]
    ready: bool


@dataclass(frozen=True)
class Experiment:
    """An ABExperiment as its status stands."""

    name: str
    namespace: str
    uid: str
    spec: ABExperimentSpec
    status: ABExperimentStatus


@dataclass(frozen=True)
class Split:
    """The experiment that splits a model's clients now."""

    name: str
    uid: str
    spec: ABExperimentSpec
    salt: str


def default_of(
    model: str, versions: Sequence[Version], experiments: Sequence[Experiment], last: Mapping[str, str]
) -> str | None:
    """Return the version that gets whoever names the model alone; None where none can answer.

    An experiment's winner gets them from its promotion until the alias has followed. Otherwise the holder of
    `production` does, once it answers: until then the last default keeps them. Where no version here holds it (its
    ModelVersion was deleted, or nothing was given it yet), they stay where they are, or go to the newest that answers.
    """
    present = {version.name: version for version in versions if version.model == model}
    ready = [version for version in present.values() if version.ready]
    for experiment in experiments:
        winner = _promoted(experiment) if experiment.spec.model_name == model else None
        if winner in present:
            return winner
    holder = next((version for version in present.values() if PRODUCTION in version.aliases), None)
    before = present.get(last.get(model, ""))
    if holder and (holder.ready or before is None or not before.ready):
        return holder.name
    if before and (before.ready or not ready):
        return before.name
    return max(ready, key=lambda version: version.number).name if ready else None


def split_of(model: str, versions: Sequence[Version], experiments: Sequence[Experiment]) -> Split | None:
    """Return the experiment that splits a model's clients; one that lost a variant sends everybody to the default."""
    present = {version.name for version in versions if version.model == model}
    for experiment in experiments:
        named = {variant.model_version_ref.name for variant in experiment.spec.variants}
        if experiment.spec.model_name == model and _splits(experiment) and named <= present:
            salt = experiment.spec.assignment.salt or f"{experiment.namespace}/{experiment.name}"
            return Split(experiment.name, experiment.uid, experiment.spec, salt)
    return None


def _splits(experiment: Experiment) -> bool:
    status = experiment.status
    if status.decision is not None:
        return False
    ready = status.condition(ConditionType.VARIANTS_READY)
    if status.phase == "Running":
        return ready is None or ready.reason != Reason.VARIANT_LOST
    return status.phase == "WarmingUp" and ready is not None and ready.status == "True"


def _promoted(experiment: Experiment) -> str | None:
    """The winner, while MLflow has yet to move the alias."""
    status = experiment.status
    if status.decision is None or status.phase != "Promoted" or is_followed(status):
        return None
    return experiment.spec.version_of(status.decision.winner)
