"""What an ABExperiment is judged from, and what may follow."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus, DecisionStatus

from .comparison import Sample
from .verdict import Verdict

__all__ = [
    "Effect",
    "ExperimentVerdict",
    "Intent",
    "KeepDecision",
    "KeepStart",
    "MoveAlias",
    "Observations",
    "ObservedExperiment",
    "Record",
    "RecordDecision",
    "VariantSeen",
]


@dataclass(frozen=True)
class VariantSeen:
    """A variant's ModelVersion: its model, None where there is none, whether it answers, and its version in MLflow."""

    model: str | None
    ready: bool
    number: str = ""
    digest: str = ""
    """Of its artifact."""
    holds_production: bool = False
    """As its status has read."""


@dataclass(frozen=True)
class Observations:
    """What the recorder counted, by variant."""

    users: Mapping[str, int]
    requests: Mapping[str, int]
    samples: Mapping[str, Sample]
    moved_users: int = 0


@dataclass(frozen=True)
class Record:
    """What is kept of an experiment, beside its status and beyond it."""

    started_at: str
    decision: DecisionStatus | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of each variant's artifact as counting began; empty in a record of before they were kept."""


@dataclass(frozen=True)
class ObservedExperiment:
    """The world around one experiment."""

    generation: int
    spec: ABExperimentSpec
    previous: ABExperimentStatus
    variants: Mapping[str, VariantSeen] = field(default_factory=dict)
    busy_with: str | None = None
    """Another experiment that has the model's traffic."""
    routed: bool = False
    """Whether the router splits by this experiment."""
    observations: Observations | None = None
    record: Record | None = None
    production: str | None = None
    """The version that holds `production` in MLflow, as last heard."""
    registry_problem: str = ""

    @property
    def started_at(self) -> str | None:
        """When counting began."""
        return self.record.started_at if self.record else self.previous.started_at

    @property
    def replaced(self) -> str | None:
        """The variant whose ModelVersion was made anew with another artifact since counting began."""
        pinned = self.record.digests if self.record else {}
        present = ((name, variant.digest) for name, variant in self.variants.items() if variant.model is not None)
        return next((name for name, digest in present if pinned.get(name, digest) != digest), None)

    def start_kept(self, started_at: str) -> "tuple[Intent, ...]":
        """Return what makes the record where there is none yet."""
        digests = {name: variant.digest for name, variant in self.variants.items() if variant.digest}
        return () if self.record else (KeepStart(started_at, digests),)

    def number_of(self, variant: str | None) -> str:
        """Return a variant's version in MLflow; empty while it has none."""
        found = self.variants.get(variant or "")
        return found.number if found else ""


@dataclass(frozen=True)
class KeepStart:
    """Make the record."""

    started_at: str
    digests: Mapping[str, str]


@dataclass(frozen=True)
class KeepDecision:
    """Complete the record: from then on it never changes."""

    decision: DecisionStatus


@dataclass(frozen=True)
class RecordDecision:
    """Leave the decision in MLflow, on the version that won."""

    version: str
    decision: DecisionStatus


@dataclass(frozen=True)
class MoveAlias:
    """Give `production` to the winner, where it is still the control's."""

    expected: str
    version: str


Intent = KeepStart | KeepDecision
Effect = RecordDecision | MoveAlias
ExperimentVerdict = Verdict[ABExperimentStatus, Intent, Effect]
