"""How long a version's newest pod took from nothing to its first answer, by what it waited for."""

from collections.abc import Iterable
from datetime import datetime

from anneal_operator.api.model_version import ColdStart
from anneal_operator.api.resources import Manifest

from .autoscaling import ASKED_EVERY_SECONDS
from .downloading import weights_container
from .failures import is_deleted

__all__ = ["expected_start", "newest_start"]

_UNKNOWN_SECONDS, _STEP_SECONDS = 60, 10


def expected_start(known: ColdStart | None) -> int:
    """Return in how many seconds a version that is woken now will answer: as long as its last start took, and until
    the operator has heard of the request. Roughly, as each change of it is one of the routes.
    """
    if known is None:
        return _UNKNOWN_SECONDS
    phases = (known.scheduling_seconds, known.image_seconds, known.download_seconds or 0, known.loading_seconds)
    return -(-(sum(phases) + round(ASKED_EVERY_SECONDS)) // _STEP_SECONDS) * _STEP_SECONDS


def newest_start(known: ColdStart | None, pods: Iterable[Manifest]) -> ColdStart | None:
    """Return the last start that was seen: what is known of a pod stays, as it may be Ready anew without a start."""
    seen = [start for pod in pods if not is_deleted(pod) and (start := _start(pod))]
    if known:
        seen = [start for start in seen if start.pod != known.pod and start.ready_at > known.ready_at]
    return max(seen, key=lambda start: start.ready_at, default=known)


def _start(pod: Manifest) -> ColdStart | None:
    """None of a pod that has not answered yet."""
    conditions = {
        told["type"]: told for told in pod.get("status", {}).get("conditions", ()) if told["status"] == "True"
    }
    running = [one.get("state", {}).get("running") for one in pod.get("status", {}).get("containerStatuses", ())]
    began = next((one.get("startedAt") for one in running if one), None)
    if not {"PodScheduled", "Ready"} <= conditions.keys() or not began:
        return None
    ready_at = conditions["Ready"]["lastTransitionTime"]
    made_at, placed_at = pod["metadata"]["creationTimestamp"], conditions["PodScheduled"]["lastTransitionTime"]
    brought_from = (weights_container(pod).get("state", {}).get("terminated") or {}).get("startedAt")
    return ColdStart(
        pod=pod["metadata"]["name"],
        ready_at=ready_at,
        scheduling_seconds=_seconds(made_at, placed_at),
        image_seconds=_seconds(placed_at, brought_from or began),
        download_seconds=_seconds(brought_from, began) if brought_from else None,
        loading_seconds=_seconds(began, ready_at),
    )


def _seconds(one: str, other: str) -> int:
    return max(0, round((datetime.fromisoformat(other) - datetime.fromisoformat(one)).total_seconds()))
