"""ABExperiment: versions behind one model name, a verdict on them, and the promotion that follows."""

from typing import ClassVar, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

from serving_runtime.plan import BUCKETS, USER_HEADER

from .assignment import Assignment
from .metrics import Metrics, PrimaryMetric, Range
from .quantities import Duration, bounded_duration, seconds
from .schema import LocalReference, MapByName, ModelName, ObjectName, Rule, Schema, immutable, unchanged
from .shadow import Shadow

__all__ = [
    "RAMP_RULE",
    "TRUST_RULE",
    "WINDOW_RULE",
    "ABExperimentSpec",
    "Decision",
    "ExperimentType",
    "Stopping",
    "Variant",
    "buckets_held_back",
]


ExperimentType = Literal["AB", "AA", "Shadow"]


def buckets_held_back(had: int, percent: int) -> int:
    """Return how many of the control's buckets stay with it while a winner bakes: `percent` of all at most."""
    return min(had, BUCKETS * percent // 100)


class Variant(Schema):
    """One arm of the experiment."""

    name: ObjectName
    """What reports call it."""
    model_version_ref: LocalReference
    """The ModelVersion in this namespace that answers."""
    weight: int = Field(ge=1, le=10000)
    """Its share of the users, beside the other weights; 1 in 10,000 at least. With `type: Shadow`, a challenger's share
    of the copies, beside the other challengers; the control's says nothing.
    """


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

    mode: Literal["Automatic", "Recommend", "Observe"] = "Automatic"
    """`Automatic` promotes the winner; `Recommend` does once a person approves it, and until then users stay where they
    are; `Observe` only tells.
    """
    approve: ObjectName | None = None
    """With `Recommend`, the challenger that a person wants promoted. Where another is recommended, nothing follows."""
    bake: Duration = "0s"
    """How long a winner that has the traffic is tried before it is given `production`. Meanwhile a part of the users
    stays with the control, whose pods stay, too, and `abort` returns everybody to it, as does a guardrail that the
    winner is shown to be beyond, and a winner that does not answer for 30 s.
    """
    bake_holdback_percent: int = Field(default=10, ge=1, le=50)
    """Meanwhile, the share of all users who stay with the control: only of those who had it, and no more than these."""
    scale_down_delay: Duration = "30s"
    """How long the loser keeps running for answers still under way, once no router sends it requests any more."""

    rules: ClassVar = (
        bounded_duration("scaleDownDelay", "scale_down_delay", "0s", "24h"),
        bounded_duration("bake", "bake", "0s", "336h"),
        Rule(
            "!has(self.approve) || self.mode == 'Recommend'",
            "`approve` answers what `mode: Recommend` recommends: leave it out, or set that mode",
            lambda decision: decision.approve is None or decision.mode == "Recommend",
        ),
    )


TRUST_RULE = Rule(
    "self.assignment.trust != 'Anyone' || self.decision.mode != 'Automatic'",
    "with `assignment.trust: Anyone` a client can be as many users as it likes, so no verdict promotes anything by "
    "itself: set `decision.mode: Observe`, or have a gateway name the users and set `trust: Gateway`",
    lambda spec: spec.assignment.trust != "Anyone" or spec.decision.mode != "Automatic",
)

WINDOW_RULE = Rule(
    "!has(self.metrics) || !has(self.metrics.primary.window) || duration(self.stopping.maxDuration) >= duration('27h')",
    "a `window` is analysed after 26.4 hours at the earliest: `stopping.maxDuration` must be 27h at least",
    lambda holder: holder.metrics.primary.window is None or seconds(holder.stopping.max_duration) >= 97200,
)

RAMP_RULE = Rule(
    "self.assignment.ramp.filter(s, has(s.__for__)).map(s, duration(s.__for__)).sum() "
    "< duration(self.stopping.maxDuration)",
    "the experiment would end before the last step of `assignment.ramp`: shorten the steps' `for`, or raise "
    "`stopping.maxDuration` above their sum",
    lambda holder: (
        sum(seconds(step.duration) for step in holder.assignment.ramp if step.duration)
        < seconds(holder.stopping.max_duration)
    ),
)

_SHADOW_RULES = (
    Rule(
        "!has(self.shadow) || self.type == 'Shadow'",
        "`shadow` bounds the copies of `type: Shadow`: set that type, or leave it out",
        lambda spec: spec.shadow is None or spec.type == "Shadow",
    ),
    Rule(
        "has(self.metrics) != (self.type == 'Shadow')",
        "`metrics` is what users are compared by: set it, but leave it out with `type: Shadow`, which compares answers",
        lambda spec: ("metrics" in spec.model_fields_set) != (spec.type == "Shadow"),
    ),
    Rule(
        "self.type != 'Shadow' || self.decision.mode == 'Observe'",
        "`type: Shadow` promotes nothing, as no user gets a challenger's answer: set `decision.mode: Observe`",
        lambda spec: spec.type != "Shadow" or spec.decision.mode == "Observe",
    ),
    Rule(
        "self.type != 'Shadow' || (self.assignment.ramp.size() == 0 && !has(self.assignment.layer) "
        "&& self.assignment.holdoutPercent == 0 && !has(self.assignment.override) && !has(self.assignment.salt) "
        "&& self.assignment.trust == 'Gateway' && self.assignment.keyFrom.size() == 1 "
        f"&& has(self.assignment.keyFrom[0].header) && self.assignment.keyFrom[0].header == '{USER_HEADER}')",
        "with `type: Shadow` everybody gets the control's answers: leave `assignment` out",
        lambda spec: spec.type != "Shadow" or spec.assignment == Assignment(),
    ),
    Rule(
        "self.type != 'Shadow' || (self.stopping.method == 'Sequential' && self.stopping.confidence == 0.95 "
        "&& self.stopping.minUsersPerVariant == 200)",
        "with `type: Shadow` no users are compared: of `stopping`, only `minDuration` and `maxDuration` say something",
        lambda spec: (
            spec.type != "Shadow"
            or spec.stopping
            == Stopping(min_duration=spec.stopping.min_duration, max_duration=spec.stopping.max_duration)
        ),
    ),
)

_FIXED = (
    "type",
    "modelName",
    "control",
    *(f"assignment.{name}" for name in ("keyFrom", "trust", "salt", "layer", "holdoutPercent", "override")),
    "shadow",
    "stopping",
    *(f"decision.{name}" for name in ("mode", "bake", "bakeHoldbackPercent", "scaleDownDelay")),
)
_WHY_FIXED = "an experiment that changes while it runs proves nothing: delete it and create another"
_WAY = "(has({0}.metrics.primary.direction) ? {0}.metrics.primary.direction : 'Increase')"
_SAME_METRICS = (
    *(unchanged(f"metrics.primary.{to_camel(name)}") for name in PrimaryMetric.model_fields if name != "direction"),
    *(unchanged(f"metrics.{name}") for name in Metrics.model_fields if name != "primary"),
    f"{_WAY.format('self')} == {_WAY.format('oldSelf')}",
)
"""Earlier definitions filled `Increase` in: what was stored so is replaced by a manifest that leaves it out."""


def _agreement() -> Metrics:
    """What a Shadow has in the place of what users say."""
    return Metrics(primary=PrimaryMetric(name="agreement", range=Range(min=0, max=1)))


class ABExperimentSpec(Schema):
    """Which versions are compared, on whom, and by what."""

    type: ExperimentType = "AB"
    """`AB` finds out which variant is better. `AA` compares what is the same, to find out whether the set-up can be
    believed: the variants name one ModelVersion, or several of one artifact. Nothing is promoted. The verdict is
    `Sound` where nothing tells the variants apart, and else `Unsound`, and names what does. With `Shadow` everybody
    gets the control's answers; a sample of what it is asked is asked of the challengers, too, once the client has its
    answer, and both answers are compared in memory and forgotten. Nothing is promoted: what comes of it are numbers.
    """
    model_name: ModelName
    """The name that clients call."""
    control: ObjectName
    """The variant that the others are compared with; it also gets the requests that name no user."""
    variants: MapByName[Variant] = Field(min_length=2, max_length=8)
    """The arms: the control and those that challenge it."""
    assignment: Assignment = Field(default_factory=Assignment)
    """How users are spread."""
    metrics: Metrics = Field(default_factory=_agreement, json_schema_extra={"default": None})
    """What is measured; of all types but `Shadow`."""
    shadow: Shadow | None = None
    """With `type: Shadow`, how much is copied at most."""
    stopping: Stopping = Field(default_factory=Stopping)
    """When the verdict is due."""
    decision: Decision = Field(default_factory=Decision)
    """What follows from it."""
    suspend: bool = False
    """Whether it rests: all users get the version that holds `production`, and nothing is counted or decided. Nor does
    its time run; once it goes on, all are where they were.
    """
    abort: bool = False
    """Whether it ends without a verdict: all users return to the control, `production` stays, and challengers lose
    their pods. That cannot be taken back. It does nothing after the verdict, but while a winner bakes.
    """

    rules: ClassVar = (
        *(immutable(field, _WHY_FIXED) for field in _FIXED),
        Rule(
            f"has(self.metrics) == has(oldSelf.metrics) && (!has(self.metrics) || ({' && '.join(_SAME_METRICS)}))",
            f"`metrics` cannot change: {_WHY_FIXED}",
        ),
        # Of lists whose entries have owners the order is not compared; the variants' says which buckets each has.
        Rule(
            "self.variants == oldSelf.variants "
            "&& self.variants.map(variant, variant.name) == oldSelf.variants.map(old, old.name)",
            f"`variants` cannot change: {_WHY_FIXED}",
        ),
        Rule(
            "oldSelf.assignment.ramp.size() > 0 || self.assignment.ramp.size() == 0",
            "`assignment.ramp` cannot be added: without one all users take part from the start, and go on doing so",
        ),
        Rule(
            "self.abort || !oldSelf.abort",
            "`abort` cannot be taken back: to run the experiment once more, create another",
        ),
        Rule(
            "!has(self.decision.approve) || (self.decision.approve != self.control "
            "&& self.variants.exists(v, v.name == self.decision.approve))",
            "`decision.approve` must be the name of a challenger, as that is what is promoted",
            lambda spec: (
                spec.decision.approve is None
                or spec.decision.approve in {variant.name for variant in spec.variants} - {spec.control}
            ),
        ),
        Rule(
            "self.variants.exists_one(v, v.name == self.control)",
            "`control` must be the name of exactly one variant",
            lambda spec: sum(variant.name == spec.control for variant in spec.variants) == 1,
        ),
        Rule(
            "self.type == 'AA' "
            "|| self.variants.all(v, self.variants.exists_one(w, w.modelVersionRef == v.modelVersionRef))",
            "each variant needs a ModelVersion of its own; only with `type: AA` may several have the same",
            lambda spec: (
                spec.type == "AA"
                or len({variant.model_version_ref.name for variant in spec.variants}) == len(spec.variants)
            ),
        ),
        Rule(
            "self.type != 'AA' || self.decision.mode == 'Observe'",
            "`type: AA` compares what is the same, so there is nothing to promote: set `decision.mode: Observe`",
            lambda spec: spec.type != "AA" or spec.decision.mode == "Observe",
        ),
        Rule(
            "self.type == 'AB' || duration(self.decision.bake) == duration('0s')",
            "only with `type: AB` is there a winner that could bake: leave `decision.bake` out",
            lambda spec: spec.type == "AB" or seconds(spec.decision.bake) == 0,
        ),
        *_SHADOW_RULES,
        TRUST_RULE,
        WINDOW_RULE,
        RAMP_RULE,
    )

    @property
    def is_plain(self) -> bool:
        """Whether routers of any build obey it."""
        return self.type != "Shadow" and self.assignment.is_plain

    def version_of(self, variant: str | None) -> str:
        """Return the ModelVersion of a variant; raise KeyError where there is no such variant."""
        return {found.name: found.model_version_ref.name for found in self.variants}[variant or ""]
