"""Each phase as kstatus sees it, which knows no phases: what is at work is waited for, what failed is given up."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from anneal_operator.errors import ApiError
from anneal_operator.outside.registry import Registration
from tests.support.counted import metric_told
from tests.support.kstatus import Verdict, kstatus

from .jobs import change, job_world, look, register_base, result, until
from .test_ab_experiment import SPEC as EXPERIMENT
from .test_model_version import SPEC as VERSION
from .test_model_version import UNSERVED
from .world import NAMESPACE, World

Scene = Callable[[], World]
Rows = list[tuple[str, Scene, str, Verdict]]


def _at(stage: str, *, exit_code: int | None = None, times: int = 1, **spec: Any) -> Scene:
    """A job whose stage is at work, or has ended and was looked at so often."""

    def scene() -> World:
        world = job_world()
        change(world, **spec)
        until(world, stage)
        look(world)
        if exit_code is not None:
            said = result(stage) if exit_code == 0 else {"error": "StageError", "message": "it ended"}
            world.finish("job", stage, said, exit_code=exit_code)
            for _ in range(times):
                look(world)
        return world

    return scene


def _begun(prepare: Callable[[World], object]) -> Scene:
    """A job that is looked at for the first time."""

    def scene() -> World:
        world = job_world()
        register_base(world)
        prepare(world)
        look(world)
        return world

    return scene


def _edited() -> World:
    world = _at("train")()
    metadata = world.api.objects["FineTuneJob", "job"]["metadata"]
    world.api.edit("FineTuneJob", "job", metadata=metadata | {"generation": 2})
    return world


JOB: Rows = [
    ("without its data", _begun(lambda w: w.api.remove("ConfigMap", "data")), "Pending", "InProgress"),
    ("prepare", _at("prepare"), "Preparing", "InProgress"),
    ("in a queue", _at("train", scheduling={"queueName": "research"}), "Queued", "InProgress"),
    ("train", _at("train"), "Running", "InProgress"),
    ("an edit that nobody has looked at", _edited, "Running", "InProgress"),
    ("a training that is tried again", _at("train", exit_code=70), "Running", "InProgress"),
    ("evaluate", _at("evaluate"), "Evaluating", "InProgress"),
    ("publish", _at("publish"), "Publishing", "InProgress"),
    ("done", _at("publish", exit_code=0, times=2), "Succeeded", "Current"),
    ("bad data", _at("prepare", exit_code=65), "Failed", "Failed"),
    ("suspended", _begun(lambda w: change(w, suspend=True)), "Suspended", "Current"),
    ("refused", _begun(lambda w: w.api.refuses.update(Job=ApiError(403, "a quota"))), "Pending", "InProgress"),
    ("a spec that cannot be read", _begun(lambda w: change(w, base={"uri": 7})), "", "Failed"),
]


def _version(spec: dict[str, Any], *ready: int) -> Scene:
    """A version of which so many pods answer, one number after the other; then the routers know of it."""

    def scene() -> World:
        world = World()
        world.api.put("ModelVersion", "one", spec=spec)
        world.reconcile("ModelVersion", "one", 2)
        for count in ready:
            made = world.api.objects["Deployment", "one-server"]["metadata"]["generation"]
            told = {"observedGeneration": made, "readyReplicas": count, "updatedReplicas": count}
            world.api.edit("Deployment", "one-server", status=told)
            world.reconcile("ModelVersion", "one", 2)
        for kind, name in (("Router", "anneal-router"), ("Router", "anneal-router"), ("ModelVersion", "one")):
            world.reconcile(kind, name)
        return world

    return scene


def _unregistered() -> World:
    world = World()
    world.registry.down = True
    world.api.put("ModelVersion", "one", spec=VERSION)
    world.reconcile("ModelVersion", "one")
    return world


def _broken() -> World:
    world = _version(VERSION)()
    state = {"terminated": {"reason": "Error", "exitCode": 1, "message": "no such file"}}
    labels = {"labels": {"anneal.dev/model-version": "one"}}
    world.api.put("Pod", "p", metadata=labels, status={"containerStatuses": [{"state": state}]})
    world.reconcile("ModelVersion", "one")
    return world


def _left(*seconds: float) -> Scene:
    """A version that nobody wants any more, looked at after so many seconds each."""

    def scene() -> World:
        world = _version(VERSION | {"aliases": []}, 1)()
        world.api.put("ModelVersion", "two", spec=VERSION | {"aliases": []})
        world.reconcile("ModelVersion", "two", 2)
        world.registry.aliases["spam", "production"] = "2"
        rest = {"replicas": 0, "retireAfter": "10m", "rollbackWindow": "0s"}
        world.api.edit("ModelVersion", "one", spec=VERSION | {"aliases": [], "serving": rest})
        for pause in (0, *seconds):
            world.later(pause)
            world.reconcile("ModelVersion", "one", 2)
            world.reconcile("Router", "anneal-router", 2)
        world.reconcile("ModelVersion", "one")
        return world

    return scene


VERSIONS: Rows = [
    ("without MLflow", _unregistered, "Registering", "InProgress"),
    ("not answering yet", _version(VERSION), "Loading", "InProgress"),
    ("answering", _version(VERSION, 1), "Ready", "Current"),
    ("answering in part", _version(VERSION | {"serving": {"replicas": 2}}, 1), "Degraded", "InProgress"),
    ("an engine that ends", _broken, "Failed", "Failed"),
    ("only registered", _version(UNSERVED), "Idle", "Current"),
    ("its answers under way", _left(1), "Draining", "InProgress"),
    ("without pods", _left(1, 31), "Idle", "Current"),
    ("for long", _left(1, 31, 601), "Retired", "Current"),
]


def _experiment(*, ready: bool = True, mode: str = "Automatic", b: float | None = None, users: int = 110) -> Scene:
    """An experiment whose variants may answer, and whose second one's users are so happy, where it is to be judged."""

    def scene() -> World:
        world = World()
        world.api.put("ABExperiment", "x", spec=EXPERIMENT | {"decision": {"mode": mode}}, metadata={"uid": "uid-x"})
        for name, number in (("one", "1"), ("two", "2")):
            status = {"phase": "Ready" if ready else "Loading", "registry": {"version": number, "url": "u"}}
            world.api.put("ModelVersion", name, spec={**VERSION, "modelName": "spam"}, status=status)
            asyncio.run(world.registry.register(Registration(NAMESPACE, name, name, "spam", "u", "d", "r")))
        world.registry.aliases["spam", "production"] = "1"
        world.programme(split_by="uid-x")
        world.reconcile("ABExperiment", "x")
        if b is not None:
            world.later(60 if users > 100 else 3600)
            counted = {
                name: {"users": users, "requests": users, "metric": metric_told(users, mean, float(users))}
                for name, mean in {"a": 3.0, "b": b}.items()
            }
            world.routers.counted = {"variants": counted, "moved_users": 0}
            world.reconcile("ABExperiment", "x", 2)
        return world

    return scene


