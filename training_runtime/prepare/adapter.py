"""Whether the adapter that is to be trained fits the base: asked before a GPU waits for the answer."""

from training_runtime.architecture import check_adapter, empty_model
from training_runtime.log import log_event
from training_runtime.plan import Plan

__all__ = ["adapter_warnings"]


def adapter_warnings(plan: Plan) -> list[str]:
    """Return what the adapter does not reach; raise PlanError where it names a layer that is not there.

    A new base has no configuration yet, and all its weights are trained.
    """
    if not plan.lora or plan.base.initialize == "Random":
        return []
    warnings = check_adapter(plan.lora, empty_model(plan))
    for warning in warnings:
        log_event("warning", message=warning)
    return warnings
