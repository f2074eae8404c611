"""ModelVersion: one published result, registered in MLflow and served by vLLM."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints

from .artifact import MLFLOW, MOUNTED, Artifact
from .backend import Backend
from .conditions import Conditions
from .prompt import VersionPrompt
from .schema import (
    ALIASES_RULE,
    Alias,
    LocalReference,
    ModelName,
    Rule,
    Schema,
    SetOf,
    Time,
    immutable,
)
from .serving import Serving
from .status import Number, ObjectStatus, StatusPart

__all__ = [
    "ANSWERING",
    "BACKEND_SOURCE",
    "ENDING",
    "PRODUCTION",
    "Answered",
    "ColdStart",
    "Cost",
    "Download",
    "LoadedOn",
    "ModelVersionProvenance",
    "ModelVersionSpec",
    "ModelVersionStatus",
    "Registry",
    "VersionPhase",
]

VersionPhase = Literal[
    "Registering", "Loading", "Ready", "Degraded", "Draining", "Sleeping", "Idle", "Retired", "Failed"
]

BACKEND_SOURCE = "backend-"
"""What a version's source begins with in MLflow that no weights are known of."""

ANSWERING = frozenset({"Ready", "Degraded"})
"""The phases in which a version answers."""
ENDING = frozenset({"Draining", "Idle", "Retired"})
"""The phases in which no client is sent to a version: its pods are about to end, or there are none."""
PRODUCTION = "production"
"""The alias in MLflow whose holder answers whoever names the model alone."""
_Short = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class ModelVersionProvenance(Schema):
    """What it was made from."""

    fine_tune_job_ref: LocalReference
    """The FineTuneJob."""
    fine_tune_job_uid: _Short
    """The job's uid: another job of the same name is another job."""
    mlflow_run_id: _Short
    """The run with parameters, metrics and artifacts."""
    dataset_digest: _Short
    """Content address of the prepared data."""


def _of_weights(field: str) -> Rule:
    return Rule(
        f"!has(self.backend) || !has(self.{field})",
        f"`{field}` is of weights, and a `backend` is run by somebody else: leave `{field}` out",
        lambda version: version.backend is None or getattr(version, field) is None,
    )


def _triggers(version: str) -> str:
    """The types of what KEDA scales it by, in CEL."""
    scaling = f"{version}.serving.autoscaling"
    return f"(has({version}.serving) && has({scaling}) ? {scaling}.triggers.map(one, one.type) : [])"


