"""The pod of a stage: its container, environment, volumes, and where it may run.

Where vLLM answers evaluation's questions, two containers go before the stage's own: one of the trainer's image writes
them, one of the server's answers them. They have what the stage asks for, and each has it when the one before has
ended, so the pod asks for no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.pods import Affinity, ResourceRequirements
from anneal_operator.api.quantities import amount
from training_runtime import HEARTBEAT_VARIABLE
from training_runtime.plan import ANSWERING_STEPS, RENDEZVOUS_PORT, AnsweringStep, Engine, Stage

from .inputs import credentials_volumes, data_sources, evaluation_sources, input_volumes, needs_hub
from .plan import PLAN_KEY, WORKSPACE
from .pod_wishes import placement
from .pods import HOME, Manifest, asked_resources, container, gpu_tolerations, labels, pod_security, scratch_volume
from .training_names import CA_KEY, claim_name, plan_name, progress_audience, rendezvous_name

__all__ = ["TrainingEnvironment", "pod_template", "steps_before"]

_PLAN_FOLDER = "/etc/anneal"
_TOKEN_FOLDER = "/var/run/anneal"  # noqa: S105 - a path
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
    engine_image: str
    """vLLM's, for evaluation."""
    engine_environment: Mapping[str, str]
    """Environment variables of vLLM's containers."""
    installation: str
    """By which an operator knows its own jobs' runs in MLflow."""


def steps_before(stage: Stage, engine: Engine) -> tuple[AnsweringStep, ...]:
    """Return the containers that go before a stage's own."""
    return ANSWERING_STEPS if stage == "evaluate" and engine == "VLLM" else ()


def pod_template(
    parent: Manifest,
    spec: FineTuneJobSpec,
    stage: Stage,
    env: TrainingEnvironment,
    own: dict[str, str],
    job_name: str,
    engine: Engine,
) -> Manifest:
    """The pod template of the Job of this name; `own` are the labels that tell its pods from all others."""
    name = parent["metadata"]["name"]
    together = {"subdomain": rendezvous_name(name)} if _nodes(spec, stage) > 1 else {}
    grace = spec.stages.train.termination_grace_period_seconds if stage == "train" else _GRACE_SECONDS
    template = spec.pod_template
    metadata: Manifest = {"labels": {**template.labels, **labels("fine-tune-job", name), **own}}
    if template.annotations:
        metadata["annotations"] = template.annotations
    before = [_step_container(parent, spec, step, env) for step in steps_before(stage, engine)]
    return {
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace,
            "securityContext": pod_security(),
            **({"initContainers": before} if before else {}),
            "containers": [_stage_container(parent, spec, stage, env, job_name, engine)],
            "volumes": [*_volumes(parent, spec, stage), *([_shared_memory()] if before else [])],
            **together,
            **_placement(spec, stage, own),
        },
    }


