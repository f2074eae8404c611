"""Of an experiment of what is the same (`type: AA`): that it is, and what an end without a verdict says.

How its verdict follows from the numbers is part of the statistics, as any is.
"""

from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding
from .observed_experiment import ObservedExperiment

__all__ = ["artifacts_differ", "not_shown"]


def artifacts_differ(seen: ObservedExperiment) -> Finding | None:
    """Return what keeps one from beginning whose variants would differ for a good reason."""
    control = seen.variants[seen.spec.control].digest
    others = (variant for variant in seen.spec.variants if seen.variants[variant.name].digest != control)
    other = next(others, None) if seen.spec.type == "AA" else None
    if other is None:
        return None
    message = (
        f"with `type: AA` the variants have to be the same, and ModelVersion {other.model_version_ref.name} has "
        f"another artifact than {seen.spec.version_of(seen.spec.control)}: give {other.name} the control's ModelVersion"
    )
    return Finding(ConditionType.VARIANTS_READY, "False", Reason.ARTIFACTS_DIFFER, f"{message}, or set `type: AB`")


def not_shown(seen: ObservedExperiment) -> str:
    """Return what sound numbers of enough users have left open as the time is over."""
    if seen.terms.is_of_equals:
        return f"nothing tells the variants apart, but that they differ by less than {seen.terms.effect:g} is not shown"
    return "by then no variant was shown to be better than the control, nor the control"
