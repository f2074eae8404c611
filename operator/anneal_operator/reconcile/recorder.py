"""A namespace's recorder, as the reconcile of its router observes and makes it."""

from collections.abc import Sequence
from dataclasses import dataclass

from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.desired.keys import Keys
from anneal_operator.desired.operations import Apply, Create, Operation
from anneal_operator.desired.recorder import RECORDER, RecorderEnvironment, recorder_claim, recorder_objects
from anneal_operator.desired.routing import ROUTER
from anneal_operator.settings import Settings

__all__ = ["ObservedRecorder", "observed_recorder", "recorder_steps"]


@dataclass(frozen=True)
class ObservedRecorder:
    """What there is of it."""

    claim: str | None
    """Its volume's, which belongs to people from then on: they may let it grow."""
    address: str | None
    """Its Service's."""


async def observed_recorder(reader: Reader, namespace: str) -> ObservedRecorder:
    """Look at its volume and its Service.

    The first recorders lived in the router's pod, on a volume of the router's name: where that is, it holds what was
    recorded.
    """
    claims = [name for name in (ROUTER, RECORDER) if await _ours(reader, "PersistentVolumeClaim", namespace, name)]
    service = await _ours(reader, "Service", namespace, RECORDER)
    return ObservedRecorder(claims[0] if claims else None, service["spec"].get("clusterIP") if service else None)


def recorder_steps(
    namespace: str, owners: Sequence[Manifest], observed: ObservedRecorder, keys: Keys, settings: Settings
) -> list[Operation]:
    """Return everything that a recorder needs; it may be replaced at any time: routers keep what they have for it."""
    env = RecorderEnvironment(settings.router_image, settings.image_pull_policy, observed.claim or RECORDER, keys)
    claim = [] if observed.claim else [Create(recorder_claim(namespace))]
    return [*claim, *map(Apply, recorder_objects(namespace, owners, observed.address, env))]


async def _ours(reader: Reader, kind: str, namespace: str, name: str) -> Manifest | None:
    found = await reader.get(kind, namespace, name)
    is_ours = found is not None and found["metadata"].get("annotations", {}).get(OWNER_ANNOTATION) == name
    return found if is_ours else None
