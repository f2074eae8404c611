"""What an experiment measures: the number that decides, and those that must not get worse meanwhile."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from serving_runtime.scoring import ScoredMetric

from .amounts import LOGARITHMS, SCORES, MetricSource
from .schema import MapByName, Rule, Schema

__all__ = ["Guardrail", "GuardrailSource", "Metrics", "PrimaryMetric", "Range", "SecondaryMetric"]

_MetricName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z][a-z0-9_]*$")]
_SchemaText = Annotated[str, StringConstraints(min_length=2, max_length=20000, pattern=r"^[{][^\x00]*[}][ \n]*$")]
_ALL = 100
_SCORED = "self.source in ['SchemaValidity', 'Refusals']"
GuardrailSource = Literal["Errors", "Latency", "TimeToFirstToken", "TimePerOutputToken", "OutputTokens", "Feedback"]


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


class _Measured(Schema):
    """What is measured, of one number or another."""

    response_schema: _SchemaText | None = None
    """Of `SchemaValidity`: the JSON Schema that answers are to satisfy, as JSON. It is one for all variants; nothing is
    fetched that it refers to.
    """
    sample_percent: int | None = Field(default=None, ge=1, le=_ALL)
    """Of `SchemaValidity` and `Refusals`: the share of the answers that are scored; all where it is left out. Which
    ones follows from their ids, and so from no variant.
    """


_SCORED_RULES = (
    Rule(
        "has(self.responseSchema) == (self.source == 'SchemaValidity')",
        "`SchemaValidity` needs a `responseSchema`, which answers are to satisfy; leave it out of other sources",
        lambda metric: (metric.response_schema is not None) == (metric.source == "SchemaValidity"),
    ),
    Rule(
        f"!has(self.samplePercent) || {_SCORED}",
        "`samplePercent` is of answers that are scored, by `SchemaValidity` or `Refusals`: leave it out",
        lambda metric: metric.sample_percent is None or metric.source in SCORES,
    ),
)


def _scored(metric: "PrimaryMetric | SecondaryMetric") -> ScoredMetric | None:
    if metric.source != "SchemaValidity" and metric.source != "Refusals":
        return None
    return ScoredMetric(
        name=metric.name,
        source=metric.source,
        percent=metric.sample_percent or _ALL,
        response_schema=metric.response_schema or "",
    )


class PrimaryMetric(_Measured):
    """The number that decides."""

    name: _MetricName
    """What reports call it; of `Feedback` the metric's name in `POST /v1/feedback`, for example `user_rating`."""
    source: MetricSource = "Feedback"
    """What is measured. `Feedback`: what clients post about answers they got; a user's value is the mean of theirs.
    The others are of all answers so far, and need no feedback. `Errors`: the share of requests that fail by
    the variant's fault. `Latency`: the time to the end of a complete answer, its geometric mean; a failure counts as
    600 s. `TimeToFirstToken`: of complete streams, the same of the time to the first content. `TimePerOutputToken`: of
    complete streams, the time from the first content to the last, over the tokens. `OutputTokens`: tokens per request.
    `SchemaValidity`: the share of a user's answers that satisfy `responseSchema`, thoughts left out. `Refusals`: the
    share in which the model declined, as the answer itself says (`refusal`, `content_filter`), or as it begins.
    """
    direction: Literal["Increase", "Decrease"] | None = None
    """Which way is better: of `Feedback` more is, unless this says otherwise, and `OutputTokens` need it. Of
    `SchemaValidity` more is, and of the other sources less.
    """
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
    missing: Literal["Ignore", "Zero"] = "Ignore"
    """What becomes of users who said nothing. `Ignore` leaves them out. `Zero` counts them as 0 once their `window` is
    over, so that everybody is analysed: for what users do or do not do, such as taking an answer over. What users were
    like before the experiment is not taken into account then.
    """
    minimum_detectable_effect: float | None = Field(default=None, ge=0.000001, le=1e12)
    """The least difference of the means that matters: `status.power` tells how many users it takes to find it, a fixed
    horizon takes as many, and a sequence ends without a winner once it shows that no challenger is better by as much.
    Of `Feedback` in the metric's own unit, of `Errors` a share of the requests (0.01 is one in a hundred), of `Latency`
    and `TimeToFirstToken` a part of the control's (0.1 is a tenth less), of `TimePerOutputToken` seconds
    (0.005 is five milliseconds), and of `OutputTokens` tokens.
    """

    rules: ClassVar = (
        Rule(
            "self.source == 'Feedback' || (!has(self.range) && !has(self.window) && self.missing == 'Ignore')",
            "`range`, `window` and `missing` are of what users say: leave them out, or set `source: Feedback`",
            lambda metric: (
                metric.source == "Feedback"
                or (metric.range is None and metric.window is None and metric.missing == "Ignore")
            ),
        ),
        Rule(
            "self.source == 'Feedback' || has(self.direction) == (self.source == 'OutputTokens')",
            "`OutputTokens` need a `direction`, which says whether more is better; of the other sources but `Feedback` "
            "it is known: leave it out",
            lambda metric: (
                metric.source == "Feedback" or (metric.direction is not None) == (metric.source == "OutputTokens")
            ),
        ),
        Rule(
            "!has(self.minimumDetectableEffect) || !(self.source in ['Errors', 'Latency', 'TimeToFirstToken', "
            "'SchemaValidity', 'Refusals']) || self.minimumDetectableEffect < 1.0",
            "`minimumDetectableEffect` of `Errors`, `SchemaValidity` and `Refusals` is a share, and of `Latency` and "
            "`TimeToFirstToken` a part of the control's: below 1",
            lambda metric: (
                metric.minimum_detectable_effect is None
                or metric.source not in {"Errors", *LOGARITHMS, *SCORES}
                or metric.minimum_detectable_effect < 1
            ),
        ),
        Rule(
            "!has(self.minimumDetectableEffect) || self.source != 'TimePerOutputToken' || "
            "self.minimumDetectableEffect < 1.0",
            "`minimumDetectableEffect` of `TimePerOutputToken` is in seconds, below 1: 0.005 is five milliseconds",
            lambda metric: (
                metric.minimum_detectable_effect is None
                or metric.source != "TimePerOutputToken"
                or metric.minimum_detectable_effect < 1
            ),
        ),
        Rule(
            "!has(self.window) || has(self.range)",
            "`window` needs a `range`: the recorder keeps what was said within it on a scale from `min` to `max`",
            lambda metric: metric.window is None or metric.range is not None,
        ),
        Rule(
            "self.missing != 'Zero' || (has(self.window) && has(self.range) && self.range.min <= 0.0 && "
            "self.range.max >= 0.0)",
            "with `missing: Zero` who said nothing counts as 0 once their `window` is over: set `window`, and a "
            "`range` that has 0 in it",
            lambda metric: metric.missing != "Zero" or metric.takes_zero,
        ),
        *_SCORED_RULES,
    )

    @property
    def increases(self) -> bool:
        """Whether more is better."""
        known = self.direction is None and self.source in {"Feedback", "SchemaValidity"}
        return self.direction == "Increase" or known

    @property
    def width(self) -> float | None:
        """How far two values can be apart, where that is known."""
        if self.source in SCORES:
            return 1.0
        return self.range.max - self.range.min if self.range else None

    @property
    def scored(self) -> ScoredMetric | None:
        """How answers are scored for it, where they are."""
        return _scored(self)

    @property
    def is_blind_to_failures(self) -> bool:
        """Whether who fails more often does not look worse by it."""
        is_fewer = self.source == "OutputTokens" and not self.increases
        return is_fewer or self.source in {"TimeToFirstToken", "TimePerOutputToken"}

    @property
    def takes_zero(self) -> bool:
        """Whether it is known when a user has said nothing, and 0 is a value."""
        return self.window is not None and self.range is not None and self.range.min <= 0 <= self.range.max