def _followed() -> World:
    """The routers and both versions know of the promotion."""
    world = _experiment(b=4.0)()
    world.programme("two")
    world.reconcile("ABExperiment", "x")
    for name, held in (("one", []), ("two", ["production"])):
        status = world.api.status("ModelVersion", name)
        world.api.edit("ModelVersion", name, status=status | {"registry": status["registry"] | {"aliases": held}})
    world.reconcile("ABExperiment", "x")
    return world


def _changed(**spec: Any) -> Scene:
    """One that was counting, and the routers have heard."""

    def scene() -> World:
        world = _experiment()()
        world.api.edit("ABExperiment", "x", spec=world.api.objects["ABExperiment", "x"]["spec"] | spec)
        world.programme("one")
        world.reconcile("ABExperiment", "x", 3)
        return world

    return scene


def _without_versions() -> World:
    world = World()
    world.api.put("ABExperiment", "x", spec=EXPERIMENT)
    world.reconcile("ABExperiment", "x")
    return world


EXPERIMENTS: Rows = [
    ("without its versions", _without_versions, "Pending", "InProgress"),
    ("variants that load", _experiment(ready=False), "WarmingUp", "InProgress"),
    ("counting", _experiment(), "Running", "InProgress"),
    ("won, the routers not told yet", _experiment(b=4.0), "Promoted", "InProgress"),
    ("won", _followed, "Promoted", "Current"),
    ("lost", _experiment(b=2.0), "RolledBack", "Current"),
    ("paused, once no router splits by it", _changed(suspend=True), "Paused", "Current"),
    ("aborted", _changed(abort=True), "Aborted", "Current"),
    ("a person is to approve it", _experiment(b=4.0, mode="Recommend"), "Running", "InProgress"),
    ("only observed", _experiment(b=4.0, mode="Observe"), "Observed", "Current"),
    ("too few users in its time", _experiment(b=4.0, users=9), "Inconclusive", "Current"),
    ("a mode that nobody knows", _experiment(mode="Other"), "", "Failed"),
]
_NAMES = {"FineTuneJob": "job", "ModelVersion": "one", "ABExperiment": "x"}
_TABLES = {"FineTuneJob": JOB, "ModelVersion": VERSIONS, "ABExperiment": EXPERIMENTS}
_ALL = [(kind, *row) for kind, rows in _TABLES.items() for row in rows]


@pytest.mark.parametrize(
    ("kind", "scene", "phase", "verdict"),
    [(kind, *row) for kind, _, *row in _ALL],
    ids=[f"{kind}: {title}" for kind, title, *_ in _ALL],
)
def test_each_phase_is_to_kstatus_what_it_is_to_a_person(kind: str, scene: Scene, phase: str, verdict: Verdict) -> None:
    manifest = scene().api.objects[kind, _NAMES[kind]]
    assert (manifest["status"].get("phase", ""), kstatus(manifest)) == (phase, verdict)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"metadata": {"generation": 2, "deletionTimestamp": "2026-03-01T12:00:00Z"}}, "Terminating"),
        ({"status": {}}, "Current"),
        ({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, "InProgress"),
        ({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, "InProgress"),
        ({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "Current"),
        ({"status": {"conditions": [{"type": "Stalled", "status": "False"}]}}, "Current"),
    ],
)
def test_the_copy_of_kstatus_follows_its_rules(changed: dict[str, Any], verdict: Verdict) -> None:
    assert kstatus({"metadata": {"generation": 2}, **changed}) == verdict
