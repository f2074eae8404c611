"""An ABExperiment of type `Shadow`: how much is copied, and what its status tells of the copies."""

from typing import ClassVar

from pydantic import Field

from .quantities import Duration, bounded_duration
from .schema import Schema
from .status import Number, StatusPart

__all__ = ["Shadow", "ShadowStatus"]


class Shadow(Schema):
    """How much of what the control is asked the challengers are asked, too. Limits are those of one router's pod, of
    which a namespace has two. What is beyond them is dropped, not queued.
    """

    percent: int = Field(default=10, ge=1, le=100)
    """The share of the requests that are copied, drawn one by one; each goes to one challenger, by the weights."""
    max_requests_per_second: int = Field(default=1, ge=1, le=1000)
    """How many copies begin in a second at most."""
    max_in_flight: int = Field(default=4, ge=1, le=64)
    """How many copies are being answered at once at most: the challengers' GPUs have no more to do for them."""
    timeout: Duration = "60s"
    """How long to wait before giving up on a copy. It is not sent again."""
    comparisons: int | None = Field(default=None, ge=1, le=100000000)
    """Ends once this many answers of each challenger have been compared and `stopping.minDuration` is over; left out,
    it ends at `stopping.maxDuration`.
    """

    rules: ClassVar = (bounded_duration("timeout", "timeout", "1s", "600s"),)


class ShadowStatus(StatusPart):
    """What came of the copies that a challenger was sent. Times are geometric means, in seconds; those of the control
    are of the same requests.
    """

    copies: int
    """Copies that it was sent."""
    failed: int = 0
    """Of these, those that it did not answer: an error, an answer that broke off, or none in time."""
    compared: int = 0
    """Those of which both answers were whole, and were compared."""
    identical: Number | None = None
    """The share of these whose texts are the same."""
    similarity: Number | None = None
    """How many words they share, on average, from 0 to 1: the F1 of words, whatever their order."""
    latency_seconds: Number | None = None
    """To the end of its answers."""
    control_latency_seconds: Number | None = None
    """To the end of the control's."""
    first_token_seconds: Number | None = None
    """Of streams, to the first content."""
    control_first_token_seconds: Number | None = None
    """The same of the control's."""
    tokens: Number | None = None
    """Tokens of an answer, on average."""
    control_tokens: Number | None = None
    """Tokens of one of the control's."""
    json_asked: int = 0
    """Comparisons whose request asked for JSON, by `response_format`."""
    json_valid: int = 0
    """Of these, how many of its answers are JSON."""
    control_json_valid: int = 0
    """How many of the control's are."""
