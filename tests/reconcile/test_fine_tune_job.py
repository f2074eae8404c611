"""A FineTuneJob from its first look to its last, one look at a time."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from anneal_operator.decide.progress import progress_of
from anneal_operator.errors import ApiError
from anneal_operator.reconcile.fine_tune_job import FineTuneJobReconciler
from anneal_operator.reconcile.queue import Key
from tests.decide.test_fine_tune_job import RESULTS

from .world import NAMESPACE, World

KEY = Key("FineTuneJob", NAMESPACE, "job")
SPEC: dict[str, Any] = {
    "model": {"source": "models:/spam@base"},
    "dataset": {"source": "configmap://data/rows.jsonl", "template": "messages"},
    "output": {"modelName": "spam"},
}
PUBLISHED = {"uri": "mlflow-artifacts:/1/r/artifacts/model", "digest": "sha256:" + "0" * 64}


@pytest.fixture
def world() -> World:
    """A job whose data is there, and whose base is not registered yet."""
    made = World()
    made.api.put("FineTuneJob", "job", spec=SPEC)
    made.api.put("ConfigMap", "data", data={"rows.jsonl": ""})
    return made


def _register_base(world: World) -> None:
    asyncio.run(
        world.registry.register("spam", "u", "spam-base", "mlflow-artifacts:/1/b/artifacts/model", "sha256:b", "r")
    )
    asyncio.run(world.registry.set_alias("spam", "base", "1"))


def _look(world: World, reconciler: FineTuneJobReconciler | None = None) -> float | None:
    return asyncio.run((reconciler or FineTuneJobReconciler(world.context)).reconcile(KEY))


def _status(world: World) -> dict[str, Any]:
    return world.api.status("FineTuneJob", "job")


def _result(stage: Any) -> dict[str, Any]:
    result: dict[str, Any] = RESULTS[stage].model_dump(mode="json")
    return result | (PUBLISHED if stage == "publish" else {})


def test_from_the_first_look_to_the_published_version(world: World) -> None:
    _register_base(world)
    _look(world)
    assert world.writes() == ["PersistentVolumeClaim/job-workspace", "ConfigMap/job-plan", "FineTuneJob/job/status"]
    for stage, phase in (
        ("prepare", "Preparing"),
        ("train", "Running"),
        ("evaluate", "Evaluating"),
        ("publish", "Publishing"),
    ):
        _look(world)
        assert world.writes() == [f"Job/job-{stage}", "FineTuneJob/job/status"]
        assert _status(world)["phase"] == phase
        _look(world)
        assert world.writes() == [], "nothing changed, so nothing is written"
        world.finish("job", stage, _result(stage))
    _look(world)
    assert world.writes() == ["ModelVersion/job", "FineTuneJob/job/status"]
    _look(world)
    assert world.writes() == ["FineTuneJob/job/status"]
    assert (_status(world)["phase"], _status(world)["modelVersion"]) == ("Succeeded", "job")
    assert _look(world) is None
    assert world.writes() == []
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
        (lambda _: None, "BaseNotFound", "no version of spam has the alias base"),
        (lambda w: setattr(w.registry, "down", True), "RegistryUnreachable", "MLflow is down"),
        (lambda w: w.api.put("ModelVersion", "job", spec={}), "NameTaken", "delete it, or give this job another name"),
        (lambda w: w.api.put("ConfigMap", "job-plan", data={}), "NameTaken", "is being deleted"),
    ],
)
def test_a_job_that_cannot_begin_says_why_and_looks_again(
    world: World, prepare_world: Any, reason: str, words: str
) -> None:
    prepare_world(world)
    assert _look(world) == 5.0
    condition = _status(world)["conditions"][0]
    assert (_status(world)["phase"], condition["reason"], condition["status"]) == ("Pending", reason, "Unknown")
    assert words in condition["message"]
    assert [name for name in world.writes() if not name.endswith("/status")] == []
    _look(world)
    assert world.writes() == []


def test_what_the_api_server_refuses_is_told_and_asked_again(world: World) -> None:
    _register_base(world)
    _look(world)
    world.api.refuses["Job"] = ApiError(403, "exceeded quota: gpus")
    for _ in range(2):
        assert _look(world) == 5.0
        condition = _status(world)["conditions"][0]
        assert (_status(world)["phase"], condition["reason"]) == ("Preparing", "RefusedByApiServer")
        assert "exceeded quota: gpus" in condition["message"]
    del world.api.refuses["Job"]
    _look(world)
    assert ("Job", "job-prepare") in world.api.objects


def test_an_api_server_that_fails_is_left_to_the_queue(world: World) -> None:
    _register_base(world)
    world.api.refuses["ConfigMap"] = ApiError(500, "etcd has no leader")
    with pytest.raises(ApiError):
        _look(world)


def test_a_failed_stage_ends_the_job_with_its_words(world: World) -> None:
    _register_base(world)
    _look(world)
    _look(world)
    world.finish("job", "prepare", {"error": "DataError", "message": "no row can be used"}, exit_code=65)
    assert _look(world) is None
    assert _status(world)["failure"]["message"] == "no row can be used"
    world.writes()
    _look(world)
    assert world.writes() == []


def test_the_base_is_resolved_once(world: World) -> None:
    _register_base(world)
    _look(world)
    asyncio.run(world.registry.register("spam", "u2", "x", "mlflow-artifacts:/1/other", "sha256:c", "r"))
    asyncio.run(world.registry.set_alias("spam", "base", "2"))
    _look(world)
    assert _status(world)["provenance"]["modelRevision"] == "models:/spam/1"


def test_progress_alone_is_written_every_ten_seconds_at_most(world: World) -> None:
    _register_base(world)
    reconciler = FineTuneJobReconciler(world.context)
    for _ in range(2):
        _look(world, reconciler)
    world.finish("job", "prepare", _result("prepare"))
    _look(world, reconciler)
    world.writes()
    written = []
    for step in range(30):
        world.context.progress.note(NAMESPACE, "job", progress_of(step, 30, step, None, f"t{step}", {}))
        again = _look(world, reconciler)
        written += world.writes()
        assert again is not None
        assert again <= 60
        world.later(1)
    assert len(written) == 3


def test_a_job_that_is_gone_needs_nothing(world: World) -> None:
    del world.api.objects["FineTuneJob", "job"]
    assert _look(world) is None
    assert world.writes() == []


def _change(world: World, **spec: Any) -> None:
    world.api.objects["FineTuneJob", "job"]["spec"] = {**world.api.objects["FineTuneJob", "job"]["spec"], **spec}


def _until(world: World, stage: str) -> None:
    """Look until the stage's Job is there."""
    _register_base(world)
    _look(world)
    for earlier in ("prepare", "train", "evaluate", "publish"):
        _look(world)
        if earlier == stage:
            break
        world.finish("job", earlier, _result(earlier))
    assert ("Job", f"job-{stage}") in world.api.objects
    world.writes()


