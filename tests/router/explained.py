"""Whether a route table, and what is known of the pods, explain an answer: written apart from the router's own Lua."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from serving_runtime.plan import (
    BUCKETS,
    ExperimentRoute,
    LayerRoute,
    ModelRoute,
    RouteTable,
    VariantRoute,
    bucket,
    places,
)

__all__ = ["Answered", "Asked", "explains"]

_ATTEMPTS = 3
Ready = Mapping[str, Collection[frozenset[str]]]
"""For each version, which pods may have been known as Ready: several sets where news was on its way."""


@dataclass(frozen=True)
class Asked:
    """What a client asks for."""

    model: str
    user: str | None = None


@dataclass(frozen=True)
class Answered:
    """What it got; `pod` is who really answered, and `version` whose that is."""

    status: int
    pod: str = ""
    version: str = ""
    told_version: str | None = None
    told_variant: str | None = None
    is_fallback: bool = False


def explains(table: RouteTable, ready: Ready, dead: Collection[str], asked: Asked, got: Answered) -> bool:
    """Return whether this is an answer that a router may give which has this table."""
    model, _, reference = asked.model.partition("@")
    route = table.models.get(model)
    if route is None or (reference and reference not in route.named):
        return got.status == 404
    variant = None if reference else _variant(route, asked.user)
    target = variant.target if variant else route.named[reference] if reference else route.default
    if target is None:
        return got.status == 404
    if got.told_variant != (variant.name if variant else None):
        return False
    return any(
        _is_answer(own, spare, set(dead), target, got)
        for own in ready[target]
        for spare in _spares(route, asked.user, variant, ready)
    )


def _experiment(route: ModelRoute, user: str | None) -> ExperimentRoute | None:
    """The one that has this user."""
    layers = [one.layer for one in route.experiments]
    if layers and layers[0] is None:
        return route.experiments[0]
    if user is None:
        return None
    owners = [one for one in route.experiments if one.layer and _is_in(one.layer, user)]
    return owners[0] if owners else None


def _is_in(layer: LayerRoute, user: str) -> bool:
    return layer.begin <= bucket(layer.salt, user) < layer.end


def _variant(route: ModelRoute, user: str | None) -> VariantRoute | None:
    experiment = _experiment(route, user)
    if experiment is None:
        return None
    place, second = places(experiment.salt, user) if user is not None else (0, BUCKETS)
    if second >= experiment.covered:
        return next(one for one in experiment.variants if one.name == experiment.control)
    return next(one for one in experiment.variants if place < one.up_to)


def _spares(
    route: ModelRoute, user: str | None, variant: VariantRoute | None, ready: Ready
) -> list[tuple[str, frozenset[str]]] | list[None]:
    """The control, with what may be known of its pods, where it may answer in this variant's place."""
    experiment = _experiment(route, user)
    if experiment is None or variant is None or variant.name == experiment.control:
        return [None]
    control = next(one.target for one in experiment.variants if one.name == experiment.control)
    return [(control, pods) for pods in ready[control]]


def _is_answer(
    own: frozenset[str], spare: tuple[str, frozenset[str]] | None, dead: set[str], target: str, got: Answered
) -> bool:
    others = spare[1] if spare else frozenset()
    if got.status == 200 and got.is_fallback:
        is_needed = len(own & dead) >= min(len(own), _ATTEMPTS - 1)
        return is_needed and spare is not None and got.version == got.told_version == spare[0] and got.pod in others
    if got.status == 200:
        return got.version == got.told_version == target and got.pod in own
    all_dead = (own | others) <= dead
    return got.status in {502, 503} and (all_dead or len((own | others) & dead) >= _ATTEMPTS)
