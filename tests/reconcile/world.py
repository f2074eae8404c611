"""A small world in memory for the reconcilers: API server, MLflow, routers. The end-to-end tests have real ones."""

# ruff: noqa: ARG002 - the fakes take what the real ones take

import asyncio
import copy
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from anneal_operator.api.model_version import Answered
from anneal_operator.api.schema import timestamp
from anneal_operator.cluster.inputs import Inputs
from anneal_operator.cluster.reading import Readers
from anneal_operator.cluster.store import Store
from anneal_operator.decide.acknowledgement import Arrival
from anneal_operator.desired.routing import ROUTER, ROUTER_LABEL, stamp_of
from anneal_operator.endpoints.progress import ProgressBook
from anneal_operator.errors import ApiError, ConflictError, ForeignModelError, RegistryError, RouterError
from anneal_operator.handlers.watching import OWNERS
from anneal_operator.outside.models import Models
from anneal_operator.outside.registry import Registered, RegisteredModel, Registration, RunAtWork
from anneal_operator.outside.routers import RouterTraffic
from anneal_operator.reconcile.ab_experiment import ABExperimentKind
from anneal_operator.reconcile.context import Context
from anneal_operator.reconcile.costs import Costs
from anneal_operator.reconcile.fine_tune_job import FineTuneJobKind
from anneal_operator.reconcile.harness import Harness
from anneal_operator.reconcile.left_runs import LeftRuns
from anneal_operator.reconcile.model_version import ModelVersionKind
from anneal_operator.reconcile.queue import Key
from anneal_operator.reconcile.routing import RouterKind
from anneal_operator.reconcile.shared_base import SharedBaseKind
from anneal_operator.settings import Settings
from serving_runtime.plan import (
    FORMAT,
    AdapterReport,
    BackendReport,
    BackendReports,
    Downloaded,
    ExperimentRoute,
    ModelRoute,
    RouteTable,
    Stamp,
    VariantRoute,
)
from serving_runtime.terms import digest_of_target

__all__ = ["FakeApi", "FakeRegistry", "FakeRouters", "World"]

Manifest = dict[str, Any]
NAMESPACE = "team"
SETTINGS = Settings(
    namespace="system",
    trainer_image="trainer:1",
    server_image="server:1",
    router_image="router:1",
    mlflow_url="http://mlflow:5000",
    progress_host="operator",
)


class Tell(Protocol):
    """Takes what a watch would tell."""

    def __call__(self, manifest: Manifest, *, deleted: bool = False) -> object: ...


