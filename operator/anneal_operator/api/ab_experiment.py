"""ABExperiment: versions behind one model name, a verdict on them, and the promotion that follows."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from serving_runtime.plan import USER_HEADER

from .conditions import Conditions
from .model_version import Answered
from .quantities import Duration, bounded_duration, seconds
from .schema import LocalReference, MapByName, ModelName, ObjectName, Rule, Schema, SetOf, Time
from .status import Number, ObjectStatus, StatusPart

__all__ = [
    "TRUST_RULE",
    "WINDOW_RULE",
    "ABExperimentSpec",
    "ABExperimentStatus",
    "Assignment",
    "Decision",
    "DecisionStatus",
    "ExperimentPhase",
    "KeySource",
    "MetricStatus",
    "Metrics",
    "Power",
    "Range",
    "SampleRatio",
    "Stopping",
    "Superiority",
    "Variant",
    "VariantCost",
    "VariantStatus",
]

ExperimentPhase = Literal["Pending", "WarmingUp", "Running", "Promoted", "RolledBack", "Observed", "Inconclusive"]

_MetricName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z][a-z0-9_]*$")]
_HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z][-A-Za-z0-9]*$")]


_CookieName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_.-]+$")]


class Variant(Schema):
    """One arm of the experiment."""

    name: ObjectName
    """What reports call it."""
    model_version_ref: LocalReference
    """The ModelVersion in this namespace that answers."""
    weight: int = Field(ge=1, le=10000)
    """Its share of the users, beside the other weights; 1 in 10,000 at least."""


class KeySource(Schema):
    """Where a request names its user."""

    header: _HeaderName | None = None
    """The request header, for example `X-User-Id`."""
    cookie: _CookieName | None = None
    """The cookie, as it is written; what stands in quotes has these in it."""
    body_field: Literal["user", "safety_identifier"] | None = None
    """The field at the top of the body, a string; the model's server sees it there, too."""

    rules: ClassVar = (
        Rule(
            "[has(self.header), has(self.cookie), has(self.bodyField)].filter(said, said).size() == 1",
            "each entry of `keyFrom` names one source: give `header`, `cookie` and `bodyField` an entry each",
            lambda source: len(source.dump()) == 1,
        ),
    )


class RampStep(Schema):
    """How many users take part, and for how long."""

    coverage: int = Field(ge=1, le=100)
    """Their share, in percent."""
    duration: Duration | None = Field(default=None, alias="for")
    """How long, from when all routers have it, until the next step; the last one has none."""

    rules: ClassVar = (
        Rule(
            "!has(self.__for__) || "
            "(duration(self.__for__) >= duration('10s') && duration(self.__for__) <= duration('8760h'))",
            "`for` must be from 10s to 8760h",
            lambda step: step.duration is None or 10 <= seconds(step.duration) <= seconds("8760h"),
        ),
    )


class Layer(Schema):
    """A range of the 10,000 buckets over which a layer's name spreads the users of a namespace."""

    name: ObjectName
    """The layer: experiments with ranges of the same one share out its users."""
    begin: int = Field(alias="from", ge=0, le=9999)
    """The first bucket."""
    end: int = Field(alias="to", ge=1, le=10000)
    """The bucket behind the last."""

    rules: ClassVar = (
        Rule(
            "self.from < self.to",
            "`from` must be below `to`, the bucket behind the last",
            lambda layer: layer.begin < layer.end,
        ),
    )


class Override(Schema):
    """How testers choose their variant."""

    header: _HeaderName
    """The request header that names the variant. It is theirs alone: others' requests are as if they lacked it."""
    users: SetOf[Annotated[str, StringConstraints(min_length=1, max_length=256)]] = Field(min_length=1, max_length=64)
    """The testers, as `keyFrom` names them. None of their requests is analysed; the record marks them."""


