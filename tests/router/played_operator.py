"""The operator as far as routers are concerned: its own functions decide, before routers that are real.

One `look` is one reconcile. What follows from a change waits, as in the operator, for all routers' word.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus
from anneal_operator.api.conditions import Condition
from anneal_operator.api.route import Route
from anneal_operator.api.schema import timestamp
from anneal_operator.decide.acknowledgement import RouteSeen, arrival, next_stamp
from anneal_operator.decide.routing import Experiment, Last, Version, route_of
from anneal_operator.desired.routing import (
    ROUTER,
    ServedVersion,
    route_table,
    stamp_of,
)
from anneal_operator.outside.routers import Routers
from anneal_operator.reasons import ConditionType, Reason
from anneal_operator.reconcile.acknowledgements import Acknowledgements, route_seen
from serving_runtime.plan import RouteTable, Stamp

from .played import ApiServer, Manifest, Pod, Service

__all__ = ["MODEL", "NAMESPACE", "Operator", "ServedModelVersion"]

NAMESPACE, MODEL = "team", "m"
_BEGINNING = datetime(2026, 6, 1, tzinfo=UTC)
_clock = iter(_BEGINNING + timedelta(seconds=number) for number in range(10**9))


@dataclass
class ServedModelVersion:
    """A ModelVersion, its pods and its Service."""

    name: str
    number: int
    pods: list[Pod]
    service: Service
    is_to_end: bool = False

    def seen(self, aliases: dict[str, str]) -> Version:
        """As the operator sees it."""
        own = tuple(sorted(alias for alias, name in aliases.items() if name == self.name))
        ready = any(pod.is_ready for pod in self.pods)
        return Version(self.name, MODEL, self.number, own, ready, is_served=not self.is_to_end)


@dataclass
class Operator:
    """`aliases` is what MLflow says; `tables` what was published, in order."""

    api: ApiServer
    routers: Routers
    pods: Sequence[Manifest]
    versions: list[ServedModelVersion] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    experiments: list[Experiment] = field(default_factory=list)
    tables: list[tuple[Stamp, RouteTable]] = field(default_factory=list)
    told: Acknowledgements = field(default_factory=Acknowledgements)

    async def look(self) -> RouteSeen:
        """Publish what is to be; return how far it has come."""
        now, table = next(_clock), self.api.get("configmaps", ROUTER)
        stamp = stamp_of(table)
        last = {model: Last(to.default, to.named) for model, to in self.told.of(NAMESPACE).routes(table).items()}
        pods = await self.told.of(NAMESPACE).ask(self.routers, "", stamp, self.pods, now)
        if stamp:
            self.told.of(NAMESPACE).arrival = arrival(stamp, pods, now)
        seen = [version.seen(self.aliases) for version in self.versions]
        made = self._table(route_of(MODEL, seen, self.experiments, last.get(MODEL, Last())))
        had = [self.told.of(NAMESPACE).newest, *(pod.applied for pod in pods)]
        new = next_stamp(made, stamp, had, timestamp(now))
        data = {"routes.json": json.dumps(made.document(new), indent=1)}
        if table is None or table["data"] != data:
            self.tables.append((new, made))
            await self.write(data)
        return route_seen(self.told, self.api.get("configmaps", ROUTER), NAMESPACE, MODEL)

    async def write(self, data: dict[str, str] | None) -> None:
        """Replace the routers' ConfigMap, or delete it."""
        metadata = {"name": ROUTER, "namespace": NAMESPACE}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        await self.api.put("configmaps", ROUTER, made if data else None)

    def _table(self, route: Route) -> RouteTable:
        served = [version for version in self.versions if not version.is_to_end]
        listeners = {version.name: version.service.listener for version in served}
        known = [ServedVersion(name, listener.address, MODEL) for name, listener in listeners.items()]
        made = route_table(known, {MODEL: route})
        targets = {
            name: target.model_copy(update={"port": listeners[name].port}) for name, target in made.targets.items()
        }
        return made.model_copy(update={"targets": targets})

    def start(self, control: str, other: str, weights: tuple[int, int], coverages: Sequence[int]) -> None:
        """An experiment whose variants answer, with as many steps of a ramp."""
        ramp = [{"coverage": coverage, "for": "1h"} for coverage in coverages[:-1]] + [{"coverage": coverages[-1]}]
        pairs = zip(("stable", "tuned"), (control, other), weights, strict=True)
        spec = ABExperimentSpec.parse(
            {
                "modelName": MODEL,
                "control": "stable",
                "variants": [
                    {"name": name, "modelVersionRef": {"name": version}, "weight": weight}
                    for name, version, weight in pairs
                ],
                "metrics": {"primary": {"name": "rating"}},
                "assignment": {"ramp": ramp} if coverages != [100] else {},
            }
        )
        number = len(self.experiments)
        self.experiments.append(
            Experiment(f"x{number}", NAMESPACE, f"uid-{number}", spec, _status("WarmingUp", coverages[0]))
        )

    @property
    def next_coverage(self) -> int | None:
        """Of the last experiment's ramp, where another step is to come."""
        if self.phase != "Running":
            return None
        told, ramp = self.experiments[-1].status.coverage or 0, self.experiments[-1].spec.assignment.ramp
        return next((step.coverage for step in ramp if step.coverage > told), None)

    def take_more_in(self, coverage: int) -> None:
        """The next step of the ramp."""
        self._say(_status("Running", coverage))

    def decide(self, winner: str | None) -> None:
        """The one that runs ends."""
        outcomes = {"tuned": ("Winner", "Promoted"), "stable": ("ControlWins", "RolledBack")}
        outcome, phase = outcomes.get(winner or "", ("Inconclusive", "Inconclusive"))
        decision = DecisionStatus(outcome=outcome, winner=winner, rule="r", reason="", decided_at="t", snapshot="")
        self._say(_status(phase, None, decision))

    def restore(self) -> None:
        """All is made anew from manifests, without statuses; only MLflow is as it was."""
        self.told = Acknowledgements()
        self.experiments = [
            replace(
                one,
                uid=f"{one.uid}-again",
                status=one.status if one.status.decision else _status("WarmingUp", one.status.coverage),
            )
            for one in self.experiments
        ]

    @property
    def phase(self) -> str:
        """Of the last experiment."""
        return self.experiments[-1].status.phase if self.experiments else ""

    def follow_up(self, seen: RouteSeen) -> bool:
        """Do what waited for the routers; return whether that changes anything for them."""
        if not self.experiments or not seen.has_arrived:
            return False
        last = self.experiments[-1]
        if last.status.phase == "WarmingUp" and last.uid in seen.split_by:
            self._say(_status("Running", last.status.coverage))
            return True
        if last.status.phase != "Promoted" or last.status.condition(ConditionType.ALIAS_MOVED):
            return False
        winner, control = last.spec.version_of("tuned"), last.spec.version_of("stable")
        if self.aliases.get("production") not in {None, control}:
            self._say(
                _status(
                    "Promoted", None, last.status.decision, (ConditionType.ALIAS_MOVED, "False", Reason.HELD_BY_ANOTHER)
                )
            )
            return True
        if seen.default != winner:
            return False
        self.aliases["production"] = winner
        self._say(_status("Promoted", None, last.status.decision, (ConditionType.ALIAS_MOVED, "True", Reason.MOVED)))
        return True

    def _say(self, status: ABExperimentStatus) -> None:
        self.experiments[-1] = replace(self.experiments[-1], status=status)


def _status(
    phase: str,
    coverage: int | None,
    decision: DecisionStatus | None = None,
    *found: tuple[ConditionType, Literal["True", "False"], Reason],
) -> ABExperimentStatus:
    told = (*found, (ConditionType.VARIANTS_READY, "True", Reason.VARIANTS_READY))
    conditions = [
        Condition(type=kind, status=status, reason=reason, message="", last_transition_time="t", observed_generation=1)
        for kind, status, reason in told
    ]
    return ABExperimentStatus(phase=phase, conditions=conditions, decision=decision, coverage=coverage)
