"""What a FineTuneJob needs to run: the plan, the volume, and Jobs: one per stage, and of training one per attempt."""

from dataclasses import dataclass

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.pods import Affinity, ResourceRequirements
from anneal_operator.api.resources import DEADLINE_ANNOTATION
from anneal_operator.api.stages import StorageTemplate
from training_runtime import HEARTBEAT_VARIABLE
from training_runtime.plan import ExitCode, Stage

from .inputs import credentials_volumes, data_sources, evaluation_sources, input_volumes, needs_hub
from .plan import PLAN_KEY, WORKSPACE, Base, make_plan
from .pods import (
    HOME,
    Manifest,
    container,
    controller_of,
    gpu_tolerations,
    labels,
    pod_security,
    scratch_volume,
)

__all__ = [
    "ATTEMPT_LABEL",
    "CA_KEY",
    "JOB_LABEL",
    "REVISION_ANNOTATION",
    "STAGE_LABEL",
    "TrainingEnvironment",
    "claim_name",
    "headless_service",
    "plan_config_map",
    "plan_name",
    "progress_audience",
    "stage_job",
    "stage_job_name",
    "volume_claim",
]

JOB_LABEL = "anneal.dev/fine-tune-job"
STAGE_LABEL = "anneal.dev/stage"
ATTEMPT_LABEL = "anneal.dev/attempt"
REVISION_ANNOTATION = "anneal.dev/model-revision"
CA_KEY = "progress-ca.crt"
_PLAN_FOLDER = "/etc/anneal"
_TOKEN_FOLDER = "/var/run/anneal"  # noqa: S105 - a path
_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_TERMINAL_EXIT_CODES = [ExitCode.BAD_PLAN, ExitCode.BAD_DATA, ExitCode.OUT_OF_MEMORY, ExitCode.DIVERGED]
_DISRUPTED = {"type": "DisruptionTarget", "status": "True"}
_RENDEZVOUS_PORT = 29500
_HEARTBEAT_FILE = f"{HOME}/heartbeat"
_GRACE_SECONDS = 120


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


def stage_job_name(job: str, stage: Stage, attempt: int = 0) -> str:
    """The Job of a stage; of training, the Job of an attempt."""
    return f"{job}-{stage}-{attempt}" if stage == "train" else f"{job}-{stage}"


def rendezvous_name(job: str) -> str:
    """The Service under which the pods of a training find each other."""
    return f"{job}-train"


def progress_audience(namespace: str, job: str, uid: str) -> str:
    """The audience of the token that reports progress: only for this job, and nothing the API server accepts."""
    return f"anneal-progress/{namespace}/{job}/{uid}"


def plan_config_map(parent: Manifest, spec: FineTuneJobSpec, base: Base, env: TrainingEnvironment) -> Manifest:
    """The immutable ConfigMap that every stage reads."""
    metadata = parent["metadata"]
    plan = make_plan(metadata, spec, base, env.mlflow_url, env.image)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(parent, plan_name(metadata["name"]), {REVISION_ANNOTATION: base.revision}),
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
        "resources": {"requests": {"storage": str(template.size)}},
    }
    if template.storage_class_name:
        claim["storageClassName"] = template.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(parent, claim_name(parent["metadata"]["name"], spec)),
        "spec": claim,
    }


def headless_service(parent: Manifest, spec: FineTuneJobSpec) -> Manifest | None:
    """The names under which the pods of a training on several nodes find each other; None for a single pod."""
    if spec.stages.train.nodes == 1:
        return None
    name = parent["metadata"]["name"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(parent, rendezvous_name(name)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {JOB_LABEL: name, STAGE_LABEL: "train"},
            "ports": [{"name": "rendezvous", "port": _RENDEZVOUS_PORT, "targetPort": _RENDEZVOUS_PORT}],
        },
    }


def stage_job(
    parent: Manifest,
    spec: FineTuneJobSpec,
    stage: Stage,
    env: TrainingEnvironment,
    *,
    attempt: int = 0,
    seconds_left: int | None = None,
) -> Manifest:
    """The Job of a stage, which may work for as many seconds.

    Training has one for each attempt: its pods start together and end together. Of the other stages Kubernetes
    replaces the pod: data and settings that are wrong stay wrong, and end the Job at once; a pod that was preempted or
    evicted is not counted. A new pod comes only when the old one has ended.
    """
    name = parent["metadata"]["name"]
    own = {JOB_LABEL: name, STAGE_LABEL: stage} | ({ATTEMPT_LABEL: str(attempt)} if stage == "train" else {})
    metadata = _metadata(parent, stage_job_name(name, stage, attempt))
    metadata["labels"] |= own
    course = _attempt(spec) if stage == "train" else _replaced(spec, stage)
    if stage == "train" and spec.scheduling.queue_name:
        metadata["labels"][_QUEUE_LABEL] = spec.scheduling.queue_name
        course["suspend"] = True  # until Kueue admits it
    if seconds_left is not None:
        metadata["annotations"] = {DEADLINE_ANNOTATION: str(spec.active_deadline_seconds)}
        course["activeDeadlineSeconds"] = seconds_left
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            **course,
            "podReplacementPolicy": "Failed",
            "template": _pod_template(parent, spec, stage, env, own, metadata["name"]),
        },
    }


