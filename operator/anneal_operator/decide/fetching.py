"""Whether weights are brought to a claim before a version's pods have a node, so that its engine begins at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anneal_operator.api.model_version import Download
from anneal_operator.api.resources import Manifest

from .downloading import in_words
from .failures import held_back, is_deleted
from .verdict import Deletion

__all__ = ["Fetching", "fetched_in_words", "wait_for_nodes"]


@dataclass(frozen=True)
class Fetching:
    """The Job that brings them."""

    deletion: Deletion
    claim: str
    is_leaving: bool = False
    """Whether it is being deleted."""
    is_complete: bool = False
    pods: Sequence[Manifest] = ()
    build: str = ""
    """What the installation made it of."""
    wish: str = ""
    """What people asked of pods when it was made."""

    @property
    def at_work(self) -> list[Manifest]:
        """Its pods but those that end, or that a node took away: of these others are made."""
        return [pod for pod in self.pods if not is_deleted(pod) and not _is_evicted(pod)]


def wait_for_nodes(pods: Iterable[Manifest]) -> bool:
    """Whether there are pods, and none of them has a node: else the weights are on the claim, or on their way there."""
    staying = [pod for pod in pods if not is_deleted(pod) and not _is_evicted(pod)]
    return bool(staying) and all(map(_waits, staying))


def _is_evicted(pod: Manifest) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Failed")


def _waits(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(found["type"] == "PodScheduled" and found["status"] == "False" for found in conditions)


def fetched_in_words(fetching: Fetching | None, download: Download | None) -> str:
    """Say how far it is, after what is said of pods that wait."""
    if fetching is None or fetching.is_leaving:
        return ""
    if fetching.is_complete:
        return "; its weights are on the claim by now"
    if found := next(filter(None, map(held_back, fetching.at_work)), None):
        return f"; what brings its weights to the claim waits, too: {found[1]}"
    return "; meanwhile its weights are brought to the claim" + (f": {in_words(download)}" if download else "")
