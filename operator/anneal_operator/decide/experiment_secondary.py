"""What is told of an ABExperiment's secondary metrics: the same as of the primary, and nothing is decided by it.

Each is for itself: intervals are not made wider for there being several.
"""

import math
from collections.abc import Sequence

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import MetricStatus
from anneal_operator.api.metrics import SecondaryMetric

from .experiment_sample import metrics_told
from .experiment_terms import terms_of
from .observed_experiment import ObservedExperiment
from .statistics.comparison import LEAST_P
from .statistics.guardrails import breaches
from .statistics.primary import compared, hangs_on_few, values
from .statistics.spread import log_evidence
from .statistics.terms import Terms

__all__ = ["alone", "secondary_told"]


def alone(spec: ABExperimentSpec, metric: SecondaryMetric) -> ABExperimentSpec:
    """Return the experiment as if it were decided by this metric, and by nothing else.

    No rule of `Metrics` holds of that: they demand a guardrail with times of tokens, as these may promote somebody.
    """
    metrics = spec.metrics.model_copy(update={"primary": metric.as_primary, "secondary": [], "guardrails": []})
    return spec.model_copy(update={"metrics": metrics})


def secondary_told(seen: ObservedExperiment, place: int, *, is_told: bool, has_means: bool) -> list[MetricStatus]:
    """Return what may be told of a variant; differences only of users as the primary takes them."""
    told = []
    for metric in seen.spec.metrics.secondary:
        if counts := seen.secondary.get(metric.name):
            spec = alone(seen.spec, metric)
            terms, users = terms_of(spec), values(terms_of(spec), counts)
            pair = place, terms.control
            is_enough = min(users[one] for one in pair) >= terms.least
            is_enough = is_enough and not any(hangs_on_few(terms, counts, one) for one in pair)
            found = compared(terms, counts, place) if is_told and is_enough else None
            response = _response(terms, users, place) if is_told and place not in breaches(seen.latches) else None
            metrics = metrics_told(spec, counts, place, found, has_means=has_means)
            told += [one.having(response_p_value=response) for one in metrics]
    return told


def _response(terms: Terms, users: Sequence[int], place: int) -> float | None:
    """The p-value of as many of a challenger's users having a value as of the control's, by their shares."""
    if place == terms.control:
        return None
    pair = terms.control, place
    evidence = log_evidence([users[one] for one in pair], [terms.shares[one] for one in pair])
    return max(math.exp(-max(evidence, 0.0)), LEAST_P)