class Assignment(Schema):
    """How users are spread over the variants."""

    key_from: list[KeySource] = Field(
        default=[KeySource(header=USER_HEADER)],
        min_length=1,
        max_length=4,
        json_schema_extra={"default": [{"header": USER_HEADER}]},
    )
    """Where to look for the user, in this order. Requests that name nobody go to the control and are not analysed."""
    trust: Literal["Gateway", "Anyone"] = "Gateway"
    """Who may say who a user is. `Gateway`: what stands before the router (a gateway, or the application itself) has
    found out who asks, takes such names out of what clients send, and nobody else reaches the router; the router takes
    its word and verifies nothing. `Anyone`: clients name themselves, so that one of them may be many users; then a
    verdict is told (`decision.mode: Observe`), and nothing is promoted by it.
    """
    salt: str | None = Field(default=None, min_length=1, max_length=63)
    """Mixed into the hash of the user, so that two experiments split differently. Where it is left out, the
    experiment's namespace and name: restored from a backup it moves nobody.
    """
    ramp: list[RampStep] = Field(default=[], max_length=10)
    """Steps in which users are taken in; without any, all take part from the start. A step follows when all routers
    have had the one before for its time; it leaves everybody where they are who takes part, and the variants' shares as
    they are. Who does not take part yet gets the control, and is not analysed.
    """
    layer: Layer | None = None
    """The users whom it has, so that other experiments on the model run at once on others, by disjoint ranges of the
    same layer. Who is in no range gets the version that holds `production`.
    """
    holdout_percent: int = Field(default=0, ge=0, le=90)
    """The share of its users who get the control as long as it runs, at any coverage, and are not analysed."""
    override: Override | None = None
    """Testers, who may choose their variant."""

    rules: ClassVar = (
        Rule(
            "self.ramp.size() == 0 || (self.ramp.filter(step, !has(step.__for__)).size() == 1 "
            "&& !has(self.ramp[self.ramp.size() - 1].__for__))",
            "each step of `ramp` but the last says by `for` how long it takes, and the last has none",
            lambda assignment: all(
                (step.duration is None) == (number == len(assignment.ramp))
                for number, step in enumerate(assignment.ramp, start=1)
            ),
        ),
        Rule(
            "self.ramp.map(step, step.coverage).isSorted() "
            "&& self.ramp.all(step, self.ramp.exists_one(other, other.coverage == step.coverage))",
            "the `coverage` of each step of `ramp` must be above the one before: who takes part goes on doing so",
            lambda assignment: all(one.coverage < other.coverage for one, other in pairwise(assignment.ramp)),
        ),
        Rule(
            "!has(self.override) || self.trust != 'Anyone'",
            "with `trust: Anyone` everybody may call themselves a tester: leave `override` out, or have a gateway name "
            "the users and set `trust: Gateway`",
            lambda assignment: assignment.override is None or assignment.trust != "Anyone",
        ),
        Rule(
            "!has(self.override) || !self.keyFrom.exists(key, has(key.header) "
            "&& key.header.lowerAscii() == self.override.header.lowerAscii())",
            "`override.header` names a variant, and the headers of `keyFrom` users: take another",
            lambda assignment: (
                assignment.override is None
                or assignment.override.header.lower() not in {(key.header or "").lower() for key in assignment.key_from}
            ),
        ),
    )

    @property
    def is_plain(self) -> bool:
        """Whether routers of any build obey it: headers name all users, and all take part."""
        is_whole = not (self.ramp or self.layer or self.holdout_percent or self.override)
        return is_whole and all(key.header for key in self.key_from)

    def step_of(self, coverage: int | None) -> int:
        """Return the ramp's step with this coverage, from 1, the first where none is told; 0 without a ramp."""
        reached = sum(step.coverage <= (coverage or 0) for step in self.ramp)
        return max(reached, min(len(self.ramp), 1))

    def coverage_at(self, step: int) -> int:
        """Return the coverage of a step of the ramp, in percent."""
        return self.ramp[step - 1].coverage if step else 100


class Range(Schema):
    """Between what values a metric lies."""

    min: float = Field(ge=-1e12, le=1e12)
    """The least value."""
    max: float = Field(ge=-1e12, le=1e12)
    """The greatest value."""

    rules: ClassVar = (
        Rule(
            "self.max - self.min >= 0.000001",
            "`max` must be above `min`, by a millionth at least",
            lambda limits: limits.max - limits.min >= 0.000001,
        ),
    )


class PrimaryMetric(Schema):
    """The number that decides."""

    name: _MetricName
    """The metric's name in `POST /v1/feedback`, for example `user_rating`."""
    source: Literal["Feedback"] = "Feedback"
    """`Feedback`: what clients post about answers they got; a user's value is the mean of theirs."""
    direction: Literal["Increase", "Decrease"] = "Increase"
    """Which way is better."""
    range: Range | None = None
    """Between what values it lies, for example 1 and 5: feedback beyond is refused, and what the recorder keeps for
    analyses of the metric needs it. Where all users say the same, only a metric with a range can have a verdict.
    """
    window: Literal["24h"] | None = None
    """For how long after their first answer what a user says counts. A user then enters the analysis once, when that
    time is over, and a tenth of it more: everybody is observed for the same time, what users were like before the
    experiment is taken into account, and where those of one variant give values more often that is, too. Left out,
    all that was said so far counts at once. The recorder keeps no other window.
    """
    minimum_detectable_effect: float | None = Field(default=None, ge=0.000001, le=1e12)
    """The least difference of the means that matters, in the metric's own unit: `status.power` tells how many users it
    takes to find it, a fixed horizon takes as many, and a sequence ends without a winner once it shows that no
    challenger is better by as much.
    """

    rules: ClassVar = (
        Rule(
            "!has(self.window) || has(self.range)",
            "`window` needs a `range`: the recorder keeps what was said within it on a scale from `min` to `max`",
            lambda metric: metric.window is None or metric.range is not None,
        ),
    )


