"""What a FineTuneJob needs to run: the plan, the volume, and one Job per stage."""

from dataclasses import dataclass

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.training import StorageTemplate
from training_runtime.plan import ExitCode, Stage

from .inputs import data_sources, evaluation_sources, input_volumes, needs_hub
from .plan import PLAN_KEY, WORKSPACE, Base, make_plan
from .pods import Manifest, container, controller_of, labels, pod_security, scratch_volume

__all__ = [
    "CA_KEY",
    "JOB_LABEL",
    "STAGE_LABEL",
    "TrainingEnvironment",
    "claim_name",
    "plan_config_map",
    "plan_name",
    "progress_audience",
    "stage_job",
    "stage_job_name",
    "volume_claim",
]

JOB_LABEL = "anneal.dev/fine-tune-job"
STAGE_LABEL = "anneal.dev/stage"
CA_KEY = "progress-ca.crt"
_PLAN_FOLDER = "/etc/anneal"
_TOKEN_FOLDER = "/var/run/anneal"  # noqa: S105 - a path
_ON_GPU: tuple[Stage, ...] = ("train", "evaluate")
_PRODUCT_LABEL = "nvidia.com/gpu.product"
_TERMINAL_EXIT_CODES = [ExitCode.BAD_PLAN, ExitCode.BAD_DATA, ExitCode.DIVERGED]
_RETRIES = 6  # with Kubernetes' pauses some ten minutes: as long as an MLflow is away when its node is drained


@dataclass(frozen=True)
class TrainingEnvironment:
    """What the installation gives every training pod."""

    image: str
    pull_policy: str
    mlflow_url: str
    progress_url: str
    progress_ca: str


def plan_name(job: str) -> str:
    """The plan's ConfigMap."""
    return f"{job}-plan"


def claim_name(job: str, spec: FineTuneJobSpec) -> str:
    """The volume claim on which the stages hand over."""
    return spec.storage.claim_name or f"{job}-workspace"


def stage_job_name(job: str, stage: Stage) -> str:
    """The Job of a stage."""
    return f"{job}-{stage}"


def progress_audience(namespace: str, job: str) -> str:
    """The audience of the token that reports progress: only for this job, and nothing the API server accepts."""
    return f"anneal-progress/{namespace}/{job}"


def plan_config_map(parent: Manifest, spec: FineTuneJobSpec, base: Base, env: TrainingEnvironment) -> Manifest:
    """The immutable ConfigMap that every stage reads."""
    metadata = parent["metadata"]
    plan = make_plan(metadata, spec, base, env.mlflow_url)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(parent, plan_name(metadata["name"]), {"anneal.dev/model-revision": base.revision}),
        "immutable": True,
        "data": {PLAN_KEY: plan.model_dump_json(indent=1), CA_KEY: env.progress_ca},
    }


def volume_claim(parent: Manifest, spec: FineTuneJobSpec) -> Manifest | None:
    """The volume claim to make, None where the job brings one."""
    if spec.storage.claim_name:
        return None
    template = spec.storage.template or StorageTemplate()
    claim: Manifest = {
        "accessModes": list(template.access_modes),
        "resources": {"requests": {"storage": template.size}},
    }
    if template.storage_class_name:
        claim["storageClassName"] = template.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(parent, claim_name(parent["metadata"]["name"], spec)),
        "spec": claim,
    }


def stage_job(parent: Manifest, spec: FineTuneJobSpec, stage: Stage, env: TrainingEnvironment) -> Manifest:
    """The Job of a stage.

    Data and settings that are wrong stay wrong, so their exit codes end the Job at once; a pod that was evicted is
    replaced and not counted; anything else is tried again a few times, from the last committed checkpoint.
    """
    name = parent["metadata"]["name"]
    own = {JOB_LABEL: name, STAGE_LABEL: stage}
    metadata = _metadata(parent, stage_job_name(name, stage))
    metadata["labels"] |= own
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": _RETRIES,
            "podFailurePolicy": {"rules": _failure_rules(stage)},
            "template": {
                "metadata": {"labels": {**labels("fine-tune-job", name), **own}},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pod_security(),
                    "containers": [_stage_container(parent, spec, stage, env)],
                    "volumes": _volumes(parent, spec, stage),
                    **_placement(spec, stage),
                },
            },
        },
    }


def _failure_rules(stage: Stage) -> list[Manifest]:
    codes = {"containerName": stage, "operator": "In", "values": _TERMINAL_EXIT_CODES}
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": codes},
    ]


