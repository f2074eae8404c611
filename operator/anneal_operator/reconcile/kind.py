"""What a kind brings to the harness."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from anneal_operator.api.schema import Schema
from anneal_operator.api.status import ObjectStatus
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.verdict import Call, Deletion, Verdict
from anneal_operator.desired.operations import Operation
from anneal_operator.reasons import ConditionType

from .queue import Key

__all__ = ["Item", "Kind", "NoSpec"]

Spec = TypeVar("Spec", bound=Schema)
Status = TypeVar("Status", bound=ObjectStatus)
Observed = TypeVar("Observed")
Intent = TypeVar("Intent")
Effect = TypeVar("Effect", bound=Call)


@dataclass(frozen=True)
class Item(Generic[Spec, Status]):
    """The object that is reconciled, parsed."""

    manifest: Manifest
    spec: Spec
    status: Status

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return str(self.manifest["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.manifest["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """The generation of the object's spec."""
        return int(self.manifest["metadata"].get("generation", 0))


class NoSpec(Schema):
    """Of what has no manifest of its own, as a namespace's routers."""


class Kind(Protocol[Spec, Status, Observed, Intent, Effect]):
    """One kind: its models, how it is observed, its pure `decide`, its builders, its effects.

    `observe` may only read. `decide` is a function of what was observed and of the time. `build` is pure; a kind whose
    verdicts hold no effects never has `carry_out` called.
    """

    name: str
    spec: type[Spec]
    status: type[Status]
    effects_on: ConditionType
    """The condition that tells of a call to another system that failed."""
    has_status: bool
    """Whether there is an object of this kind to write to; a namespace's router has none."""

    async def subject(self, reader: Reader, key: Key) -> Manifest | None:
        """Return the object, None where there is none (any more)."""

    async def observe(self, reader: Reader, item: Item[Spec, Status]) -> Observed:
        """Return the world around the object; raise AnnealError where it cannot be observed now."""

    def decide(self, observed: Observed, now: datetime) -> Verdict[Status, Intent, Effect]:
        """Return what follows."""

    def build(self, item: Item[Spec, Status], observed: Observed, intent: Intent) -> Sequence[Operation]:
        """Return how an intent is brought about."""

    async def carry_out(self, item: Item[Spec, Status], observed: Observed, effect: Effect) -> None:
        """Call another system; raise AnnealError where it does not answer."""

    def dependents(self, item: Item[Spec, Status]) -> Iterable[Key]:
        """Return the objects whose reconcile reads this one's status."""

    def forget(self, key: Key, uid: str) -> None:
        """Keep nothing of an object that is gone or has ended; its uid is empty where it was never observed."""

    def written(self, item: Item[Spec, Status], status: Status) -> None:
        """Count what the change from the item's status to this one says, or keep it where no object does."""

    def deleted(self, item: Item[Spec, Status], gone: Deletion) -> None:
        """Keep, or tell, that an object was deleted as the verdict said."""
