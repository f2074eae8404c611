"""Where an ABExperiment stands, and its verdict."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from anneal_operator.api.ab_experiment import (
    ABExperimentSpec,
    ABExperimentStatus,
    DecisionStatus,
    ExperimentPhase,
    MetricStatus,
    SampleRatio,
    VariantStatus,
)
from anneal_operator.api.quantities import seconds
from anneal_operator.reasons import ConditionType, Reason

from .comparison import SRM_ALPHA, Comparison, Sample, compare, sample_ratio
from .conditions import Finding, merged

__all__ = ["Observations", "ObservedExperiment", "VariantSeen", "judge"]


@dataclass(frozen=True)
class VariantSeen:
    """A variant's ModelVersion: its model, None where there is none, and whether it answers."""

    model: str | None
    ready: bool


@dataclass(frozen=True)
class Observations:
    """What the recorder counted, by variant."""

    users: Mapping[str, int]
    requests: Mapping[str, int]
    samples: Mapping[str, Sample]
    moved_users: int = 0


@dataclass(frozen=True)
class ObservedExperiment:
    """The world around one experiment."""

    generation: int
    spec: ABExperimentSpec
    previous: ABExperimentStatus
    variants: Mapping[str, VariantSeen] = field(default_factory=dict)
    busy_with: str | None = None
    """Another experiment that has the model's traffic."""
    routed: bool = False
    """Whether the router splits by this experiment."""
    observations: Observations | None = None


def judge(seen: ObservedExperiment, now: datetime) -> ABExperimentStatus:
    """Return the status; a decision, once made, stands."""
    if seen.previous.decision:
        return seen.previous
    obstacle = _obstacle(seen)
    if obstacle:
        phase: ExperimentPhase = "WarmingUp" if obstacle.reason == Reason.VERSION_NOT_READY else "Pending"
        # Once counting began, a variant that does not answer for a while changes nothing: its users stay its users.
        return _status(seen, "Running" if seen.previous.started_at else phase, [obstacle], now)
    ready = Finding(ConditionType.VARIANTS_READY, "True", Reason.VARIANTS_READY, "every variant answers")
    if not seen.routed:
        behind = Finding(
            ConditionType.ROUTE_PROGRAMMED, "False", Reason.ROUTER_BEHIND, "the router has not applied it yet"
        )
        return _status(seen, "Running" if seen.previous.started_at else "WarmingUp", [ready, behind], now)
    routed = Finding(ConditionType.ROUTE_PROGRAMMED, "True", Reason.PROGRAMMED, "the router splits users by weight")
    return _running(seen, [ready, routed], now)


def _obstacle(seen: ObservedExperiment) -> Finding | None:
    kind = ConditionType.VARIANTS_READY
    for variant in seen.spec.variants:
        version = seen.variants.get(variant.name, VariantSeen(None, ready=False))
        if version.model is None:
            return Finding(
                kind,
                "False",
                Reason.VERSION_NOT_FOUND,
                f"there is no ModelVersion {variant.model_version_ref.name} yet",
            )
        if version.model != seen.spec.model_name:
            message = (
                f"ModelVersion {variant.model_version_ref.name} is of model {version.model}, not {seen.spec.model_name}"
            )
            return Finding(kind, "False", Reason.VERSION_OF_ANOTHER_MODEL, message + ": create the experiment anew")
    if seen.busy_with:
        message = f"experiment {seen.busy_with} has the traffic of {seen.spec.model_name}; this one waits for its end"
        return Finding(kind, "False", Reason.MODEL_BUSY, message)
    for variant in seen.spec.variants:
        if not seen.variants[variant.name].ready:
            return Finding(
                kind,
                "False",
                Reason.VERSION_NOT_READY,
                f"ModelVersion {variant.model_version_ref.name} does not answer",
            )
    return None


def _running(seen: ObservedExperiment, findings: list[Finding], now: datetime) -> ABExperimentStatus:
    started = seen.previous.started_at or _text(now)
    if seen.observations is None:
        return _status(seen, "Running", findings, now, started_at=started)
    observed = seen.observations
    counts = [observed.users.get(variant.name, 0) for variant in seen.spec.variants]
    ratio = sample_ratio(counts, [variant.weight for variant in seen.spec.variants])
    compared = _comparisons(seen.spec, observed)
    healthy, sufficient = _health(observed, ratio), _sample(seen.spec, observed)
    status = _status(
        seen,
        "Running",
        [*findings, healthy, sufficient],
        now,
        started_at=started,
        users=sum(counts),
        variants=_variants(seen.spec, observed, compared),
        sample_ratio=SampleRatio(p_value=ratio),
    )
    decision = _decision(seen.spec, observed, compared, [healthy, sufficient], started, now)
    return _decided(seen, status, decision, now) if decision else status


def _health(observed: Observations, ratio: float) -> Finding:
    kind = ConditionType.ASSIGNMENT_HEALTHY
    if ratio < SRM_ALPHA:
        message = f"users are not spread as the weights say (p = {ratio:.2g}): something loses users of one variant"
        return Finding(kind, "False", Reason.SAMPLE_RATIO_MISMATCH, f"{message}; nothing is decided until it is found")
    if observed.moved_users:
        message = f"{observed.moved_users} users were given more than one variant; nothing is decided"
        return Finding(kind, "False", Reason.SAMPLE_RATIO_MISMATCH, message)
    return Finding(kind, "True", Reason.AS_WEIGHTED, f"users are spread as the weights say (p = {ratio:.2g})")


