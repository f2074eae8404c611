"""Secondary metrics of an ABExperiment, for its page: beside the one that decides, and each for itself."""

from collections.abc import Iterator

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, MetricStatus
from anneal_operator.api.amounts import amount, difference
from anneal_operator.api.metrics import SecondaryMetric

from .elements import note, paragraph, table, without_empty
from .sentences import may_compare

__all__ = ["difference_told", "secondary"]

_HEAD = ["Metric", "Measures", "Variant", "Values", "Mean", "Difference", "Interval", "p", "Response p"]


def secondary(spec: ABExperimentSpec, status: ABExperimentStatus) -> Iterator[str]:
    """Yield a table with a row for each metric and variant that has values of it."""
    is_told = may_compare(spec, status)
    rows = [
        [metric.name, metric.source, variant.name, *_row(metric, told, is_told=is_told)]
        for metric in spec.metrics.secondary
        for variant in status.variants
        for told in variant.metrics
        if told.name == metric.name
    ]
    if not rows:
        asked = ", ".join(f"{one.name} ({one.source})" for one in spec.metrics.secondary)
        yield paragraph(f"Nothing is told of them yet: {asked}.")
        return
    yield table(*without_empty(_HEAD, rows))
    yield note(
        "Nothing is decided by them. Each interval is for itself: of many that are looked at, one excludes 0 by chance "
        "now and then."
    )


def _row(metric: SecondaryMetric, told: MetricStatus, *, is_told: bool) -> Iterator[str]:
    yield f"{told.users:,}"
    yield amount(metric.source, told.mean, "g") if is_told and told.mean is not None else ""
    yield from difference_told(metric.source, told)
    yield "" if told.response_p_value is None or not is_told else f"{told.response_p_value:.2g}"


def difference_told(source: str, told: MetricStatus | None) -> Iterator[str]:
    """Yield the difference to the control's, its interval and its p-value; nothing of each where there is none."""
    if told is None or told.lift is None or told.lower is None or told.upper is None:
        yield from ("", "", "")
        return
    lift, lower, upper = (difference(source, one, "+.4g") for one in (told.lift, told.lower, told.upper))
    yield lift
    yield f"{lower} to {upper}"
    yield "" if told.p_value is None else f"{told.p_value:.2g}"
