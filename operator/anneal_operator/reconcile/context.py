"""What every reconcile works with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from anneal_operator.api.conditions import Condition
from anneal_operator.cluster.client import KubernetesApi
from anneal_operator.cluster.inputs import Inputs
from anneal_operator.cluster.reading import Readers
from anneal_operator.cluster.store import Store
from anneal_operator.desired.keys import Keys
from anneal_operator.endpoints.progress import ProgressBook
from anneal_operator.outside.models import Models
from anneal_operator.outside.registry import Registry
from anneal_operator.outside.routers import Routers
from anneal_operator.settings import Settings

from .acknowledgements import Acknowledgements
from .adapter_reports import AdapterReports
from .backend_reports import BackendsHeard
from .costs import Costs
from .leaving import Leaving
from .left_runs import LeftRuns
from .queue import Key
from .traffic import Traffic

__all__ = ["Context"]


@dataclass(frozen=True)
class Context:
    """The world, the settings, and a way to have other objects looked at."""

    api: KubernetesApi
    store: Store
    readers: Readers
    inputs: Inputs
    models: Models
    registry: Registry
    routers: Routers
    left_runs: LeftRuns
    progress: ProgressBook
    settings: Settings
    progress_ca: str
    wake: Callable[[Key], None]
    now: Callable[[], datetime]
    """The API server's time."""
    router_problems: dict[str, Condition] = field(default_factory=dict)
    """What keeps a namespace's router from being as it should be: it has no status of its own to tell that in."""
    acknowledgements: Acknowledgements = field(default_factory=Acknowledgements)
    """How far each namespace's routes have come."""
    traffic: Traffic = field(default_factory=Traffic)
    """The requests that each namespace's routers have under way."""
    backends: BackendsHeard = field(default_factory=BackendsHeard)
    """How the routers find what they ask in place of engines."""
    adapter_reports: AdapterReports = field(default_factory=AdapterReports)
    """What pods told that several versions share."""
    leaving: Leaving = field(default_factory=Leaving)
    """The versions that have moved from such pods, until their routers have."""
    costs: Costs = field(default_factory=Costs)
    """What versions cost, as they were last told."""
    shared_problems: dict[str, Condition] = field(default_factory=dict)
    """What keeps a namespace's shared engines from being as they should be."""
    drawn_keys: dict[str, Keys] = field(default_factory=dict)
    """Those of a namespace whose Secret is yet to be made."""