def _attempt(spec: FineTuneJobSpec) -> Manifest:
    """An attempt of training: the first pod that fails ends it, and the Job's condition says why, however long its pods
    are gone. Indexed with as many pods as completions is also the shape of a gang.
    """
    nodes = spec.stages.train.nodes
    failing = [
        {"action": "FailJob", "onPodConditions": [_DISRUPTED]},
        {"action": "FailJob", "onExitCodes": {"containerName": "train", "operator": "NotIn", "values": [0]}},
    ]
    return {
        "backoffLimit": 0,
        "completionMode": "Indexed",
        "completions": nodes,
        "parallelism": nodes,
        "podFailurePolicy": {"rules": failing},
    }


def _replaced(spec: FineTuneJobSpec, stage: Stage) -> Manifest:
    """A stage of one pod, which Kubernetes replaces by itself, so that the operator need not be there."""
    codes = {"containerName": stage, "operator": "In", "values": _TERMINAL_EXIT_CODES}
    rules = [
        {"action": "Ignore", "onPodConditions": [_DISRUPTED]},
        {"action": "Ignore", "onExitCodes": {**codes, "values": [ExitCode.PREEMPTED]}},
        {"action": "FailJob", "onExitCodes": codes},
    ]
    return {"backoffLimit": spec.max_attempts - 1, "podFailurePolicy": {"rules": rules}}


def _pod_template(
    parent: Manifest,
    spec: FineTuneJobSpec,
    stage: Stage,
    env: TrainingEnvironment,
    own: dict[str, str],
    job_name: str,
) -> Manifest:
    name = parent["metadata"]["name"]
    together = {"subdomain": rendezvous_name(name)} if _nodes(spec, stage) > 1 else {}
    grace = spec.stages.train.termination_grace_period_seconds if stage == "train" else _GRACE_SECONDS
    template = spec.pod_template
    metadata: Manifest = {"labels": {**template.labels, **labels("fine-tune-job", name), **own}}
    if template.annotations:
        metadata["annotations"] = template.annotations
    return {
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace,
            "securityContext": pod_security(),
            "containers": [_stage_container(parent, spec, stage, env, job_name)],
            "volumes": _volumes(parent, spec, stage),
            **together,
            **_placement(spec, stage, own),
        },
    }


