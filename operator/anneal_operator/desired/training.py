"""What a FineTuneJob needs to run: the plan, the volume, and one Job per stage."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job import Lora as LoraSpec
from training_runtime.plan import (
    DatasetPlan,
    EvaluationPlan,
    ExitCode,
    JobIdentity,
    LoraPlan,
    ModelPlan,
    PiiPlan,
    Plan,
    SplitPlan,
    Stage,
    SuitePlan,
    TrackingPlan,
    TrainingPlan,
)

from .pods import Manifest, container, controller_of, labels, pod_security, scratch_volume

__all__ = [
    "CA_KEY",
    "JOB_LABEL",
    "STAGE_LABEL",
    "Base",
    "TrainingEnvironment",
    "config_map_source",
    "plan_config_map",
    "plan_digest",
    "plan_name",
    "progress_audience",
    "stage_job",
    "stage_job_name",
    "volume_claim",
    "volume_name",
]

JOB_LABEL = "anneal.dev/fine-tune-job"
STAGE_LABEL = "anneal.dev/stage"
CA_KEY = "progress-ca.crt"
_PLAN_KEY = "plan.json"
_PLAN_FOLDER = "/etc/anneal"
_TOKEN_FOLDER = "/var/run/anneal"  # noqa: S105 - a path
_WORKSPACE = "/workspace"
_DATA_FOLDER, _MODEL_FOLDER = "/inputs/data", "/inputs/model"
_TERMINAL_EXIT_CODES = [ExitCode.BAD_PLAN, ExitCode.BAD_DATA, ExitCode.DIVERGED]
_RETRIES = 6  # with Kubernetes' pauses some ten minutes: as long as an MLflow is away when its node is drained


@dataclass(frozen=True)
class Base:
    """The exact model that training starts from, after names and aliases are resolved."""

    source: str
    revision: str
    digest: str | None = None


@dataclass(frozen=True)
class TrainingEnvironment:
    """What the installation gives every training pod."""

    image: str
    pull_policy: str
    mlflow_url: str
    progress_url: str
    progress_ca: str


def config_map_source(source: str) -> tuple[str, str] | None:
    """Return the ConfigMap's name and key of `configmap://name[/key]`, or None for any other source."""
    scheme, _, rest = source.partition("://")
    name, _, key = rest.partition("/")
    return (name, key) if scheme == "configmap" else None


def plan_name(job: str) -> str:
    """The plan's ConfigMap."""
    return f"{job}-plan"


def volume_name(job: str) -> str:
    """The volume claim on which the stages hand over."""
    return f"{job}-workspace"


def stage_job_name(job: str, stage: Stage) -> str:
    """The Job of a stage."""
    return f"{job}-{stage}"


def progress_audience(namespace: str, job: str) -> str:
    """The audience of the token that reports progress: only for this job, and nothing the API server accepts."""
    return f"anneal-progress/{namespace}/{job}"


def plan_config_map(parent: Manifest, spec: FineTuneJobSpec, base: Base, env: TrainingEnvironment) -> Manifest:
    """The immutable ConfigMap that every stage reads."""
    metadata = parent["metadata"]
    plan = _plan(metadata, spec, base, env)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(parent, plan_name(metadata["name"]), {"anneal.dev/model-revision": base.revision}),
        "immutable": True,
        "data": {_PLAN_KEY: plan.model_dump_json(indent=1), CA_KEY: env.progress_ca},
    }


def plan_digest(config_map: Manifest) -> str:
    """The plan's content address."""
    return f"sha256:{hashlib.sha256(config_map['data'][_PLAN_KEY].encode()).hexdigest()}"


