"""ABExperiment: observe its variants, routes, counts and record; keep the decision, move the alias."""

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from math import isclose
from typing import Any

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus
from anneal_operator.api.amounts import SAID
from anneal_operator.api.metrics import Guardrail, PrimaryMetric, SecondaryMetric
from anneal_operator.api.model_version import ANSWERING, PRODUCTION, ModelVersionSpec, ModelVersionStatus
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.ab_experiment import decide
from anneal_operator.decide.bake_guardrails import is_awaited
from anneal_operator.decide.compared import Compared
from anneal_operator.decide.experiment_bake import bake_uid
from anneal_operator.decide.experiment_end import has_users
from anneal_operator.decide.experiment_secondary import alone
from anneal_operator.decide.observed_experiment import (
    CloseRecord,
    Effect,
    Intent,
    KeepDecision,
    KeepLatches,
    KeepRecommendation,
    KeepReturn,
    KeepStart,
    MoveAlias,
    ObservedExperiment,
    RecordDecision,
    Remember,
    Rival,
    Stored,
    VariantSeen,
)
from anneal_operator.decide.statistics.cuped import History
from anneal_operator.decide.statistics.guarded import Guards, Said, Source, is_ratio
from anneal_operator.decide.statistics.lee import CELL
from anneal_operator.decide.statistics.packed import packed
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import Counts, Histogram
from anneal_operator.decide.verdict import Deletion, Verdict
from anneal_operator.desired.experiments import (
    decision_kept,
    latches_kept,
    recommendation_kept,
    record_closed,
    record_name,
    return_kept,
    start_kept,
)
from anneal_operator.desired.operations import Operation
from anneal_operator.desired.recorder import recorder_url
from anneal_operator.desired.routing import ROUTER
from anneal_operator.errors import RouterError
from anneal_operator.reasons import ConditionType
from serving_runtime.scoring import SCORE

from .acknowledgements import route_seen
from .compared_seen import compared_in
from .context import Context
from .experiment_records import kept_record, record_of, remembered_of, start_of, text_of
from .guards_seen import guards_in, said_in, with_said
from .keys import admin_key
from .kind import Item
from .neighbours import ROUTER_KIND, neighbours
from .queue import Key

__all__ = ["ABExperimentKind"]

_MOST_USERS, _MOST_REQUESTS, _MOST_PARTS = 10**10, 10**15, 10**13
_LARGEST = 10**12
"""What the recorder takes of a value. What is more than so many users can say is believed of no sum."""
_DEGREES = {"n": 0, "h": 0, "y": 1, "yh": 1, "x": 1, "yy": 2, "xx": 2, "xy": 2}
"""How many values are multiplied in what each sum adds up."""
_NOT_TOLD = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
"""What comes of reading what no recorder of ours tells."""
ExperimentItem = Item[ABExperimentSpec, ABExperimentStatus]