def test_a_job_is_suspended_and_goes_on(world: World) -> None:
    _until(world, "train")
    _change(world, suspend=True)
    _look(world)
    assert world.writes() == ["Job/job-train/patch", "FineTuneJob/job/status"]
    assert world.api.objects["Job", "job-train"]["spec"]["suspend"] is True
    assert _status(world)["phase"] == "Suspended"
    _look(world)
    assert world.writes() == []
    _change(world, suspend=False)
    _look(world)
    assert world.api.objects["Job", "job-train"]["spec"]["suspend"] is False
    assert world.writes() == ["Job/job-train/patch", "FineTuneJob/job/status"]
    assert _status(world)["phase"] == "Running"
    _look(world)
    assert world.writes() == []


def test_a_job_that_rested_has_no_more_time_for_it(world: World) -> None:
    world.api.objects["FineTuneJob", "job"]["metadata"]["creationTimestamp"] = "2026-03-01T12:00:00Z"
    _change(world, activeDeadlineSeconds=600)
    _until(world, "prepare")
    for suspend in (True, False):
        _change(world, suspend=suspend)
        _look(world)
        world.later(60)
    assert world.api.objects["Job", "job-prepare"]["spec"]["activeDeadlineSeconds"] == 540


def test_a_job_that_is_suspended_from_the_start_makes_nothing(world: World) -> None:
    _register_base(world)
    _change(world, suspend=True)
    _look(world)
    assert world.writes() == ["FineTuneJob/job/status"]
    assert _status(world)["phase"] == "Suspended"


