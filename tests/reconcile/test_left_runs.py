"""Runs in MLflow end with their jobs, whoever looked when these went."""

import asyncio
import contextlib

import pytest

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.errors import ApiError, RegistryError
from anneal_operator.outside.registry import RunAtWork
from anneal_operator.reconcile import left_runs
from anneal_operator.reconcile.fine_tune_job import FineTuneJobKind
from anneal_operator.reconcile.harness import Harness
from anneal_operator.reconcile.left_runs import LeftRuns, installation
from anneal_operator.reconcile.queue import Key

from .jobs import job_world, look, until
from .world import NAMESPACE, World


@pytest.fixture
def world() -> World:
    """A job that has a run, in an MLflow that others use, too."""
    made = job_world()
    until(made, "evaluate")
    uid = made.api.objects["FineTuneJob", "job"]["metadata"]["uid"]
    made.registry.runs = {
        "here": [RunAtWork("run", NAMESPACE, "job", uid)],
        "there": [RunAtWork("theirs", NAMESPACE, "gone", "u")],
    }
    return made


def _runs(world: World) -> list[str]:
    return [run.run_id for runs in world.registry.runs.values() for run in runs]


def test_a_run_goes_on_with_its_job_and_ends_when_it_is_deleted(world: World) -> None:
    left = world.context.left_runs
    asyncio.run(left.end())
    assert _runs(world) == ["run", "theirs"]
    world.api.remove("FineTuneJob", "job")
    asyncio.run(left.end())
    assert _runs(world) == ["theirs"], "another installation's is its own affair"


def test_the_run_of_a_job_that_was_made_anew_under_its_name_ends(world: World) -> None:
    world.api.objects["FineTuneJob", "job"]["metadata"]["uid"] = "another"
    world.api.changed("FineTuneJob", "job")
    asyncio.run(world.context.left_runs.end())
    assert _runs(world) == ["theirs"]


def test_an_operator_that_begins_asks_the_api_server_of_jobs_that_no_watch_told_of_yet(world: World) -> None:
    world.store.clear()
    asyncio.run(world.context.left_runs.end())
    assert _runs(world) == ["run", "theirs"]


def test_a_deletion_is_looked_into_at_once_and_tried_again_while_mlflow_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_runs, "_AFTER_A_FAILURE_SECONDS", 0.01)
    monkeypatch.setattr(left_runs, "_AT_LEAST_SECONDS", 0.0)
    left = world.context.left_runs

    async def until_ended() -> None:
        looking = asyncio.create_task(left.end_forever())
        await asyncio.sleep(0)
        assert _runs(world) == ["run", "theirs"]
        world.registry.down = True
        world.api.remove("FineTuneJob", "job")
        await Harness(FineTuneJobKind(world.context), world.context).reconcile(Key("FineTuneJob", NAMESPACE, "job"))
        await asyncio.sleep(0)
        with pytest.raises(RegistryError):
            await left.end()
        world.registry.down = False
        async with asyncio.timeout(5):
            while _runs(world) != ["theirs"]:  # noqa: ASYNC110 - the fake tells nobody
                await asyncio.sleep(0.001)
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking

    asyncio.run(until_ended())


def test_between_two_looks_are_some_seconds_however_many_jobs_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    left, looks, rests = world.context.left_runs, 0, list[float]()

    async def look_on() -> None:
        nonlocal looks
        looks += 1
        left.look()

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        assert looks == len(rests)
        if looks == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(left, "end", look_on)
    monkeypatch.setattr(asyncio, "sleep", rest)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(left.end_forever())
    assert rests == [5.0] * 3


def test_a_run_that_cannot_be_judged_or_ended_holds_up_none_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = [RunAtWork(name, NAMESPACE, name, "u") for name in ("first", "forbidden", "refused", "odd", "last")]
    world.registry.runs["here"] = gone
    end, get = world.registry.end_left_run, world.api.get

    async def refuse(run_id: str) -> None:
        if run_id == "refused":
            raise RegistryError("MLflow refused")
        await end(run_id)

    async def forbid(kind: str, namespace: str, name: str) -> Manifest | None:
        if name == "forbidden":
            raise ApiError(403, "forbidden")
        return {"kind": "List"} if name == "odd" else await get(kind, namespace, name)

    monkeypatch.setattr(world.registry, "end_left_run", refuse)
    monkeypatch.setattr(world.api, "get", forbid)
    asyncio.run(world.context.left_runs.end())
    assert _runs(world) == ["forbidden", "refused", "odd", "theirs"]


@pytest.mark.parametrize(
    ("namespace", "job", "uid"),
    [("", "", "u"), ("x/../..", "y", "u"), ("x", "Y?z", "u"), ("x", "y.", "u"), ("x", "y", "")],
)
def test_a_run_whose_tags_name_no_job_is_left_alone(world: World, namespace: str, job: str, uid: str) -> None:
    world.registry.runs["here"] = [RunAtWork("odd", namespace, job, uid), RunAtWork("run", NAMESPACE, "gone", "u")]
    asyncio.run(world.context.left_runs.end())
    assert _runs(world) == ["odd", "theirs"]


def test_an_installation_is_known_by_its_authority_and_cluster_and_says_so_in_the_plan(world: World) -> None:
    assert installation("CA", "one") == installation("CA", "one")
    assert len({installation("CA", "one"), installation("another", "one"), installation("CA", "two")}) == 3
    plan = world.api.objects["ConfigMap", "job-plan"]["data"]["plan.json"]
    assert '"installation":"here"' in plan.replace(" ", "")


def test_a_job_that_has_ended_wakes_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bool] = []
    monkeypatch.setattr(LeftRuns, "look", lambda _: looked.append(True))
    look(world)
    assert looked == []
    world.api.remove("FineTuneJob", "job")
    look(world)
    assert looked == [True]
