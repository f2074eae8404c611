"""What a FineTuneJob needs to run: the plan, the volume, and Jobs: one per stage, and of training one per attempt."""

from collections.abc import Sequence

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.resources import DEADLINE_ANNOTATION
from anneal_operator.api.stages import StorageTemplate
from training_runtime.plan import RENDEZVOUS_PORT, AnsweringStep, Engine, ExitCode, Stage

from .plan import PLAN_KEY, Base, make_plan
from .pods import Manifest, controller_of, labels
from .stage_pod import TrainingEnvironment, pod_template, steps_before
from .training_names import (
    ATTEMPT_LABEL,
    CA_KEY,
    JOB_LABEL,
    REVISION_ANNOTATION,
    STAGE_LABEL,
    claim_name,
    plan_name,
    rendezvous_name,
    stage_job_name,
)

__all__ = ["headless_service", "plan_config_map", "stage_job", "volume_claim"]

_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_TERMINAL_EXIT_CODES = [ExitCode.BAD_PLAN, ExitCode.BAD_DATA, ExitCode.OUT_OF_MEMORY, ExitCode.DIVERGED]
_DISRUPTED = {"type": "DisruptionTarget", "status": "True"}


def plan_config_map(parent: Manifest, spec: FineTuneJobSpec, base: Base, env: TrainingEnvironment) -> Manifest:
    """The immutable ConfigMap that every stage reads."""
    metadata = parent["metadata"]
    plan = make_plan(metadata, spec, base, env.mlflow_url, env.image, env.engine_image, env.installation)
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
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT, "targetPort": RENDEZVOUS_PORT}],
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
    engine: Engine = "Transformers",
) -> Manifest:
    """The Job of a stage, which may work for as many seconds; `engine` answers evaluation's questions.

    Training has one for each attempt: its pods start together and end together. Of the other stages Kubernetes
    replaces the pod: data and settings that are wrong stay wrong, and end the Job at once; a pod that was preempted or
    evicted is not counted. A new pod comes only when the old one has ended.
    """
    name = parent["metadata"]["name"]
    own = {JOB_LABEL: name, STAGE_LABEL: stage} | ({ATTEMPT_LABEL: str(attempt)} if stage == "train" else {})
    metadata = _metadata(parent, stage_job_name(name, stage, attempt))
    metadata["labels"] |= own
    course = _attempt(spec) if stage == "train" else _replaced(spec, stage, steps_before(stage, engine))
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
            "template": pod_template(parent, spec, stage, env, own, metadata["name"], engine),
        },
    }


def _attempt(spec: FineTuneJobSpec) -> Manifest:
    """An attempt of training: the first pod that fails ends it, and the Job's condition says why, however long its pods
    are gone. Indexed with as many pods as completions is also the shape of a gang.

    A pod that was asked to end is matched by Count, not FailJob. Without a backoff limit it ends the attempt as well,
    but pods of a suspended Job are left out: what Kueue has just taken back queues again instead of failing.
    """
    nodes = spec.stages.train.nodes
    codes = {"containerName": "train", "operator": "In", "values": [ExitCode.PREEMPTED]}
    failing = [
        {"action": "FailJob", "onPodConditions": [_DISRUPTED]},
        {"action": "Count", "onExitCodes": codes},
        {"action": "FailJob", "onExitCodes": {**codes, "operator": "NotIn", "values": [0]}},
    ]
    return {
        "backoffLimit": 0,
        "completionMode": "Indexed",
        "completions": nodes,
        "parallelism": nodes,
        "podFailurePolicy": {"rules": failing},
    }


def _replaced(spec: FineTuneJobSpec, stage: Stage, before: Sequence[AnsweringStep]) -> Manifest:
    """A stage of one pod, which Kubernetes replaces by itself, so that the operator need not be there.

    Once a model is trained, a server that is away (MLflow, a judge) is waited for: it costs no attempt. What a
    container before the stage's own ends with counts as the stage's.
    """
    passing = [ExitCode.PREEMPTED, *([] if stage == "prepare" else [ExitCode.NO_ACCESS])]
    rules: list[Manifest] = [{"action": "Ignore", "onPodConditions": [_DISRUPTED]}]
    for name in (*before, stage):
        codes = {"containerName": name, "operator": "In", "values": _TERMINAL_EXIT_CODES}
        rules.append({"action": "Ignore", "onExitCodes": {**codes, "values": passing}})
        rules.append({"action": "FailJob", "onExitCodes": codes})
    return {"backoffLimit": spec.max_attempts - 1, "podFailurePolicy": {"rules": rules}}


def _metadata(parent: Manifest, name: str, annotations: dict[str, str] | None = None) -> Manifest:
    metadata: Manifest = {
        "name": name,
        "namespace": parent["metadata"]["namespace"],
        "labels": {**labels("fine-tune-job", parent["metadata"]["name"]), JOB_LABEL: parent["metadata"]["name"]},
        "ownerReferences": [controller_of(parent)],
    }
    return {**metadata, "annotations": annotations} if annotations else metadata
