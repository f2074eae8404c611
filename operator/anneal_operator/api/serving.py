"""How a version is served: part of ModelVersion, and of the FineTuneJob that makes one."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from serving_runtime.plan import Dtype

from .pods import ResourceRequirements
from .quantities import Duration, bounded_duration
from .schema import Schema

__all__ = ["Serving", "WarmUp"]

_Argument = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class WarmUp(Schema):
    """What a pod answers before it is ready."""

    requests: int = Field(default=1, ge=1, le=256)
    """How many questions it is asked at once."""
    max_tokens: int = Field(default=1, ge=1, le=4096)
    """How long each answer is."""


class Serving(Schema):
    """How vLLM serves this version."""

    replicas: int = Field(default=1, ge=0, le=100)
    """How many pods answer. An experiment or a promotion may scale a version down on its own, and leaves this field
    as it is.
    """
    dtype: Dtype = "Auto"
    """The precision of weights and activations; `Auto` takes what the model's configuration says."""
    max_model_length: int = Field(default=2048, ge=64, le=1048576)
    """The longest prompt and answer together, in tokens."""
    engine_args: list[_Argument] = Field(default=[], max_length=32)
    """More arguments for `vllm serve`, one word each, for example `--enforce-eager`."""
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """CPU, memory and GPUs of each pod."""
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
        bounded_duration("startupDeadline", "startup_deadline", "10s", "24h"),
        bounded_duration("rollbackWindow", "rollback_window", "0s", "8760h"),
    )
