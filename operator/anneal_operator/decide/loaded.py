"""Whether a version is loaded as it was trained: what its pods say of it before they are ready, or instead."""

from collections.abc import Iterable, Iterator

from anneal_operator.api.resources import Manifest
from anneal_operator.reasons import ConditionType, Reason
from serving_runtime.plan import ANSWERS_DIFFER

from .conditions import Finding
from .failures import is_deleted
from .serving_engine import Engine

__all__ = ["loaded"]

_MESSAGE_LIMIT = 900


def loaded(engine: Engine | None, pods: Iterable[Manifest], adapter_problem: str = "") -> Finding:
    """Return the condition Loaded. A pod that differs is told of where others answer, and while it tries again, too;
    so is one that does not load an adapter.
    """
    kind = ConditionType.LOADED
    if said := next(_differences(pod for pod in pods if not is_deleted(pod)), ""):
        return Finding(kind, "False", Reason.ANSWERS_DIFFER, said[:_MESSAGE_LIMIT])
    if adapter_problem:
        return Finding(kind, "False", Reason.ADAPTER_REFUSED, f"the adapter is not loaded: {adapter_problem}")
    if engine and engine.ready:
        message = "weights are verified, and what lies beside them of its evaluation is answered as in training"
        return Finding(kind, "True", Reason.AS_TRAINED, message)
    return Finding(kind, "False", Reason.NOT_LOADED, "no pod has brought and verified the weights, and answered, yet")


def _differences(pods: Iterable[Manifest]) -> Iterator[str]:
    """What engines said last that ended because they answered otherwise; one that is ready since is as it should be."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", ()):
            ends = [container.get(state, {}).get("terminated") or {} for state in ("state", "lastState")]
            told = next((end for end in ends if end.get("exitCode") == ANSWERS_DIFFER), None)
            if told and not container.get("ready"):
                yield str(told.get("message") or "").strip() or "the engine answers otherwise than in training"