class FakeApi:
    """Objects by kind and name; counts what is written."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.writes: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.warnings: list[str] = []
        """The reasons of those events that are warnings."""
        self.refuses: dict[str, ApiError] = {}
        self.reads: list[str] = []
        self.tell: Tell = Store({}).observe
        self._numbers = itertools.count(1)

    def put(self, kind: str, name: str, **fields: Any) -> Manifest:
        """Set the scene: an object that somebody else made."""
        metadata = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{next(self._numbers)}", "generation": 1}
        created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(self._numbers))
        metadata |= {"creationTimestamp": timestamp(created)}
        metadata |= {"resourceVersion": str(next(self._numbers))} | fields.pop("metadata", {})
        made = {"apiVersion": "anneal.dev/v1alpha1", "kind": kind, "metadata": metadata, **fields}
        self.objects[kind, name] = made
        self.tell(copy.deepcopy(made))
        return made

    def status(self, kind: str, name: str) -> Manifest:
        status: Manifest = self.objects[kind, name].get("status", {})
        return status

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        assert namespace == NAMESPACE
        self.reads.append(f"{kind}/{name}")
        return copy.deepcopy(self.objects.get((kind, name)))

    async def list(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        assert namespace == NAMESPACE
        self.reads.append(kind)
        name, _, value = selector.partition("=")
        return [
            copy.deepcopy(item)
            for (item_kind, _), item in self.objects.items()
            if item_kind == kind and (not selector or item["metadata"].get("labels", {}).get(name) == value)
        ]

    async def create(self, manifest: Manifest) -> Manifest:
        if manifest["kind"] == "Event":
            self.events.append((manifest["reason"], manifest["message"]))
            self.warnings += [manifest["reason"]] if manifest["type"] == "Warning" else []
            return manifest
        key = manifest["kind"], manifest["metadata"]["name"]
        if manifest["kind"] in self.refuses:
            raise self.refuses[manifest["kind"]]
        if key in self.objects:
            raise ConflictError(409, "already exists")
        return self._store(manifest)

    async def apply(self, manifest: Manifest) -> Manifest:
        if manifest["kind"] in self.refuses:
            raise self.refuses[manifest["kind"]]
        return self._store(manifest)

    async def patch(self, kind: str, namespace: str, name: str, changes: Manifest) -> None:
        expected = changes.get("metadata", {}).get("resourceVersion")
        if expected not in {None, self.objects[kind, name]["metadata"].get("resourceVersion")}:
            raise ConflictError(409, "the object has been modified")
        self.writes.append(f"{kind}/{name}/patch")
        _merge(self.objects[kind, name], changes)
        self.changed(kind, name)

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        assert self.objects[kind, name]["metadata"]["uid"] == uid
        self.writes.append(f"{kind}/{name}/delete")
        self.remove(kind, name)
        for child_kind, child in [key for key, item in self.objects.items() if _owned(item, uid)]:
            self.remove(child_kind, child)

    async def write_status(self, kind: str, current: Manifest, status: Manifest) -> Manifest:
        name = current["metadata"]["name"]
        if (kind, name) not in self.objects:
            raise ApiError(404, "not found")
        for field_name in ("uid", "resourceVersion"):
            if current["metadata"].get(field_name) != self.objects[kind, name]["metadata"].get(field_name):
                raise ConflictError(409, "the object has been modified")
        self.writes.append(f"{kind}/{name}/status")
        self.objects[kind, name]["status"] = copy.deepcopy(status)
        self.changed(kind, name)
        return copy.deepcopy(self.objects[kind, name])

    def changed(self, kind: str, name: str) -> None:
        """Give an object that was changed a new version, and tell the watches."""
        self.objects[kind, name]["metadata"]["resourceVersion"] = str(next(self._numbers))
        self.tell(copy.deepcopy(self.objects[kind, name]))

    def edit(self, kind: str, name: str, **fields: Any) -> None:
        """Set the scene: somebody else changes fields of an object."""
        self.objects[kind, name] |= fields
        self.changed(kind, name)

    def remove(self, kind: str, name: str) -> None:
        """Set the scene: somebody deletes an object."""
        self.tell(self.objects.pop((kind, name)), deleted=True)

    async def review_token(self, token: str, audience: str) -> str | None:
        return None

    def _store(self, manifest: Manifest) -> Manifest:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        self.writes.append(f"{kind}/{name}")
        old = self.objects.get((kind, name))
        stored = copy.deepcopy(manifest)
        if kind == "Service":
            stored["spec"]["clusterIP"] = "10.0.0.1"
        stored["metadata"]["uid"] = old["metadata"]["uid"] if old else f"uid-{next(self._numbers)}"
        generation = old["metadata"].get("generation", 1) if old else 1
        changed = old is not None and old.get("spec") != stored.get("spec")
        stored["metadata"]["generation"] = generation + 1 if changed else generation
        stored["metadata"]["creationTimestamp"] = "2026-03-01T12:00:00Z"
        stored["metadata"]["resourceVersion"] = str(next(self._numbers))
        if old and "status" in old:
            stored["status"] = old["status"]
        self.objects[kind, name] = stored
        self.tell(copy.deepcopy(stored))
        return copy.deepcopy(stored)


def _owned(item: Manifest, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", ()))


def _number(job: str) -> int:
    return int(job.rpartition("-")[2])


def _merge(target: Manifest, changes: Manifest) -> None:
    for name, value in changes.items():
        if isinstance(value, dict):
            _merge(target.setdefault(name, {}), value)
        elif value is None:
            target.pop(name, None)
        else:
            target[name] = value


@dataclass
class FakeRegistry:
    """MLflow's model registry; `down` makes every call fail."""

    versions: list[Registered] = field(default_factory=list)
    uids: dict[str, Registered] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """Of the registered models: a namespace."""
    aliases_set: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By version."""
    records: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """By version."""
    kept: dict[tuple[str, str], str] = field(default_factory=dict)
    """Records of experiments, by model, and by namespace and name."""
    reports: dict[tuple[str, str], str] = field(default_factory=dict)
    """Of experiments: run and phase, by model, and by namespace and name."""
    files: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Of the reports, by namespace and name."""
    metrics: dict[str, Mapping[str, float]] = field(default_factory=dict)
    """By version."""
    ended_runs: dict[tuple[str, str], str] = field(default_factory=dict)
    """By experiment and job: the failure that each was told of."""
    runs: dict[str, list[RunAtWork]] = field(default_factory=dict)
    """At work, by installation."""
    calls: list[str] = field(default_factory=list)
    down: bool = False

    def _check(self, call: str = "") -> None:
        if self.down:
            raise RegistryError("MLflow is not reachable")
        if call:
            self.calls.append(call)

    def _own(self, namespace: str, model: str) -> None:
        if self.owners.setdefault(model, namespace) != namespace:
            raise ForeignModelError(f"registered model {model} in MLflow belongs to namespace {self.owners[model]}")

    def _seen(self, version: Registered) -> Registered:
        pairs = self.aliases.items()
        held = sorted(alias for (model, alias), to in pairs if (model, to) == (version.model, version.version))
        return replace(version, aliases=tuple(held), aliases_set=self.aliases_set.get(version.version, ()))

    async def register(self, version: Registration) -> Registered:
        self._check("register")
        self._own(version.namespace, version.model)
        url = f"http://mlflow/{version.name}"
        same = next((known for known in self.versions if (known.url, known.digest) == (url, version.digest)), None)
        if same:
            self.uids.setdefault(version.uid, same)
        if version.uid not in self.uids:
            number = str(len(self.versions) + 1)
            made = Registered(version.model, number, (), version.uri, version.digest, url)
            self.uids[version.uid] = made
            self.versions.append(made)
        return self._seen(self.uids[version.uid])

    async def describe(self, model: str) -> RegisteredModel:
        self._check()
        aliases = {alias: to for (of, alias), to in self.aliases.items() if of == model}
        records = {name: text for (of, name), text in self.kept.items() if of == model}
        reports = {name: text for (of, name), text in self.reports.items() if of == model}
        return RegisteredModel(self.owners.get(model), aliases, records, reports)

    async def at_alias(self, model: str, alias: str) -> Registered | None:
        self._check()
        number = self.aliases.get((model, alias))
        return next((self._seen(v) for v in self.versions if (v.model, v.version) == (model, number)), None)

    async def metrics_at_alias(self, model: str, alias: str) -> Mapping[str, float] | None:
        found = await self.at_alias(model, alias)
        return self.metrics.get(found.version, {}) if found else None

    async def end_run(self, experiment: str, job_uid: str, failure: str) -> None:
        self._check("end_run")
        self.ended_runs[experiment, job_uid] = failure

    async def runs_at_work(self, installation: str) -> Sequence[RunAtWork]:
        self._check("runs_at_work")
        return list(self.runs.get(installation, ()))

    async def end_left_run(self, run_id: str) -> None:
        self._check("end_left_run")
        self.runs = {name: [run for run in runs if run.run_id != run_id] for name, runs in self.runs.items()}

    async def set_aliases(self, namespace: str, model: str, version: str, aliases: Sequence[str]) -> None:
        self._check("set_aliases")
        self._own(namespace, model)
        for alias in aliases:
            if alias not in self.aliases_set.get(version, ()):
                self.aliases[model, alias] = version
        self.aliases_set[version] = tuple(aliases)

    async def give_alias(self, namespace: str, model: str, alias: str, version: str) -> None:
        self._check("give_alias")
        self._own(namespace, model)
        self.aliases.setdefault((model, alias), version)

    async def record(self, namespace: str, model: str, version: str, tags: Mapping[str, str]) -> None:
        self._check("record")
        self._own(namespace, model)
        self.records[version] = tags

    async def keep(self, namespace: str, model: str, name: str, record: str) -> None:
        self._check("keep")
        self._own(namespace, model)
        self.kept[model, f"{namespace}.{name}"] = record

    async def keep_report(self, namespace: str, model: str, name: str, phase: str, files: Mapping[str, str]) -> None:
        self._check("keep_report")
        self._own(namespace, model)
        self.files[f"{namespace}.{name}"] = files
        self.reports[model, f"{namespace}.{name}"] = f"run {phase}"

    async def move_alias(self, namespace: str, model: str, alias: str, expected: str, version: str) -> None:
        self._check("move_alias")
        self._own(namespace, model)
        if self.aliases.get((model, alias), expected) == expected:
            self.aliases[model, alias] = version