class SecondaryMetric(_Measured):
    """A number that is told beside the one that decides, and decides nothing."""

    name: _MetricName
    """What reports call it; of `Feedback` the metric's name in `POST /v1/feedback`."""
    source: MetricSource = "Feedback"
    """What is measured, as of `primary`; of `Feedback` all that was said so far counts, whatever it is."""

    rules: ClassVar = _SCORED_RULES

    @property
    def as_primary(self) -> PrimaryMetric:
        """The same, as if it were to decide: which way is better is never told of it."""
        direction: Literal["Increase"] | None = "Increase" if self.source == "OutputTokens" else None
        return PrimaryMetric(
            name=self.name,
            source=self.source,
            direction=direction,
            response_schema=self.response_schema,
            sample_percent=self.sample_percent,
        )

    @property
    def scored(self) -> ScoredMetric | None:
        """How answers are scored for it, where they are."""
        return _scored(self)


class Guardrail(Schema):
    """A number that a challenger must not worsen by more than is allowed: shown to worsen it, it gets no users any
    more, and without a proof that it does not, it is not promoted.
    """

    name: _MetricName
    """What reports call it; of `Feedback` the metric's name in `POST /v1/feedback`."""
    source: GuardrailSource
    """What of the answers is measured. `Errors`: the share of requests that fail by the variant's fault.
    `Latency`: the time to the end of a complete answer, its geometric mean; a failure counts as 600 s.
    `TimeToFirstToken`: of streams, the same of the time to the first content. `TimePerOutputToken`: of streams, the
    time from the first content to the last, over the tokens. `OutputTokens`: tokens per request. `Feedback`: what
    users said so far, each user's mean, of those who said something.
    """
    range: Range | None = None
    """Of `Feedback`, between what values it lies: feedback beyond is refused."""
    direction: Literal["Increase", "Decrease"] | None = None
    """Which way is better, of `OutputTokens`; of `Feedback` more is, unless this says otherwise. Of the others less is.
    """
    max_regression_percent: float | None = Field(default=None, ge=0.1, le=1000)
    """By how much it may be worse than the control's, in percent of that."""
    min: float | None = Field(default=None, ge=-1e12, le=1e12)
    """What it may be at least, whatever the control's is: of `Feedback`, where more is better."""
    max: float | None = Field(default=None, ge=-1e12, le=1e12)
    """What it may be at most, whatever the control's is: for `Errors` a share (0.01 is one request in a hundred), for
    times seconds (0.05 is 50 ms), for `OutputTokens` tokens, for `Feedback` within its `range`. Where errors are rare,
    this is the limit to take: that a challenger fails no more often than a control that never does cannot be shown.
    """

    rules: ClassVar = (
        Rule(
            "[has(self.min), has(self.max), has(self.maxRegressionPercent)].exists_one(limit, limit)",
            "a guardrail has one limit: set `maxRegressionPercent`, or `max`, or of `Feedback` `min`",
            lambda one: [one.min, one.max, one.max_regression_percent].count(None) == 2,
        ),
        Rule(
            "self.source == 'Feedback' || has(self.direction) == (self.source == 'OutputTokens')",
            "`OutputTokens` need a `direction`, which says whether more is better; of the other sources but `Feedback` "
            "less is: leave it out",
            lambda one: one.source == "Feedback" or (one.direction is not None) == (one.source == "OutputTokens"),
        ),
        Rule(
            "self.source == 'Feedback' || !has(self.direction) || self.direction != 'Increase' || "
            "(has(self.maxRegressionPercent) && self.maxRegressionPercent < 100.0)",
            "where more is better, the limit is a `maxRegressionPercent` below 100",
            lambda one: (
                one.source == "Feedback"
                or one.direction != "Increase"
                or (one.max_regression_percent is not None and one.max_regression_percent < 100)
            ),
        ),
        Rule(
            "has(self.range) == (self.source == 'Feedback')",
            "`Feedback` needs the `range` in which it lies; of the other sources leave it out",
            lambda one: (one.range is not None) == (one.source == "Feedback"),
        ),
        Rule(
            "!has(self.min) || (self.source == 'Feedback' && (!has(self.direction) || self.direction == 'Increase'))",
            "`min` is of `Feedback` where more is better: set `max`, or `maxRegressionPercent`",
            lambda one: one.min is None or (one.source == "Feedback" and one.increases),
        ),
        Rule(
            "self.source != 'Feedback' || (has(self.direction) && self.direction == 'Decrease') || "
            "(!has(self.max) && (!has(self.maxRegressionPercent) || self.maxRegressionPercent < 100.0))",
            "of `Feedback` where more is better, the limit is `min`, or a `maxRegressionPercent` below 100",
            lambda one: (
                one.source != "Feedback"
                or not one.increases
                or (one.max is None and (one.max_regression_percent is None or one.max_regression_percent < 100))
            ),
        ),
        Rule(
            "!has(self.maxRegressionPercent) || !has(self.range) || self.range.min >= 0.0",
            "a mean has a `maxRegressionPercent` only where none is below 0: with a `range` that begins there set "
            "`min`, or `max`",
            lambda one: one.max_regression_percent is None or one.range is None or one.range.min >= 0,
        ),
        Rule(
            "!has(self.range) || ((!has(self.min) || (self.min > self.range.min && self.min < self.range.max)) && "
            "(!has(self.max) || (self.max > self.range.min && self.max < self.range.max)))",
            "`min` and `max` of `Feedback` lie within its `range`, at neither end of it",
            lambda one: (
                one.range is None
                or all(one.range.min < limit < one.range.max for limit in (one.min, one.max) if limit is not None)
            ),
        ),
        Rule(
            "self.source == 'Feedback' || !has(self.max) || (self.max >= 0.000001 && self.max <= 1000000.0)",
            "`max` is from 0.000001 to 1000000; only of `Feedback` it may be another",
            lambda one: one.source == "Feedback" or one.max is None or 0.000001 <= one.max <= 1000000,
        ),
        Rule(
            "!has(self.max) || self.source != 'Errors' || self.max < 1.0",
            "`max` of `Errors` is a share of the requests, below 1: 0.01 is one in a hundred",
            lambda one: one.max is None or one.source != "Errors" or one.max < 1,
        ),
        Rule(
            "!has(self.max) || !(self.source in ['Latency', 'TimeToFirstToken']) "
            "|| (self.max > 0.001 && self.max < 600.0)",
            "`max` of `Latency` and `TimeToFirstToken` is in seconds, above a millisecond and below 600, which is the "
            "most that is counted",
            lambda one: one.max is None or one.source not in LOGARITHMS or 0.001 < one.max < 600,
        ),
        Rule(
            "!has(self.max) || self.source != 'TimePerOutputToken' || self.max < 10.0",
            "`max` of `TimePerOutputToken` is in seconds, below 10, which is the most that is counted: 0.05 is 50 ms",
            lambda one: one.max is None or one.source != "TimePerOutputToken" or one.max < 10,
        ),
    )

    @property
    def increases(self) -> bool:
        """Whether more is better."""
        return self.direction == "Increase" or (self.direction is None and self.source == "Feedback")