class ABExperimentKind:
    """Versions behind one model name, and the verdict on them."""

    name = "ABExperiment"
    spec = ABExperimentSpec
    status = ABExperimentStatus
    effects_on = ConditionType.ALIAS_MOVED
    has_status = True

    def __init__(self, context: Context) -> None:
        self._context = context

    async def subject(self, reader: Reader, key: Key) -> Manifest | None:
        """Return the ABExperiment."""
        return await reader.subject(key.kind, key.namespace, key.name)

    async def observe(self, reader: Reader, item: ExperimentItem) -> ObservedExperiment:
        """Look at variants and record; at routes and counts only while they matter. While the winner bakes these are
        what routers tell of since, which is apart from the verdict's.
        """
        models, model = self._context.models, item.spec.model_name
        heard, kept = models.heard(model), await kept_record(reader, item.manifest)
        record = record_of(kept, item.name)
        table = await reader.get("ConfigMap", item.namespace, ROUTER)
        route = route_seen(self._context.acknowledgements, table, item.namespace, model)
        seen = ObservedExperiment(
            generation=item.generation,
            spec=item.spec,
            previous=item.status,
            variants={
                variant.name: _seen(await reader.get("ModelVersion", item.namespace, variant.model_version_ref.name))
                for variant in item.spec.variants
            },
            name=item.name,
            created_at=item.manifest["metadata"].get("creationTimestamp", ""),
            rivals=await _rivals(reader, item),
            uid=item.uid,
            route=route,
            record=record,
            record_name=record_name(item.manifest),
            spoilt_record=kept["metadata"]["name"] if kept and record is None else "",
            remembered=remembered_of(heard.records, item.manifest) if heard else None,
            is_heard=heard is not None,
            production=heard.aliases.get(PRODUCTION) if heard else None,
            registry_problem=models.problem(model) or ("" if heard else "MLflow was not heard yet"),
        )
        if is_awaited(seen) and seen.terms.guardrails:
            stored = await self._stored(reader, item)
            found = await self._told_of(reader, item, seen.identity, item.spec.metrics.primary.name)
            counted = await self._counted(reader, item, seen.identity, found) if found else None
            return replace(seen, observations=counted, stored=stored)
        if item.status.phase == "Baking" and seen.decision and seen.terms.guardrails:
            stored = await self._stored(reader, item)
            return replace(seen, baked=await self._baked(reader, item, seen, seen.decision), stored=stored)
        is_counted = not seen.decision and (record is not None or seen.identity in route.split_by)
        if not is_counted:
            return seen
        stored = await self._stored(reader, item)
        if item.spec.type == "Shadow":
            return replace(seen, shadowed=await self._shadowed(reader, item, seen.identity), stored=stored)
        found = await self._told_of(reader, item, seen.identity, _counted_as(item.spec.metrics.primary))
        counted = await self._counted(reader, item, seen.identity, found) if found else None
        secondary = await self._secondary(reader, item, seen.identity, found) if found and counted else {}
        return replace(seen, observations=counted, secondary=secondary, stored=stored)

    def decide(self, observed: ObservedExperiment, now: datetime) -> Verdict[ABExperimentStatus, Intent, Effect]:
        """Return what follows."""
        return decide(observed, now)

    def build(self, item: ExperimentItem, observed: ObservedExperiment, intent: Intent) -> Sequence[Operation]:
        """Return the record's beginning, what is added to it, or its end."""
        revision = observed.record.revision if observed.record else ""
        name = observed.record.kept_as if observed.record else record_name(item.manifest)
        match intent:
            case KeepStart(record):
                start = start_of(record)
                decision = record.decision.dump() if record.decision else None
                return [start_kept(item.manifest, start, decision, closes=record.is_closed)]
            case KeepLatches(latches):
                return [latches_kept(name, revision, latches)]
            case KeepRecommendation(recommendation):
                return [recommendation_kept(name, revision, recommendation.dump())]
            case KeepDecision(decision, closes):
                return [decision_kept(name, revision, decision.dump(), closes=closes)]
            case KeepReturn(returned):
                return [return_kept(name, revision, dataclasses.asdict(returned))]
            case CloseRecord():
                return [record_closed(name)]

    async def carry_out(self, item: ExperimentItem, observed: ObservedExperiment, effect: Effect) -> None:
        """Leave record and decision in MLflow, then move the alias."""
        del observed
        registry, model = self._context.registry, item.spec.model_name
        match effect:
            case Remember(record):
                await registry.keep(item.namespace, model, record_name(item.manifest), text_of(record))
                await self._context.models.ask(model)
            case RecordDecision(version, decision):
                tags = {f"anneal.dev/experiment.{item.name}": packed(decision.model_dump_json(by_alias=True))}
                await registry.record(item.namespace, model, version, tags)
            case MoveAlias(expected, version):
                await registry.move_alias(item.namespace, model, PRODUCTION, expected, version)
                await self._context.models.ask(model)

    def dependents(self, item: ExperimentItem) -> Iterable[Key]:
        """Return the router, the variants' versions, and the experiments that wait for this one."""
        return neighbours(self._context.store, item.manifest)

    def forget(self, key: Key, uid: str) -> None:
        """Tell the router, which may split by it."""
        del uid
        self._context.wake(Key(ROUTER_KIND, key.namespace, ROUTER))

    def written(self, item: ExperimentItem, status: ABExperimentStatus) -> None:
        """Nothing is counted."""

    def deleted(self, item: ExperimentItem, gone: Deletion) -> None:
        """Nothing is kept."""

    async def _stored(self, reader: Reader, item: ExperimentItem) -> Stored | None:
        """Ask the routers first, then the recorder: what it has by then is at least that."""
        traffic, key = self._context.traffic, await admin_key(reader, item.namespace)
        await traffic.ask(self._context.routers, key, reader, item.namespace, self._context.now())
        return traffic.stored(item.namespace)

    async def _counted(self, reader: Reader, item: ExperimentItem, uid: str, found: Manifest) -> Counts | None:
        if found.get("control") is None:  # its volume may be another than the one that was told
            await self._define(reader, item, uid)
        try:
            counts = _counts(item.spec, found)
        except _NOT_TOLD:
            return None  # another version's, or another's: as if nothing had been answered
        said = await self._said(reader, item, uid, [variant.name for variant in item.spec.variants])
        return replace(counts, guards=with_said(counts.guards, said))

    async def _said(self, reader: Reader, item: ExperimentItem, uid: str, variants: Sequence[str]) -> dict[str, Said]:
        """What users said by each guardrail of it; what is not told is not there."""
        said = {}
        for guardrail in item.spec.metrics.said:
            if told := await self._told_of(reader, item, uid, guardrail.name):
                with contextlib.suppress(*_NOT_TOLD):
                    said[guardrail.name] = said_in(told, variants)
        return said

    async def _secondary(self, reader: Reader, item: ExperimentItem, uid: str, found: Manifest) -> dict[str, Counts]:
        """What was counted of each secondary metric; what is not told is not there, and holds up nothing."""
        counted = {}
        for metric in item.spec.metrics.secondary:
            is_said = metric.source in SAID
            if told := await self._told_of(reader, item, uid, _counted_as(metric)) if is_said else found:
                with contextlib.suppress(*_NOT_TOLD):
                    counted[metric.name] = _counts(alone(item.spec, metric), told)
        return counted

    async def _shadowed(self, reader: Reader, item: ExperimentItem, uid: str) -> dict[str, Compared] | None:
        url, key = recorder_url(item.namespace), await admin_key(reader, item.namespace)
        try:
            return compared_in(await self._context.routers.shadowed(url, key, uid))
        except (RouterError, *_NOT_TOLD):
            return None

    async def _baked(
        self, reader: Reader, item: ExperimentItem, seen: ObservedExperiment, decision: DecisionStatus
    ) -> Guards | None:
        """Only what users say by a guardrail needs a definition: nothing else of it has a range."""
        uid, arms = bake_uid(seen.identity), [seen.spec.control, str(decision.winner)]
        found = await self._told_of(reader, item, uid, item.spec.metrics.primary.name)
        if found is None:
            return None
        if item.spec.metrics.said and found.get("control") is None:
            await self._define(reader, item, uid)
        try:
            guards = guards_in(found, arms, _sources_of(item.spec.metrics.guardrails))
        except _NOT_TOLD:
            return None
        return with_said(guards, await self._said(reader, item, uid, arms))

    async def _define(self, reader: Reader, item: ExperimentItem, uid: str) -> None:
        url, key = recorder_url(item.namespace), await admin_key(reader, item.namespace)
        with contextlib.suppress(RouterError):
            await self._context.routers.define(url, key, uid, _definition(item.spec))

    async def _told_of(self, reader: Reader, item: ExperimentItem, uid: str, metric: str) -> Manifest | None:
        url, key = recorder_url(item.namespace), await admin_key(reader, item.namespace)
        try:
            return await self._context.routers.statistics(url, key, uid, metric)
        except RouterError:
            return None