def test_a_queued_job_is_left_to_kueue(world: World) -> None:
    _change(world, scheduling={"queueName": "research"})
    _until(world, "prepare")
    made = world.api.objects["Job", "job-prepare"]
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert made["spec"]["suspend"] is True
    _look(world)
    assert _status(world)["phase"] == "Queued"
    world.writes()
    made["spec"]["suspend"] = False  # as Kueue does
    _look(world)
    assert _status(world)["phase"] == "Preparing"
    assert world.writes() == ["FineTuneJob/job/status"]


def test_a_deadline_is_the_job_s_own_and_moves_with_the_spec(world: World) -> None:
    world.api.objects["FineTuneJob", "job"]["metadata"]["creationTimestamp"] = "2026-03-01T11:59:00Z"
    _change(world, activeDeadlineSeconds=600)
    _until(world, "prepare")
    made = world.api.objects["Job", "job-prepare"]
    assert made["spec"]["activeDeadlineSeconds"] == 540
    _look(world)
    assert world.writes() == []
    made["status"] = {"startTime": "2026-03-01T12:00:00Z"}
    _change(world, activeDeadlineSeconds=1200)
    _look(world)
    assert world.writes() == ["Job/job-prepare/patch"]
    assert made["spec"]["activeDeadlineSeconds"] == 1140
    _look(world)
    assert world.writes() == []
    _change(world, activeDeadlineSeconds=None)
    _look(world)
    assert "activeDeadlineSeconds" not in made["spec"]


def test_a_job_that_cannot_begin_in_time_fails(world: World) -> None:
    world.api.objects["FineTuneJob", "job"]["metadata"]["creationTimestamp"] = "2026-03-01T11:59:00Z"
    _change(world, activeDeadlineSeconds=90)
    assert _look(world) == 5.0
    assert _status(world)["phase"] == "Pending"
    world.later(40)
    assert _look(world) is None
    assert (_status(world)["phase"], _status(world)["failure"]["class"]) == ("Failed", "Deadline")
    assert "no version of spam has the alias base" in _status(world)["failure"]["message"]


def test_a_job_that_has_ended_is_deleted_in_time(world: World) -> None:
    _change(world, ttlSecondsAfterFinished=100)
    _until(world, "prepare")
    world.finish("job", "prepare", {"error": "DataError", "message": "no row can be used"}, exit_code=65)
    assert _look(world) == 100
    world.later(60)
    assert _look(world) == 40
    world.writes()
    world.later(40)
    assert _look(world) is None
    assert world.writes() == ["FineTuneJob/job/delete"]


def test_a_gate_compares_with_the_version_that_holds_an_alias(world: World) -> None:
    _change(world, evaluation={"gates": [{"metric": "accuracy", "vsAlias": "base"}]})
    world.registry.metrics["1"] = {"accuracy": 0.95}
    _until(world, "evaluate")
    world.finish("job", "evaluate", _result("evaluate"))
    world.registry.down = True
    assert _look(world) == 5.0
    assert "the gates wait for MLflow" in _status(world)["conditions"][0]["message"]
    world.registry.down = False
    assert _look(world) is None
    assert _status(world)["conditions"][0]["reason"] == "GateFailed"
    assert _status(world)["evaluation"]["gates"] == [
        {"metric": "accuracy", "value": 0.9, "required": "at least 0.95 (not worse than base)", "passed": False}
    ]
    assert ("Job", "job-publish") not in world.api.objects