class ModelVersionSpec(Schema):
    """One version of a model."""

    model_name: ModelName
    """The registered model in MLflow, and the name that clients call."""
    artifact: Artifact | None = None
    """The weights; without them there is a `backend`."""
    backend: Backend | None = None
    """A server of yours that answers as this version. Nothing of ours is started for it: `serving`, `prompt` and
    `provenance` are of weights alone. Of it only `apiKey` and `caCertificateRef` may change.
    """
    aliases: SetOf[Alias] = Field(default=[], max_length=16)
    """Aliases set in MLflow once, when they enter this list; one that somebody moves later is left where it is."""
    prompt: VersionPrompt | None = None
    """How the job wrote its rows, recorded from it. The chat template beside the weights renders requests; `thinking`
    separates thoughts from answers, and the task API asks and reads by the rest.
    """
    provenance: ModelVersionProvenance | None = None
    """What it was made from. MLflow registers what lies in its own store (`mlflow-artifacts:/`) only with the run whose
    artifacts it is: without `provenance.mlflowRunId` it is `RegistrationRefused`.
    """
    serving: Serving | None = None
    """How it is served; without it the version is only registered."""

    rules: ClassVar = (
        ALIASES_RULE,
        Rule(
            "has(self.artifact) != has(self.backend)",
            "set either `artifact`, for weights, or `backend`, for a server of yours",
            lambda version: (version.artifact is None) != (version.backend is None),
        ),
        *map(_of_weights, ("serving", "prompt", "provenance")),
        Rule(
            "!has(self.serving) || !has(self.artifact) || self.artifact.format != 'Adapter' || "
            "self.serving.sharing == 'SharedBase'",
            "an adapter alone cannot be served: set `serving.sharing: SharedBase`, publish it with "
            "`output.formats: [Merged]`, or leave `serving` out",
            lambda version: (
                not version.has_pods_of_its_own or version.artifact is None or version.artifact.format != "Adapter"
            ),
        ),
        Rule(
            "!has(self.serving) || !has(self.artifact) || self.serving.sharing != 'SharedBase' || "
            "has(self.artifact.base)",
            "`serving.sharing: SharedBase` serves an adapter on its base: name that in `artifact.base`, with its "
            "digest, or leave `sharing` out for a whole model",
            lambda version: not version.shares_base or version.artifact is None or version.artifact.base is not None,
        ),
        Rule(
            "!has(self.serving) || !has(self.artifact) || self.serving.sharing != 'SharedBase' || "
            f"self.artifact.uri.startsWith('{MLFLOW}')",
            "`serving.sharing: SharedBase` serves adapters that MLflow holds: set `artifact.uri` to one that begins "
            f"with `{MLFLOW}`",
            lambda version: (
                not version.shares_base or version.artifact is None or version.artifact.uri.startswith(MLFLOW)
            ),
        ),
        Rule(
            "!has(self.serving) || !has(self.artifact) || !has(self.serving.cache) || "
            "!self.artifact.uri.matches('^(pvc|oci)://')",
            "`serving.cache` keeps what is downloaded, and pvc:// and oci:// are mounted as they are: leave it out",
            lambda version: (
                version.serving is None
                or version.serving.cache is None
                or version.artifact is None
                or not version.artifact.uri.startswith(MOUNTED)
            ),
        ),
        Rule(
            "!has(oldSelf.serving) || oldSelf.serving.nodes == (has(self.serving) ? self.serving.nodes : 1)",
            "`serving.nodes` cannot change, nor `serving` be removed with more than one: set `serving.replicas: 0`, or "
            "create another ModelVersion",
        ),
        Rule(
            f"!has(oldSelf.serving) || {_triggers('oldSelf')} == {_triggers('self')}",
            "`serving.autoscaling.triggers` cannot come or go, nor change their `type`: create another ModelVersion",
        ),
        immutable("modelName", "a version belongs to one model; create another ModelVersion"),
        immutable("artifact", "a version is its weights; create another ModelVersion"),
        Rule(
            "has(self.backend) == has(oldSelf.backend)",
            "`backend` cannot come or go: a version is what answers as it; create another ModelVersion",
        ),
        immutable("prompt", "a version is asked as it was trained; create another ModelVersion"),
        immutable("provenance", "a version comes from where it comes from; create another ModelVersion"),
    )

    @property
    def shares_base(self) -> bool:
        """Whether it is served as an adapter, in pods that no single version owns."""
        return self.serving is not None and self.serving.sharing == "SharedBase"

    @property
    def weights(self) -> Artifact:
        """What its engine starts on: the base, where it is an adapter that is loaded into that.

        Raises ValueError for a backend, which nobody starts.
        """
        if self.artifact is None:
            raise ValueError("a `backend` has no weights")
        base = self.artifact.base
        if not self.shares_base or base is None:
            return self.artifact
        return Artifact(uri=base.uri, format="Full", digest=base.digest, bytes=base.bytes)

    @property
    def source(self) -> str:
        """Where what answers comes from. Of a backend, whose weights nobody has, its list of models, by a scheme of our
        own: MLflow takes no `http`, for it would go there.
        """
        if self.artifact:
            return self.artifact.uri
        return f"{BACKEND_SOURCE}{self.backend.address}/models" if self.backend else ""

    @property
    def digest(self) -> str:
        """What tells one version from another: that of its weights, or of a backend, of which nobody knows the weights,
        its address and the name of the model there.
        """
        if self.artifact:
            return self.artifact.digest
        return f"{self.backend.address if self.backend else ''}#{self.asked_as}"

    @property
    def asked_as(self) -> str:
        """The name by which a backend knows the model."""
        return (self.backend.model if self.backend else None) or self.model_name

    @property
    def has_pods_of_its_own(self) -> bool:
        """Whether it is served in pods that are its own."""
        return self.serving is not None and self.serving.sharing == "Dedicated"


class LoadedOn(StatusPart):
    """A pod that answers with this version."""

    pod: str
    """Its name."""
    digest: str
    """The digest that the version's files were found to have there."""
    verified_at: Time
    """When they were, just before they were loaded."""


