"""How far the newest route table has come among a namespace's routers, and what follows where one of them is silent.

A change is done once every router that takes requests has said that it applied it. One that is silent, or stays behind,
is taken out, so nothing waits for it for long; but only while another has answered: an operator that reaches no router
ends none. One that reaches some of them alone, by a fault of the network, ends ever fewer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from anneal_operator.api.resources import Manifest
from serving_runtime.plan import RouteTable, Stamp

__all__ = [
    "Arrival",
    "Awaited",
    "Replacements",
    "RouteSeen",
    "RouterPod",
    "arrival",
    "look_again",
    "next_stamp",
    "overdue",
    "takes_requests",
]

_SILENCE, _BEHIND = timedelta(seconds=10), timedelta(seconds=90)
"""How long a router may give no answer; and answer with an older table: its agent gives a watch up after 70 s."""
_LONGEST_PAUSE = timedelta(minutes=10)
_AT_FIRST = timedelta(seconds=3)
_PERIODS = ((_AT_FIRST, 0.25), (timedelta(minutes=1), 1.0), (timedelta.max, 5.0))
"""How often a router is asked that has been behind for less than this."""
_SHOWN = 3


@dataclass(frozen=True)
class RouterPod:
    """A router's pod that takes requests."""

    name: str
    uid: str
    applied: Stamp | None
    """The newest table that it has told of."""
    behind_since: datetime | None = None
    """When it was first seen without a table that it should have; None where it has the newest."""
    is_leaving: bool = False
    """Whether it is to end, and takes requests only until nobody sends it any."""
    silent_since: datetime | None = None
    """When it first gave no answer; None where it gave one when it was asked last."""

    def fault(self, now: datetime) -> str:
        """What it is replaced for; empty where it has time yet."""
        if self.silent_since and now - self.silent_since >= _SILENCE:
            return f"it has not answered the operator for {_SILENCE.seconds} s"
        if self.behind_since and now - self.behind_since >= _BEHIND:
            return f"it answers, and has not applied the newest routes for {_BEHIND.seconds} s"
        return ""


@dataclass(frozen=True)
class Replacements:
    """The routers of a namespace that were taken out one after the other: 10 s apart at first, then twice as long."""

    count: int = 0
    last: datetime | None = None
    calm_since: datetime | None = None
    """Since when all have told of the newest table, whenever they were asked."""

    def one_more(self, now: datetime) -> "Replacements":
        """Return them with one that was just taken out."""
        return Replacements(self.count + 1, now)

    def seen(self, pods: Sequence[RouterPod], now: datetime) -> "Replacements":
        """Return them as they stand when these have told: begun anew when all went well for long enough."""
        if not pods or any(pod.behind_since for pod in pods):
            return replace(self, calm_since=None)
        calm = replace(self, calm_since=self.calm_since or now)
        return Replacements() if calm.calm_since and now - calm.calm_since >= _LONGEST_PAUSE else calm

    def is_due(self, now: datetime) -> bool:
        """Whether the next may follow."""
        return self.last is None or now - self.last >= min(_LONGEST_PAUSE, _SILENCE * 2 ** min(self.count - 1, 10))


@dataclass(frozen=True)
class Arrival:
    """How far a table has come."""

    stamp: Stamp
    acknowledged: int = 0
    """The pods that have applied it."""
    behind: tuple[str, ...] = ()
    """Those that take requests by another."""
    late: tuple[str, ...] = ()
    """Those of them that have had time enough."""

    @property
    def is_complete(self) -> bool:
        """Whether clients are served by this table, and by no other."""
        return self.acknowledged > 0 and not self.behind

    @property
    def waits_for(self) -> str:
        """Whose word is missing, and what happens next."""
        if not self.behind:
            return "" if self.acknowledged else "no pod of the router is Ready"
        names = _named(self.behind)
        told = f"router pod {names} has not applied generation {self.stamp.generation} of the routes"
        if self.acknowledged:
            return (
                f"{told}: one that is silent for {_SILENCE.seconds} s, or behind for {_BEHIND.seconds} s, is replaced"
            )
        return (
            f"{told}: as none answers the operator, none is replaced; look at their logs and at what guards port 8082"
        )


@dataclass(frozen=True)
class Awaited:
    """A version that is to get all clients of a model, and has too few pods for them."""

    version: str
    ready: int
    needed: int
    until: datetime
    """When it gets them all the same."""

    @property
    def in_words(self) -> str:
        """What is waited for."""
        return f"{self.ready} of {self.needed} pods answer, as many as the clients' requests need"


