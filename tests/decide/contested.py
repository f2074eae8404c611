"""An experiment that runs: control `a` against `b` and `c`, observed as a test wants."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.decide.acknowledgement import Arrival, RouteSeen
from anneal_operator.decide.experiment_terms import terms_of
from anneal_operator.decide.observed_experiment import ObservedExperiment, Pin, Record, Stored, VariantSeen
from anneal_operator.decide.statistics.sums import Scale
from anneal_operator.decide.statistics.terms import Counts
from serving_runtime.plan import Stamp
from tests.support.counted import PARTS, sums_of

__all__ = ["ARRIVED", "NOW", "SPLIT", "STARTED", "WON", "condition", "counted", "seen_of", "spec_of"]

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STARTED = "2026-03-01T10:00:00Z"
ARRIVED = Arrival(Stamp(lineage="2026", generation=1, digest="d"), 2)
SPLIT = RouteSeen(default="m-1", split_by={"u": 0}, covered={"u": 10_000}, arrival=ARRIVED)
WON = RouteSeen(default="m-2", split_by={"u-bake": 0}, arrival=ARRIVED)
_NAMES = {"a": "m-1", "b": "m-2", "c": "m-3"}


def spec_of(**changes: Any) -> ABExperimentSpec:
    """Return a spec with one look at 100 users each."""
    variants = [{"name": name, "modelVersionRef": {"name": of}, "weight": 1} for name, of in _NAMES.items()]
    stopping = {"method": "FixedHorizon", "minUsersPerVariant": 100, "minDuration": "1h", "maxDuration": "24h"}
    spec = {"modelName": "m", "control": "a", "variants": variants, "metrics": {"primary": {"name": "rating"}}}
    return ABExperimentSpec.parse({**spec, "stopping": stopping | changes.pop("stopping", {}), **changes})


def counted(*means: float, users: int = 200) -> Counts:
    """Return what the recorder told of as many users of each variant, with these means."""
    every = (users,) * len(means)
    sums = tuple(sums_of(users, mean, users - 1.0) for mean in means)
    return Counts(every, every, (0,) * len(means), sums, Scale(PARTS))


def seen_of(spec: ABExperimentSpec, observations: Counts | None = None, **changes: Any) -> ObservedExperiment:
    """Return the world around one that began two hours ago; MLflow knows what its record says."""
    variants = {
        name: VariantSeen("m", ready=True, number=of[2:], digest=f"sha256:{name}", holds_production=name == "a")
        for name, of in _NAMES.items()
    }
    pins = {name: Pin(found.number, found.digest) for name, found in variants.items()}
    seen = ObservedExperiment(
        1,
        spec,
        ABExperimentStatus(phase="Running", started_at=STARTED, observed_generation=1),
        variants,
        uid="u",
        route=SPLIT,
        observations=observations,
        stored=Stored("r", NOW + timedelta(days=99), NOW),
        record=Record(STARTED, pins=pins, uid="u", terms=terms_of(spec), revision="7"),
        production="1",
    )
    seen = replace(seen, **changes)
    return replace(seen, remembered=seen.record.content if seen.record else None)


def condition(status: ABExperimentStatus, kind: str) -> tuple[str, str]:
    """Return what a condition says, and why."""
    return next(((c.status, c.reason) for c in status.conditions if c.type == kind), ("", ""))
