"""What is told of an ABExperiment's secondary metrics: the same as of the primary, and nothing is decided by it.

Each is for itself: intervals are not made wider for there being several.
"""

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import MetricStatus
from anneal_operator.api.metrics import Metrics, SecondaryMetric

from .experiment_sample import metrics_told
from .experiment_terms import terms_of
from .observed_experiment import ObservedExperiment
from .statistics.primary import compared, values

__all__ = ["alone", "secondary_told"]


def alone(spec: ABExperimentSpec, metric: SecondaryMetric) -> ABExperimentSpec:
    """Return the experiment as if it were decided by this metric, and by nothing else."""
    return spec.model_copy(update={"metrics": Metrics(primary=metric.alone)})


def secondary_told(seen: ObservedExperiment, place: int, *, is_told: bool, has_means: bool) -> list[MetricStatus]:
    """Return what may be told of a variant; differences only of as many users as the primary takes."""
    told = []
    for metric in seen.spec.metrics.secondary:
        if counts := seen.secondary.get(metric.name):
            spec = alone(seen.spec, metric)
            terms, users = terms_of(spec), values(terms_of(spec), counts)
            is_enough = is_told and min(users[place], users[terms.control]) >= terms.least
            found = compared(terms, counts, place) if is_enough else None
            told += metrics_told(spec, counts, place, found, has_means=has_means)
    return told
