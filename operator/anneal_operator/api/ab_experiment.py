"""ABExperiment: versions behind one model name, a verdict on them, and the promotion that follows."""

from typing import ClassVar, Literal

from pydantic import Field

from .assignment import Assignment
from .metrics import Metrics
from .quantities import Duration, bounded_duration, seconds
from .schema import LocalReference, MapByName, ModelName, ObjectName, Rule, Schema

__all__ = [
    "TRUST_RULE",
    "WINDOW_RULE",
    "ABExperimentSpec",
    "Decision",
    "Stopping",
    "Variant",
]


class Variant(Schema):
    """One arm of the experiment."""

    name: ObjectName
    """What reports call it."""
    model_version_ref: LocalReference
    """The ModelVersion in this namespace that answers."""
    weight: int = Field(ge=1, le=10000)
    """Its share of the users, beside the other weights; 1 in 10,000 at least."""


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
