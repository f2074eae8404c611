"""How a version is served: part of ModelVersion, and of the FineTuneJob that makes one."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from serving_runtime.plan import AdapterRank, Dtype, Quantization, ReasoningParser, ToolCallParser

from .engine_arguments import EngineArgument
from .pods import EnvVar, PodTemplate, ResourceRequirements, gpus_in_cel
from .quantities import Duration, bounded_duration
from .schema import LocalReference, MapByName, Rule, Schema, SubdomainName

__all__ = ["AdapterLimits", "Autoscaling", "Cache", "ServerPodTemplate", "Serving", "Trigger", "WarmUp"]

_OURS = "HOME$|PATH$|ANNEAL_|HF_|LD_|PYTHON|SAGEMAKER_|VLLM_"
_IDLE_AFTER = "10m"
_Value = Annotated[str, StringConstraints(max_length=2048)]
_SIXTEEN_BITS = ("FP8", "AWQ", "GPTQ")


class ServerPodTemplate(PodTemplate):
    """What every server's pod gets beside its own."""

    env: MapByName[EnvVar] = Field(default=[], max_length=64)
    """Environment variables of the engine, for example of NCCL. `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are those of
    the download of its weights, too.
    """

    rules: ClassVar = (
        Rule(
            f"!has(self.env) || self.env.all(variable, !variable.name.matches('^({_OURS})'))",
            "`env` cannot set what decides which code the engine runs and who may ask it: HOME, PATH, and what begins "
            "with ANNEAL_, HF_, LD_, PYTHON, SAGEMAKER_ or VLLM_ (the chart's `server.environment` sets VLLM_ for all)",
            lambda template: not any(re.match(_OURS, variable.name) for variable in template.env),
        ),
    )


def _slices_alone(resources: ResourceRequirements) -> bool:
    asked = [*resources.requests.items(), *resources.limits.items()]
    return all(str(quantity) == "1" for name, quantity in asked if "/mig-" in name)


class Cache(Schema):
    """Where downloaded weights are kept, for all pods and versions that name it."""

    claim_name: SubdomainName
    """A PersistentVolumeClaim of this namespace, which all nodes that serve can mount at once: `ReadWriteMany`, or one
    node's own. Weights lie under their digests in its folder `anneal/weights`; none is ever removed.
    """


class WarmUp(Schema):
    """What a pod answers before it is ready."""

    requests: int = Field(default=1, ge=1, le=256)
    """How many questions it is asked at once."""
    max_tokens: int = Field(default=1, ge=1, le=4096)
    """How long each answer is."""


def _takes_more(serving: "Serving", requests: int) -> bool:
    limits = [argument.value for argument in serving.engine_args if argument.name == "max-num-queued-reqs"]
    return all(int(limit) > requests for limit in limits if re.fullmatch("[1-9][0-9]{0,11}", limit))