def _stage_container(parent: Manifest, spec: FineTuneJobSpec, stage: Stage, env: TrainingEnvironment) -> Manifest:
    arguments = ["-m", "training_runtime", stage, "--plan", f"{_PLAN_FOLDER}/{PLAN_KEY}"]
    made = container(stage, env.image, env.pull_policy, arguments, spec.resources)
    made["env"] += _environment(parent, spec, stage, env)
    secrets = {"prepare": (spec.dataset.secret_ref, spec.model.secret_ref), "evaluate": (spec.evaluation.secret_ref,)}
    named = dict.fromkeys(reference.name for reference in secrets.get(stage, ()) if reference)
    if named:
        made["envFrom"] = [{"secretRef": {"name": name}} for name in named]
    if stage in _ON_GPU and spec.resources.gpus_per_node:
        for side in ("requests", "limits"):
            made["resources"][side][spec.resources.gpu_resource_name] = str(spec.resources.gpus_per_node)
    made["volumeMounts"] += [
        {"name": "plan", "mountPath": _PLAN_FOLDER, "readOnly": True},
        {"name": "workspace", "mountPath": WORKSPACE, **_folder(parent, spec)},
        *input_volumes(_inputs(spec, stage))[1],
    ]
    if stage == "train":
        made["volumeMounts"].append({"name": "progress-token", "mountPath": _TOKEN_FOLDER, "readOnly": True})
    if stage in _ON_GPU and spec.resources.shared_memory:
        made["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})  # noqa: S108 - a volume
    return made


def _environment(
    parent: Manifest, spec: FineTuneJobSpec, stage: Stage, env: TrainingEnvironment
) -> list[dict[str, str]]:
    """Only preparation may reach a hub, and only where something is to be had from one."""
    made = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    if stage != "prepare" or not needs_hub(spec):
        made["HF_HUB_OFFLINE"] = "1"
    if stage == "train":
        made |= {
            "KUBEFLOW_TRAINER_SERVER_URL": _progress_url(parent, env),
            "KUBEFLOW_TRAINER_SERVER_CA_CERT": f"{_PLAN_FOLDER}/{CA_KEY}",
            "KUBEFLOW_TRAINER_SERVER_TOKEN": f"{_TOKEN_FOLDER}/token",
        }
    return [{"name": name, "value": value} for name, value in sorted(made.items())]


def _folder(parent: Manifest, spec: FineTuneJobSpec) -> Manifest:
    """A claim that others use, too, holds a folder for each job."""
    metadata = parent["metadata"]
    own = f"anneal/{metadata['namespace']}.{metadata['name']}.{metadata['uid']}"
    return {"subPath": own} if spec.storage.claim_name else {}


def _placement(spec: FineTuneJobSpec, stage: Stage) -> Manifest:
    """Where the pod may run; what concerns GPUs holds for pods that ask for some."""
    wanted, machine = spec.scheduling, spec.resources
    on_gpu = stage in _ON_GPU and machine.gpus_per_node > 0
    selector = dict(wanted.node_selector)
    if on_gpu and machine.gpu_product:
        selector[_PRODUCT_LABEL] = machine.gpu_product
    tolerations = [toleration.dump() for toleration in wanted.tolerations]
    if on_gpu:
        tolerations.append({"key": machine.gpu_resource_name, "operator": "Exists", "effect": "NoSchedule"})
    made = {"nodeSelector": selector, "tolerations": tolerations, "priorityClassName": wanted.priority_class_name}
    return {name: value for name, value in made.items() if value}


def _inputs(spec: FineTuneJobSpec, stage: Stage) -> list[str]:
    """The sources that a stage reads."""
    if stage == "prepare":
        return data_sources(spec)
    return evaluation_sources(spec) if stage == "evaluate" else []


def _progress_url(parent: Manifest, env: TrainingEnvironment) -> str:
    metadata = parent["metadata"]
    return f"{env.progress_url}/progress/{metadata['namespace']}/{metadata['name']}"


def _volumes(parent: Manifest, spec: FineTuneJobSpec, stage: Stage) -> list[Manifest]:
    metadata = parent["metadata"]
    volumes: list[Manifest] = [
        scratch_volume(),
        {"name": "plan", "configMap": {"name": plan_name(metadata["name"])}},
        {"name": "workspace", "persistentVolumeClaim": {"claimName": claim_name(metadata["name"], spec)}},
    ]
    if stage == "train":
        audience = progress_audience(metadata["namespace"], metadata["name"])
        token = {"serviceAccountToken": {"audience": audience, "expirationSeconds": 3600, "path": "token"}}
        volumes.append({"name": "progress-token", "projected": {"sources": [token]}})
    if stage in _ON_GPU and spec.resources.shared_memory:
        volumes.append(
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": spec.resources.shared_memory}}
        )
    return volumes + input_volumes(_inputs(spec, stage))[0]


def _metadata(parent: Manifest, name: str, annotations: dict[str, str] | None = None) -> Manifest:
    metadata: Manifest = {
        "name": name,
        "namespace": parent["metadata"]["namespace"],
        "labels": labels("fine-tune-job", parent["metadata"]["name"]),
        "ownerReferences": [controller_of(parent)],
    }
    return {**metadata, "annotations": annotations} if annotations else metadata
