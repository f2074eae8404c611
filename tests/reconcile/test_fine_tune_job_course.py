"""What a FineTuneJob's spec says of its course: suspension, queues, deadlines, nodes, gates, experiments, its end."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from anneal_operator.errors import ApiError, ConflictError

from .jobs import change, job_world, look, register_base, result, status, until
from .world import NAMESPACE, Manifest, World


@pytest.fixture
def world() -> World:
    """A job whose data is there, and whose base is not registered yet."""
    return job_world()


def test_a_job_is_suspended_and_goes_on(world: World) -> None:
    until(world, "train")
    change(world, suspend=True)
    look(world)
    assert world.writes() == ["Job/job-train-1/delete", "FineTuneJob/job/status"]
    look(world)
    assert status(world)["phase"] == "Suspended"
    look(world)
    world.writes()
    look(world)
    assert world.writes() == []
    change(world, suspend=False)
    look(world)
    assert world.writes() == ["Job/job-train-1", "FineTuneJob/job/status"], "the first had not begun"
    assert status(world)["phase"] == "Running"


def test_what_is_suspended_is_waited_for_and_goes_on_in_another_attempt(world: World) -> None:
    until(world, "train")
    _begin(world, "job-train-1")
    look(world)
    change(world, suspend=True)
    going = dict(world.api.objects["Job", "job-train-1"])
    look(world)
    world.api.objects["Job", "job-train-1"] = going
    going["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    world.api.changed("Job", "job-train-1")
    change(world, suspend=False)
    look(world)
    assert ("Job", "job-train-2") not in world.api.objects, "its pods have not ended"
    assert "are still ending" in status(world)["conditions"][0]["message"]
    world.api.remove("Job", "job-train-1")
    look(world)
    assert ("Job", "job-train-2") in world.api.objects
    assert [attempt["reason"] for attempt in status(world)["attempts"]["last"]] == ["Suspended"]


def _begin(world: World, job: str) -> None:
    """Have a Job's pod run."""
    made = world.api.objects["Job", job]
    made["status"] = {"startTime": "2026-03-01T12:00:00Z"}
    world.api.changed("Job", job)
    world.api.put(
        "Pod",
        f"{job}-pod",
        metadata={
            "labels": made["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [{"uid": made["metadata"]["uid"]}],
        },
        status={
            "phase": "Running",
            "containerStatuses": [{"state": {"running": {"startedAt": "2026-03-01T12:00:00Z"}}}],
        },
    )


def test_a_stage_whose_result_went_with_its_pod_is_run_again(world: World) -> None:
    until(world, "publish")
    world.finish("job", "publish", result("publish"))
    first = world.api.objects["Job", "job-publish"]["metadata"]["uid"]
    for stage in ("prepare", "train-1", "evaluate", "publish"):  # all were on the node that is lost
        world.api.remove("Pod", f"job-{stage}-pod")
    look(world)
    assert world.writes() == ["Job/job-publish/delete", "FineTuneJob/job/status"]
    assert "is run again" in status(world)["conditions"][0]["message"]
    look(world)
    assert world.writes()[0] == "Job/job-publish"
    assert world.api.objects["Job", "job-publish"]["metadata"]["uid"] != first
    world.finish("job", "publish", result("publish"))
    look(world)
    look(world)
    assert (status(world)["phase"], status(world)["evaluation"]["metrics"]) == ("Succeeded", {"rows/accuracy": 0.9})


def test_a_job_that_is_suspended_from_the_start_makes_nothing(world: World) -> None:
    register_base(world)
    change(world, suspend=True)
    look(world)
    assert world.writes() == ["FineTuneJob/job/status"]
    assert status(world)["phase"] == "Suspended"


def test_training_alone_queues_and_is_left_to_kueue(world: World) -> None:
    change(world, scheduling={"queueName": "research"})
    until(world, "train")
    queued = {
        name
        for (kind, name), made in world.api.objects.items()
        if kind == "Job" and "kueue.x-k8s.io/queue-name" in made["metadata"]["labels"]
    }
    assert queued == {"job-train-1"}
    made = world.api.objects["Job", "job-train-1"]
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert made["spec"]["suspend"] is True
    look(world)
    assert status(world)["phase"] == "Queued"
    world.writes()
    for suspend, phase in ((False, "Running"), (True, "Queued"), (False, "Running")):  # as Kueue does
        made["spec"]["suspend"] = suspend
        world.api.changed("Job", "job-train-1")
        look(world)
        assert status(world)["phase"] == phase
    assert set(world.writes()) == {"FineTuneJob/job/status"}


def _have_kueue(world: World, *, suspend: bool) -> None:
    """Suspend or admit the attempt, as Kueue and the Job controller do: its clock begins anew."""
    made = world.api.objects["Job", "job-train-1"]
    started = {} if suspend else {"startTime": world.time.strftime("%Y-%m-%dT%H:%M:%SZ")}
    world.api.edit("Job", "job-train-1", spec={**made["spec"], "suspend": suspend}, status=started)
    look(world)


def test_an_attempt_that_kueue_took_back_has_what_is_left_of_the_deadline(world: World) -> None:
    change(world, scheduling={"queueName": "research"}, activeDeadlineSeconds=3600)
    until(world, "train")
    _have_kueue(world, suspend=False)
    world.later(3000)
    look(world)
    _have_kueue(world, suspend=True)
    world.later(100)
    world.writes()
    look(world)
    assert world.writes() == [], "told once"
    assert world.api.objects["Job", "job-train-1"]["spec"]["activeDeadlineSeconds"] == 600
    _have_kueue(world, suspend=False)
    assert status(world)["phase"] == "Running"


def test_an_overdue_attempt_whose_job_cannot_be_deleted_is_not_told_as_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: str) -> None:
        raise ApiError(500, 'failed calling webhook "policy.example.com": connection refused')

    change(world, scheduling={"queueName": "research"}, activeDeadlineSeconds=3600)
    until(world, "train")
    _have_kueue(world, suspend=False)
    world.later(3700)
    with monkeypatch.context() as patched:
        patched.setattr(world.api, "delete", refused)
        _have_kueue(world, suspend=True)
        assert (status(world)["phase"], status(world)["reason"]) == ("Running", "RefusedByApiServer")
    look(world)
    assert (status(world)["phase"], status(world)["failure"]["class"]) == ("Failed", "Deadline")
    assert ("Job", "job-train-1") not in world.api.objects


