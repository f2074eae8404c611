"""What users may say of pods, as Kubernetes itself names it: resources, placement, environment."""

from math import ceil
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from training_runtime.plan import RESERVED_ENVIRONMENT

from .quantities import Quantity, amount
from .schema import FreeObject, LabelValue, LocalReference, MapByName, QualifiedName, Rule, Schema, SubdomainName

__all__ = ["Affinity", "EnvVar", "PodTemplate", "ResourceRequirements", "Toleration", "gpus_in_cel", "is_gpu"]

_EnvName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[-._A-Za-z][-._A-Za-z0-9]*$")]
_Key = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._A-Za-z0-9]+$")]
_Value = Annotated[str, StringConstraints(max_length=4096)]


def gpus_in_cel(resources: str) -> str:
    """CEL for the list of GPU-like names that resources ask for; a name may stand in it twice."""
    asked = (f"{resources}.{side}" for side in ("requests", "limits"))
    is_gpu = "k.endsWith('/gpu') || k.contains('/mig-')"
    return "({})".format(" + ".join(f"(has({side}) ? {side}.filter(k, {is_gpu}) : [])" for side in asked))


def is_gpu(name: str) -> bool:
    """Whether a resource of this name is GPUs, or slices of one."""
    return name.endswith("/gpu") or "/mig-" in name


_OWN_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_IS_RESOURCE = f"k.contains('/') || k.startsWith('hugepages-') || k in {list(_OWN_RESOURCES)}"


def _is_resource(name: str) -> bool:
    return "/" in name or name.startswith("hugepages-") or name in _OWN_RESOURCES


class ResourceRequirements(Schema):
    """What a container asks for and may use at most, as in any pod."""

    requests: dict[str, Quantity] = Field(default={}, max_length=16)
    """What is set aside for it, for example `{cpu: 4, memory: 24Gi}`. Where neither this nor `limits` names `cpu` or
    `memory`, it asks for 1 CPU or 4Gi.
    """
    limits: dict[str, Quantity] = Field(default={}, max_length=16)
    """What it may use at most, for example `{nvidia.com/gpu: 8}`. A container never has more memory than it asks for,
    where nothing is said here.
    """

    rules: ClassVar = (
        Rule(
            f"{gpus_in_cel('self')}.all(one, {gpus_in_cel('self')}.all(other, one == other))",
            "ask in `resources` for GPUs of one resource name only: those of a pod share its work evenly",
            lambda wanted: len(wanted.gpu_names) <= 1,
        ),
        Rule(
            " && ".join(
                f"(!has(self.{side}) || self.{side}.all(k, {_IS_RESOURCE}))" for side in ("requests", "limits")
            ),
            "names in `requests` and `limits` must be resource names that Kubernetes knows: `cpu`, `memory`, "
            "`ephemeral-storage`, `hugepages-*`, or one with a domain, such as `nvidia.com/gpu`",
            lambda wanted: all(map(_is_resource, {**wanted.requests, **wanted.limits})),
        ),
    )

    @property
    def gpu_names(self) -> list[str]:
        """The names of the GPU-like resources."""
        return sorted({name for name in {**self.requests, **self.limits} if is_gpu(name)})

    @property
    def gpus(self) -> int:
        """How many GPUs, or slices of one, the container has."""
        return sum(ceil(amount({**self.requests, **self.limits}[name])) for name in self.gpu_names)


class Toleration(Schema):
    """A taint that the pods accept, as in a pod's own spec."""

    key: QualifiedName | None = None
    """The taint's key; every key where it is left out, with `operator: Exists`."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Whether the value counts."""
    value: LabelValue | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; every effect where it is left out."""

    rules: ClassVar = (
        Rule(
            "self.operator == 'Exists' ? !has(self.value) : has(self.key)",
            "`operator: Exists` takes no `value`; `Equal` needs a `key`",
            lambda wanted: wanted.value is None if wanted.operator == "Exists" else wanted.key is not None,
        ),
    )


class KeyReference(Schema):
    """One key of a Secret or ConfigMap of this namespace."""

    name: SubdomainName
    """The object's name."""
    key: _Key
    """The key."""
    optional: bool = False
    """Whether the pod starts without it."""


class EnvVarSource(Schema):
    """Where a variable's value comes from."""

    secret_key_ref: KeyReference | None = None
    """A key of a Secret."""
    config_map_key_ref: KeyReference | None = None
    """A key of a ConfigMap."""

    rules: ClassVar = (
        Rule(
            "has(self.secretKeyRef) != has(self.configMapKeyRef)",
            "give either `secretKeyRef` or `configMapKeyRef`",
            lambda source: (source.secret_key_ref is None) != (source.config_map_key_ref is None),
        ),
    )


class EnvVar(Schema):
    """An environment variable."""

    name: _EnvName
    """Its name."""
    value: _Value | None = None
    """Its value."""
    value_from: EnvVarSource | None = None
    """Where its value comes from, instead of `value`."""

    rules: ClassVar = (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            "give either `value` or `valueFrom`, not both",
            lambda variable: variable.value is None or variable.value_from is None,
        ),
    )


class PodAffinity(Schema):
    """Which pods to be near to, as in a pod's own spec."""

    required_during_scheduling_ignored_during_execution: list[FreeObject] | None = Field(default=None, max_length=16)
    """Terms that must hold."""
    preferred_during_scheduling_ignored_during_execution: list[FreeObject] | None = Field(default=None, max_length=16)
    """Terms with their weights that should hold."""


class Affinity(Schema):
    """Rules of placement, as in a pod's own spec."""

    node_affinity: FreeObject | None = None
    """Which nodes to run on."""
    pod_affinity: PodAffinity | None = None
    """Which pods to be near to."""
    pod_anti_affinity: FreeObject | None = None
    """Which pods to keep away from."""


class PodTemplate(Schema):
    """What every stage's pod gets beside its own."""

    labels: dict[str, LabelValue] = Field(default={}, max_length=32)
    """Labels; those that the operator sets itself win."""
    annotations: dict[str, _Value] = Field(default={}, max_length=32)
    """Annotations."""
    env: MapByName[EnvVar] = Field(default=[], max_length=64)
    """Environment variables of the stage's container."""
    node_selector: dict[str, LabelValue] = Field(default={}, max_length=16)
    """Labels that a node must have, for example `{nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}`."""
    tolerations: list[Toleration] = Field(default=[], max_length=16)
    """Taints that the pods accept; that of the GPU resource is always accepted by pods that ask for GPUs."""
    affinity: Affinity | None = None
    """Rules of placement, as in a pod's own spec."""
    priority_class_name: SubdomainName | None = None
    """The pods' PriorityClass."""
    scheduler_name: SubdomainName | None = None
    """The scheduler that places the pods; the cluster's default where it is left out."""
    service_account_name: SubdomainName | None = None
    """The ServiceAccount that the pods run as; its token is not mounted."""
    image_pull_secrets: MapByName[LocalReference] = Field(default=[], max_length=16)
    """Secrets with the credentials of image registries."""

    rules: ClassVar = (
        Rule(
            f"!has(self.env) || self.env.all(variable, !(variable.name in {list(RESERVED_ENVIRONMENT)}))",
            f"`env` cannot set what the stages rely on: {', '.join(RESERVED_ENVIRONMENT)}",
            lambda template: not any(variable.name in RESERVED_ENVIRONMENT for variable in template.env),
        ),
    )