@dataclass(frozen=True)
class RouteSeen:
    """Where the newest table sends the clients of a model."""

    default: str | None = None
    named: Mapping[str, str] = field(default_factory=dict)
    """By what stands behind `@`."""
    split_by: Mapping[str, int] = field(default_factory=dict)
    """The uids of the experiments that split them, each with the step of its ramp."""
    covered: Mapping[str, int] = field(default_factory=dict)
    """Of each, before which second place its users take part."""
    versions: frozenset[str] = field(default_factory=frozenset)
    """All that the table names, of all models."""
    arrival: Arrival | None = None
    """None where the routers were not asked for this table yet."""
    awaited: Awaited | None = None
    """What a change of the default waits for."""
    outdated: Sequence[str] = ()
    """The routers of an earlier build that would not take what is due, so it waits for their end."""

    @property
    def has_arrived(self) -> bool:
        """Whether all routers have it."""
        return self.arrival is not None and self.arrival.is_complete

    @property
    def waits_for(self) -> str:
        """Whose word is missing."""
        return self.arrival.waits_for if self.arrival else "the routers are being told"

    @property
    def holds_up(self) -> str:
        """Which routers keep an experiment from beginning that only routers of this build can obey."""
        if not self.outdated:
            return "the routers are being told"
        return (
            f"router pod {_named(self.outdated)} is of an earlier build, which cannot assign users so: it begins once "
            "none is left; `kubectl rollout status deployment/anneal-router` tells whether they are being replaced"
        )

    def has_left(self, version: str) -> bool:
        """Whether no router that takes requests sends this version any."""
        return version not in self.versions and self.arrival is not None and not self.arrival.behind


def _named(pods: Sequence[str]) -> str:
    return ", ".join(pods[:_SHOWN]) + (", …" if len(pods) > _SHOWN else "")


def next_stamp(table: RouteTable, current: Stamp | None, had: Iterable[Stamp | None], now: str) -> Stamp:
    """Return what the table is called: what it is called already, or one more than all that a router has, or may have.

    So a ConfigMap that was lost, or set back by a restore, holds up nobody for longer than its routers' next word.
    """
    known = [stamp for stamp in (current, *had) if stamp is not None]
    newest = max(known, key=lambda stamp: stamp.order, default=None)
    if newest is None:
        return table.stamped(now, 1)
    if newest == current and current.digest == table.digest():
        return current
    return table.stamped(newest.lineage, newest.generation + 1)


def takes_requests(pod: Manifest, now: datetime, leaving: timedelta) -> bool:
    """Whether clients reach a pod: it is Ready, and for so long after it was asked to end."""
    metadata, conditions = pod["metadata"], (pod.get("status") or {}).get("conditions") or ()
    end, grace = metadata.get("deletionTimestamp"), timedelta(seconds=metadata.get("deletionGracePeriodSeconds", 0))
    is_left = end is not None and now >= datetime.fromisoformat(end) - grace + leaving
    return not is_left and any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def arrival(stamp: Stamp, pods: Sequence[RouterPod], now: datetime) -> Arrival:
    """Return how far a table has come."""
    behind = [pod for pod in pods if pod.behind_since is not None]
    late = [pod.name for pod in behind if pod.behind_since and now - pod.behind_since >= _AT_FIRST]
    return Arrival(stamp, len(pods) - len(behind), tuple(pod.name for pod in behind), tuple(late))


def overdue(pods: Sequence[RouterPod], replaced: Replacements, now: datetime) -> RouterPod | None:
    """Return the pod to replace: one that has had its time, while none is leaving and another answered."""
    due = [
        (pod.behind_since, pod.name, pod) for pod in pods if pod.behind_since and not pod.is_leaving and pod.fault(now)
    ]
    others_answer = any(pod.behind_since is None and not pod.is_leaving for pod in pods)
    if not due or not others_answer or any(pod.is_leaving for pod in pods) or not replaced.is_due(now):
        return None
    return min(due, key=lambda one: one[:2])[2]


def look_again(pods: Sequence[RouterPod], now: datetime) -> float | None:
    """After how many seconds to ask again, at first soon, then less often; None where all have told."""
    since = [pod.behind_since for pod in pods if pod.behind_since is not None]
    if not since:
        return None
    return next(seconds for below, seconds in _PERIODS if now - max(since) < below)
