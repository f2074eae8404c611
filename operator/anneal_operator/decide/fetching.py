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


def wait_for_nodes(pods: Iterable[Manifest]) -> bool:
    """Whether there are pods, and none of them has a node: else the weights are on the claim, or on their way there."""
    staying = [pod for pod in pods if not is_deleted(pod) and pod.get("status", {}).get("phase") != "Failed"]
    return bool(staying) and all(map(_waits, staying))


def _waits(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(found["type"] == "PodScheduled" and found["status"] == "False" for found in conditions)


def fetched_in_words(fetching: Fetching | None, download: Download | None) -> str:
    """Say how far it is, after what is said of pods that wait."""
    if fetching is None or fetching.is_leaving:
        return ""
    if fetching.is_complete:
        return "; its weights are on the claim by now"
    if found := next(filter(None, map(held_back, fetching.pods)), None):
        return f"; what brings its weights to the claim waits, too: {found[1]}"
    return "; meanwhile its weights are brought to the claim" + (f": {in_words(download)}" if download else "")