class Metrics(Schema):
    """What is measured."""

    primary: PrimaryMetric
    """The number that decides."""


class Stopping(Schema):
    """When the verdict is due."""

    method: Literal["Sequential", "FixedHorizon"] = "Sequential"
    """`Sequential`: the numbers are looked at all the time, by intervals that allow for it, and the verdict comes as
    soon as they show one. `FixedHorizon`: there is one look, by Welch's test, at a sample whose size is set before, and
    no interval is told until then.
    """
    confidence: float = Field(default=0.95, ge=0.5, le=0.9999)
    """The confidence of the intervals that must exclude 0, for all challengers together."""
    min_users_per_variant: int = Field(default=200, ge=2, le=100000000)
    """Nothing is looked at before every variant has as many users with a value. With `FixedHorizon` this is the sample,
    or what `minimumDetectableEffect` takes, where that is more.
    """
    min_duration: Duration = "24h"
    """No verdict comes earlier, so that no time of day is left out."""
    max_duration: Duration = "336h"
    """After this time it ends: with the verdict that sound numbers show by then, else Inconclusive."""

    rules: ClassVar = (
        Rule(
            "duration(self.minDuration) <= duration(self.maxDuration)",
            "`minDuration` must not be above `maxDuration`",
            lambda stopping: seconds(stopping.min_duration) <= seconds(stopping.max_duration),
        ),
        bounded_duration("maxDuration", "max_duration", "10s", "8760h"),
    )


class Decision(Schema):
    """What follows from the verdict."""

    mode: Literal["Automatic", "Observe"] = "Automatic"
    """`Automatic` promotes the winner; `Observe` only tells."""
    scale_down_delay: Duration = "30s"
    """How long the loser keeps running for answers still under way, once no router sends it requests any more."""

    rules: ClassVar = (bounded_duration("scaleDownDelay", "scale_down_delay", "0s", "24h"),)


TRUST_RULE = Rule(
    "self.assignment.trust != 'Anyone' || self.decision.mode != 'Automatic'",
    "with `assignment.trust: Anyone` a client can be as many users as it likes, so no verdict promotes anything by "
    "itself: set `decision.mode: Observe`, or have a gateway name the users and set `trust: Gateway`",
    lambda spec: spec.assignment.trust != "Anyone" or spec.decision.mode != "Automatic",
)

WINDOW_RULE = Rule(
    "!has(self.metrics.primary.window) || duration(self.stopping.maxDuration) >= duration('27h')",
    "a `window` is analysed after 26.4 hours at the earliest: `stopping.maxDuration` must be 27h at least",
    lambda holder: holder.metrics.primary.window is None or seconds(holder.stopping.max_duration) >= 97200,
)


class ABExperimentSpec(Schema):
    """Which versions are compared, on whom, and by what."""

    model_name: ModelName
    """The name that clients call."""
    control: ObjectName
    """The variant that the others are compared with; it also gets the requests that name no user."""
    variants: MapByName[Variant] = Field(min_length=2, max_length=8)
    """The arms: the control and those that challenge it."""
    assignment: Assignment = Field(default_factory=Assignment)
    """How users are spread."""
    metrics: Metrics
    """What is measured."""
    stopping: Stopping = Field(default_factory=Stopping)
    """When the verdict is due."""
    decision: Decision = Field(default_factory=Decision)
    """What follows from it."""

    rules: ClassVar = (
        # Of lists whose entries have owners the order is not compared; the variants' says which buckets each has.
        Rule(
            "self == oldSelf && self.variants.map(variant, variant.name) == oldSelf.variants.map(old, old.name)",
            "an experiment that changes while it runs proves nothing: delete it and create another",
        ),
        Rule(
            "self.variants.exists_one(v, v.name == self.control)",
            "`control` must be the name of exactly one variant",
            lambda spec: sum(variant.name == spec.control for variant in spec.variants) == 1,
        ),
        Rule(
            "self.variants.all(v, self.variants.exists_one(w, w.modelVersionRef == v.modelVersionRef))",
            "each variant needs a ModelVersion of its own",
            lambda spec: len({variant.model_version_ref.name for variant in spec.variants}) == len(spec.variants),
        ),
        TRUST_RULE,
        WINDOW_RULE,
    )

    def version_of(self, variant: str | None) -> str:
        """Return the ModelVersion of a variant; raise KeyError where there is no such variant."""
        return {found.name: found.model_version_ref.name for found in self.variants}[variant or ""]