def test_a_queued_job_that_is_suspended_leaves_its_queue_and_enters_it_again(world: World) -> None:
    change(world, scheduling={"queueName": "research"})
    until(world, "train")
    change(world, suspend=True)
    look(world)
    assert world.writes() == ["Job/job-train-1/delete", "FineTuneJob/job/status"]
    look(world)
    assert status(world)["phase"] == "Suspended"
    assert ("Job", "job-train-1") not in world.api.objects, "Kueue could admit it"
    change(world, suspend=False)
    look(world)
    assert status(world)["phase"] == "Queued"
    (made,) = (item for (kind, name), item in world.api.objects.items() if kind == "Job" and "-train-" in name)
    assert (made["spec"]["suspend"], made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]) == (True, "research")


def test_a_job_that_another_suspended_is_not_resumed(world: World) -> None:
    until(world, "prepare")
    world.api.objects["Job", "job-prepare"]["spec"]["suspend"] = True  # as Kueue does where a default queue is set
    world.api.changed("Job", "job-prepare")
    look(world)
    assert (status(world)["phase"], world.writes()) == ("Queued", ["FineTuneJob/job/status"])


def test_an_attempt_that_failed_is_followed_by_another_from_the_operator(world: World) -> None:
    until(world, "train")
    said = {"error": "InternalError", "message": "a bug"}
    world.finish("job", "train", said, exit_code=70)
    assert look(world) == 10.0
    assert status(world)["conditions"][0]["reason"] == "StageRetrying"
    world.later(10)
    look(world)
    assert ("Job", "job-train-2") in world.api.objects
    world.finish("job", "train", said, exit_code=71)
    look(world)
    assert (status(world)["phase"], status(world)["failure"]["exitCode"]) == ("Failed", 71)
    attempts = status(world)["attempts"]
    assert (attempts["total"], attempts["failed"]) == (2, 2)