def _sample(spec: ABExperimentSpec, observed: Observations) -> Finding:
    kind, needed = ConditionType.SAMPLE_SUFFICIENT, spec.stopping.min_users_per_variant
    least = min(_users_with_value(observed, variant.name) for variant in spec.variants)
    message = f"the smaller variant has {least} of {needed} users with {spec.metrics.primary.name}"
    if least < needed:
        return Finding(kind, "False", Reason.COLLECTING, message)
    return Finding(kind, "True", Reason.SUFFICIENT, message)


def _users_with_value(observed: Observations, variant: str) -> int:
    sample = observed.samples.get(variant)
    return sample.users if sample else 0


def _comparisons(spec: ABExperimentSpec, observed: Observations) -> dict[str, Comparison]:
    control = observed.samples.get(spec.control)
    results = {
        variant.name: compare(control, observed.samples[variant.name], spec.stopping.confidence)
        for variant in spec.variants
        if control and variant.name != spec.control and variant.name in observed.samples
    }
    return {name: result for name, result in results.items() if result}


def _variants(
    spec: ABExperimentSpec, observed: Observations, compared: Mapping[str, Comparison]
) -> list[VariantStatus]:
    return [
        VariantStatus(
            name=variant.name,
            weight=variant.weight,
            users=observed.users.get(variant.name, 0),
            requests=observed.requests.get(variant.name, 0),
            metrics=_metrics(spec, observed.samples.get(variant.name), compared.get(variant.name)),
        )
        for variant in spec.variants
    ]


def _metrics(spec: ABExperimentSpec, sample: Sample | None, compared: Comparison | None) -> list[MetricStatus]:
    if sample is None:
        return []
    metric = MetricStatus(
        name=spec.metrics.primary.name,
        users=sample.users,
        mean=_rounded(sample.mean),
        stddev=_rounded(sample.stddev),
        lift=_rounded(compared.lift) if compared else None,
        lower=_rounded(compared.lower) if compared else None,
        upper=_rounded(compared.upper) if compared else None,
        p_value=float(f"{compared.p_value:.4g}") if compared else None,
    )
    return [metric]


def _decision(
    spec: ABExperimentSpec,
    observed: Observations,
    compared: Mapping[str, Comparison],
    gates: Sequence[Finding],
    started: str,
    now: datetime,
) -> DecisionStatus | None:
    """The one look: when the sample and the minimum duration are reached, or the time is over."""
    age = now - datetime.fromisoformat(started)
    late = age >= timedelta(seconds=seconds(spec.stopping.max_duration))
    if late and any(gate.status != "True" for gate in gates):
        return _verdict(
            "Inconclusive", None, "max-duration", "the time is over before a sound sample was there", observed, now
        )
    if any(gate.status != "True" for gate in gates) or age < timedelta(seconds=seconds(spec.stopping.min_duration)):
        return None
    sign = 1 if spec.metrics.primary.direction == "Increase" else -1
    rule = f"welch-{spec.stopping.confidence:g}"
    for name, result in compared.items():
        interval = f"[{result.lower:+.3f}, {result.upper:+.3f}]"
        shown = f"{spec.metrics.primary.name} {result.lift:+.3f} {interval}, p = {result.p_value:.2g}"
        low, high = sorted((sign * result.lower, sign * result.upper))
        if low > 0:
            return _verdict("Winner", name, rule, f"{name} is better than {spec.control}: {shown}", observed, now)
        if high < 0:
            return _verdict(
                "Winner", spec.control, rule, f"{spec.control} is better than {name}: {shown}", observed, now
            )
        reason = f"no difference between {name} and {spec.control} is shown: {shown}"
        return _verdict("Inconclusive", None, rule, reason, observed, now)
    return None


def _verdict(
    outcome: Literal["Winner", "Inconclusive"],
    winner: str | None,
    rule: str,
    reason: str,
    observed: Observations,
    now: datetime,
) -> DecisionStatus:
    snapshot = {
        "users": dict(observed.users),
        "samples": {name: [s.users, s.mean, s.squares] for name, s in observed.samples.items()},
    }
    return DecisionStatus(
        outcome=outcome,
        winner=winner,
        rule=rule,
        reason=reason,
        decided_at=_text(now),
        snapshot=json.dumps(snapshot, sort_keys=True),
    )


def _decided(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ABExperimentStatus:
    phase, reason = _ends_as(seen.spec, decision)
    finding = Finding(ConditionType.DECIDED, "True", reason, decision.reason)
    variants = status.variants
    if phase == "Promoted":
        total = sum(variant.weight for variant in variants)
        variants = [v.model_copy(update={"weight": total if v.name == decision.winner else 0}) for v in variants]
    return status.model_copy(
        update={
            "phase": phase,
            "reason": reason.value,
            "decision": decision,
            "variants": variants,
            "conditions": merged(status.conditions, [finding], seen.generation, _text(now)),
        }
    )


def _ends_as(spec: ABExperimentSpec, decision: DecisionStatus) -> tuple[ExperimentPhase, Reason]:
    if decision.winner is None:
        return "Inconclusive", Reason.INCONCLUSIVE
    return ("Promoted", Reason.PROMOTED) if spec.decision.mode == "Automatic" else ("Observed", Reason.OBSERVED)


def _status(
    seen: ObservedExperiment, phase: ExperimentPhase, findings: list[Finding], now: datetime, **fields: object
) -> ABExperimentStatus:
    return seen.previous.model_copy(
        update={
            "phase": phase,
            "reason": next((finding for finding in findings if finding.status != "True"), findings[-1]).reason.value,
            "observed_generation": seen.generation,
            "conditions": merged(seen.previous.conditions, findings, seen.generation, _text(now)),
            **fields,
        }
    )


def _rounded(value: float) -> float:
    return round(value, 6)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
