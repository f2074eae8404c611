"""What an ABExperiment's status told as time went by, kept in a ConfigMap of its own that goes with the experiment.

However long it runs there are at most 200 looks: where they are full every other one goes, and from then on they are
kept half as often. They say what the status said and no more, so nothing of a fixed horizon's difference before its one
look. Nothing is decided by them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, MetricStatus
from anneal_operator.api.quantities import seconds
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.desired.experiments import record_name
from anneal_operator.desired.pods import Manifest, labels, owner

__all__ = ["MOST_LOOKS", "Interval", "Look", "Looks", "look_at", "looks_kept", "looks_name", "primary_of"]

MOST_LOOKS = 200
_LEAST_SPACING, _FIRST_SPACING = 10, 60
_KEY = "looks.json"
_GREATEST = 1e300


@dataclass(frozen=True)
class Interval:
    """A challenger's difference to the control, and how far it may be off."""

    lift: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Look:
    """What was known at one time; the lists are in the order of the variants."""

    after: int
    """Seconds since counting began."""
    users: tuple[int, ...]
    """With a value."""
    spread: float | None
    """The p-value of how users are spread over the variants."""
    compared: tuple[Interval | None, ...]
    """Nothing for the control, and of what was not told."""

    def told(self) -> list[Any]:
        """Return it for JSON."""
        pairs = [one and [one.lift, one.lower, one.upper] for one in self.compared]
        return [self.after, list(self.users), self.spread, pairs]

    @classmethod
    def read(cls, told: list[Any]) -> Self:
        """Return it from JSON; raise an error of a value or type where it is none."""
        after, users, spread, compared = told
        pairs = tuple(None if one is None else Interval(*map(_number, one)) for one in compared)
        return cls(int(after), tuple(map(int, users)), None if spread is None else _number(spread), pairs)


@dataclass(frozen=True)
class Looks:
    """The looks of a run, from its beginning on."""

    started_at: str
    spacing: int
    """Seconds from one to the next, at least."""
    kept: tuple[Look, ...] = ()

    @classmethod
    def begun(cls, started_at: str, spec: ABExperimentSpec) -> Self:
        """Return none yet; a short experiment is looked at more often."""
        short = seconds(spec.stopping.max_duration) // MOST_LOOKS
        return cls(started_at, max(_LEAST_SPACING, min(_FIRST_SPACING, short)))

    def is_due(self, look: Look) -> bool:
        """Whether it is time to keep another one."""
        return not self.kept or look.after >= self.kept[-1].after + self.spacing

    def having(self, look: Look) -> "Looks":
        """Return them with one more."""
        kept = (*self.kept, look)
        if len(kept) <= MOST_LOOKS:
            return replace(self, kept=kept)
        return replace(self, kept=kept[::2], spacing=2 * self.spacing)

    @classmethod
    def read(cls, found: Manifest | None, uid: str, started_at: str, variants: int) -> Self | None:
        """Return what the ConfigMap of the experiment with this uid says of this run; nothing where it says none.

        Whoever may write ConfigMaps in the namespace can spoil it: then it is as if it were not there.
        """
        owners = (found or {"metadata": {}})["metadata"].get("ownerReferences") or ()
        if found is None or uid not in {reference.get("uid") for reference in owners}:
            return None
        try:
            told: Mapping[str, Any] = json.loads(found["data"][_KEY])
            looks = cls(told["startedAt"], int(told["spacing"]), tuple(map(Look.read, told["looks"])))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
            return None
        return looks if looks.started_at == started_at and looks._can_be(variants) else None

    def _can_be(self, variants: int) -> bool:
        """Whether we may have kept them: in order, of so many variants, and no more than there are."""
        times = [look.after for look in self.kept]
        in_order = times == sorted(set(times)) and all(at >= 0 for at in times)
        sizes = {len(one) for look in self.kept for one in (look.users, look.compared)}
        counted = all(users >= 0 for look in self.kept for users in look.users)
        return self.spacing > 0 and len(times) <= MOST_LOOKS and in_order and counted and sizes <= {variants}

    def text(self) -> str:
        """Return them as they are kept."""
        told = {"startedAt": self.started_at, "spacing": self.spacing, "looks": [look.told() for look in self.kept]}
        return json.dumps(told, separators=(",", ":"))


def _number(told: Any) -> float:  # noqa: ANN401 - whatever is told
    """Return a number that a chart can show; raise ValueError of what JSON has beside, NaN and Infinity."""
    number = float(told)
    if not -_GREATEST <= number <= _GREATEST:
        raise ValueError(f"{number} was not measured")
    return number


def primary_of(spec: ABExperimentSpec, metrics: list[MetricStatus]) -> MetricStatus | None:
    """Return what is told of the metric that decides."""
    return next((metric for metric in metrics if metric.name == spec.metrics.primary.name), None)


def look_at(spec: ABExperimentSpec, status: ABExperimentStatus, now: datetime) -> Look | None:
    """Return what a status tells; nothing before counting began, of variants that it does not tell of, and of a Shadow,
    which has no users.
    """
    if spec.type == "Shadow":
        return None
    told = {variant.name: primary_of(spec, variant.metrics) for variant in status.variants}
    if not status.started_at or set(told) != {variant.name for variant in spec.variants}:
        return None
    metrics = [told[variant.name] for variant in spec.variants]
    after = max(0, int((now - datetime.fromisoformat(status.started_at)).total_seconds()))
    spread = status.sample_ratio.p_value if status.sample_ratio else None
    return Look(after, tuple(metric.users if metric else 0 for metric in metrics), spread, tuple(map(_pair, metrics)))


def _pair(metric: MetricStatus | None) -> Interval | None:
    if metric is None or metric.lift is None or metric.lower is None or metric.upper is None:
        return None
    return Interval(metric.lift, metric.lower, metric.upper)


def looks_name(experiment: Manifest) -> str:
    """The ConfigMap with an experiment's looks; as the record's, it says what was asked."""
    name, _, digest = record_name(experiment).rpartition("-record-")
    return f"{name}-looks-{digest}"


def looks_kept(experiment: Manifest, looks: Looks) -> Manifest:
    """Return that ConfigMap."""
    metadata = experiment["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": looks_name(experiment),
            "namespace": metadata["namespace"],
            "labels": labels("ab-experiment", metadata["name"]),
            "annotations": {OWNER_ANNOTATION: metadata["name"]},
            "ownerReferences": [owner(experiment)],
        },
        "data": {_KEY: looks.text()},
    }