def test_every_stage_runs_the_image_of_the_plan(world: World) -> None:
    until(world, "prepare")
    world.context.settings.__dict__["trainer_image"] = "trainer:2"
    for stage in ("prepare", "train", "evaluate"):
        world.finish("job", stage, result(stage))
        look(world)
    pods = [m["spec"]["template"]["spec"] for (kind, _), m in world.api.objects.items() if kind == "Job"]
    assert {pod["containers"][0]["image"] for pod in pods} == {"trainer:1"}
    assert set(status(world)["provenance"]["images"].values()) == {"trainer:1"}


def test_vllm_answers_in_the_image_of_the_plan(world: World) -> None:
    change(world, evaluation={"engine": "VLLM"})
    until(world, "prepare")
    world.context.settings.__dict__["server_image"] = "server:2"
    for stage in ("prepare", "train"):
        world.finish("job", stage, result(stage))
        look(world)
    pod = world.api.objects["Job", "job-evaluate"]["spec"]["template"]["spec"]
    assert [(made["name"], made["image"]) for made in pod["initContainers"]] == [
        ("ask", "trainer:1"),
        ("answer", "server:1"),
    ]
    assert status(world)["provenance"]["images"]["answer"] == "server:1"
    assert world.api.events[-1] == ("Evaluating", "the model is being evaluated; vLLM answers the questions")


@pytest.mark.parametrize("field", ["deletionTimestamp", "ownerReferences"])
def test_a_volume_that_is_going_or_anothers_is_waited_out_and_made_again(world: World, field: str) -> None:
    register_base(world)
    own = world.api.objects["FineTuneJob", "job"]["metadata"]["uid"]
    left = {"deletionTimestamp": "2026-03-01T12:00:00Z", "ownerReferences": [{"uid": "another"}]}
    metadata = {"ownerReferences": [{"uid": own}], field: left[field]}
    world.api.put("PersistentVolumeClaim", "job-workspace", spec={}, metadata=metadata)
    for _ in range(2):
        look(world)
        assert status(world)["reason"] == "NameTaken"
        assert ("Job", "job-prepare") not in world.api.objects
    world.api.remove("PersistentVolumeClaim", "job-workspace")
    look(world)
    assert ("Job", "job-prepare") in world.api.objects
    assert ("PersistentVolumeClaim", "job-workspace") in world.api.objects


def test_a_volume_that_somebody_deleted_is_made_again_before_the_next_stage(world: World) -> None:
    until(world, "prepare")
    world.finish("job", "prepare", result("prepare"))
    world.api.remove("PersistentVolumeClaim", "job-workspace")
    look(world)
    assert world.writes()[:2] == ["PersistentVolumeClaim/job-workspace", "Job/job-train-1"]


def test_a_foreign_version_of_the_name_is_told(world: World) -> None:
    until(world, "publish")
    world.finish("job", "publish", result("publish"))
    world.api.put("ModelVersion", "job", spec={"modelName": "spam"})
    look(world)
    assert (status(world)["phase"], status(world)["reason"]) == ("Pending", "NameTaken")
    world.api.remove("ModelVersion", "job")
    look(world)
    look(world)
    assert status(world)["phase"] == "Succeeded"


def test_a_deadline_is_the_job_s_own_and_moves_with_the_spec(world: World) -> None:
    world.api.objects["FineTuneJob", "job"]["metadata"]["creationTimestamp"] = "2026-03-01T11:59:00Z"
    change(world, activeDeadlineSeconds=600)
    until(world, "prepare")
    made = world.api.objects["Job", "job-prepare"]
    assert made["spec"]["activeDeadlineSeconds"] == 600
    world.later(60)
    look(world)
    assert world.writes() == []
    made["status"] = {"startTime": "2026-03-01T12:00:00Z"}
    world.api.changed("Job", "job-prepare")
    change(world, activeDeadlineSeconds=1200)
    look(world)
    assert world.writes() == ["Job/job-prepare/patch"]
    assert made["spec"]["activeDeadlineSeconds"] == 1200
    look(world)
    assert world.writes() == []
    change(world, activeDeadlineSeconds=None)
    look(world)
    assert "activeDeadlineSeconds" not in made["spec"]