def _counted_as(metric: PrimaryMetric | SecondaryMetric) -> str:
    """What the recorder calls its values."""
    return f"{SCORE}{metric.name}" if metric.scored else metric.name


def _definition(spec: ABExperimentSpec) -> dict[str, Any]:
    """What the recorder has to know of an experiment: it keeps values within a range, and compares with the control."""
    ranges = {name: {"min": one.min, "max": one.max} for name, one in spec.metrics.ranges.items()}
    return {"control": spec.control, "ranges": ranges}


def _counts(spec: ABExperimentSpec, found: dict[str, Any]) -> Counts:
    """What a recorder told, in the order of the variants; of some of them it may know nothing yet."""
    arms = [found["variants"].get(variant.name, {}) for variant in spec.variants]
    users = tuple(_number(arm.get("users", 0), _MOST_USERS) for arm in arms)
    requests, fallbacks = (
        tuple(_number(arm.get(name, 0), _MOST_REQUESTS) for arm in arms) for name in ("requests", "fallbacks")
    )
    primary, moved = spec.metrics.primary, _number(found["moved_users"], _MOST_USERS)
    guards = guards_in(found, [variant.name for variant in spec.variants], _sources(spec))
    if primary.source not in SAID:
        return Counts(users, requests, fallbacks, (Sums(),) * len(arms), moved=moved, guards=guards)
    kind = "closed" if primary.window else "metric"
    metrics = [arm.get(kind) or {"sums": {}} for arm in arms]
    parts = max(1, *(_number(metric.get("parts", 1), _MOST_PARTS) for metric in metrics))
    largest = parts if primary.window else parts * _LARGEST
    sums = tuple(Sums(*_whole(metric["sums"], Sums, largest, signed=kind == "metric")) for metric in metrics)
    counted = Counts(users, requests, fallbacks, sums, Scale(parts), moved=moved, guards=guards)
    if kind == "metric" or primary.range is None or not found["range"]:
        return counted
    low, high = primary.range.min, primary.range.max
    if not all(isclose(found["range"][name], end, abs_tol=1e-8) for name, end in (("min", low), ("max", high))):
        raise ValueError("the recorder counts by another range")
    return replace(
        counted,
        scale=Scale(parts, low, high - low),
        histories=tuple(History(*_whole(metric["sums"], History, largest)) for metric in metrics),
        histograms=tuple(_histogram(metric, parts) for metric in metrics),
    )


