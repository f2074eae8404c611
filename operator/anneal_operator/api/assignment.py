"""How an ABExperiment's users are spread over its variants."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from serving_runtime.plan import BUCKETS, USER_HEADER

from .quantities import Duration, seconds
from .schema import ObjectName, Rule, Schema, SetOf

__all__ = ["Assignment", "KeySource", "Layer", "Override", "RampStep"]

_HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z][-A-Za-z0-9]*$")]
_CookieName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_.-]+$")]


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
    verdict is told (`decision.mode: Observe` or `Recommend`), and nothing is promoted by it alone.
    """
    salt: str | None = Field(default=None, min_length=1, max_length=63)
    """Mixed into the hash of the user, so that two experiments split differently. Where it is left out, the
    experiment's namespace and name: restored from a backup it moves nobody.
    """
    ramp: list[RampStep] = Field(default=[], max_length=10)
    """Steps in which users are taken in; without any, all take part from the start. A step follows when all routers
    have had the one before for its time; it leaves everybody where they are who takes part, and the variants' shares as
    they are. Who does not take part yet gets the control, and is not analysed. It may change while the experiment runs:
    whoever takes part goes on doing so, and the next step is the first with more coverage.
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

    def coverage_of(self, places: int) -> int:
        """Return the coverage, in percent, at which the users of so many second places take part."""
        return min(max(places * 100 // (BUCKETS - BUCKETS // 100 * self.holdout_percent), 0), 100)