def test_a_deadline_is_not_moved_on_a_job_that_is_not_as_it_was_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(world, "prepare")
    patch = world.api.patch

    async def patched(kind: str, namespace: str, name: str, changes: Manifest) -> None:
        world.api.changed(kind, name)
        await patch(kind, namespace, name, changes)

    monkeypatch.setattr(world.api, "patch", patched)
    change(world, activeDeadlineSeconds=1200)
    with pytest.raises(ConflictError):
        look(world)
    assert "activeDeadlineSeconds" not in world.api.objects["Job", "job-prepare"]["spec"]


def test_a_job_that_cannot_begin_in_time_fails(world: World) -> None:
    world.api.objects["FineTuneJob", "job"]["metadata"]["creationTimestamp"] = "2026-03-01T11:59:00Z"
    change(world, activeDeadlineSeconds=90)
    assert look(world) == 5.0
    assert status(world)["phase"] == "Pending"
    world.later(100)
    look(world)
    assert (status(world)["phase"], status(world)["failure"]["class"]) == ("Failed", "Deadline")
    assert "no version of spam has the alias base" in status(world)["failure"]["message"]


def test_a_job_that_has_ended_is_deleted_in_time(world: World) -> None:
    change(world, ttlSecondsAfterFinished=100)
    until(world, "prepare")
    world.finish("job", "prepare", {"error": "DataError", "message": "no row can be used"}, exit_code=65)
    assert [look(world), look(world)] == [100, 100], "no watch tells of the end of its time"
    world.later(60)
    assert look(world) == 40
    world.writes()
    world.later(40)
    look(world)
    assert world.writes() == ["FineTuneJob/job/delete"]
    assert look(world) is None


def test_an_ended_job_that_cannot_be_deleted_stays_what_it_became(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: str) -> None:
        raise ApiError(403, "denied by policy")

    change(world, ttlSecondsAfterFinished=100)
    until(world, "prepare")
    world.finish("job", "prepare", {"error": "DataError", "message": "no row can be used"}, exit_code=65)
    look(world)
    end = status(world)["conditions"][0]
    world.later(101)
    with monkeypatch.context() as patched:
        patched.setattr(world.api, "delete", refused)
        look(world)
    assert (status(world)["conditions"][0], status(world)["reason"]) == (end, "RefusedByApiServer")
    look(world)
    assert ("FineTuneJob", "job") not in world.api.objects


def test_the_run_of_a_failed_job_ends_as_soon_as_mlflow_can_be_told_and_the_job_at_once(world: World) -> None:
    until(world, "train")
    world.registry.down = True
    world.finish("job", "train", {"error": "DivergedError", "message": "the loss is nan"}, exit_code=76)
    assert look(world) == 5.0
    told = status(world)
    assert (told["phase"], told["reason"], told["failure"]["class"]) == ("Failed", "StageFailed", "Diverged")
    assert {found["type"]: found["status"] for found in told["conditions"]} == {
        "Succeeded": "False",
        "Tracked": "False",
        "Stalled": "True",
    }
    world.registry.down = False
    look(world)
    uid = world.api.objects["FineTuneJob", "job"]["metadata"]["uid"]
    assert world.registry.ended_runs == {("spam", uid): "Diverged"}
    assert [found["type"] for found in status(world)["conditions"]] == ["Succeeded", "Stalled"]
    world.writes()
    assert look(world) is None
    assert world.writes() == []


