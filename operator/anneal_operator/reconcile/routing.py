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
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.api.schema import Schema
from anneal_operator.api.status import ObjectStatus
from anneal_operator.cluster.children import owned_by
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.routing import Experiment, Version, default_of, split_of
from anneal_operator.decide.verdict import Deletion, Verdict
from anneal_operator.desired.operations import Apply, Create, Operation
from anneal_operator.desired.routing import (
    ROUTER,
    ROUTER_LABEL,
    RouterEnvironment,
    ServedVersion,
    SplitTraffic,
    defaults_of,
    route_table,
    router_objects,
)
from anneal_operator.desired.serving import server_name
from anneal_operator.reasons import ConditionType

from .context import Context
from .kind import Item
from .neighbours import ROUTER_KIND
from .queue import Key

__all__ = ["RouterKind"]

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
    outdated: tuple[Deletion, ...]
    """The Deployment of an earlier build, which chooses its pods by other labels: these never change."""
    has_claim: bool
    """Whether its volume is there, which belongs to people from then on: they may let it grow."""


@dataclass(frozen=True)
class Route:
    """Where the clients of each model go."""

    defaults: dict[str, str | None]
    splits: dict[str, SplitTraffic]


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
        claim = await reader.get("PersistentVolumeClaim", item.namespace, ROUTER)
        has_claim = claim is not None and claim["metadata"].get("annotations", {}).get(OWNER_ANNOTATION) == ROUTER
        return ObservedRouter(owners, versions, experiments, defaults_of(table), _outdated(made), has_claim)

    def decide(self, observed: ObservedRouter, now: datetime) -> Verdict[ObjectStatus, Route, None]:
        """Return where clients go."""
        del now
        versions = [version for version, _ in observed.versions]
        models = sorted({version.model for version in versions})
        splits = {model: split_of(model, versions, observed.experiments) for model in models}
        route = Route(
            {model: default_of(model, versions, observed.experiments, observed.last) for model in models},
            {model: SplitTraffic(s.name, s.uid, s.salt, s.spec) for model, s in splits.items() if s},
        )
        # The last version may go between two readings: made for nobody, nothing would ever end the router.
        made = (route,) if observed.owners else ()
        return Verdict(ObjectStatus(), "Settled", delete=observed.outdated, apply=made)

    def build(self, item: RouterItem, observed: ObservedRouter, intent: Route) -> Sequence[Operation]:
        """Return everything that a router needs."""
        settings = self._context.settings
        env = RouterEnvironment(settings.router_image, settings.image_pull_policy)
        table = route_table([served for _, served in observed.versions], intent.defaults, intent.splits)
        made = router_objects(item.namespace, observed.owners, table, env)
        claims = [manifest for manifest in made if manifest["kind"] == "PersistentVolumeClaim"]
        others = [Apply(manifest) for manifest in made if manifest not in claims]
        return [*([] if observed.has_claim else map(Create, claims)), *others]

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


def _outdated(made: Manifest | None) -> tuple[Deletion, ...]:
    """Only what was read afresh has its selector; nothing is deleted without."""
    chosen = (made or {}).get("spec", {}).get("selector", {}).get("matchLabels")
    is_ours = made is not None and made["metadata"].get("annotations", {}).get(OWNER_ANNOTATION) == ROUTER
    if made is None or not is_ours or chosen in (None, {ROUTER_LABEL: ROUTER}):
        return ()
    return (Deletion("Deployment", ROUTER, made["metadata"]["uid"]),)


def _experiment(item: Manifest) -> Experiment | None:
    metadata = item["metadata"]
    try:
        spec = ABExperimentSpec.parse(item["spec"])
        status = ABExperimentStatus.parse(item.get("status") or {})
    except ValueError:
        return None
    return Experiment(metadata["name"], metadata["namespace"], metadata["uid"], spec, status)