@dataclass
class FakeRouters:
    """Routers, each of which has what the ConfigMap says unless it is silent, and a recorder; None does not answer."""

    api: FakeApi
    silent: set[str] = field(default_factory=set)
    """Their addresses."""
    has: dict[str, Stamp] = field(default_factory=dict)
    """What one has instead, by its address."""
    formats: dict[str, int] = field(default_factory=dict)
    """Which tables those of another build read, by their address."""
    asked: list[str] = field(default_factory=list)
    asked_of: list[str] = field(default_factory=list)
    """The uids of the experiments whose statistics were asked for."""
    counted_of: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What is told of a metric, where that is not what is told of all."""
    untold: set[str] = field(default_factory=set)
    """The metrics that it does not answer for."""
    requests: dict[str, int] = field(default_factory=dict)
    """What each has under way, by version."""
    asked_ago: dict[str, float] | None = field(default_factory=dict)
    """How many seconds ago each version was asked, as each tells."""
    lag: float | None = 0.0
    """For how long the recorder has not had all that they counted."""
    counts: int = 0
    """How often one told of it."""
    counted: dict[str, Any] | None = None
    copies: dict[str, Any] | None = None
    """What it tells of copies."""
    defined: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """What a recorder was told of experiments, by uid."""
    is_deaf: bool = False
    """Whether a recorder cannot be told."""
    keys: list[str] = field(default_factory=list)
    """Those that it was asked with."""
    loaded: dict[str, AdapterReport] = field(default_factory=dict)
    """What engines of several versions tell, by address; others do not answer."""
    found: dict[str, BackendReport] = field(default_factory=dict)
    """How each finds backends, by version."""
    finds: dict[str, dict[str, BackendReport]] = field(default_factory=dict)
    """How one finds them instead, by its address."""
    recorded: dict[str, Answered] = field(default_factory=dict)
    """What the recorder has, by version; of others it does not tell."""
    downloads: dict[str, Downloaded] = field(default_factory=dict)
    """How far each pod is, by its URL."""

    async def answered(self, url: str, key: str, version: str) -> Answered:
        self.keys.append(key)
        if version not in self.recorded:
            raise RouterError("down")
        return self.recorded[version]

    async def downloaded(self, url: str) -> Downloaded:
        if (found := self.downloads.get(url)) is None:
            raise RouterError("down")
        return found

    async def applied(self, url: str, key: str) -> Stamp:
        address = url.removeprefix("http://").removesuffix(":8082")
        self.asked.append(address)
        self.keys.append(key)
        stamp = self.has.get(address) or stamp_of(self.api.objects.get(("ConfigMap", ROUTER)))
        if address in self.silent or stamp is None:
            raise RouterError("down")
        return stamp

    async def newest_format(self, url: str, key: str) -> int:
        if (address := url.removeprefix("http://").removesuffix(":8082")) in self.silent:
            raise RouterError("down")
        return self.formats.get(address, FORMAT)

    async def traffic(self, url: str, key: str) -> RouterTraffic:
        address = url.removeprefix("http://").removesuffix(":8082")
        self.keys.append(key)
        if address in self.silent:
            raise RouterError("down")
        self.counts += 1
        return RouterTraffic(self.requests, self.lag, self.asked_ago)

    async def backends(self, url: str, key: str) -> BackendReports:
        address = url.removeprefix("http://").removesuffix(":8082")
        self.keys.append(key)
        if address in self.silent:
            raise RouterError("down")
        made = self.api.objects.get(("ConfigMap", ROUTER))
        table = json.loads(made["data"]["routes.json"]) if made else {"targets": {}}
        asked = {name: digest_of_target(target) for name, target in table["targets"].items()}
        found = self.finds.get(address, self.found)
        return BackendReports(
            backends={name: report.model_copy(update={"asked": asked.get(name, "")}) for name, report in found.items()}
        )

    async def adapters(self, url: str, key: str) -> AdapterReport:
        address = url.removeprefix("http://").removesuffix(":8000")
        self.asked.append(address)
        self.keys.append(key)
        if address not in self.loaded:
            raise RouterError("down")
        return self.loaded[address]

    async def statistics(self, url: str, key: str, experiment_uid: str, metric: str) -> dict[str, Any]:
        self.keys.append(key)
        self.asked_of.append(experiment_uid)
        if self.counted is None or metric in self.untold:
            raise RouterError("down")
        return self.counted_of.get(metric, self.counted)

    async def shadowed(self, url: str, key: str, experiment_uid: str) -> dict[str, Any]:
        self.keys.append(key)
        self.asked_of.append(experiment_uid)
        if self.copies is None:
            raise RouterError("down")
        return self.copies

    async def define(self, url: str, key: str, experiment_uid: str, definition: Mapping[str, Any]) -> None:
        self.keys.append(key)
        if self.is_deaf:
            raise RouterError("down")
        self.defined[experiment_uid] = definition
        self.counted = (self.counted or {}) | {"control": definition["control"]}


class World:
    """All of it, with a clock that the test moves."""

    def __init__(self) -> None:
        self.api, self.registry = FakeApi(), FakeRegistry()
        self.routers = FakeRouters(self.api)
        self.woken: list[Key] = []
        self._harnesses: dict[str, Any] = {}
        self._generations = itertools.count(1)
        self.time = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.store = Store(OWNERS)
        self.api.tell = self.store.observe
        self.models = Models(self.registry, lambda _: None, lambda _: True)
        self.context = Context(
            self.api,
            self.store,
            Readers(self.api, self.store, lambda: self.time.timestamp()),
            Inputs(self.api),
            self.models,
            self.registry,
            self.routers,
            LeftRuns(self.api, self.store, self.registry, "here"),
            ProgressBook(),
            SETTINGS.model_copy(),
            "CA",
            self.woken.append,
            lambda: self.time,
        )
        for number in (1, 2):
            self.router_pod(f"router-{number}", f"10.1.0.{number}")

    def router_pod(self, name: str, address: str, *, ready: bool = True, **metadata: Any) -> None:
        """Set the scene: a router's pod."""
        told = [{"type": "Ready", "status": "True" if ready else "False"}]
        labels = {"labels": {ROUTER_LABEL: ROUTER}}
        self.api.put("Pod", name, metadata=labels | metadata, status={"podIP": address, "conditions": told})

    def programme(self, default: str = "one", split_by: str | None = None, *, arrived: bool = True) -> None:
        """Set the scene: the routes of model `spam`, and whether every router has them."""
        arms = [VariantRoute(name=name, target=name, up_to=10000) for name in ("one", "two")]
        experiment = ExperimentRoute(name="x", uid=split_by or "", salt="s", keys=[], control="one", variants=arms)
        route = ModelRoute(default=default, named={}, experiments=[experiment] if split_by else [])
        table = RouteTable(targets={}, models={"spam": route})
        stamp = table.stamped("2026-03-01T00:00:00Z", next(self._generations))
        self.api.put("ConfigMap", ROUTER, data={"routes.json": json.dumps(table.document(stamp))})
        heard = self.context.acknowledgements.of(NAMESPACE)
        heard.arrival = Arrival(stamp, 2) if arrived else Arrival(stamp, 1, ("r",))

    def reconcile(self, kind: str, name: str, times: int = 1) -> float | None:
        """Reconcile an object, with MLflow asked just before, as often as its effects want."""
        made: dict[str, Any] = {
            "FineTuneJob": FineTuneJobKind,
            "ModelVersion": ModelVersionKind,
            "ABExperiment": ABExperimentKind,
            "Router": RouterKind,
            "SharedBase": SharedBaseKind,
        }
        harness = self._harnesses.setdefault(kind, Harness(made[kind](self.context), self.context))

        async def run() -> float | None:
            again = None
            for _ in range(times):
                await self.models.ask("spam")
                again = await harness.reconcile(Key(kind, NAMESPACE, name))
            return again

        return asyncio.run(run())

    def begin_anew(self, **settings: Any) -> None:
        """Set the scene: another operator leads, that has heard of nothing, with these settings."""
        told = self.context.settings.model_copy(update=settings)
        self.context = replace(self.context, settings=told, costs=Costs())
        self.context.readers.clear()
        self.store.clear()
        self._harnesses.clear()

    def later(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def writes(self) -> list[str]:
        """Return and forget what was written since the last call."""
        made, self.api.writes = self.api.writes, []
        return made

    def reads(self) -> list[str]:
        """Return and forget what was read since the last call."""
        made, self.api.reads = self.api.reads, []
        return made

    def finish(self, job: str, stage: str, result: Manifest, *, exit_code: int = 0) -> None:
        """End a stage's Job with a pod that said this; of training the newest attempt's."""
        name = f"{job}-{stage}"
        if stage == "train":
            name = max((n for kind, n in self.api.objects if kind == "Job" and n.startswith(f"{name}-")), key=_number)
        made = self.api.objects["Job", name]
        kind, at = "Failed" if exit_code else "Complete", self.time.strftime("%Y-%m-%dT%H:%M:%SZ")
        told = {"type": kind, "status": "True", "message": "", "lastTransitionTime": at}
        made["status"] = {"startTime": at, "conditions": [told]}
        self.api.changed("Job", name)
        terminated = {"exitCode": exit_code, "message": json.dumps(result), "startedAt": at, "finishedAt": at}
        self.api.put(
            "Pod",
            f"{name}-pod",
            metadata={
                "labels": made["spec"]["template"]["metadata"]["labels"],
                "ownerReferences": [{"uid": made["metadata"]["uid"]}],
            },
            status={
                "phase": "Failed" if exit_code else "Succeeded",
                "containerStatuses": [{"state": {"terminated": terminated}}],
            },
        )
