"""What an ABExperiment is judged from, and what may follow."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus
from anneal_operator.api.model_version import Cost
from anneal_operator.reasons import ConditionType

from .acknowledgement import RouteSeen
from .compared import Compared
from .experiment_terms import terms_of
from .statistics.guarded import Guards
from .statistics.guardrails import breach, breaches
from .statistics.lee import with_cuts
from .statistics.snapshot import Snapshot
from .statistics.terms import Counts, Terms
from .statistics.zeros import with_zeros
from .verdict import Call, Verdict

__all__ = [
    "FRESH_FOR",
    "WAITED_FOR",
    "CloseRecord",
    "Effect",
    "ExperimentVerdict",
    "Intent",
    "KeepDecision",
    "KeepLatches",
    "KeepRecommendation",
    "KeepReturn",
    "KeepStart",
    "MoveAlias",
    "ObservedExperiment",
    "Pin",
    "Record",
    "RecordDecision",
    "Remember",
    "Returned",
    "Rival",
    "Stored",
    "VariantSeen",
    "dropped_by",
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
    cost: Cost | None = None
    """As its status tells."""
    takes_copies: bool = True
    """Whether routers can send it copies of requests."""


FRESH_FOR = timedelta(minutes=5)
"""How old records may be that the recorder does not have."""
WAITED_FOR = timedelta(minutes=10)
"""How long what was counted is waited for once the time of an experiment, or of a bake, is over."""


@dataclass(frozen=True)
class Stored:
    """Up to when the recorder has what a router counted, as that told."""

    router: str
    """Its pod."""
    until: datetime | None
    """None where it never told."""
    told_at: datetime
    """When it last did; or when that was first missed."""


@dataclass(frozen=True)
class Rival:
    """Another experiment on the model that has users, or wants some."""

    name: str
    created_at: str
    phase: str
    has_started: bool
    spec: ABExperimentSpec | None = None
    """None of one that cannot be parsed."""


@dataclass(frozen=True)
class Pin:
    """What a variant was as counting began."""

    number: str
    """Its version in MLflow."""
    digest: str
    """Of its artifact."""


@dataclass(frozen=True)
class Returned:
    """Why everybody returned to the control from a winner that was baking."""

    outcome: str
    """`Aborted` by a person, `GuardrailBreach` or `WinnerLost`."""
    reason: str
    """In a sentence."""


@dataclass(frozen=True)
class Record:
    """What is kept of an experiment, beside its status and beyond it."""

    started_at: str
    decision: DecisionStatus | None = None
    pins: Mapping[str, Pin] = field(default_factory=dict)
    """By variant."""
    is_closed: bool = False
    """Whether all that follows from the decision was done: it is never done again."""
    uid: str = ""
    """The experiment's as counting began, by which recorder and routers know it: one that is applied again goes on
    with its numbers. An earlier build kept none.
    """
    terms: Terms | None = None
    """What the verdict is reached by. An earlier build kept none: it took one look at a sample of a fixed size."""
    latches: frozenset[str] = frozenset()
    """What was found against the data, for good."""
    recommendation: DecisionStatus | None = None
    """What a person is asked to approve; nothing once there is a decision."""
    returned: Returned | None = None
    """Why the winner was not promoted after all."""
    revision: str = ""
    """The API server's, so that a decision is never kept over another."""
    kept_as: str = ""
    """The ConfigMap's name; another than a new one would have where an earlier build made it."""

    @property
    def content(self) -> "Record":
        """What it says, wherever that is kept."""
        return replace(self, revision="", kept_as="")


