"""What is known from watches: it spares reads, and is never more than a hint."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from anneal_operator.cluster.inputs import Inputs
from anneal_operator.cluster.watched_jobs import WatchedJobs
from anneal_operator.desired.training import JOB_LABEL, plan_name
from tests.reconcile.jobs import KEY, job_world, look, register_base, result, status
from tests.reconcile.world import NAMESPACE, FakeApi, Manifest, World


class _Reads(FakeApi):
    """Counts what is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    @override
    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        self.reads.append(f"{kind}/{name}")
        return await super().get(kind, namespace, name)

    @override
    async def list(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        self.reads.append(kind)
        return await super().list(kind, namespace, selector)


def _new_world() -> World:
    """A job that nobody has looked at."""
    made = job_world()
    api = _Reads()
    api.objects = made.api.objects
    made.api = api
    watched = WatchedJobs(api, JOB_LABEL, plan_name)
    made.context = replace(made.context, api=api, watched=watched, inputs=Inputs(api))
    register_base(made)
    return made


@pytest.fixture
def world() -> World:
    """A job in preparation, known from watches for a minute."""
    made = _new_world()
    look(made)
    _reads(made)
    return made


def _watch(world: World, kind: str, name: str, **changes: Any) -> None:
    """Let the watch tell of an object as it is, but for these changes."""
    world.context.watched.observe({**world.api.objects[kind, name], "kind": kind, **changes})


def _reads(world: World) -> list[str]:
    assert isinstance(world.api, _Reads)
    made, world.api.reads = world.api.reads, []
    return made


def test_a_look_at_a_job_that_waits_asks_nothing(world: World) -> None:
    world.writes()
    look(world)
    assert (_reads(world), world.writes()) == ([], [])


def test_what_is_to_be_done_is_done_on_the_truth(world: World) -> None:
    """The watch of Jobs was quicker than that of pods, so the finished stage's result is not known yet."""
    world.finish("job", "prepare", result("prepare"))
    _watch(world, "Job", "job-prepare")
    assert look(world) == 0.0
    assert status(world)["phase"] == "Preparing"
    look(world)
    assert {"FineTuneJob/job", "Job", "Pod"} <= set(_reads(world))
    assert status(world)["phase"] == "Running"


def test_what_vanished_unseen_is_noticed_when_all_is_read_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    del world.api.objects["Job", "job-prepare"]
    world.writes()
    look(world)
    assert world.writes() == []
    monkeypatch.setattr(world.context.watched, "_max_age", -1.0)
    look(world)
    assert world.writes() == ["Job/job-prepare"]


def test_older_news_replaces_nothing(world: World) -> None:
    job = world.api.objects["FineTuneJob", "job"]
    for version, generation in (("900", 7), ("800", 3)):
        metadata = {**job["metadata"], "resourceVersion": version, "generation": generation}
        _watch(world, "FineTuneJob", "job", metadata=metadata)
    world.api.objects["FineTuneJob", "job"]["metadata"] |= {"resourceVersion": "900", "generation": 7}
    look(world)
    assert status(world)["observedGeneration"] == 7


def test_a_deleted_job_is_forgotten(world: World) -> None:
    world.context.watched.observe(
        {**world.api.objects.pop(("FineTuneJob", "job")), "kind": "FineTuneJob"}, deleted=True
    )
    assert asyncio.run(world.context.watched.job(NAMESPACE, KEY.name)) is None
    assert look(world) is None


def test_a_new_job_is_made_without_asking_what_there_is() -> None:
    world = _new_world()
    _watch(world, "FineTuneJob", "job")
    look(world)
    assert ("Job", "job-prepare") in world.api.objects
    assert _reads(world) == ["ModelVersion/job", "ConfigMap/data"], "whether the name and the data are there"


def test_only_what_was_not_known_yet_is_news(world: World) -> None:
    """A watch tells of each write of ours again, and a listing of everything."""
    watched, job = world.context.watched, {"kind": "FineTuneJob", **world.api.objects["FineTuneJob", "job"]}
    made = {**world.api.objects["Job", "job-prepare"]}
    assert [watched.observe(job), watched.observe(made)] == [False, False]
    world.finish("job", "prepare", result("prepare"))
    assert [watched.observe(made), watched.observe(made)] == [True, False]
    pod = {"kind": "Pod", **world.api.objects["Pod", "job-prepare-pod"]}
    assert [watched.observe(pod), watched.observe(pod, deleted=True), watched.observe(pod, deleted=True)] == [
        True,
        True,
        False,
    ]
    assert [watched.observe(job, deleted=True), watched.observe(made), watched.observe(job)] == [True, False, True]