def test_a_gate_compares_with_the_version_that_holds_an_alias(world: World) -> None:
    suites = [{"name": "rows", "type": "Classification"}]
    change(world, evaluation={"suites": suites, "gates": [{"metric": "rows/accuracy", "vsAlias": "base"}]})
    world.registry.metrics["1"] = {"rows/accuracy": 0.95}
    until(world, "evaluate")
    world.finish("job", "evaluate", result("evaluate"))
    world.registry.down = True
    assert look(world) == 5.0
    assert "the gates wait for MLflow" in status(world)["conditions"][0]["message"]
    world.registry.down = False
    look(world)
    assert status(world)["conditions"][0]["reason"] == "GateFailed"
    assert status(world)["evaluation"]["gates"] == [
        {"metric": "rows/accuracy", "value": 0.9, "required": "at least 0.95 (not worse than base)", "passed": False}
    ]
    assert ("Job", "job-publish") not in world.api.objects


def test_several_nodes_find_each_other_by_a_headless_service(world: World) -> None:
    change(world, stages={"train": {"nodes": 2}}, storage={"template": {"accessModes": ["ReadWriteMany"]}})
    until(world, "train")
    service, made = world.api.objects["Service", "job-train"], world.api.objects["Job", "job-train-1"]
    assert service["spec"]["selector"].items() <= made["spec"]["template"]["metadata"]["labels"].items()
    assert (made["spec"]["completionMode"], made["spec"]["completions"]) == ("Indexed", 2)
    pod = made["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    environment = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert environment["MASTER_ADDR"] == "job-train-1-0.job-train"


def test_a_headless_service_that_somebody_changed_is_put_right_for_the_next_attempt(world: World) -> None:
    change(world, stages={"train": {"nodes": 2}}, storage={"template": {"accessModes": ["ReadWriteMany"]}})
    until(world, "train")
    spec = world.api.objects["Service", "job-train"]["spec"]
    world.api.edit("Service", "job-train", spec={**spec, "selector": {"app": "another"}})
    world.finish("job", "train", {"error": "InternalError", "message": "a bug"}, exit_code=70)
    look(world)
    world.later(10)
    look(world)
    assert ("Job", "job-train-2") in world.api.objects
    assert world.api.objects["Service", "job-train"]["spec"]["selector"] == spec["selector"]


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"storage": {"claimName": "team"}}, "ClaimNotFound", "there is no PersistentVolumeClaim team"),
        (
            {"dataset": {"sources": [{"uri": "pvc://lake/rows"}]}},
            "ClaimNotFound",
            "there is no PersistentVolumeClaim lake",
        ),
        (
            {"evaluation": {"suites": [{"name": "text", "type": "Text", "cases": "configmap://own/cases.jsonl"}]}},
            "ConfigMapNotFound",
            "there is no ConfigMap own",
        ),
    ],
)
def test_what_a_job_names_and_is_not_there_is_waited_for(
    world: World, spec: dict[str, Any], reason: str, words: str
) -> None:
    register_base(world)
    change(world, **spec)
    assert look(world) == 5.0
    condition = status(world)["conditions"][0]
    assert (condition["reason"], words in condition["message"]) == (reason, True)


def test_gpu_seconds_are_counted_once_by_how_an_attempt_ended(world: World) -> None:
    def counted() -> float:
        labels = {"namespace": NAMESPACE, "reason": "Completed"}
        return REGISTRY.get_sample_value("anneal_gpu_seconds_total", labels) or 0.0

    change(world, stages={"train": {"resources": {"limits": {"nvidia.com/gpu": 8}}}})
    until(world, "train")
    world.finish("job", "train", result("train"))
    ended = world.api.objects["Pod", "job-train-1-pod"]["status"]["containerStatuses"][0]["state"]["terminated"]
    ended |= {"startedAt": "2026-03-01T12:00:00Z", "finishedAt": "2026-03-01T12:01:00Z"}
    world.api.changed("Pod", "job-train-1-pod")
    before = counted()
    for _ in range(2):
        look(world)
    assert counted() - before == 480
    assert status(world)["attempts"]["gpuSeconds"] == 480
    assert status(world)["gpus"] == 8


