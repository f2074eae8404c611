"""What a FineTuneJob's spec makes of its pods, where an example's golden file does not show it."""

import copy
from typing import Any, get_args

import pytest

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.desired.plan import Base, make_plan
from anneal_operator.desired.pods import asked_resources
from anneal_operator.desired.stage_pod import TrainingEnvironment
from anneal_operator.desired.training import stage_job
from tests.api.specs import GOOD
from training_runtime.plan import RESERVED_ENVIRONMENT, Stage

STAGES: tuple[Stage, ...] = get_args(Stage)
PARENT: dict[str, Any] = {
    "apiVersion": "anneal.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "job", "namespace": "team", "uid": "uid"},
}
ENVIRONMENT = TrainingEnvironment(
    "trainer:1",
    "Never",
    "http://mlflow:5000",
    "https://operator:8443",
    "CERTIFICATE",
    "server:1",
    {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "2"},
    "here",
)


def _spec(**changes: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.parse(copy.deepcopy(GOOD["FineTuneJob"]) | changes)


def _template(spec: FineTuneJobSpec, stage: Stage) -> dict[str, Any]:
    made: dict[str, Any] = stage_job(PARENT, spec, stage, ENVIRONMENT)["spec"]["template"]
    return made


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "4Gi"}}),
        (
            {"requests": {"cpu": 4, "memory": "8Gi"}},
            {"requests": {"cpu": "4", "memory": "8Gi"}, "limits": {"memory": "8Gi"}},
        ),
        (
            {"requests": {"memory": "8Gi"}, "limits": {"memory": "16Gi", "cpu": "2"}},
            {"requests": {"memory": "8Gi"}, "limits": {"memory": "16Gi", "cpu": "2"}},
        ),
        (
            {"limits": {"nvidia.com/gpu": 8, "rdma/hca": 1}},
            {
                "requests": {"cpu": "1", "memory": "4Gi", "nvidia.com/gpu": "8", "rdma/hca": "1"},
                "limits": {"nvidia.com/gpu": "8", "rdma/hca": "1", "memory": "4Gi"},
            },
        ),
        (
            {"requests": {"nvidia.com/mig-1g.10gb": 1}},
            {
                "requests": {"nvidia.com/mig-1g.10gb": "1", "cpu": "1", "memory": "4Gi"},
                "limits": {"nvidia.com/mig-1g.10gb": "1", "memory": "4Gi"},
            },
        ),
    ],
)
def test_what_is_not_said_of_resources_has_a_small_default(wanted: dict[str, Any], expected: dict[str, Any]) -> None:
    assert asked_resources(ResourceRequirements.parse(wanted)) == expected


def test_evaluation_asks_for_what_training_does_unless_it_says_otherwise() -> None:
    train = {"train": {"resources": {"limits": {"nvidia.com/gpu": 8}}}}
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "8"),
        ({"evaluate": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}, "1"),
    ]
    for more, gpus in cases:
        container = _template(_spec(stages=train | more), "evaluate")["spec"]["containers"][0]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == gpus


@pytest.mark.parametrize(
    ("stage", "resources", "threads"),
    [
        ("train", {}, "1"),
        ("train", {"requests": {"cpu": "100m"}}, "1"),
        ("train", {"requests": {"cpu": 6}}, "6"),
        ("train", {"limits": {"cpu": "6500m"}}, "7"),
        ("train", {"requests": {"cpu": 96}, "limits": {"nvidia.com/gpu": 8}}, "12"),
        ("train", {"requests": {"cpu": 4}, "limits": {"nvidia.com/gpu": 8}}, "1"),
        ("evaluate", {"requests": {"cpu": 96}, "limits": {"nvidia.com/gpu": 8}}, "96"),
        ("prepare", {"requests": {"cpu": 96}}, "1"),
    ],
)
def test_each_process_has_as_many_threads_as_processors_were_asked_for(
    stage: Stage, resources: dict[str, Any], threads: str
) -> None:
    spec = _spec(stages={"train": {"resources": resources}})
    assert {"name": "OMP_NUM_THREADS", "value": threads} in _template(spec, stage)["spec"]["containers"][0]["env"]