@dataclass(frozen=True)
class ObservedExperiment:
    """The world around one experiment."""

    generation: int
    spec: ABExperimentSpec
    previous: ABExperimentStatus
    variants: Mapping[str, VariantSeen] = field(default_factory=dict)
    name: str = ""
    created_at: str = ""
    rivals: Sequence[Rival] = ()
    uid: str = ""
    route: RouteSeen = field(default_factory=RouteSeen)
    """Where the routers send the model's clients."""
    observations: Counts | None = None
    """What the recorder counted, by variant."""
    secondary: Mapping[str, Counts] = field(default_factory=dict)
    """The same of each secondary metric that it told of, as if that were to decide."""
    shadowed: Mapping[str, Compared] | None = None
    """What it counted of copies, by challenger, of a Shadow."""
    baked: Guards | None = None
    """What it counted for guardrails while the winner bakes: of who stays with the control, then of the winner's."""
    stored: Stored | None = None
    """Of the router whose records are stored least far; None where no router is known."""
    record: Record | None = None
    """In the namespace."""
    record_name: str = ""
    """What its ConfigMap would be called, were it made now."""
    spoilt_record: str = ""
    """The record's ConfigMap, where there is one that cannot be read or is not ours."""
    remembered: Record | None = None
    """In MLflow, as last heard: it outlives the namespace."""
    is_heard: bool = True
    """Whether MLflow was heard yet."""
    production: str | None = None
    """The version that holds `production` in MLflow, as last heard."""
    registry_problem: str = ""

    @property
    def started_at(self) -> str | None:
        """When counting began."""
        return self.record.started_at if self.record else self.previous.started_at

    @property
    def is_to_rest(self) -> bool:
        """Whether people want that it leads nobody elsewhere: for now, or for good."""
        return self.spec.suspend or self.spec.abort

    @property
    def decision(self) -> DecisionStatus | None:
        """What was decided, wherever that is told."""
        kept = (record.decision for record in (self.record, self.remembered) if record)
        return self.previous.decision or next(filter(None, kept), None)

    @property
    def recommendation(self) -> DecisionStatus | None:
        """What was recommended, wherever that is told; nothing once it was shown to be beyond a guardrail."""
        found = self._recommended
        return None if found is None or found.winner in self.dropped else found

    @property
    def looked(self) -> Counts | None:
        """The numbers by which one was recommended, who may have been dropped since."""
        found = self._recommended
        if found is None:
            return None
        try:
            return Snapshot.read(json.loads(found.snapshot)).counts
        except (KeyError, TypeError, ValueError):
            return None  # as an earlier build kept them

    @property
    def _recommended(self) -> DecisionStatus | None:
        kept = (record.recommendation for record in (self.record, self.remembered) if record)
        return next(filter(None, kept), None)

    @property
    def terms(self) -> Terms:
        """What the verdict is reached by: as it was as counting began, where it has."""
        if self.record is None:
            return terms_of(self.spec)
        return self.record.terms or terms_of(self.spec, "FixedHorizon")

    @property
    def counted(self) -> Counts | None:
        """What the recorder counted, with what was found before."""
        if self.observations is None:
            return None
        counts = with_zeros(self.terms, replace(self.observations, latched=self.latches))
        return with_cuts(self.terms, counts)

    @property
    def latches(self) -> frozenset[str]:
        """What was found against the data, wherever that is told."""
        return self._broken.union(*(record.latches for record in (self.record, self.remembered) if record))

    @property
    def _broken(self) -> frozenset[str]:
        """The guardrails that the status tells to be broken: a record that was lost may be made anew without them."""
        told = {variant.name: variant.guardrails for variant in self.previous.variants}
        return frozenset(
            breach(one.name, place)
            for place, variant in enumerate(self.spec.variants)
            for one in told.get(variant.name, ())
            if one.state == "Breached"
        )

    @property
    def dropped(self) -> frozenset[str]:
        """The challengers that were shown to be beyond a guardrail: nothing hangs on their versions any more."""
        return frozenset(dropped_by(self.spec, self.latches))

    @property
    def identity(self) -> str:
        """The uid by which recorder and routers know it."""
        return self.record.uid if self.record and self.record.uid else self.uid

    @property
    def is_control_replaced(self) -> bool:
        """Whether `production` is another version's than the control's, as far as both are known."""
        control = self.number_of(self.spec.control)
        return bool(control) and self.production not in {None, control}

    @property
    def replaced(self) -> str | None:
        """The first variant whose ModelVersion was made anew with another artifact since counting began."""
        return next((name for name in self.variants if name not in self.dropped and self.is_replaced(name)), None)

    def is_replaced(self, variant: str) -> bool:
        """Whether a variant's ModelVersion is there, with another artifact than when counting began."""
        pin, found = self._pin(variant), self.variants.get(variant)
        return bool(pin and found and found.model is not None and found.digest != pin.digest)

    def number_of(self, variant: str | None) -> str:
        """Return a variant's version in MLflow, as counting began where it has; empty while it has none."""
        pin, found = self._pin(variant or ""), self.variants.get(variant or "")
        return pin.number if pin else found.number if found else ""

    def _pin(self, variant: str) -> Pin | None:
        return self.record.pins.get(variant) if self.record else None

    def start(self, at: str) -> "KeepStart":
        """Return what makes the record."""
        known = {name: variant for name, variant in self.variants.items() if variant.number and variant.digest}
        pins = {name: Pin(variant.number, variant.digest) for name, variant in known.items()}
        return KeepStart(Record(at, pins=pins, uid=self.uid, terms=terms_of(self.spec)))

    @property
    def to_remember(self) -> "tuple[Remember, ...]":
        """What MLflow has yet to be told; never another decision than it was told."""
        known = self.record and replace(self.record.content, uid=self.identity, latches=self.latches)
        if known is None or self.registry_problem or known == self.remembered:
            return ()
        is_behind = self.remembered is not None and self.remembered.decision not in (None, known.decision)
        return () if is_behind else (Remember(known),)


def dropped_by(spec: ABExperimentSpec, latches: Collection[str]) -> list[str]:
    """Return the challengers of which it was found, for good, that they are beyond a guardrail."""
    places = breaches(latches)
    return [variant.name for place, variant in enumerate(spec.variants) if place in places]


@dataclass(frozen=True)
class KeepStart:
    """Make the record: as counting begins, or as MLflow has it."""

    record: Record


@dataclass(frozen=True)
class KeepDecision:
    """Add the decision to the record, and close it where nothing follows."""

    decision: DecisionStatus
    closes: bool


@dataclass(frozen=True)
class KeepLatches:
    """Add to the record what was found against the data: it stands when the numbers look well again."""

    latches: frozenset[str]


@dataclass(frozen=True)
class KeepRecommendation:
    """Add to the record what a person is asked to approve: it is not found anew."""

    recommendation: DecisionStatus


@dataclass(frozen=True)
class KeepReturn:
    """Add to the record why everybody returned to the control, and close it."""

    returned: Returned


@dataclass(frozen=True)
class CloseRecord:
    """Everything that follows was done: from then on the record never changes."""


@dataclass(frozen=True)
class Remember(Call):
    """Have MLflow know the record, too."""

    told_by: ClassVar = ConditionType.TRACKED
    record: Record


@dataclass(frozen=True)
class RecordDecision(Call):
    """Leave the decision in MLflow, on the version that won."""

    version: str
    decision: DecisionStatus


@dataclass(frozen=True)
class MoveAlias(Call):
    """Give `production` to the winner, where it is still the control's."""

    expected: str
    version: str


Intent = KeepStart | KeepLatches | KeepRecommendation | KeepDecision | KeepReturn | CloseRecord
Effect = Remember | RecordDecision | MoveAlias
ExperimentVerdict = Verdict[ABExperimentStatus, Intent, Effect]
