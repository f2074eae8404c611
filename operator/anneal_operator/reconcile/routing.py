"""A namespace's router: observe its served versions and experiments, make it, and tell it where clients go.

It has no object of its own: it is there as long as a ModelVersion is served, and what is to be told of it the versions'
conditions tell.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus
from anneal_operator.api.model_version import ANSWERING
from anneal_operator.api.schema import Schema
from anneal_operator.api.status import ObjectStatus
from anneal_operator.cluster.children import owned_by
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.routing import Experiment, Version, default_of, split_of
from anneal_operator.decide.verdict import Verdict
from anneal_operator.desired.operations import Apply, Operation
from anneal_operator.desired.routing import (
    ROUTER,
    RouterEnvironment,
    ServedVersion,
    SplitTraffic,
    defaults_of,
    route_table,
    router_objects,
)
from anneal_operator.desired.serving import IMAGE_ANNOTATION, server_name
from anneal_operator.reasons import ConditionType

from .context import Context
from .kind import Item
from .neighbours import ROUTER_KIND
from .queue import Key
from .recorder import ObservedRecorder, observed_recorder, recorder_steps

__all__ = ["RouterKind"]

_SOON = 0.5
log = logging.getLogger("anneal.router")


class NoSpec(Schema):
    """A router has no manifest of its own."""


@dataclass(frozen=True)
class ObservedRouter:
    """What a namespace serves."""

    owners: Sequence[Manifest]
    versions: Sequence[tuple[Version, ServedVersion]]
    experiments: Sequence[Experiment]
    last: dict[str, str]
    image: str | None
    """Of the router that runs."""
    recorder: ObservedRecorder
    is_held_up: bool
    """Whether a step was refused the last time."""


@dataclass(frozen=True)
class Route:
    """Where the clients of each model go."""

    defaults: dict[str, str | None]
    splits: dict[str, SplitTraffic]
    image: str | None
    """The image to stay with, None for the present one."""


RouterItem = Item[NoSpec, ObjectStatus]


class RouterKind:
    """One per namespace with served versions; the garbage collector ends it with the last one."""

    name = ROUTER_KIND
    spec = NoSpec
    status = ObjectStatus
    effects_on = ConditionType.READY
    has_status = False

    def __init__(self, context: Context) -> None:
        self._context = context

    async def subject(self, reader: Reader, key: Key) -> Manifest | None:
        """Return a stand-in for the object that a router has not, while a version is served."""
        if not _served(await reader.list("ModelVersion", key.namespace)):
            return None
        return {"kind": ROUTER_KIND, "metadata": {"namespace": key.namespace, "name": key.name, "uid": ""}}

    async def observe(self, reader: Reader, item: RouterItem) -> ObservedRouter:
        """Look at all that is served, at the experiments, and at the table that the router has."""
        owners = _served(await reader.list("ModelVersion", item.namespace))
        versions = [served for owner in owners if (served := await _version(reader, owner))]
        found = [_experiment(raw) for raw in await reader.list("ABExperiment", item.namespace)]
        experiments = [experiment for experiment in found if experiment]
        table = await reader.get("ConfigMap", item.namespace, ROUTER)
        made = await reader.get("Deployment", item.namespace, ROUTER)
        image = made["metadata"].get("annotations", {}).get(IMAGE_ANNOTATION) if made else None
        recorder = await observed_recorder(reader, item.namespace)
        is_held_up = item.namespace in self._context.router_problems
        return ObservedRouter(owners, versions, experiments, defaults_of(table), image, recorder, is_held_up)

    def decide(self, observed: ObservedRouter, now: datetime) -> Verdict[ObjectStatus, Route, None]:
        """Return where clients go; a router is not replaced in the middle of an experiment."""
        del now
        versions = [version for version, _ in observed.versions]
        models = sorted({version.model for version in versions})
        splits = {model: split_of(model, versions, observed.experiments) for model in models}
        route = Route(
            {model: default_of(model, versions, observed.experiments, observed.last) for model in models},
            {model: SplitTraffic(s.name, s.uid, s.salt, s.spec) for model, s in splits.items() if s},
            observed.image if any(splits.values()) else None,
        )
        # The last version may go between two readings: made for nobody, nothing would ever end the router.
        if not observed.owners:
            return Verdict(ObjectStatus(), "Settled")
        waits = not observed.recorder.address and not observed.is_held_up  # for the address of its Service
        return Verdict(ObjectStatus(), "Settled", apply=(route,), again=_SOON if waits else None)

    def build(self, item: RouterItem, observed: ObservedRouter, intent: Route) -> Sequence[Operation]:
        """Return everything that a router needs, and then its recorder."""
        settings = self._context.settings
        env = RouterEnvironment(intent.image or settings.router_image, settings.image_pull_policy)
        table = route_table([served for _, served in observed.versions], intent.defaults, intent.splits)
        recorder = recorder_steps(item.namespace, observed.owners, observed.recorder, settings)
        return [*map(Apply, router_objects(item.namespace, observed.owners, table, env)), *recorder]

    async def carry_out(self, item: RouterItem, observed: ObservedRouter, effect: None) -> None:
        """A router has no effects."""

    def dependents(self, item: RouterItem) -> Iterable[Key]:
        """Return the versions and experiments of the namespace: they tell whether the router knows of them."""
        kinds = ("ModelVersion", "ABExperiment")
        found = (other for kind in kinds for other in self._context.store.list(kind, item.namespace))
        return [Key(other["kind"], item.namespace, other["metadata"]["name"]) for other in found]

    def forget(self, key: Key, uid: str) -> None:
        """Keep nothing of a namespace that serves no version."""
        del uid
        self._context.router_problems.pop(key.namespace, None)

    def written(self, item: RouterItem, status: ObjectStatus) -> None:
        """Keep what stopped it for the versions to tell, and say it once in the log."""
        problems, found = self._context.router_problems, status.condition(ConditionType.RECONCILING)
        before = problems.pop(item.namespace, None)
        if found:
            problems[item.namespace] = found
        if found and (before is None or before.message != found.message):
            log.warning("%s: %s", found.reason, found.message)


def _served(versions: Iterable[Manifest]) -> list[Manifest]:
    return [
        version
        for version in versions
        if "serving" in (version.get("spec") or {}) and not version["metadata"].get("deletionTimestamp")
    ]


async def _version(reader: Reader, item: Manifest) -> tuple[Version, ServedVersion] | None:
    """A version that has a server of its own.

    Read from raw fields: one that cannot be parsed, as after a downgrade, is told of by its own reconcile, and keeps
    its route.
    """
    metadata, status = item["metadata"], item.get("status") or {}
    registry, model = status.get("registry") or {}, str(item["spec"].get("modelName"))
    service = await reader.get("Service", metadata["namespace"], server_name(metadata["name"]))
    address = service["spec"].get("clusterIP") if service and owned_by(service, metadata["uid"]) else None
    if status.get("phase") == "Idle" or not address:
        return None
    try:
        number, aliases = int(registry["version"]), tuple(map(str, registry.get("aliases") or ()))
    except (KeyError, TypeError, ValueError):
        return None
    ready = status.get("phase") in ANSWERING
    return (
        Version(metadata["name"], model, number, aliases, ready),
        ServedVersion(metadata["name"], model, str(number), aliases, address),
    )


def _experiment(item: Manifest) -> Experiment | None:
    metadata = item["metadata"]
    try:
        spec = ABExperimentSpec.parse(item["spec"])
        status = ABExperimentStatus.parse(item.get("status") or {})
    except ValueError:
        return None
    return Experiment(metadata["name"], metadata["namespace"], metadata["uid"], spec, status)