def _sources(spec: ABExperimentSpec) -> list[Source]:
    """What has to be known of answers."""
    primary = spec.metrics.primary.source
    measured: set[Source] = {primary} if is_ratio(primary) else set()
    return sorted(measured.union(_sources_of(spec.metrics.guardrails)))


def _sources_of(guardrails: Iterable[Guardrail]) -> list[Source]:
    return sorted({one.source for one in guardrails if one.source != "Feedback"})


def _whole(told: dict[str, Any], kind: type[Sums | History], largest: int, *, signed: bool = False) -> list[int]:
    """Return the numbers, of values of up to `largest`; `signed` where a sum of values may be below 0."""
    users = _number(told.get("n", 0), _MOST_USERS)
    most = {field.name: users * largest ** _DEGREES[field.name] for field in dataclasses.fields(kind)}
    return [_number(told.get(name, 0), most[name], -most[name] if signed and name == "y" else 0) for name in most]


def _number(told: Any, most: int, least: int = 0) -> int:  # noqa: ANN401 - whatever is told
    """Return a whole number; raise ValueError for what no recorder of ours tells."""
    number = int(told)
    if not least <= number <= most:
        raise ValueError(f"{number} was not counted")
    return number


def _histogram(told: dict[str, Any], parts: int) -> Histogram:
    users = _number(told.get("users", 0), _MOST_USERS)
    return Histogram(
        users, {_number(cell, parts // CELL): _number(n, users) for cell, n in told.get("cells", {}).items()}
    )


async def _rivals(reader: Reader, item: ExperimentItem) -> list[Rival]:
    """Read from raw fields: one that cannot be parsed has started all the same."""
    rivals = []
    for other in await reader.list("ABExperiment", item.namespace):
        status, metadata = other.get("status") or {}, other["metadata"]
        of_model = (other.get("spec") or {}).get("modelName") == item.spec.model_name
        is_over = not _has_users(status) or "deletionTimestamp" in metadata
        if of_model and not is_over and metadata["name"] != item.name:
            created, started = metadata.get("creationTimestamp", ""), bool(status.get("startedAt"))
            spec = _parsed(other)
            rivals.append(Rival(metadata["name"], created, str(status.get("phase")), started, spec))
    return rivals


def _has_users(status: Manifest) -> bool:
    try:
        return has_users(ABExperimentStatus.parse(status))
    except ValueError:
        return not status.get("decision") or status.get("phase") == "Baking"


def _parsed(experiment: Manifest) -> ABExperimentSpec | None:
    try:
        return ABExperimentSpec.parse(experiment["spec"])
    except ValueError:
        return None


def _digest(spec: Manifest) -> str:
    """What tells this version from another of its name; of a backend where its spec can be parsed."""
    if "backend" not in spec:
        return str((spec.get("artifact") or {}).get("digest", ""))
    with contextlib.suppress(ValueError):
        return ModelVersionSpec.parse(spec).digest
    return ""


def _seen(version: Manifest | None) -> VariantSeen:
    if version is None:
        return VariantSeen(None, ready=False)
    spec = version.get("spec") or {}
    model, digest = str(spec.get("modelName")), _digest(spec)
    try:
        status = ModelVersionStatus.parse(version.get("status") or {})
    except ValueError:
        return VariantSeen(model, ready=False, digest=digest)
    number, aliases = (status.registry.version, status.registry.aliases) if status.registry else ("", [])
    is_ready, copies = status.phase in ANSWERING, "caCertificateRef" not in (spec.get("backend") or {})
    return VariantSeen(model, is_ready, number, digest, PRODUCTION in aliases, status.cost, copies)
