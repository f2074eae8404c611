"""What a kind's `decide` returns: the status to write and what to do, as data.

Rooms beside each other do not import each other, so a verdict names what it wants (`apply` holds the kind's own
intents); the kind's builders make manifests of them. The steps are taken in the order of the fields, and one that
fails stops those after it: delete, apply, effects, status.
"""

from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from anneal_operator.api.status import ObjectStatus
from anneal_operator.reasons import ConditionType

__all__ = ["Call", "Deletion", "Progress", "Verdict"]

Progress = Literal["Working", "Settled", "Failed"]
"""As kstatus sees it: InProgress, Current, Failed."""
Status = TypeVar("Status", bound=ObjectStatus)
Intent = TypeVar("Intent")


class Call:
    """An effect: a call to another system, or to what the operator keeps in memory."""

    told_by: ClassVar[ConditionType | None] = None
    """The condition that tells where it fails; None of one that the kind's own tells."""
    hangs_on_steps: ClassVar[bool] = True
    """Whether it waits until no step is refused."""


Effect = TypeVar("Effect", bound=Call)


@dataclass(frozen=True)
class Deletion:
    """Exactly one object of the namespace; another of the same name stays."""

    kind: str
    name: str
    uid: str
    why: str = ""
    """For the log, of what nobody asked for."""


@dataclass(frozen=True)
class Verdict(Generic[Status, Intent, Effect]):
    """What follows from what was observed.

    `effects` are calls to other systems (MLflow); what came of one is observed at the next reconcile. `again` is in
    seconds. `polls` says that no watch tells of what is waited for, so that the harness looks again by itself, less
    and less often.
    """

    status: Status
    progress: Progress
    delete: tuple[Deletion, ...] = ()
    apply: tuple[Intent, ...] = ()
    effects: tuple[Effect, ...] = ()
    are_apart: bool = False
    """Whether the intents have nothing to do with each other: where one is refused, the others are brought about."""
    again: float | None = None
    polls: bool = False