class Registry(StatusPart):
    """The version in MLflow."""

    version: str
    """Its number."""
    url: str
    """Its page."""
    aliases: list[str] = Field(default=[])
    """The aliases that point at it, as last read."""
    alias_summary: str | None = None
    """The same in one line, for people."""
    aliases_set: list[str] = Field(default=[])
    """The spec's aliases that were set already."""

    def holding(self, aliases: Sequence[str]) -> Self:
        """Return it with these aliases."""
        return self.having(aliases=list(aliases), alias_summary=", ".join(aliases) or None)


class Download(StatusPart):
    """How far a pod's download of the weights is: of several pods the one that has most before it."""

    bytes: int
    """What is there, from earlier times, too."""
    total_bytes: int
    """All."""
    bytes_per_second: int
    """Of the last half minute."""
    remaining: str | None = None
    """How long the rest takes at that speed, such as `18m`; nothing while nothing comes."""


class ColdStart(StatusPart):
    """How long a pod took to its first answer, in whole seconds, as Kubernetes tells the time."""

    pod: str
    """Its name."""
    ready_at: Time
    """When it answered first, or was first seen to."""
    scheduling_seconds: int
    """Until it had a node."""
    image_seconds: int
    """From then until its first container ran: the image was pulled. Of one that was started again, also what came
    before.
    """
    download_seconds: int | None = None
    """From then until its engine ran: the weights were downloaded, or found and verified."""
    loading_seconds: int
    """From then until it answered: weights verified and loaded, and a question answered."""


class Answered(StatusPart):
    """What the namespace's recorder has of a version."""

    requests: int = 0
    """All that ended, failures included."""
    tokens: int = 0
    """Of what was asked and answered."""


class Cost(StatusPart):
    """What the version's GPUs cost, in the currency of the chart's `pricePerGpuHour`.

    As of `countedAt`: that is when pods began or ended or a price changed, or else a tenth of the time before it ago at
    most (a minute at least, an hour at most).
    """

    gpus: float
    """The GPUs that it holds now: those of its pods, or its share of those of pods that it shares with others."""
    per_hour: float | None = None
    """What an hour of these costs; nothing where they have no price."""
    gpu_seconds: float
    """For how long it held how many, since the object was created."""
    amount: float | None = None
    """What that cost, each hour at the price of its time; nothing where there never was one."""
    counted_at: Time
    """When this was reckoned."""
    answered: Answered = Field(default_factory=Answered)
    """What it answered by then, while its GPUs had a price."""
    answered_before: Answered | None = None
    """What else the recorder has by the same name: of another object, or of a time without a price. Nothing until the
    recorder was heard; negative where it began anew.
    """
    per_thousand_requests: Number | None = None
    """`amount` over what it answered."""
    per_million_tokens: Number | None = None
    """`amount` over the tokens of what it was asked and answered."""


class ModelVersionStatus(ObjectStatus):
    """Where the version stands."""

    VOLATILE: ClassVar = frozenset({"download"})
    MEASURED: ClassVar = frozenset({"cost"})

    phase: str = "Registering"
    """`Registering`, `Loading`, `Ready`, `Degraded` (only some pods answer), `Draining` (its pods end once no router
    sends them requests, and those under way had their time), `Idle` (registered, without pods), `Retired` (and without
    what would make any) or `Failed`.
    """
    conditions: Conditions = Field(default=[])
    """`Registered`: known to MLflow. `Loaded`: weights verified, and the questions of its evaluation that lie beside
    them are answered as in training. `Ready`: the engine answers. `Routable`: clients reach it.
    `AliasDrifted`: it holds `production`, and clients still get another version.
    """
    registry: Registry | None = None
    """The version in MLflow."""
    replicas: int = 0
    """Pods that are wanted now."""
    ready_replicas: int = 0
    """Pods that answer."""
    download: Download | None = None
    """How far the weights' download is, while one goes on."""
    loaded_on: list[LoadedOn] | None = None
    """With `SharedBase`, the pods that tell that they have loaded it."""
    cold_start: ColdStart | None = None
    """How long the newest pod took to its first answer."""
    cost: Cost | None = None
    """What its GPUs cost; nothing where it never had any."""
    replaced_at: Time | None = None
    """When another took `production` from it."""
    idle_since: Time | None = None
    """Since when it has no pods."""
    warm_until: Time | None = None
    """Until when its pods are kept for a rollback, and for nothing else."""
    selector: str = ""
    """The pods' labels, for an autoscaler."""
    endpoint: str | None = None
    """The router's URL for this namespace."""
