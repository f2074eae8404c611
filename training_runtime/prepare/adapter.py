"""Whether what is to be trained fits the base: asked before a GPU waits for the answer."""

from training_runtime.architecture import check_adapter, check_packing, empty_model
from training_runtime.log import log_event
from training_runtime.plan import Plan

__all__ = ["adapter_warnings"]


def adapter_warnings(plan: Plan) -> list[str]:
    """Return what the adapter does not reach; raise PlanError where it names a layer that is not there, or where the
    model cannot be given packs.

    A new base has no configuration yet, and all its weights are trained.
    """
    if not (plan.lora or plan.training.packing) or plan.base.initialize == "Random":
        return []
    model = empty_model(plan)
    check_packing(plan, model)
    warnings = check_adapter(plan.lora, model) if plan.lora else []
    for warning in warnings:
        log_event("warning", message=warning)
    return warnings