def test_several_nodes_find_each_other_by_a_headless_service(world: World) -> None:
    _change(world, resources={"nodes": 2}, storage={"template": {"accessModes": ["ReadWriteMany"]}})
    _until(world, "train")
    service, made = world.api.objects["Service", "job-train"], world.api.objects["Job", "job-train"]
    assert service["spec"]["selector"].items() <= made["spec"]["template"]["metadata"]["labels"].items()
    assert (made["spec"]["completionMode"], made["spec"]["completions"]) == ("Indexed", 2)
    pod = made["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    environment = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert environment["MASTER_ADDR"] == "job-train-0.job-train"


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"storage": {"claimName": "team"}}, "ClaimNotFound", "there is no PersistentVolumeClaim team"),
        ({"dataset": {"source": "pvc://lake/rows"}}, "ClaimNotFound", "there is no PersistentVolumeClaim lake"),
        (
            {"evaluation": {"suites": [{"name": "text", "cases": "configmap://own/cases.jsonl"}]}},
            "ConfigMapNotFound",
            "there is no ConfigMap own",
        ),
    ],
)
def test_what_a_job_names_and_is_not_there_is_waited_for(
    world: World, spec: dict[str, Any], reason: str, words: str
) -> None:
    _register_base(world)
    _change(world, **spec)
    assert _look(world) == 5.0
    condition = _status(world)["conditions"][0]
    assert (condition["reason"], words in condition["message"]) == (reason, True)


def test_gpu_seconds_are_counted_once_by_how_an_attempt_ended(world: World) -> None:
    def counted() -> float:
        labels = {"namespace": NAMESPACE, "reason": "Completed"}
        return REGISTRY.get_sample_value("anneal_gpu_seconds_total", labels) or 0.0

    _change(world, resources={"gpusPerNode": 8})
    _until(world, "train")
    world.finish("job", "train", _result("train"))
    ended = world.api.objects["Pod", "job-train-pod"]["status"]["containerStatuses"][0]["state"]["terminated"]
    ended |= {"startedAt": "2026-03-01T12:00:00Z", "finishedAt": "2026-03-01T12:01:00Z"}
    before = counted()
    for _ in range(2):
        _look(world)
    assert counted() - before == 480
    assert _status(world)["attempts"]["gpuSeconds"] == 480
    assert _status(world)["gpus"] == 8


def _published(world: World) -> None:
    """Bring a job, whose version is to enter an experiment, to its published stage."""
    output = {
        "modelName": "spam",
        "serving": {},
        "experiment": {"weight": 20, "metrics": {"primary": {"name": "stars"}}},
    }
    _change(world, output=output)
    _until(world, "publish")
    world.finish("job", "publish", _result("publish"))
    _look(world)
    world.writes()


def _version(world: World, name: str, *aliases: str, model: str = "spam") -> None:
    status = {"phase": "Ready", "registry": {"version": "1", "url": "u", "aliases": list(aliases)}}
    world.api.put("ModelVersion", name, spec={"model": model}, status=status)


def test_a_version_enters_an_experiment_against_the_one_in_production(world: World) -> None:
    _version(world, "other", "production", model="ham")
    _version(world, "old", "base")
    _version(world, "current", "production", "base")
    _published(world)
    assert _look(world) == 0.0
    assert world.writes() == ["ABExperiment/job"]
    spec = world.api.objects["ABExperiment", "job"]["spec"]
    assert [(v["name"], v["modelVersion"], v["weight"]) for v in spec["variants"]] == [
        ("production", "current", 80),
        ("candidate", "job", 20),
    ]
    assert (spec["control"], spec["metrics"]["primary"]["name"]) == ("production", "stars")
    assert "ownerReferences" not in world.api.objects["ABExperiment", "job"]["metadata"]
    _look(world)
    assert _status(world)["phase"] == "Succeeded"
    assert world.writes() == ["FineTuneJob/job/status"]


def test_without_a_version_in_production_there_is_nothing_to_compare_with(world: World) -> None:
    _published(world)
    _look(world)
    assert _status(world)["phase"] == "Succeeded"
    assert ("ABExperiment", "job") not in world.api.objects