class Metrics(Schema):
    """What is measured."""

    primary: PrimaryMetric
    """The number that decides."""
    secondary: MapByName[SecondaryMetric] = Field(default=[], max_length=8)
    """What is told beside it, with intervals at the same confidence, each for itself; nothing is decided by it."""
    guardrails: MapByName[Guardrail] = Field(default=[], max_length=4)
    """What must not get worse. As soon as a challenger is shown to be beyond a limit, its users get the control's
    answers, before `minDuration`, too, and whatever `decision.mode` says; with no challenger left the experiment ends.
    """

    rules: ClassVar = (
        Rule(
            "self.secondary.all(s, s.name != self.primary.name)",
            "a metric is told once: give those of `secondary` other names than the primary's",
            lambda metrics: all(one.name != metrics.primary.name for one in metrics.secondary),
        ),
        Rule(
            "!(self.primary.source in ['TimeToFirstToken', 'TimePerOutputToken'] || "
            "(self.primary.source == 'OutputTokens' && self.primary.direction == 'Decrease')) || "
            "self.guardrails.exists(g, g.source == 'Errors')",
            "a failure has no tokens, and no times of them, so who fails more often does not look worse by this "
            "`primary`, or looks better: add a guardrail of `Errors`",
            lambda metrics: (
                not metrics.primary.is_blind_to_failures or any(one.source == "Errors" for one in metrics.guardrails)
            ),
        ),
        Rule(
            "self.primary.source != 'Feedback' || self.guardrails.all(g, g.source != 'Feedback' || "
            "g.name != self.primary.name || !has(g.range) || (has(self.primary.range) && "
            "g.range.min == self.primary.range.min && g.range.max == self.primary.range.max))",
            "a guardrail on the metric that decides is of the same `range`: give `primary` that",
            lambda metrics: (
                metrics.primary.source != "Feedback"
                or all(
                    one.range == metrics.primary.range
                    for one in metrics.guardrails
                    if one.source == "Feedback" and one.name == metrics.primary.name and one.range is not None
                )
            ),
        ),
    )

    @property
    def scored(self) -> list[ScoredMetric]:
        """How answers are scored, by the metrics that take that."""
        asked = [self.primary.scored, *(one.scored for one in self.secondary)]
        return [one for one in asked if one]

    @property
    def said(self) -> list[Guardrail]:
        """The guardrails of what users say."""
        return [one for one in self.guardrails if one.source == "Feedback"]

    @property
    def ranges(self) -> Mapping[str, Range]:
        """Between what values that lies which users say, by the metric's name, where it is known."""
        known = {one.name: one.range for one in self.said if one.range}
        return known | ({self.primary.name: self.primary.range} if self.primary.range else {})
