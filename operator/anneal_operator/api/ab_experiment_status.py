"""ABExperiment's status: where it stands, what was observed, and the verdict."""

from datetime import datetime, timedelta
from typing import ClassVar, Literal, Self

from pydantic import Field

from .conditions import Conditions
from .model_version import Answered
from .schema import Time
from .shadow import ShadowStatus
from .status import Number, ObjectStatus, StatusPart

__all__ = [
    "ABExperimentStatus",
    "DecisionStatus",
    "ExperimentPhase",
    "GuardrailStatus",
    "MetricStatus",
    "Power",
    "SampleRatio",
    "Superiority",
    "VariantCost",
    "VariantStatus",
]

ExperimentPhase = Literal[
    "Pending",
    "WarmingUp",
    "Running",
    "Paused",
    "Baking",
    "Promoted",
    "RolledBack",
    "Observed",
    "Inconclusive",
    "Aborted",
]


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
    """Users with a value; with `missing: Zero` all whose window is over."""
    mean: Number | None = None
    """Mean of the users' values; of other sources than `Feedback` the total over the count, times in seconds. Like what
    follows, with `FixedHorizon` it is not told before the one look.
    """
    stddev: Number | None = None
    """Standard deviation of the users' values, of `Feedback`."""
    lift: Number | None = None
    """Difference of the means to the control's; of `Latency` and `TimeToFirstToken` as a part of the control's, so that
    -0.1 is a tenth less.
    """
    lower: Number | None = None
    """Lower end of the difference's interval, at the challenger's share of the error that `confidence` leaves."""
    upper: Number | None = None
    """Upper end of it."""
    p_value: Number | None = None
    """Two-sided p-value of the difference, of this challenger alone."""
    response_p_value: Number | None = None
    """Of a secondary metric, whether users of this challenger have a value as often as the control's; it may be looked
    at at any time. At 0.001 they do not, and the difference is not one of all users.
    """
    superiority: Superiority | None = None
    """How often its users' values are the greater ones, where there is a `window`; nothing is decided by it."""


class GuardrailStatus(StatusPart):
    """How a challenger stands by one guardrail; times are in seconds, errors a share of the requests."""

    name: str
    """The guardrail."""
    state: str
    """`Breached`: it was shown to be beyond the limit, for good. `Kept`: it is shown to keep within it. `NotShown`: it
    is neither yet.
    """
    value: Number | None = None
    """The challenger's number; like what follows, with `FixedHorizon` not before the one look."""
    ratio: Number | None = None
    """That over the control's."""
    bound: Number | None = None
    """What it is shown not to be beyond, as its limit is told: over the control's, or with `max` or `min` by itself."""


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
    """Its share now: the winner of a promotion has all, and the control that of a challenger that was dropped, too."""
    users: int = 0
    """Users who were given it."""
    requests: int = 0
    """Requests it answered for them."""
    metrics: list[MetricStatus] = Field(default=[])
    """What was measured: the primary metric, and the secondary ones, of which at least one user has a value."""
    guardrails: list[GuardrailStatus] = Field(default=[])
    """How a challenger stands by each guardrail."""
    shadow: ShadowStatus | None = None
    """With `type: Shadow`, what came of the copies that a challenger was sent."""
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
    """`Winner`, `ControlWins`, `GuardrailBreach`, `Inconclusive`, `Aborted`, or `ControlReplaced`: another version has
    `production`. Of `type: AA` `Sound` or `Unsound`, and `Observed` at the end of a Shadow.
    """
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
    """`Pending`, `WarmingUp`, `Running`, `Paused`, `Baking` (the winner has the traffic, and not `production` yet),
    `Promoted`, `RolledBack` (the control won, every challenger broke a guardrail, or the winner broke one or did not
    answer while it baked), `Observed` (a winner that nothing follows from, as its mode says, the verdict of `type: AA`,
    or the end of a Shadow), `Inconclusive` or `Aborted`.
    """
    conditions: Conditions = Field(default=[])
    """`VariantsReady`, `RouteProgrammed`, `DataFresh` (what routers counted is stored), `AssignmentHealthy`,
    `GuardrailsHealthy`, `SampleSufficient`, `AwaitingApproval` (with `Recommend`, a winner is recommended, and nobody
    has approved it), `Decided`, `Baked`, and `AliasMoved`: MLflow gives the winner `production`. `Tracked`: MLflow
    could not be told of the start or the decision, and will be. `Recorded`: the ConfigMap with the experiment's record
    cannot be read, and somebody has to delete it. `Reconciling` and `Stalled` are for kstatus.
    """
    coverage: int | None = None
    """The share of its users who take part, in percent."""
    coverage_since: Time | None = None
    """When all routers had this step of the ramp (RFC 3339, UTC)."""
    started_at: Time | None = None
    """When the route was programmed and counting began (RFC 3339, UTC); or when it was aborted, if that was before."""
    paused_at: Time | None = None
    """Since when it has been paused (RFC 3339, UTC)."""
    paused_seconds: int | None = None
    """How long it was paused before: `minDuration` and `maxDuration` do not run meanwhile."""
    recommended: str | None = None
    """With `Recommend`, the challenger that `decision.approve` promotes."""
    baking_since: Time | None = None
    """When all routers had led everybody to the winner, but for those held back (RFC 3339, UTC)."""
    users: int = 0
    """Users of all variants."""
    variants: list[VariantStatus] = Field(default=[])
    """What was observed of each variant."""
    dropped: list[str] | None = None
    """Challengers that were shown to be beyond a guardrail: their users get the control's answers from then on, and
    nothing is decided by them any more.
    """
    sample_ratio: SampleRatio | None = None
    """Whether the users are spread as the weights say."""
    power: Power | None = None
    """How long it takes yet."""
    decision: DecisionStatus | None = None
    """The verdict."""
    record: str | None = None
    """The ConfigMap with its record, where an earlier build gave it another name."""

    def paused_for(self, now: datetime) -> timedelta:
        """Return for how long it has rested until now."""
        since = datetime.fromisoformat(self.paused_at) if self.paused_at else now
        return timedelta(seconds=self.paused_seconds or 0) + max(timedelta(), now - since)

    def led_to(self, variant: str | None) -> Self:
        """Return it with one variant's share being all that there is."""
        total = sum(one.weight for one in self.variants)
        shares = {one.name: total if one.name == variant else 0 for one in self.variants}
        return self.having(variants=[one.model_copy(update={"weight": shares[one.name]}) for one in self.variants])