class Trigger(Schema):
    """What KEDA scales by, as in a ScaledObject of its own."""

    type: Annotated[str, StringConstraints(max_length=63, pattern="^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    """KEDA's name for it, such as `prometheus` or `cron`."""
    metadata: dict[str, _Value] = Field(max_length=32)
    """What it is told, as KEDA's page on it says."""
    authentication_ref: LocalReference | None = None
    """The TriggerAuthentication of this namespace with what it needs to ask."""


class Autoscaling(Schema):
    """How many pods answer, by the requests that routers have under way, or by what KEDA is told."""

    min_replicas: int = Field(default=1, ge=0, le=100)
    """The fewest pods. With 0 there are none while nobody asks the version (`Sleeping`), and the next request starts
    one: it waits for that, or is told to come again. So not in an experiment, and not within `rollbackWindow`.
    """
    max_replicas: int = Field(ge=1, le=100)
    """The most pods."""
    target_requests: int = Field(default=8, ge=1, le=4096)
    """How many requests each pod has at a time, those that wait in it included: more of them take another pod. About as
    many as the engine answers at once as fast as users need.
    """
    idle_after: Duration | None = None
    """With `minReplicas: 0`, after how long without a request there are no pods; 10 minutes where it is left out."""
    triggers: list[Trigger] = Field(default=[], max_length=8)
    """With any, KEDA scales by these between the bounds, by a ScaledObject that is made for it, and nobody else does;
    `targetRequests` then only says how many pods a release needs. They may change, but not come or go. The chart's
    `server.triggers` says which types are taken.
    """
    scale_down_delay: Duration = "5m"
    """For how long fewer pods have to suffice before there are fewer."""

    rules: ClassVar = (
        bounded_duration("scaleDownDelay", "scale_down_delay", "1m", "1h"),
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "`minReplicas` is more than `maxReplicas`",
            lambda wanted: wanted.min_replicas <= wanted.max_replicas,
        ),
        bounded_duration("idleAfter", "idle_after", "1m", "168h", is_optional=True),
        Rule(
            "!has(self.idleAfter) || self.minReplicas == 0",
            "`idleAfter` is when there are no pods any more, and `minReplicas` says that there always are: set that to "
            "0, or leave `idleAfter` out",
            lambda wanted: wanted.idle_after is None or wanted.min_replicas == 0,
        ),
    )


class AdapterLimits(Schema):
    """What an engine of several versions sets aside for their adapters."""

    max_rank: AdapterRank = 64
    """The highest rank that it takes. Higher ones cost memory and speed, for all of its versions."""
    at_once: int = Field(default=4, ge=1, le=64)
    """How many different versions answer in one step; requests for others wait for the next."""


class Serving(Schema):
    """How vLLM serves this version."""

    sharing: Literal["Dedicated", "SharedBase"] = "Dedicated"
    """`Dedicated`: in pods of its own. `SharedBase`: as an adapter, in pods that it shares with all versions of this
    namespace that have the same `artifact.base`, `prompt` and settings here, except `replicas`, `rollbackWindow` and
    `retireAfter`; of `replicas` the highest counts.
    """
    adapters: AdapterLimits | None = None
    """With `SharedBase`, what the pods set aside for adapters; without it, the defaults."""

    replicas: int = Field(default=1, ge=0, le=100)
    """How many pods answer. An experiment or a promotion may scale a version down on its own, and leaves this field
    as it is. With `autoscaling` it is how many there are at first, unless KEDA says; 0 are none with it, too.
    """
    autoscaling: Autoscaling | None = None
    """Without it there are `replicas` pods, whatever is asked of them."""
    dtype: Dtype = "Auto"
    """The precision of weights and activations; `Auto` takes what the model's configuration says."""
    quantization: Quantization = "Auto"
    """`FP8` rounds weights of 16 bits to 8 while they are loaded. `AWQ`, `GPTQ` and `CompressedTensors` demand weights
    that were published so, as `FP8` accepts them; a server with others does not start. `Auto` takes what the model's
    configuration says.
    """
    max_model_length: int = Field(default=2048, ge=64, le=1048576)
    """The longest prompt and answer together, in tokens."""
    prefix_caching: bool = True
    """Whether the cache of one prompt serves another that begins alike, for example with the same system prompt."""
    tool_call_parser: ToolCallParser = "Auto"
    """What tells tool calls from an answer's words, by the engine's name for it. `Auto` takes the one for how the chat
    template writes calls. Without one (`None`, or a template that has no place for tools), a request with `tools` is
    answered with 400.
    """
    reasoning_parser: ReasoningParser = "Auto"
    """What tells thoughts from answers, by the engine's name for it. `Auto` takes the one for how the chat template
    writes thoughts, where `prompt.thinking` is `Keep`. With `None` thoughts stand in the answer.
    """
    trust_remote_code: bool = False
    """Whether to run Python code that was published with the weights; without it such a model does not start."""
    engine_args: MapByName[EngineArgument] = Field(default=[], max_length=32)
    """More arguments for `vllm serve`, for example `{name: max-num-seqs, value: "64"}`."""
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """CPU, memory and GPUs of each pod. Several GPUs share each layer of the model (tensor parallelism), so their
    number has to divide that of its attention heads, and to divide or to be a multiple of that of its key-value heads.
    """
    nodes: int = Field(default=1, ge=1, le=16)
    """How many nodes share one engine, where a model does not fit into the GPUs of one: each has a pod with `resources`
    and some of the model's layers (pipeline parallelism). `replicas` are engines. More than one takes LeaderWorkerSet
    in the cluster, and cannot change later.
    """
    pod_template: ServerPodTemplate = Field(default_factory=ServerPodTemplate)
    """What every pod gets beside its own: environment, labels, placement."""
    cache: Cache | None = None
    """Where downloaded weights are kept, so that they are downloaded once. Without it each pod downloads them onto its
    node, and they go with the pod. With `SharedBase` it keeps the base; adapters are each pod's own.
    """
    rollout: Literal["Surge", "Recreate"] = "Surge"
    """How pods are replaced, one at a time. `Surge`: by one that answers before the old one ends, which takes as much
    again of what a pod asks for. `Recreate`: the old one ends first, where no GPU is spare; with one replica nobody
    answers meanwhile.
    """
    startup_deadline: Duration | None = None
    """How long an engine may take to load its weights, which were downloaded before, and to answer its first question;
    it is started again after that. Left out: 15 minutes, and more for a large artifact, by `artifact.bytes`.
    """
    warm_up: WarmUp = Field(default_factory=WarmUp)
    """What a pod answers before it is ready: with as much at once as it will have to do, its first users wait for no
    compilation.
    """
    canary_tolerance: float = Field(default=0.05, ge=0.001, le=1)
    """How far the mean log-probability of an answer of its evaluation may be from what the trained weights gave, before
    a pod is refused (`Loaded` says by how much). Weights in fewer bits are further off than others: raise it for these.
    """
    drain_seconds: int = Field(default=600, ge=0, le=86400)
    """How long answers under way may take in a pod that is to end, once no router sends it any more requests."""
    rollback_window: Duration = "1h"
    """For how long a version keeps its pods that lost `production`, so that moving it back takes seconds."""
    retire_after: Duration | None = None
    """After how long without pods a version's Deployment and Service are removed (`Retired`); never without it. What
    wakes a version makes them anew.
    """

    rules: ClassVar = (
        Rule(
            "!has(self.adapters) || self.sharing == 'SharedBase'",
            "`adapters` are the limits of pods that versions share: set `sharing: SharedBase`, or leave `adapters` out",
            lambda serving: serving.adapters is None or serving.sharing == "SharedBase",
        ),
        Rule(
            "!has(self.autoscaling) || self.sharing != 'SharedBase'",
            "`autoscaling` goes by one version's requests, and pods that versions share have those of all: set "
            "`replicas`, or leave `sharing` out",
            lambda serving: serving.autoscaling is None or serving.sharing != "SharedBase",
        ),
        Rule(
            f"self.nodes == 1 || size({gpus_in_cel('self.resources')}) > 0",
            "`nodes` share an engine between their GPUs: ask for GPUs in `resources`, or leave `nodes` out",
            lambda serving: serving.nodes == 1 or bool(serving.resources.gpu_names),
        ),
        Rule(
            "self.nodes == 1 || self.sharing != 'SharedBase'",
            "pods that versions share are on one node each: leave `nodes` or `sharing` out",
            lambda serving: serving.nodes == 1 or serving.sharing != "SharedBase",
        ),
        bounded_duration("startupDeadline", "startup_deadline", "10s", "24h", is_optional=True),
        bounded_duration("rollbackWindow", "rollback_window", "0s", "8760h"),
        Rule(
            f"self.quantization != 'FP8' || size({gpus_in_cel('self.resources')}) > 0",
            "`quantization: FP8` needs a GPU: ask for one in `resources`, or leave `quantization` out",
            lambda serving: serving.quantization != "FP8" or bool(serving.resources.gpu_names),
        ),
        Rule(
            "!has(self.autoscaling) || self.engineArgs.all(a, a.name != 'max-num-queued-reqs' || "
            "!a.value.matches('^[1-9][0-9]{0,11}$') || int(a.value) > self.autoscaling.targetRequests)",
            "an engine that takes no more than `autoscaling.targetRequests` never asks for another pod: lower that, or "
            "raise `max-num-queued-reqs` in `engineArgs`",
            lambda serving: serving.autoscaling is None or _takes_more(serving, serving.autoscaling.target_requests),
        ),
        Rule(
            "self.warmUp.maxTokens < self.maxModelLength",
            "`warmUp.maxTokens` leaves no room for a prompt within `maxModelLength`: set it lower",
            lambda serving: serving.warm_up.max_tokens < serving.max_model_length,
        ),
        Rule(
            f"self.dtype != 'FP32' || !(self.quantization in {list(_SIXTEEN_BITS)})",
            f"weights in {', '.join(_SIXTEEN_BITS)} are reckoned with in 16 bits: set `dtype` to `Auto`, `BF16` or "
            "`FP16`, or leave `quantization` out",
            lambda serving: serving.dtype != "FP32" or serving.quantization not in _SIXTEEN_BITS,
        ),
        Rule(
            " && ".join(
                f"(!has(self.resources.{side}) || self.resources.{side}.all(k, !k.contains('/mig-') || "
                f"string(self.resources.{side}[k]) == '1'))"
                for side in ("requests", "limits")
            ),
            "a model cannot be shared out between slices of a GPU: ask in `resources` for one, or for whole GPUs",
            lambda serving: _slices_alone(serving.resources),
        ),
    )

    @property
    def triggers(self) -> list[Trigger]:
        """What KEDA scales it by; nothing where the operator does."""
        return self.autoscaling.triggers if self.autoscaling else []

    @property
    def wakes(self) -> bool:
        """Whether it may have no pods, and a request starts one."""
        return self.autoscaling is not None and self.autoscaling.min_replicas == 0

    @property
    def idles_for(self) -> str:
        """After how long without a request it has none."""
        return (self.autoscaling.idle_after if self.autoscaling else None) or _IDLE_AFTER

    @property
    def tensor_parallel(self) -> int:
        """The GPUs that share each layer."""
        return max(1, self.resources.gpus)
