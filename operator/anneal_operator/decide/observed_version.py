"""The world around one version, as it is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.conditions import Condition
from anneal_operator.api.model_version import Answered, LoadedOn, ModelVersionSpec, ModelVersionStatus, Registry
from anneal_operator.api.resources import Manifest
from serving_runtime.plan import BackendReport, Downloaded

from .acknowledgement import RouteSeen
from .autoscaling import Sample
from .cost import Held
from .fetching import Fetching
from .serving_engine import Engine, Front
from .verdict import Deletion

__all__ = ["Contest", "ObservedVersion"]


@dataclass(frozen=True)
class Contest:
    """An experiment that a version takes or took part in."""

    spec: ABExperimentSpec
    status: ABExperimentStatus
    name: str = ""

    def has_dropped(self, version: str) -> bool:
        """Whether all that a version was there for is one or more challengers that were shown to be beyond a
        guardrail.
        """
        variants = {one.name for one in self.spec.variants if one.model_version_ref.name == version}
        return bool(variants) and variants <= set(self.status.dropped or ())


@dataclass(frozen=True)
class ObservedVersion:
    """The world around one version."""

    name: str
    generation: int
    spec: ModelVersionSpec
    previous: ModelVersionStatus
    registered: Registry | None = None
    """What MLflow answered last to the registration or to a change of aliases, since this process began."""
    aliases: Mapping[str, str] | None = None
    """Which version each alias of the model points at; None while MLflow was not heard."""
    registry_problem: str = ""
    contests: Sequence[Contest] = ()
    engine: Engine | None = None
    server_to_end: tuple[Deletion, ...] = ()
    """What is left of a server that is not asked for any more."""
    scaled_object: tuple[Deletion, ...] = ()
    """What has KEDA scale it."""
    pods: Sequence[Manifest] = ()
    workers: Sequence[Manifest] = ()
    """Those pods of its engines that have no server, where several nodes share one."""
    samples: Sequence[Sample] = ()
    """What the routers told of its requests, where it is scaled by that."""
    asked_at: datetime | None = None
    """When it was last asked, as far as they told."""
    quiet_since: datetime | None = None
    """Since when they told all the time that it was not, while all its pods answered; None where that is not known."""
    replicas_to_take_over: int = 0
    """The pods that it needs for all clients who ask for the model."""
    downloads: Sequence[Downloaded] = ()
    """What those of them told that bring weights, and what brings them before there is a node."""
    may_fetch: bool = False
    """Whether no pod has a node, and any node can write to the claim that is to have their weights."""
    fetching: Fetching | None = None
    """What brings them there meanwhile."""
    route: RouteSeen = field(default_factory=RouteSeen)
    """Where the routers send the model's clients."""
    is_routed_here: bool = True
    """Whether the namespace serves any version: what its routers were told last is of no account otherwise."""
    router_problem: Condition | None = None
    """What keeps the router from being as it should be."""
    endpoint: str = ""
    selector: str = ""
    """The pods' labels."""
    source_refusal: str = ""
    """Why the installation serves no such artifact, or asks no such backend; nothing where it does."""
    service_problem: str = ""
    """Why the Service of a backend cannot be asked."""
    backend_told: Sequence[BackendReport | None] = ()
    """Of a backend, how each router that takes requests found it; None where one has not told."""
    build: str = ""
    """What this installation makes pods of."""
    wish: str = ""
    """What people ask of its pods now."""
    router: Front | None = None
    other_engines: Mapping[str, Engine] = field(default_factory=dict)
    """Those of the namespace that are brought up to date in turn, by their versions."""
    loaded_on: Sequence[LoadedOn] = ()
    """Of an adapter, the pods that tell that they have it."""
    adapter_problem: str = ""
    """Why a pod does not load it."""
    adapter_waits: str = ""
    """What it waits for on its way to another engine."""
    held: Sequence[Held] = ()
    """The GPUs of its pods, those that end included; of shared ones its part."""
    recorded: Answered | None = None
    """What the recorder has of it, where that was asked and answered."""

    @property
    def is_refused(self) -> bool:
        """Whether nothing is made for it; what was made before the installation changed its mind goes on."""
        is_made = self.previous.replicas > 0 if self.spec.shares_base else self.engine is not None
        return bool(self.source_refusal) and not is_made and self.spec.serving is not None

    @property
    def bringing(self) -> Sequence[Manifest]:
        """The pods that may have weights to bring: its own, and what fetches them ahead."""
        return [*self.pods, *self.workers, *(self.fetching.pods if self.fetching else ())]

    @property
    def registry(self) -> Registry | None:
        """The version in MLflow with the aliases that it holds, as far as was ever heard."""
        known = self.registered or self.previous.registry
        if known is None or self.aliases is None:
            return known
        held = sorted(alias for alias, version in self.aliases.items() if version == known.version)
        return known.holding(held)
