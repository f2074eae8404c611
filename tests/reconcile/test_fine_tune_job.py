"""A FineTuneJob from its first look to its last, one look at a time."""

import asyncio
from typing import Any

import pytest

from anneal_operator.cluster.reading import RESYNC_SECONDS
from anneal_operator.cluster.store import Store
from anneal_operator.endpoints.progress import TrainerReport
from anneal_operator.errors import ApiError, ConflictError
from anneal_operator.outside.registry import Registration

from .jobs import change, job_world, look, register_base, result, status, until
from .world import NAMESPACE, World


@pytest.fixture
def world() -> World:
    """A job whose data is there, and whose base is not registered yet."""
    return job_world()


def test_from_the_first_look_to_the_published_version(world: World) -> None:
    register_base(world)
    before = ["ConfigMap/job-plan", "PersistentVolumeClaim/job-workspace"]
    for stage, phase in (
        ("prepare", "Preparing"),
        ("train", "Running"),
        ("evaluate", "Evaluating"),
        ("publish", "Publishing"),
    ):
        look(world)
        assert world.writes() == [
            *before,
            f"Job/job-{stage}" + ("-1" if stage == "train" else ""),
            "FineTuneJob/job/status",
        ]
        before = []
        assert status(world)["phase"] == phase
        look(world)
        assert world.writes() == [], "nothing changed, so nothing is written"
        world.finish("job", stage, result(stage))
    assert look(world) == 0.0
    assert world.writes() == ["ModelVersion/job", "FineTuneJob/job/status"]
    look(world)
    assert world.writes() == ["FineTuneJob/job/status"]
    assert (status(world)["phase"], status(world)["modelVersionRef"]) == ("Succeeded", {"name": "job"})
    assert look(world) is None
    assert world.writes() == []
    assert world.api.events == [
        ("StageRunning", "the data is being prepared"),
        ("Running", "the model is being trained"),
        ("Evaluating", "the model is being evaluated"),
        ("Publishing", "the result is being published"),
        ("Published", "published as ModelVersion job"),
    ]
    version = world.api.objects["ModelVersion", "job"]
    assert "ownerReferences" not in version["metadata"]
    assert version["spec"]["provenance"]["fineTuneJobUid"] == world.api.objects["FineTuneJob", "job"]["metadata"]["uid"]


@pytest.mark.parametrize(
    ("prepare_world", "reason", "words"),
    [
        (lambda w: w.api.objects.pop(("ConfigMap", "data")), "ConfigMapNotFound", "there is no ConfigMap data"),
        (
            lambda w: w.api.put("ConfigMap", "data", data={"x": ""}),
            "ConfigMapNotFound",
            "has no key rows.jsonl; it has x",
        ),
        (
            lambda w: change(w, training={"resumeFrom": {"fineTuneJobRef": {"name": "first"}}}),
            "ClaimNotFound",
            "no PersistentVolumeClaim first-workspace, from which training.resumeFrom goes on: it is made with",
        ),
        (lambda _: None, "BaseNotFound", "no version of spam has the alias base"),
        (lambda w: setattr(w.registry, "down", True), "RegistryUnreachable", "MLflow is not reachable"),
        (lambda w: w.api.put("ModelVersion", "job", spec={}), "NameTaken", "delete it, or give this job another name"),
    ],
)
def test_a_job_that_cannot_begin_says_why_and_looks_again(
    world: World, prepare_world: Any, reason: str, words: str
) -> None:
    prepare_world(world)
    assert look(world) == 5.0
    condition = status(world)["conditions"][0]
    assert (status(world)["phase"], condition["reason"], condition["status"]) == ("Pending", reason, "Unknown")
    assert words in condition["message"]
    assert [name for name in world.writes() if not name.endswith("/status")] == []
    look(world)
    assert world.writes() == []


def test_what_an_earlier_job_of_the_name_left_is_waited_for(world: World) -> None:
    register_base(world)
    world.api.put("ConfigMap", "job-plan", data={})
    assert [look(world), look(world)] == [5.0, 5.0]
    condition = next(found for found in status(world)["conditions"] if found["type"] == "Succeeded")
    assert (status(world)["phase"], condition["reason"]) == ("Pending", "NameTaken")
    assert "are still being deleted" in condition["message"]
    assert not [name for kind, name in world.api.objects if kind == "Job"]
    world.api.remove("ConfigMap", "job-plan")
    look(world)
    assert ("Job", "job-prepare") in world.api.objects


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (400, "the server could not understand the request"),
        (403, "exceeded quota: gpus"),
        (404, 'namespaces "team" not found'),
        (422, "spec: Invalid value"),
    ],
)
def test_what_the_api_server_refuses_is_told_and_asked_again(world: World, code: int, words: str) -> None:
    register_base(world)
    world.api.refuses["Job"] = ApiError(code, words)
    for pause in (5.0, 10.0):
        assert look(world) == pause
        condition = status(world)["conditions"][0]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "Reconciling",
            "True",
            "RefusedByApiServer",
        )
        assert (status(world)["phase"], status(world)["reason"]) == ("Pending", "RefusedByApiServer")
        assert words in condition["message"]
    del world.api.refuses["Job"]
    look(world)
    assert ("Job", "job-prepare") in world.api.objects
    assert status(world)["reason"] == "StageRunning"


