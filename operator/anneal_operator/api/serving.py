"""How a version is served: part of ModelVersion, and of the FineTuneJob that makes one."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .schema import Quantity, Schema

__all__ = ["Resources", "Serving"]

_Argument = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Resources(Schema):
    """What each pod asks for and may use at most."""

    cpu: Quantity = "1"
    """CPU cores, for example `2` or `500m`: a request, so a pod may use what others leave."""
    memory: Quantity = "4Gi"
    """Memory, request and limit: a pod that takes more is ended by the node."""


class Serving(Schema):
    """How vLLM serves this version."""

    replicas: int = Field(default=1, ge=0, le=100)
    """How many pods answer. An experiment or a promotion may scale a version down on its own; this is never changed."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The precision of weights and activations; `auto` takes what the model's configuration says."""
    max_model_length: int = Field(default=2048, ge=64, le=1048576)
    """The longest prompt and answer together, in tokens."""
    engine_args: list[_Argument] = Field(default=[], max_length=32)
    """More arguments for `vllm serve`, one word each, for example `--enforce-eager`."""
    resources: Resources = Field(default_factory=Resources)
    """CPU and memory of each pod."""