def test_a_variable_that_the_pod_template_sets_is_told_once() -> None:
    own = {"name": "OMP_NUM_THREADS", "value": "3"}
    env = _template(_spec(podTemplate={"env": [own]}), "train")["spec"]["containers"][0]["env"]
    assert [variable for variable in env if variable["name"] == "OMP_NUM_THREADS"] == [own]


@pytest.mark.parametrize("stage", STAGES)
def test_the_pod_template_holds_for_every_stage(stage: Stage) -> None:
    term = {"topologyKey": "zone", "labelSelector": {}}
    spec = _spec(
        podTemplate={
            "labels": {"team": "mail", "anneal.dev/stage": "mine"},
            "annotations": {"note": "n"},
            "env": [{"name": "NCCL_DEBUG", "value": "INFO"}],
            "nodeSelector": {"pool": "a"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}},
            "priorityClassName": "low",
            "schedulerName": "volcano",
            "serviceAccountName": "trainer",
            "imagePullSecrets": [{"name": "registry"}],
        }
    )
    made = _template(spec, stage)
    pod = made["spec"]
    assert made["metadata"]["labels"]["team"] == "mail"
    assert made["metadata"]["labels"]["anneal.dev/stage"] == stage
    assert made["metadata"]["annotations"] == {"note": "n"}
    assert {"name": "NCCL_DEBUG", "value": "INFO"} in pod["containers"][0]["env"]
    assert pod["nodeSelector"] == {"pool": "a"}
    assert pod["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert pod["affinity"] == {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert (pod["priorityClassName"], pod["schedulerName"], pod["serviceAccountName"]) == ("low", "volcano", "trainer")
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["automountServiceAccountToken"] is False


def test_the_containers_that_ask_and_answer_have_what_evaluation_has_and_vllm_the_installation_s_variables() -> None:
    own = {"name": "NCCL_DEBUG", "value": "INFO"}
    spec = _spec(
        stages={"train": {"resources": {"limits": {"nvidia.com/gpu": 8}}}},
        podTemplate={"env": [own]},
        storage={"claimName": "team"},
        evaluation={"secretRef": {"name": "judge"}},
    )
    pod = stage_job(PARENT, spec, "evaluate", ENVIRONMENT, engine="VLLM")["spec"]["template"]["spec"]
    made_for: list[dict[str, Any]] = [*pod["initContainers"], *pod["containers"]]
    ask, answer, evaluate = made_for
    assert ask["resources"] == answer["resources"] == evaluate["resources"]
    assert answer["resources"]["limits"]["nvidia.com/gpu"] == "8"
    folders = [
        next(mount["subPath"] for mount in made["volumeMounts"] if mount["name"] == "workspace") for made in made_for
    ]
    assert folders == ["anneal/team.job.uid"] * 3
    env = {made["name"]: [(one["name"], one["value"]) for one in made["env"]] for made in made_for}
    assert all(("NCCL_DEBUG", "INFO") in found for found in env.values())
    assert [("OMP_NUM_THREADS", "1") in env[name] for name in ("ask", "answer", "evaluate")] == [True, False, True]
    assert [found for found in env["answer"] if found[0] in ENVIRONMENT.engine_environment] == [
        ("OMP_NUM_THREADS", "2"),
        ("VLLM_CPU_KVCACHE_SPACE", "1"),
    ]
    assert ["envFrom" in made for made in made_for] == [False, False, True], "the judge's key"
    assert evaluate["args"][-2:] == ["--engine", "VLLM"]


def test_without_vllm_nothing_goes_before_evaluation() -> None:
    pod = _template(_spec(evaluation={"engine": "VLLM"}), "evaluate")["spec"]
    assert "initContainers" not in pod
    assert "--engine" not in pod["containers"][0]["args"]
    assert not any(volume["name"] == "shared-memory" for volume in pod["volumes"])


@pytest.mark.parametrize(
    ("selector", "tolerated"),
    [({}, ["train", "evaluate"]), ({"pool": "h100"}, ["prepare", "train", "evaluate", "publish"])],
)
def test_the_taint_of_gpus_is_tolerated_by_those_who_use_them_or_must_run_beside_them(
    selector: dict[str, str], tolerated: list[str]
) -> None:
    gpus = {"train": {"resources": {"limits": {"amd.com/gpu": 1}}}}
    spec = _spec(stages=gpus, podTemplate={"nodeSelector": selector})
    taint = {"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert [stage for stage in STAGES if taint in _template(spec, stage)["spec"].get("tolerations", [])] == tolerated


def test_pods_that_train_together_are_near_each_other_beside_what_the_user_wants() -> None:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    spec = _spec(
        stages={"train": {"nodes": 2}},
        storage={"claimName": "shared"},
        scheduling={"topologyKey": "zone"},
        podTemplate={"affinity": {"podAffinity": {required: [{"topologyKey": "rack"}]}}},
    )
    assert [term["topologyKey"] for term in _template(spec, "train")["spec"]["affinity"]["podAffinity"][required]] == [
        "rack",
        "zone",
    ]
    assert [
        term["topologyKey"] for term in _template(spec, "prepare")["spec"]["affinity"]["podAffinity"][required]
    ] == ["rack"]


def test_each_source_is_read_with_its_own_secret() -> None:
    sources = [
        {"uri": "s3://a/b", "secretRef": {"name": "one"}},
        {"uri": "s3://c/d", "secretRef": {"name": "two"}, "format": "CSV"},
        {"uri": "https://host/e"},
    ]
    base = {"uri": "hf://owner/name", "secretRef": {"name": "one"}}
    spec = _spec(base=base, dataset={"sources": sources})
    plan = make_plan(
        PARENT["metadata"], spec, Base("hf://owner/name", "main"), "http://mlflow:5000", "trainer:1", "server:1"
    )
    folders = [str(source.credentials) for source in plan.dataset.sources]
    assert folders == ["/credentials/one", "/credentials/two", "None"]
    assert str(plan.base.credentials) == "/credentials/one"
    pod = _template(spec, "prepare")["spec"]
    container = pod["containers"][0]
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    secrets = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    assert {path: secrets[name] for path, name in mounted.items() if name in secrets} == {
        "/credentials/one": "one",
        "/credentials/two": "two",
    }
    assert "envFrom" not in container
    assert not any("secret" in volume for volume in _template(spec, "train")["spec"]["volumes"])


def test_the_checkpoints_of_another_job_are_mounted_for_preparation_alone_and_cannot_be_changed() -> None:
    spec = _spec(training={"resumeFrom": {"fineTuneJobRef": {"name": "first"}, "step": 100}})
    plan = make_plan(PARENT["metadata"], spec, Base("b", "r"), "http://mlflow:5000", "trainer:1", "server:1")
    resumed = plan.training.resume_from
    assert resumed is not None
    assert (str(resumed.checkpoints), resumed.step) == ("/inputs/pvc/first-workspace/checkpoints", 100)
    pods = {stage: _template(spec, stage)["spec"] for stage in STAGES}
    claim = {"claimName": "first-workspace", "readOnly": True}
    [volume] = [found for found in pods["prepare"]["volumes"] if found.get("persistentVolumeClaim") == claim]
    mounts = pods["prepare"]["containers"][0]["volumeMounts"]
    assert {"name": volume["name"], "mountPath": "/inputs/pvc/first-workspace", "readOnly": True} in mounts
    assert not [stage for stage in STAGES[1:] if "first-workspace" in str(pods[stage])]


@pytest.mark.parametrize("stage", STAGES)
def test_users_cannot_set_a_stage_s_own_variables_except_omp_num_threads(stage: Stage) -> None:
    spec = _spec(stages={"train": {"nodes": 2}}, storage={"claimName": "shared"})
    given = {variable["name"] for variable in _template(spec, stage)["spec"]["containers"][0]["env"]}
    assert given - set(RESERVED_ENVIRONMENT) == {"OMP_NUM_THREADS"}


def test_training_may_take_its_time_to_end() -> None:
    spec = _spec(stages={"train": {"terminationGracePeriodSeconds": 900}})
    grace = {stage: _template(spec, stage)["spec"]["terminationGracePeriodSeconds"] for stage in STAGES}
    assert grace == {"prepare": 120, "train": 900, "evaluate": 120, "publish": 120}
