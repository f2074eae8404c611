"""A namespace's scorer, as the reconcile of its router observes, makes and ends it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.verdict import Deletion
from anneal_operator.desired.keys import Keys
from anneal_operator.desired.operations import Apply, Operation
from anneal_operator.desired.policies import ROUTER_PODS
from anneal_operator.desired.scorer import SCORER, ScorerEnvironment, scorer_objects
from anneal_operator.settings import Settings
from serving_runtime.scoring import ScoredMetric

__all__ = ["ObservedScorer", "observed_scorer", "scorer_steps"]


@dataclass(frozen=True)
class ObservedScorer:
    """What there is of it."""

    address: str | None = None
    """Its Service's."""
    uid: str = ""
    """Its Deployment's; empty where there is none."""

    def unwanted(self) -> tuple[Deletion, ...]:
        """Return what is to end where nothing is scored; the rest of it, which runs nothing, goes with the router."""
        return (Deletion("Deployment", SCORER, self.uid),) if self.uid else ()


async def observed_scorer(reader: Reader, namespace: str) -> ObservedScorer:
    """Look at its Service and its Deployment."""
    service = await _ours(reader, "Service", namespace)
    made = await _ours(reader, "Deployment", namespace)
    address = service["spec"].get("clusterIP") if service else None
    return ObservedScorer(address, made["metadata"]["uid"] if made else "")


def scorer_steps(
    namespace: str,
    owners: Sequence[Manifest],
    experiments: Mapping[str, Sequence[ScoredMetric]],
    recorder: str | None,
    keys: Keys,
    settings: Settings,
) -> list[Operation]:
    """Return everything that a scorer needs, where there is something to score, and a recorder to have it."""
    if not experiments or not recorder:
        return []
    env = ScorerEnvironment(settings.router_image, settings.image_pull_policy, recorder, ROUTER_PODS, keys)
    return [*map(Apply, scorer_objects(namespace, owners, experiments, env))]


async def _ours(reader: Reader, kind: str, namespace: str) -> Manifest | None:
    found = await reader.get(kind, namespace, SCORER)
    is_ours = found is not None and found["metadata"].get("annotations", {}).get(OWNER_ANNOTATION) == SCORER
    return found if is_ours else None