def _stage_container(
    parent: Manifest, spec: FineTuneJobSpec, stage: Stage, env: TrainingEnvironment, job_name: str
) -> Manifest:
    arguments = ["-m", "training_runtime", stage, "--plan", f"{_PLAN_FOLDER}/{PLAN_KEY}"]
    made = container(stage, env.image, env.pull_policy, arguments, _resources(spec, stage))
    made["env"] += _environment(parent, spec, stage, env, job_name)
    made["env"] += [variable.dump() for variable in spec.pod_template.env]
    if stage == "evaluate" and spec.evaluation.secret_ref:
        made["envFrom"] = [{"secretRef": {"name": spec.evaluation.secret_ref.name}}]
    made["volumeMounts"] += [
        {"name": "plan", "mountPath": _PLAN_FOLDER, "readOnly": True},
        {"name": "workspace", "mountPath": WORKSPACE, **_folder(parent, spec)},
        *input_volumes(_inputs(spec, stage))[1],
        *(credentials_volumes(spec)[1] if stage == "prepare" else ()),
    ]
    if stage == "train":
        made["livenessProbe"] = _liveness()
        made["volumeMounts"].append({"name": "progress-token", "mountPath": _TOKEN_FOLDER, "readOnly": True})
    if stage == "train" and spec.stages.train.shared_memory:
        made["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})  # noqa: S108 - a volume
    return made


def _resources(spec: FineTuneJobSpec, stage: Stage) -> ResourceRequirements:
    """What a stage's container asks for; evaluation, where nothing is said, what training does."""
    stages = spec.stages
    given = {
        "prepare": stages.prepare.resources,
        "train": stages.train.resources,
        "evaluate": stages.evaluate.resources or stages.train.resources,
        "publish": stages.publish.resources,
    }
    return given[stage]


def _nodes(spec: FineTuneJobSpec, stage: Stage) -> int:
    return spec.stages.train.nodes if stage == "train" else 1


def _liveness() -> Manifest:
    """A training that shows no sign of life is ended; a busy machine may be slow to answer, which proves nothing."""
    return {
        "exec": {"command": ["python", "-m", "training_runtime.train.heartbeat", _HEARTBEAT_FILE]},
        "periodSeconds": 10,
        "timeoutSeconds": 10,
        "failureThreshold": 3,
        "terminationGracePeriodSeconds": 30,
    }


def _environment(
    parent: Manifest, spec: FineTuneJobSpec, stage: Stage, env: TrainingEnvironment, job_name: str
) -> list[dict[str, str]]:
    """Only preparation may reach a hub, and only where something is to be had from one."""
    made = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    if stage != "prepare" or not needs_hub(spec):
        made["HF_HUB_OFFLINE"] = "1"
    if stage == "train":
        made |= {
            HEARTBEAT_VARIABLE: _HEARTBEAT_FILE,
            "KUBEFLOW_TRAINER_SERVER_URL": _progress_url(parent, env),
            "KUBEFLOW_TRAINER_SERVER_CA_CERT": f"{_PLAN_FOLDER}/{CA_KEY}",
            "KUBEFLOW_TRAINER_SERVER_TOKEN": f"{_TOKEN_FOLDER}/token",
        }
    if _nodes(spec, stage) > 1:
        first = f"{job_name}-0.{rendezvous_name(parent['metadata']['name'])}"
        made |= {"MASTER_ADDR": first, "MASTER_PORT": str(_RENDEZVOUS_PORT)}
    return [{"name": name, "value": value} for name, value in sorted(made.items())]


def _folder(parent: Manifest, spec: FineTuneJobSpec) -> Manifest:
    """A claim that others use, too, holds a folder for each job."""
    metadata = parent["metadata"]
    own = f"anneal/{metadata['namespace']}.{metadata['name']}.{metadata['uid']}"
    return {"subPath": own} if spec.storage.claim_name else {}


def _placement(spec: FineTuneJobSpec, stage: Stage, own: dict[str, str]) -> Manifest:
    """Where the pod may run, and as whom."""
    wanted, near = spec.pod_template, spec.scheduling.topology_key
    made = {
        "nodeSelector": wanted.node_selector,
        "tolerations": [
            *(toleration.dump() for toleration in wanted.tolerations),
            *gpu_tolerations(_sharing_nodes_with(spec, stage)),
        ],
        "affinity": _affinity(wanted.affinity or Affinity(), near if _nodes(spec, stage) > 1 else None, own),
        "priorityClassName": wanted.priority_class_name,
        "schedulerName": wanted.scheduler_name,
        "serviceAccountName": wanted.service_account_name,
        "imagePullSecrets": [secret.dump() for secret in wanted.image_pull_secrets],
    }
    return {name: value for name, value in made.items() if value}


def _sharing_nodes_with(spec: FineTuneJobSpec, stage: Stage) -> ResourceRequirements:
    """The resources whose nodes the pod may run on: its own, or those of training, where both must share nodes.

    A selector names nodes for all stages. Where these have GPUs, a stage without any would be kept off by their taint.
    """
    placed = spec.pod_template
    chosen = placed.node_selector or (placed.affinity and placed.affinity.node_affinity)
    own = _resources(spec, stage)
    return spec.stages.train.resources if chosen and not own.gpu_names else own


def _affinity(wanted: Affinity, key: str | None, own: dict[str, str]) -> Manifest:
    """What is wanted, and that the pods of one training run where the key's value is the same."""
    made = wanted.dump()
    if key:
        term = {"topologyKey": key, "labelSelector": {"matchLabels": own}}
        pods = made.setdefault("podAffinity", {})
        pods.setdefault("requiredDuringSchedulingIgnoredDuringExecution", []).append(term)
    return made


def _inputs(spec: FineTuneJobSpec, stage: Stage) -> list[str]:
    """The sources that a stage reads."""
    if stage == "prepare":
        return data_sources(spec)
    return evaluation_sources(spec) if stage == "evaluate" else []


def _progress_url(parent: Manifest, env: TrainingEnvironment) -> str:
    metadata = parent["metadata"]
    return f"{env.progress_url}/progress/{metadata['namespace']}/{metadata['name']}/{metadata['uid']}"


def _volumes(parent: Manifest, spec: FineTuneJobSpec, stage: Stage) -> list[Manifest]:
    metadata = parent["metadata"]
    volumes: list[Manifest] = [
        scratch_volume(),
        {"name": "plan", "configMap": {"name": plan_name(metadata["name"])}},
        {"name": "workspace", "persistentVolumeClaim": {"claimName": claim_name(metadata["name"], spec)}},
    ]
    if stage == "train":
        audience = progress_audience(metadata["namespace"], metadata["name"], metadata["uid"])
        token = {"serviceAccountToken": {"audience": audience, "expirationSeconds": 3600, "path": "token"}}
        volumes.append({"name": "progress-token", "projected": {"sources": [token]}})
    if stage == "train" and (size := spec.stages.train.shared_memory):
        volumes.append({"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": str(size)}})
    if stage == "prepare":
        volumes += credentials_volumes(spec)[0]
    return volumes + input_volumes(_inputs(spec, stage))[0]


def _metadata(parent: Manifest, name: str, annotations: dict[str, str] | None = None) -> Manifest:
    metadata: Manifest = {
        "name": name,
        "namespace": parent["metadata"]["namespace"],
        "labels": labels("fine-tune-job", parent["metadata"]["name"]),
        "ownerReferences": [controller_of(parent)],
    }
    return {**metadata, "annotations": annotations} if annotations else metadata
