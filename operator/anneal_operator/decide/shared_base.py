"""Engines that several versions share: which there are to be, with which of them, and how one of them stands there.

A version is on the engine that its spec asks for, and, until that answers with it, also on the one that it had: a
change of settings takes it from one to the other without a lost request.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from anneal_operator.api.model_version import LoadedOn, VersionPhase
from anneal_operator.api.resources import Manifest
from anneal_operator.reasons import Reason
from serving_runtime.plan import AdapterReport

from .conditions import Finding
from .failures import is_deleted
from .serving_engine import Engine

__all__ = ["SharedEngine", "SharedVersion", "Standing", "engines", "is_ready", "look_again", "stands", "with_adapter"]

_RECHECK_SECONDS, _LOADING_SECONDS, _RETRY_SECONDS = 60.0, 1.0, 15.0
Reports = Mapping[str, AdapterReport]
"""What pods told, by their uids; of one that did not answer there is none."""


@dataclass(frozen=True)
class SharedVersion:
    """A version that is an adapter, as it was last written."""

    name: str
    digest: str
    asks_for: str
    """The engine that its spec names; empty where that cannot be read."""
    is_on: str
    """The engine that answers with it until now; empty where none does."""
    replicas: int
    """The pods that are wanted for it; 0 where it is not wanted."""
    is_contested: bool = False
    """Whether it takes part in an experiment that is not decided."""
    has_answered: bool = True
    """Whether any pod that it was on ever did."""


@dataclass(frozen=True)
class SharedEngine:
    """An engine as it is to be: with these versions, or, without any, gone."""

    name: str
    versions: tuple[str, ...] = ()
    replicas: int = 0
    as_it_is: bool = False
    """Whether its pods stay as they were made."""


@dataclass(frozen=True)
class Standing:
    """How one version stands on an engine."""

    engine: Engine | None
    loaded_on: list[LoadedOn] = field(default_factory=list)
    problem: str = ""
    """Why a pod does not load it."""
    may_answer: bool = False
    """Whether it answers there, or may again: that no pod says so now does not mean that none will."""


def engines(
    versions: Sequence[SharedVersion],
    made: Mapping[str, Engine],
    build: str,
    wishes: Mapping[str, str],
    held: Mapping[str, Collection[str]] | None = None,
) -> list[SharedEngine]:
    """Return all engines of a namespace, those that are to go as well; `made` are the Deployments that there are.

    `held` are versions that have moved away from them, and that routers may still ask there.
    """
    wanted = [version for version in versions if version.replicas]
    names = {version.asks_for for version in wanted} | {version.is_on for version in wanted} | set(made)
    found, turn = [], _whose_turn(_with_a_turn(wanted, made), build)
    for name in sorted(names - {""}):
        stay = (held or {}).get(name, ())
        on_it = [v for v in wanted if name in {v.asks_for, v.is_on} or v.name in stay]
        asked = [version for version in on_it if version.asks_for == name]
        if not asked and name not in made:
            continue  # what is left of it is somebody's memory
        waits = name in made and _waits(name, made[name], asked, build, wishes, turn)
        replicas = max((version.replicas for version in on_it), default=0)
        found.append(
            SharedEngine(
                name, tuple(sorted(v.name for v in on_it)), replicas, as_it_is=waits or bool(on_it and not asked)
            )
        )
    return found


def _waits(
    name: str, engine: Engine, asked: Iterable[SharedVersion], build: str, wishes: Mapping[str, str], turn: str
) -> bool:
    """Whether its pods are not brought up to date yet: one engine after the other, and none in an experiment."""
    if engine.build == build or engine.wish != wishes.get(name, engine.wish):
        return False
    return any(version.is_contested for version in asked) or turn not in {"", name}


def _with_a_turn(wanted: Sequence[SharedVersion], made: Mapping[str, Engine]) -> dict[str, Engine]:
    """Return the engines that others wait for: not those that never answered, are left alone, or nobody asks for."""
    asked = {name: [version for version in wanted if version.asks_for == name] for name in made}
    return {
        name: engine
        for name, engine in made.items()
        if any(version.is_on == name and version.has_answered for version in asked[name])
        and not any(version.is_contested for version in asked[name])
    }


def _whose_turn(made: Mapping[str, Engine], build: str) -> str:
    """One that is on its way first, then those of an earlier build in the order of their names."""
    rolling = [
        n for n, engine in made.items() if engine.build == build and engine.is_rolling and not engine.is_complete
    ]
    return min(rolling, default="") or min((n for n, engine in made.items() if engine.build != build), default="")


def stands(
    version: SharedVersion,
    engine: Engine | None,
    pods: Sequence[Manifest],
    reports: Reports,
    *,
    is_open: bool,
    before: Mapping[str, LoadedOn | None] | None = None,
) -> Standing:
    """Return how a version stands on an engine with these pods.

    Nobody is sent to it before all that are ready have it. Where it `is_open`, those that have it count: of the others
    each request goes on to one of them. `before` is what pods had, by their uids, that have told nothing since the
    operator began; None of one of which nothing is known, which may have it where no other has.
    """
    if engine is None or not version.replicas:
        return Standing(None)
    ready = [pod for pod in pods if is_ready(pod)]
    known = dict(before or {})
    told = {pod["metadata"]["name"]: reports.get(pod["metadata"]["uid"], AdapterReport()) for pod in ready}
    loaded = [
        LoadedOn(pod=name, digest=version.digest, verified_at=found.verified_at)
        for name, report in told.items()
        if (found := report.loaded.get(version.name)) and found.digest == version.digest
    ]
    loaded += [one for pod in ready if (one := known.get(pod["metadata"]["uid"])) and one.digest == version.digest]
    loaded.sort(key=lambda one: one.pod)
    problems = [
        f"{name}: {failed.message}"
        for name, report in sorted(told.items())
        if (failed := report.problems.get(version.name)) and failed.digest == version.digest
    ]
    count = len(loaded) if is_open or len(loaded) == len(ready) else 0
    if is_open and not count:
        count = sum(pod["metadata"]["uid"] in known for pod in ready)
    is_hopeless = len(problems) == len(ready) if ready else not engine.is_complete
    return Standing(
        replace(engine, ready=count, replicas=version.replicas),
        loaded,
        next(iter(problems), ""),
        may_answer=bool(count) or is_open or not is_hopeless,
    )


def look_again(
    found: Iterable[SharedEngine], versions: Iterable[SharedVersion], told: Mapping[str, Sequence[AdapterReport | None]]
) -> float:
    """Return after how many seconds to ask the pods again; `told` is what those that are ready did, by engine."""
    digests = {version.name: version.digest for version in versions}
    waits = [
        _wait(report, name, digests[name])
        for engine in found
        for report in told.get(engine.name, ())
        for name in engine.versions
    ]
    return min(waits, default=_RECHECK_SECONDS)


def _wait(report: AdapterReport | None, name: str, digest: str) -> float:
    loaded = report.loaded.get(name) if report else None
    problem = report.problems.get(name) if report else None
    if loaded and loaded.digest == digest:
        return _RECHECK_SECONDS
    is_told = report is None or (problem is not None and problem.digest == digest)
    return _RETRY_SECONDS if is_told else _LOADING_SECONDS


def with_adapter(phase: VersionPhase, ready: Finding, problem: str, waits: str) -> tuple[VersionPhase, Finding]:
    """Return a version's phase and its condition Ready with what its pods say of the adapter, which may be why."""
    if problem and phase == "Loading":
        return "Failed", Finding(ready.type, "False", Reason.ADAPTER_REFUSED, f"the adapter is not loaded: {problem}")
    told = "; ".join(text for text in (ready.message, problem if phase == "Degraded" else "", waits) if text)
    return phase, replace(ready, message=told)


def is_ready(pod: Manifest) -> bool:
    """Whether requests are sent to a pod."""
    told = pod.get("status", {}).get("conditions", ())
    return not is_deleted(pod) and any(one["type"] == "Ready" and one["status"] == "True" for one in told)
