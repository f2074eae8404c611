"""How a version is served: part of ModelVersion, and of the FineTuneJob that makes one."""

from typing import Annotated

from pydantic import Field, StringConstraints

from serving_runtime.plan import Dtype

from .pods import ResourceRequirements
from .schema import Schema

__all__ = ["Serving"]

_Argument = Annotated[str, StringConstraints(min_length=1, max_length=256)]


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
