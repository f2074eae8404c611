"""What the operator hands to the serving side: the plan of one server, and the route table of a namespace."""

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .terms import ADMIN_KEY_VARIABLE, ENGINE_KEY_VARIABLE, FORMAT, USER_KEY_VARIABLE

__all__ = [
    "ADMIN_KEY_VARIABLE",
    "ADMIN_PORT",
    "BUCKETS",
    "CLIENT_PORT",
    "ENGINE_KEY_VARIABLE",
    "FORMAT",
    "RECORDER_PORT",
    "USER_KEY_VARIABLE",
    "Dtype",
    "ExperimentRoute",
    "ModelRoute",
    "RouteTable",
    "ServingPlan",
    "Stamp",
    "Target",
    "VariantRoute",
    "bucket",
]

BUCKETS = 10_000
CLIENT_PORT, RECORDER_PORT, ADMIN_PORT = 8080, 8081, 8082
"""Of a namespace's router and recorder: clients have business at the first alone."""
Dtype = Literal["Auto", "BF16", "FP16", "FP32"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ServingPlan(_Part):
    """How one pod serves one version."""

    tracking_uri: str
    uri: str
    """The folder in MLflow's artifact store."""
    digest: str
    """The manifest's digest that the folder must have."""
    served_name: str
    """The name that the engine knows the version by."""
    public_name: str = ""
    """The name that clients call, and read in the answers; an earlier build's engine does not know it."""
    dtype: Dtype
    max_model_length: int
    thinks: bool = False
    """Whether the model thinks before it answers, so that its thoughts are told from its answers."""
    engine_args: list[str]


class Target(_Part):
    """One version's Service."""

    host: str
    port: int
    model: str
    """The name that its engine knows the version by."""
    public: str = ""
    """The name of the model, where all its pods know that, too: a request for it goes on as it is."""
    service: str | None = None
    """The Service's name: its EndpointSlices say which pods are asked. Without any, host and port are."""


class VariantRoute(_Part):
    """One arm: the buckets from the previous arm's `up_to` to this one's."""

    name: str
    target: str
    up_to: int


class ExperimentRoute(_Part):
    """How one experiment assigns users."""

    name: str
    uid: str
    salt: str
    headers: list[str]
    """Request headers that may name the user, in order of preference."""
    control: str
    variants: list[VariantRoute]


class ModelRoute(_Part):
    """Where requests for one model name go."""

    default: str | None
    """The target without an experiment; None until a version holds `production`."""
    named: dict[str, str]
    """Targets by what stands behind `@`: a version's number, or an alias."""
    experiment: ExperimentRoute | None = None


class Stamp(_Part):
    """Which table it is: how a router says what it has applied, and how none goes back to an older one."""

    lineage: str = Field(max_length=40)
    """When its ConfigMap's first table was written (RFC 3339, UTC): one that is begun anew comes after the old."""
    generation: int = Field(ge=1, le=10**12)
    """It rises by one with each change of content."""
    digest: str = Field(max_length=64)
    """The content's address."""

    @property
    def order(self) -> tuple[str, int]:
        """Tables are applied in this order, and never back."""
        return self.lineage, self.generation


class RouteTable(_Part):
    """All that a namespace's routers know."""

    targets: dict[str, Target]
    models: dict[str, ModelRoute]

    def digest(self) -> str:
        """A content address, by which the router says what it has applied."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def stamped(self, lineage: str, generation: int) -> Stamp:
        """Return what this table is called as a generation of a lineage."""
        return Stamp(lineage=lineage, generation=generation, digest=self.digest())

    def document(self, stamp: Stamp) -> dict[str, Any]:
        """What the router reads."""
        return {"format": FORMAT, **stamp.model_dump(), **self.model_dump()}


def bucket(salt: str, user: str) -> int:
    """The user's bucket, 0 to 9,999: the first 32 bits of SHA-1 of `salt:user`, modulo 10,000.

    The router's Lua computes the same. Not CRC32, which is linear: two experiments' splits would be correlated.
    """
    digest = hashlib.sha1(f"{salt}:{user}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % BUCKETS