def _plan(metadata: Manifest, spec: FineTuneJobSpec, base: Base, env: TrainingEnvironment) -> Plan:
    split, training = spec.dataset.split, spec.training
    source = config_map_source(spec.dataset.source)
    lora = spec.tuning.lora or LoraSpec()
    return Plan(
        job=JobIdentity(name=metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"]),
        workspace=Path(_WORKSPACE),
        model=ModelPlan(initialize=spec.model.initialize, source=base.source, digest=base.digest),
        dataset=DatasetPlan(
            sources=[str(Path(_DATA_FOLDER) / (source[1] if source else ""))],
            template=spec.dataset.template,
            pii=PiiPlan(action=spec.dataset.pii.action),
            duplicate_threshold=spec.dataset.deduplicate.threshold,
            split=SplitPlan(
                validation=split.validation, test=split.test, stratify_by=split.stratify_by, seed=split.seed
            ),
        ),
        lora=LoraPlan(**lora.model_dump()) if spec.tuning.method == "lora" else None,
        training=TrainingPlan(**training.model_dump()),
        evaluation=EvaluationPlan(
            suites=[SuitePlan(**suite.model_dump()) for suite in spec.evaluation.suites],
            max_rows=spec.evaluation.max_rows,
            max_new_tokens=spec.evaluation.max_new_tokens,
        ),
        tracking=TrackingPlan(uri=env.mlflow_url, experiment=spec.output.model_name),
        model_name=spec.output.model_name,
    )


def volume_claim(parent: Manifest, spec: FineTuneJobSpec) -> Manifest:
    """The volume claim on which the stages hand over."""
    template = spec.storage.template
    claim: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": template.size}}}
    if template.storage_class_name:
        claim["storageClassName"] = template.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(parent, volume_name(parent["metadata"]["name"])),
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
    arguments = ["-m", "training_runtime", stage, "--plan", f"{_PLAN_FOLDER}/{_PLAN_KEY}"]
    made = container(stage, env.image, env.pull_policy, arguments, spec.resources)
    made["env"] += [
        {"name": "HF_HUB_OFFLINE", "value": "1"},
        {"name": "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "value": "false"},
    ]
    made["volumeMounts"] += [
        {"name": "plan", "mountPath": _PLAN_FOLDER, "readOnly": True},
        {"name": "workspace", "mountPath": _WORKSPACE},
    ]
    if stage == "train":
        made["env"] += [
            {"name": "KUBEFLOW_TRAINER_SERVER_URL", "value": _progress_url(parent, env)},
            {"name": "KUBEFLOW_TRAINER_SERVER_CA_CERT", "value": f"{_PLAN_FOLDER}/{CA_KEY}"},
            {"name": "KUBEFLOW_TRAINER_SERVER_TOKEN", "value": f"{_TOKEN_FOLDER}/token"},
        ]
        made["volumeMounts"].append({"name": "progress-token", "mountPath": _TOKEN_FOLDER, "readOnly": True})
    if stage == "prepare":
        made["volumeMounts"] += [
            {"name": volume["name"], "mountPath": folder, "readOnly": True} for folder, volume in _inputs(spec)
        ]
    return made


def _progress_url(parent: Manifest, env: TrainingEnvironment) -> str:
    metadata = parent["metadata"]
    return f"{env.progress_url}/progress/{metadata['namespace']}/{metadata['name']}"


def _inputs(spec: FineTuneJobSpec) -> list[tuple[str, Manifest]]:
    """The ConfigMaps that preparation reads, each with its folder."""
    sources = {
        _DATA_FOLDER: config_map_source(spec.dataset.source),
        _MODEL_FOLDER: config_map_source(spec.model.source),
    }
    return [
        (folder, {"name": folder.rpartition("/")[2], "configMap": {"name": source[0]}})
        for folder, source in sources.items()
        if source
    ]


def _volumes(parent: Manifest, spec: FineTuneJobSpec, stage: Stage) -> list[Manifest]:
    metadata = parent["metadata"]
    volumes: list[Manifest] = [
        scratch_volume(),
        {"name": "plan", "configMap": {"name": plan_name(metadata["name"])}},
        {"name": "workspace", "persistentVolumeClaim": {"claimName": volume_name(metadata["name"])}},
    ]
    if stage == "train":
        audience = progress_audience(metadata["namespace"], metadata["name"])
        token = {"serviceAccountToken": {"audience": audience, "expirationSeconds": 3600, "path": "token"}}
        volumes.append({"name": "progress-token", "projected": {"sources": [token]}})
    if stage == "prepare":
        volumes += [volume for _, volume in _inputs(spec)]
    return volumes


def _metadata(parent: Manifest, name: str, annotations: dict[str, str] | None = None) -> Manifest:
    metadata: Manifest = {
        "name": name,
        "namespace": parent["metadata"]["namespace"],
        "labels": labels("fine-tune-job", parent["metadata"]["name"]),
        "ownerReferences": [controller_of(parent)],
    }
    return {**metadata, "annotations": annotations} if annotations else metadata
