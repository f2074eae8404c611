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
from anneal_operator.decide.verdict import Verdict
from anneal_operator.desired.keys import KEYS_ANNOTATION, KeyRing, kept
from anneal_operator.desired.operations import Apply, Create, Operation
from anneal_operator.desired.policies import PolicyEnvironment, policies
from anneal_operator.desired.routing import (
    ROUTER,
    RouterEnvironment,
    ServedVersion,
    SplitTraffic,
    defaults_of,
    publicly_known,
    route_table,
    router_objects,
)
from anneal_operator.desired.serving import IMAGE_ANNOTATION, server_name
from anneal_operator.reasons import ConditionType

from .context import Context
from .keys import key_ring
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
    image: str | None
    """Of the router that runs."""
    ring: KeyRing
    has_claim: bool
    """Whether its volume is there, which belongs to people from then on: they may let it grow."""


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
        table = await reader.get("ConfigMap", item.namespace, ROUTER)
        known = publicly_known(table)
        versions = [served for owner in owners if (served := await _version(reader, owner, known))]
        found = [_experiment(raw) for raw in await reader.list("ABExperiment", item.namespace)]
        experiments = [experiment for experiment in found if experiment]
        made = await reader.get("Deployment", item.namespace, ROUTER)
        image = made["metadata"].get("annotations", {}).get(IMAGE_ANNOTATION) if made else None
        ring = await key_ring(self._context, reader, item.namespace)
        claim = await reader.get("PersistentVolumeClaim", item.namespace, ROUTER)
        has_claim = claim is not None and claim["metadata"].get("annotations", {}).get(OWNER_ANNOTATION) == ROUTER
        return ObservedRouter(owners, versions, experiments, defaults_of(table), image, ring, has_claim)

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
        return Verdict(ObjectStatus(), "Settled", apply=(route,) if observed.owners else ())

    def build(self, item: RouterItem, observed: ObservedRouter, intent: Route) -> Sequence[Operation]:
        """Return everything that a router needs."""
        settings = self._context.settings
        image = intent.image or settings.router_image
        env = RouterEnvironment(image, settings.image_pull_policy, observed.ring.keys)
        table = route_table([served for _, served in observed.versions], intent.defaults, intent.splits)
        made = router_objects(item.namespace, observed.owners, table, env)
        claims = [manifest for manifest in made if manifest["kind"] == "PersistentVolumeClaim"]
        guards = policies(item.namespace, observed.owners, PolicyEnvironment(settings.namespace, settings.scrapers))
        others = [Apply(manifest) for manifest in (*made, *guards) if manifest not in claims]
        return [
            *kept(item.namespace, observed.ring),
            *([] if observed.has_claim else map(Create, claims)),
            *others,
        ]

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


async def _version(reader: Reader, item: Manifest, known: frozenset[str]) -> tuple[Version, ServedVersion] | None:
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
    made = await reader.get("Deployment", metadata["namespace"], server_name(metadata["name"]))
    knows_model = _knows_model(made, was_known=metadata["name"] in known)
    return (
        Version(metadata["name"], model, number, aliases, ready),
        ServedVersion(metadata["name"], model, str(number), aliases, address, knows_model),
    )


def _knows_model(made: Manifest | None, *, was_known: bool) -> bool:
    """Whether all its pods know the model's name, as those do that were made with a key: once so, for good."""
    if made is None or KEYS_ANNOTATION not in made["metadata"].get("annotations", {}):
        return False
    status = made.get("status", {})
    is_current = status.get("observedGeneration") == made["metadata"].get("generation")
    return was_known or (is_current and 0 < status.get("replicas", 0) == status.get("updatedReplicas", 0))


def _experiment(item: Manifest) -> Experiment | None:
    metadata = item["metadata"]
    try:
        spec = ABExperimentSpec.parse(item["spec"])
        status = ABExperimentStatus.parse(item.get("status") or {})
    except ValueError:
        return None
    return Experiment(metadata["name"], metadata["namespace"], metadata["uid"], spec, status)
