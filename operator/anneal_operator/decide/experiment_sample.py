"""What the counts of an ABExperiment say: whether they are sound and enough, and the one look at them."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from anneal_operator.api.ab_experiment import ABExperimentSpec, DecisionStatus, MetricStatus, VariantCost, VariantStatus
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .comparison import SRM_ALPHA, Comparison, Sample, compare
from .conditions import Finding
from .observed_experiment import FRESH_FOR, Observations, Stored

__all__ = ["comparisons", "decision_of", "freshness", "health", "sufficiency", "variants_told", "verdict_of"]


_SILENT_FOR = timedelta(seconds=30)


def freshness(observed: Observations | None, stored: Stored | None, now: datetime) -> Finding:
    """Say whether the recorder answers, and has what all routers counted: what is missing may be of one variant."""
    kind, held_up = ConditionType.DATA_FRESH, "nothing is decided until it does"
    if observed is None:
        return Finding(kind, "Unknown", Reason.RECORDER_SILENT, f"the recorder does not answer; {held_up}")
    if stored is None:
        message = f"no router has told yet whether its records are stored; {held_up}"
        return Finding(kind, "Unknown", Reason.RECORDS_WAITING, message)
    since = timestamp(stored.until or stored.told_at)
    if stored.until is None:
        message = f"router pod {stored.router} does not tell whether its records are stored, since {since}; {held_up}"
        return Finding(kind, "Unknown", Reason.RECORDS_WAITING, message)
    if now - stored.until <= FRESH_FOR:
        message = f"what routers counted is stored within {FRESH_FOR.seconds} s"
        return Finding(kind, "True", Reason.RECORDS_STORED, message)
    if now - stored.told_at > _SILENT_FOR:
        message = f"router pod {stored.router} tells no more whether its records are stored, since {since}; {held_up}"
        return Finding(kind, "Unknown", Reason.RECORDS_WAITING, message)
    message = f"router pod {stored.router} has records that the recorder has not stored, since {since}; "
    return Finding(kind, "False", Reason.RECORDS_WAITING, f"{message}nothing is decided until it has")


def health(observed: Observations, ratio: float) -> Finding:
    """Say whether users are spread as the weights say, each in one variant; `ratio` is the p-value of the spread."""
    kind = ConditionType.ASSIGNMENT_HEALTHY
    if ratio < SRM_ALPHA:
        message = f"the split does not match the weights (p = {ratio:.2g}): one variant is losing users"
        return Finding(kind, "False", Reason.SAMPLE_RATIO_MISMATCH, f"{message}; no decision until this is fixed")
    if observed.moved_users:
        moved = f"{observed.moved_users} users were given more than one variant, so nothing is decided"
        message = f"{moved}: begin another experiment, with clients that always send the same key"
        return Finding(kind, "False", Reason.SAMPLE_RATIO_MISMATCH, message)
    return Finding(kind, "True", Reason.AS_WEIGHTED, f"users are spread as the weights say (p = {ratio:.2g})")


def sufficiency(spec: ABExperimentSpec, observed: Observations) -> Finding:
    """Say whether every variant has the users that were asked for."""
    kind, needed = ConditionType.SAMPLE_SUFFICIENT, spec.stopping.min_users_per_variant
    least = min(_users_with_value(observed, variant.name) for variant in spec.variants)
    message = f"the smaller variant has {least} of {needed} users with {spec.metrics.primary.name}"
    if least < needed:
        return Finding(kind, "False", Reason.COLLECTING, message)
    return Finding(kind, "True", Reason.SUFFICIENT, message)


def _users_with_value(observed: Observations, variant: str) -> int:
    sample = observed.samples.get(variant)
    return sample.users if sample else 0


def comparisons(spec: ABExperimentSpec, observed: Observations) -> dict[str, Comparison]:
    """Compare each variant with the control, where both have been measured."""
    control = observed.samples.get(spec.control)
    results = {
        variant.name: compare(control, observed.samples[variant.name], spec.stopping.confidence)
        for variant in spec.variants
        if control and variant.name != spec.control and variant.name in observed.samples
    }
    return {name: result for name, result in results.items() if result}


def variants_told(
    spec: ABExperimentSpec,
    observed: Observations,
    compared: Mapping[str, Comparison],
    costs: Mapping[str, VariantCost | None],
) -> list[VariantStatus]:
    """Return what the status tells of each variant."""
    return [
        VariantStatus(
            name=variant.name,
            weight=variant.weight,
            users=observed.users.get(variant.name, 0),
            requests=observed.requests.get(variant.name, 0),
            metrics=_metrics(spec, observed.samples.get(variant.name), compared.get(variant.name)),
            cost=costs.get(variant.name),
        )
        for variant in spec.variants
    ]


def _metrics(spec: ABExperimentSpec, sample: Sample | None, compared: Comparison | None) -> list[MetricStatus]:
    if sample is None:
        return []
    metric = MetricStatus(
        name=spec.metrics.primary.name,
        users=sample.users,
        mean=sample.mean,
        stddev=sample.stddev,
        lift=compared.lift if compared else None,
        lower=compared.lower if compared else None,
        upper=compared.upper if compared else None,
        p_value=compared.p_value if compared else None,
    )
    return [metric]


def decision_of(
    spec: ABExperimentSpec, observed: Observations, compared: Mapping[str, Comparison], now: datetime
) -> DecisionStatus | None:
    """The one look at the numbers."""
    rule = f"welch-{spec.stopping.confidence:g}"
    for name, result in compared.items():
        interval = f"[{result.lower:+.3f}, {result.upper:+.3f}]"
        shown = f"{spec.metrics.primary.name} {result.lift:+.3f} {interval}, p = {result.p_value:.2g}"
        low, high = result.lower, result.upper
        if spec.metrics.primary.direction == "Decrease":
            low, high = -high, -low
        if low > 0:
            return verdict_of("Winner", name, rule, f"{name} is better than {spec.control}: {shown}", observed, now)
        if high < 0:
            reason = f"{spec.control} is better than {name}: {shown}"
            return verdict_of("ControlWins", spec.control, rule, reason, observed, now)
        reason = f"no difference between {name} and {spec.control} is shown: {shown}"
        return verdict_of("Inconclusive", None, rule, reason, observed, now)
    return None


def verdict_of(
    outcome: str, winner: str | None, rule: str, reason: str, observed: Observations, now: datetime
) -> DecisionStatus:
    """Return a decision with the numbers that it can be recomputed from."""
    snapshot = {
        "users": dict(observed.users),
        "samples": {name: [s.users, s.mean, s.squares] for name, s in observed.samples.items()},
    }
    return DecisionStatus(
        outcome=outcome,
        winner=winner,
        rule=rule,
        reason=reason,
        decided_at=timestamp(now),
        snapshot=json.dumps(snapshot, sort_keys=True),
    )