class Superiority(StatusPart):
    """How often a user's value is greater than one of the control's; half of what is equal counts."""

    probability: Number
    """The probability; 0.5 where there is no difference."""
    lower: Number
    """Lower end of its interval (Brunner and Munzel)."""
    upper: Number
    """Upper end of it."""


class MetricStatus(StatusPart):
    """One metric of one variant."""

    name: str
    """The metric."""
    users: int
    """Users with a value."""
    mean: Number
    """Mean of the users' values."""
    stddev: Number
    """Standard deviation of the users' values."""
    lift: Number | None = None
    """Difference of the means to the control's; like what follows, with `FixedHorizon` not before the one look."""
    lower: Number | None = None
    """Lower end of the difference's interval, at the challenger's share of the error that `confidence` leaves."""
    upper: Number | None = None
    """Upper end of it."""
    p_value: Number | None = None
    """Two-sided p-value of the difference, of this challenger alone."""
    superiority: Superiority | None = None
    """How often its users' values are the greater ones, where there is a `window`; nothing is decided by it."""


class VariantCost(StatusPart):
    """What a variant's version cost since its users are counted, as the version's own status told last.

    In the currency of the chart's `pricePerGpuHour`, for whoever asked that version.
    """

    amount: float
    """What its GPUs cost."""
    answered: Answered
    """What it answered."""
    amount_before: float
    """What they had cost before that."""
    answered_before: Answered
    """What it had answered before that."""
    per_thousand_requests: Number | None = None
    """`amount` over what it answered."""
    per_million_tokens: Number | None = None
    """`amount` over the tokens of what it was asked and answered."""


class VariantStatus(StatusPart):
    """What was observed of one variant."""

    name: str
    """The variant."""
    weight: int
    """Its share now: the winner of a promotion has all."""
    users: int = 0
    """Users who were given it."""
    requests: int = 0
    """Requests it answered for them."""
    metrics: list[MetricStatus] = Field(default=[])
    """What was measured."""
    cost: VariantCost | None = None
    """What it cost, until the decision; nothing where its GPUs have no price."""


class SampleRatio(StatusPart):
    """Whether the users are spread as the weights say."""

    p_value: Number
    """It may be looked at at any time. At 0.001 one variant is losing users, and nothing is decided any more, whatever
    it is later.
    """


class Power(StatusPart):
    """How long it takes to find `minimumDetectableEffect`, or, with `FixedHorizon`, to have the sample."""

    required_users_per_variant: int
    """Users with a value of the smallest variant; with them such a difference is found four times in five."""
    estimated_decision_time: Time | None = None
    """When the variants have them, at the pace so far (RFC 3339, UTC)."""


class DecisionStatus(StatusPart):
    """The verdict, with what it rests on, so that it can be recomputed."""

    outcome: str
    """`Winner`, `ControlWins` or `Inconclusive`."""
    winner: str | None = None
    """The variant that won."""
    rule: str
    """The rule that decided."""
    reason: str
    """The verdict in a sentence."""
    decided_at: Time
    """When (RFC 3339, UTC)."""
    snapshot: str
    """What it follows from, as JSON: what the start froze, and sums of whole numbers. The same numbers give the same
    decision: `python -m anneal_operator verdict`.
    """


class ABExperimentStatus(ObjectStatus):
    """Where the experiment stands."""

    VOLATILE: ClassVar[frozenset[str]] = frozenset({"users", "variants", "sample_ratio", "power"})

    phase: str = "Pending"
    """`Pending`, `WarmingUp`, `Running`, `Promoted`, `RolledBack` (the control won), `Observed` (a winner that nothing
    follows from, as its mode says) or `Inconclusive`.
    """
    conditions: Conditions = Field(default=[])
    """`VariantsReady`, `RouteProgrammed`, `DataFresh` (what routers counted is stored), `AssignmentHealthy`,
    `SampleSufficient`, `Decided`, and `AliasMoved`: MLflow gives the winner `production`. `Tracked`: MLflow could not
    be told of the start or the decision, and will be. `Recorded`: the ConfigMap with the experiment's record cannot be
    read, and somebody has to delete it. `Reconciling` and `Stalled` are for kstatus.
    """
    coverage: int | None = None
    """The share of its users who take part, in percent."""
    coverage_since: Time | None = None
    """When all routers had this step of the ramp (RFC 3339, UTC)."""
    started_at: Time | None = None
    """When the route was programmed and counting began (RFC 3339, UTC)."""
    users: int = 0
    """Users of all variants."""
    variants: list[VariantStatus] = Field(default=[])
    """What was observed of each variant."""
    sample_ratio: SampleRatio | None = None
    """Whether the users are spread as the weights say."""
    power: Power | None = None
    """How long it takes yet."""
    decision: DecisionStatus | None = None
    """The verdict."""
