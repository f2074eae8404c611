"""How a version is served: part of ModelVersion, and of the FineTuneJob that makes one."""

import re
from typing import ClassVar, Literal

from pydantic import Field

from serving_runtime.plan import AdapterRank, Dtype, Quantization, ReasoningParser, ToolCallParser

from .engine_arguments import EngineArgument
from .pods import EnvVar, PodTemplate, ResourceRequirements, gpus_in_cel
from .quantities import Duration, bounded_duration
from .schema import MapByName, Rule, Schema

__all__ = ["AdapterLimits", "ServerPodTemplate", "Serving", "WarmUp"]

_OURS = "HOME$|PATH$|ANNEAL_|HF_|LD_|PYTHON|SAGEMAKER_|VLLM_"
_SIXTEEN_BITS = ("FP8", "AWQ", "GPTQ")


class ServerPodTemplate(PodTemplate):
    """What every server's pod gets beside its own."""

    env: MapByName[EnvVar] = Field(default=[], max_length=64)
    """Environment variables of the engine, for example of NCCL."""

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


class WarmUp(Schema):
    """What a pod answers before it is ready."""

    requests: int = Field(default=1, ge=1, le=256)
    """How many questions it is asked at once."""
    max_tokens: int = Field(default=1, ge=1, le=4096)
    """How long each answer is."""


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
    as it is.
    """
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
    number has to divide that of its attention heads.
    """
    pod_template: ServerPodTemplate = Field(default_factory=ServerPodTemplate)
    """What every pod gets beside its own: environment, labels, placement."""
    rollout: Literal["Surge", "Recreate"] = "Surge"
    """How pods are replaced, one at a time. `Surge`: by one that answers before the old one ends, which takes as much
    again of what a pod asks for. `Recreate`: the old one ends first, where no GPU is spare; with one replica nobody
    answers meanwhile.
    """
    startup_deadline: Duration = "15m"
    """How long a pod may take to bring the weights and answer its first question; it is started again after that."""
    warm_up: WarmUp = Field(default_factory=WarmUp)
    """What a pod answers before it is ready: with as much at once as it will have to do, its first users wait for no
    compilation.
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
        bounded_duration("startupDeadline", "startup_deadline", "10s", "24h"),
        bounded_duration("rollbackWindow", "rollback_window", "0s", "8760h"),
        Rule(
            f"self.quantization != 'FP8' || size({gpus_in_cel('self.resources')}) > 0",
            "`quantization: FP8` needs a GPU: ask for one in `resources`, or leave `quantization` out",
            lambda serving: serving.quantization != "FP8" or bool(serving.resources.gpu_names),
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
    def tensor_parallel(self) -> int:
        """The GPUs that share each layer."""
        return max(1, self.resources.gpus)