def _stage_container(
    parent: Manifest, spec: FineTuneJobSpec, stage: Stage, env: TrainingEnvironment, job_name: str, engine: Engine
) -> Manifest:
    arguments = [*_command(stage), *(["--engine", engine] if steps_before(stage, engine) else [])]
    made = container(stage, env.image, env.pull_policy, arguments, _resources(spec, stage))
    made["env"] += _environment(spec, _variables(parent, spec, stage, env, job_name))
    if stage == "evaluate" and spec.evaluation.secret_ref:
        made["envFrom"] = [{"secretRef": {"name": spec.evaluation.secret_ref.name}}]
    made["volumeMounts"] += [
        *_shared_mounts(parent, spec),
        *input_volumes(_inputs(spec, stage))[1],
        *(credentials_volumes(spec)[1] if stage == "prepare" else ()),
    ]
    if stage == "train":
        made["livenessProbe"] = _liveness()
        made["volumeMounts"].append({"name": "progress-token", "mountPath": _TOKEN_FOLDER, "readOnly": True})
    if stage == "train" and spec.stages.train.shared_memory:
        made["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})  # noqa: S108 - a volume
    return made


def _step_container(parent: Manifest, spec: FineTuneJobSpec, step: AnsweringStep, env: TrainingEnvironment) -> Manifest:
    """Asking renders rows as evaluation does; answering knows token ids alone."""
    is_engine = step == "answer"
    image = env.engine_image if is_engine else env.image
    made = container(step, image, env.pull_policy, _command(step), _resources(spec, "evaluate"))
    variables = _variables(parent, spec, "evaluate", env, "") | (dict(env.engine_environment) if is_engine else {})
    made["env"] += _environment(spec, variables)
    made["volumeMounts"] += _shared_mounts(parent, spec)
    if is_engine:  # through which the processes of several GPUs hand on what is to be done
        made["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})  # noqa: S108 - a volume
    return made


def _command(step: Stage | AnsweringStep) -> list[str]:
    return ["-m", "training_runtime", step, "--plan", f"{_PLAN_FOLDER}/{PLAN_KEY}"]


def _shared_mounts(parent: Manifest, spec: FineTuneJobSpec) -> list[Manifest]:
    return [
        {"name": "plan", "mountPath": _PLAN_FOLDER, "readOnly": True},
        {"name": "workspace", "mountPath": WORKSPACE, **_folder(parent, spec)},
    ]


def _resources(spec: FineTuneJobSpec, stage: Stage) -> ResourceRequirements:
    """What a stage's container asks for."""
    stages = spec.stages
    given = {
        "prepare": stages.prepare.resources,
        "train": stages.train.resources,
        "evaluate": stages.evaluation_resources,
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


def _environment(spec: FineTuneJobSpec, variables: Mapping[str, str]) -> list[Manifest]:
    """A container's variables and the pod template's, which wins, as it may over the number of threads."""
    chosen = {variable.name for variable in spec.pod_template.env}
    own = [{"name": name, "value": value} for name, value in sorted(variables.items()) if name not in chosen]
    return [*own, *(variable.dump() for variable in spec.pod_template.env)]


def _variables(
    parent: Manifest, spec: FineTuneJobSpec, stage: Stage, env: TrainingEnvironment, job_name: str
) -> dict[str, str]:
    """Only preparation may reach a hub, and only where something is to be had from one."""
    made = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "OMP_NUM_THREADS": str(_threads(spec, stage))}
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
        made |= {"MASTER_ADDR": first, "MASTER_PORT": str(RENDEZVOUS_PORT)}
    return made


def _threads(spec: FineTuneJobSpec, stage: Stage) -> int:
    """As many for each process as processors were asked for; torch would start one for each processor of the node, and
    each operation waits for the slowest of them.
    """
    asked = asked_resources(_resources(spec, stage))
    processors = asked["requests"].get("cpu") or asked["limits"]["cpu"]
    processes = spec.stages.train.processes_per_node if stage == "train" else 1
    return max(1, ceil(amount(processors)) // processes)


def _folder(parent: Manifest, spec: FineTuneJobSpec) -> Manifest:
    """A claim that others use, too, holds a folder for each job."""
    metadata = parent["metadata"]
    own = f"anneal/{metadata['namespace']}.{metadata['name']}.{metadata['uid']}"
    return {"subPath": own} if spec.storage.claim_name else {}


def _placement(spec: FineTuneJobSpec, stage: Stage, own: dict[str, str]) -> Manifest:
    """Where the pod may run, and as whom."""
    wanted, near = spec.pod_template, spec.scheduling.topology_key
    made = placement(wanted, gpu_tolerations(_sharing_nodes_with(spec, stage)))
    if affinity := _affinity(wanted.affinity or Affinity(), near if _nodes(spec, stage) > 1 else None, own):
        made["affinity"] = affinity
    return made


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


def _shared_memory(**limit: str) -> Manifest:
    return {"name": "shared-memory", "emptyDir": {"medium": "Memory", **limit}}


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
        volumes.append(_shared_memory(sizeLimit=str(size)))
    if stage == "prepare":
        volumes += credentials_volumes(spec)[0]
    return volumes + input_volumes(_inputs(spec, stage))[0]