def _published(world: World) -> None:
    """Bring a job, whose version is to enter an experiment, to its published stage."""
    output = {
        "modelName": "spam",
        "serving": {},
        "experiment": {"candidatePercent": 20, "metrics": {"primary": {"name": "stars"}}},
    }
    change(world, output=output)
    until(world, "publish")
    world.finish("job", "publish", result("publish"))
    for _ in range(3):
        look(world)


def _version(world: World, name: str, *aliases: str, model: str = "spam") -> None:
    status = {"phase": "Ready", "registry": {"version": "1", "url": "u", "aliases": list(aliases)}}
    world.api.put("ModelVersion", name, spec={"modelName": model}, status=status)


def test_a_version_enters_an_experiment_against_the_one_in_production(world: World) -> None:
    _version(world, "other", "production", model="ham")
    _version(world, "old", "base")
    _version(world, "current", "production", "base")
    _published(world)
    assert status(world)["phase"] == "Succeeded"
    spec = world.api.objects["ABExperiment", "job"]["spec"]
    assert [(v["name"], v["modelVersionRef"]["name"], v["weight"]) for v in spec["variants"]] == [
        ("production", "current", 80),
        ("candidate", "job", 20),
    ]
    assert (spec["control"], spec["metrics"]["primary"]["name"]) == ("production", "stars")
    assert "ownerReferences" not in world.api.objects["ABExperiment", "job"]["metadata"]


def test_without_a_version_in_production_there_is_nothing_to_compare_with(world: World) -> None:
    _published(world)
    look(world)
    assert status(world)["phase"] == "Succeeded"
    assert ("ABExperiment", "job") not in world.api.objects


def test_a_job_that_has_ended_tells_of_a_spec_that_changed_since(world: World) -> None:
    until(world, "prepare")
    world.finish("job", "prepare", {"error": "DataError", "message": "no row can be used"}, exit_code=65)
    look(world)
    look(world)
    before = status(world)
    world.api.objects["FineTuneJob", "job"]["metadata"]["generation"] = 2
    change(world, activeDeadlineSeconds=60)
    world.writes()
    look(world)
    assert world.writes() == ["FineTuneJob/job/status"]
    conditions = [condition | {"observedGeneration": 2} for condition in before["conditions"]]
    assert status(world) == before | {"observedGeneration": 2, "conditions": conditions}
    assert (look(world), world.writes()) == (None, [])


def test_an_end_that_a_newer_build_calls_otherwise_is_an_end(world: World) -> None:
    until(world, "prepare")
    ended = {"type": "Succeeded", "status": "True", "reason": "Archived", "message": "m", "observedGeneration": 1}
    told = {
        **status(world),
        "phase": "Archived",
        "conditions": [ended | {"lastTransitionTime": "2026-03-01T12:00:00Z"}],
    }
    world.api.edit("FineTuneJob", "job", status=told)
    look(world)
    assert (status(world), world.writes()) == (told, [])


def test_a_finished_stage_is_not_done_again_when_somebody_removes_its_job(world: World) -> None:
    until(world, "evaluate")
    look(world)
    for name in ("job-prepare", "job-train-1"):
        world.api.remove("Job", name)
        world.api.remove("Pod", f"{name}-pod")
    world.writes()
    look(world)
    assert (status(world)["phase"], [name for name in world.writes() if name.startswith("Job/")]) == ("Evaluating", [])


def test_a_pod_whose_job_was_deleted_by_hand_is_waited_for(world: World) -> None:
    until(world, "train")
    _begin(world, "job-train-1")
    look(world)
    world.api.remove("Job", "job-train-1")
    look(world)
    assert ("Job", "job-train-2") not in world.api.objects
    world.api.remove("Pod", "job-train-1-pod")
    look(world)
    assert ("Job", "job-train-2") in world.api.objects


def test_time_before_the_job_was_first_seen_does_not_count(world: World) -> None:
    register_base(world)
    change(world, suspend=True, activeDeadlineSeconds=3600)
    world.later(7200)
    look(world)
    world.later(7200)
    change(world, suspend=False)
    look(world)
    assert (status(world)["phase"], status(world)["activeSeconds"]) == ("Preparing", 0)