def test_an_api_server_that_fails_is_left_to_the_queue(world: World) -> None:
    register_base(world)
    world.api.refuses["ConfigMap"] = ApiError(500, "etcd has no leader")
    with pytest.raises(ApiError):
        look(world)


def test_a_failed_stage_ends_the_job_with_its_words(world: World) -> None:
    register_base(world)
    look(world)
    look(world)
    world.finish("job", "prepare", {"error": "DataError", "message": "no row can be used"}, exit_code=65)
    look(world)
    assert status(world)["failure"]["message"] == "no row can be used"
    assert [reason for reason, _ in world.api.events] == ["StageRunning", "StageFailed"], "each is told once"
    assert world.api.warnings == ["StageFailed"]
    assert look(world) is None
    world.writes()
    look(world)
    assert world.writes() == []


def test_the_base_is_resolved_once(world: World) -> None:
    register_base(world)
    look(world)
    other = Registration(NAMESPACE, "x", "u2", "spam", "mlflow-artifacts:/1/other", "sha256:c", "r")
    asyncio.run(world.registry.register(other))
    world.registry.aliases["spam", "base"] = "2"
    look(world)
    world.finish("job", "prepare", result("prepare"))
    look(world)
    assert status(world)["provenance"]["modelRevision"] == "models:/spam/1"


def test_a_base_whose_weights_nobody_has_is_said_to_be_one(world: World) -> None:
    backend = Registration(NAMESPACE, "x", "u2", "spam", "backend-https://api.example.com/v1/models", "d", "")
    asyncio.run(world.registry.register(backend))
    world.registry.aliases["spam", "base"] = "1"
    look(world)
    found = status(world)
    assert (found["phase"], found["reason"]) == ("Pending", "BaseNotFound")
    assert "version 1 of spam, which has the alias base, is a backend" in found["conditions"][0]["message"]


def test_progress_alone_is_written_every_ten_seconds_at_most(world: World) -> None:
    register_base(world)
    for _ in range(2):
        look(world)
    world.finish("job", "prepare", result("prepare"))
    look(world)
    world.writes()
    written = []
    for step in range(30):
        numbers = {"current_step": step, "total_steps": 30, "resumed_from_step": 0, "checkpoint_step": step}
        report = TrainerReport(step, None, f"t{step}", numbers)
        world.context.progress.note(world.api.objects["FineTuneJob", "job"]["metadata"]["uid"], report)
        again = look(world)
        written += world.writes()
        assert again is not None
        assert again <= RESYNC_SECONDS
        world.later(1)
    assert len(written) == 3


def test_a_job_that_is_gone_needs_nothing(world: World) -> None:
    world.api.remove("FineTuneJob", "job")
    assert look(world) is None
    assert world.writes() == []


def test_what_a_job_reported_is_forgotten_with_it(world: World) -> None:
    until(world, "train")
    uid = world.api.objects["FineTuneJob", "job"]["metadata"]["uid"]
    world.context.progress.note(uid, TrainerReport(1, None, "t", {"current_step": 1}))
    look(world)
    assert world.context.progress.last(uid)
    world.api.remove("FineTuneJob", "job")
    look(world)
    assert world.context.progress.last(uid) is None


def test_a_new_job_is_made_without_asking_what_there_is(world: World) -> None:
    register_base(world)
    look(world)
    assert ("Job", "job-prepare") in world.api.objects
    assert world.reads() == ["ModelVersion/job", "ConfigMap/data"], "whether the name and the data are there"


def test_a_job_that_waits_asks_nothing(world: World) -> None:
    until(world, "prepare")
    world.reads()
    look(world)
    assert (world.reads(), world.writes()) == ([], [])


def test_what_is_to_be_done_is_done_on_the_truth(world: World) -> None:
    """The watch of Jobs was quicker than that of pods, so the finished stage's result is not known yet."""
    until(world, "prepare")
    world.reads()
    tell, world.api.tell = world.api.tell, Store({}).observe
    world.finish("job", "prepare", result("prepare"))
    tell(world.api.objects["Job", "job-prepare"])
    world.api.tell = tell
    look(world)
    assert {"FineTuneJob/job", "Job", "Pod"} <= set(world.reads())
    assert status(world)["phase"] == "Running"


def test_after_a_conflict_all_is_read_anew(world: World) -> None:
    """The watch has yet to tell of what somebody changed, so what is known would be refused again."""
    until(world, "prepare")
    world.api.objects["Job", "job-prepare"]["spec"]["suspend"] = True
    world.api.changed("Job", "job-prepare")
    world.api.tell = Store({}).observe
    world.api.changed("FineTuneJob", "job")
    with pytest.raises(ConflictError):
        look(world)
    look(world)
    assert status(world)["phase"] == "Queued"


def test_what_vanished_unseen_is_noticed_when_all_is_read_anew(world: World) -> None:
    until(world, "prepare")
    del world.api.objects["Job", "job-prepare"]
    look(world)
    assert world.writes() == []
    world.later(RESYNC_SECONDS)
    look(world)
    assert world.writes() == ["Job/job-prepare"]


def test_the_watch_s_news_of_the_version_that_was_made_is_news(world: World) -> None:
    until(world, "publish")
    world.finish("job", "publish", result("publish"))
    tell, world.api.tell = world.api.tell, Store({}).observe
    look(world)
    made = world.api.objects["ModelVersion", "job"]
    assert tell({**made, "kind": "ModelVersion"}) is True, "so its own reconcile is woken"
