"""Where an ABExperiment stands, and its verdict.

Start and decision are immutable records, kept before the status tells of them: what was decided is never decided anew,
whatever becomes of the status. The end of the maximum duration comes first, whatever else is wrong.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .comparison import SRM_ALPHA, Comparison, Sample, compare, sample_ratio
from .conditions import Finding, merged
from .verdict import Progress, Verdict

__all__ = [
    "KeepDecision",
    "KeepStart",
    "MoveAlias",
    "Observations",
    "ObservedExperiment",
    "Record",
    "RecordDecision",
    "VariantSeen",
    "decide",
]

_PERIOD_SECONDS, _WARM_UP_PERIOD_SECONDS = 5.0, 2.0
_GRACE = timedelta(seconds=30)
"""For how long a variant may not answer before its users are sent to the default version."""


@dataclass(frozen=True)
class VariantSeen:
    """A variant's ModelVersion: its model, None where there is none, whether it answers, and its version in MLflow."""

    model: str | None
    ready: bool
    number: str = ""
    holds_production: bool = False
    """As its status has read."""


@dataclass(frozen=True)
class Observations:
    """What the recorder counted, by variant."""

    users: Mapping[str, int]
    requests: Mapping[str, int]
    samples: Mapping[str, Sample]
    moved_users: int = 0


@dataclass(frozen=True)
class Record:
    """What is kept of an experiment, beside its status and beyond it."""

    started_at: str
    decision: DecisionStatus | None = None


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
    record: Record | None = None
    production: str | None = None
    """The version that holds `production` in MLflow, as last heard."""
    registry_problem: str = ""

    def number_of(self, variant: str | None) -> str:
        """Return a variant's version in MLflow; empty while it has none."""
        found = self.variants.get(variant or "")
        return found.number if found else ""


@dataclass(frozen=True)
class KeepStart:
    """Make the record."""

    started_at: str


@dataclass(frozen=True)
class KeepDecision:
    """Complete the record: from then on it never changes."""

    decision: DecisionStatus


@dataclass(frozen=True)
class RecordDecision:
    """Leave the decision in MLflow, on the version that won."""

    version: str
    decision: DecisionStatus


@dataclass(frozen=True)
class MoveAlias:
    """Give `production` to the winner, where it is still the control's."""

    expected: str
    version: str


Intent = KeepStart | KeepDecision
Effect = RecordDecision | MoveAlias
ExperimentVerdict = Verdict[ABExperimentStatus, Intent, Effect]


def decide(seen: ObservedExperiment, now: datetime) -> ExperimentVerdict:
    """Return the status and what follows; a decision, once kept, stands."""
    known = seen.previous.decision or (seen.record and seen.record.decision)
    if known:
        return _followed_up(seen, known, now)
    started = _started(seen)
    late = started is not None and now - datetime.fromisoformat(started) >= _duration(seen.spec.stopping.max_duration)
    if late and started is not None:
        return _at_deadline(seen, started, now)
    obstacle = _obstacle(seen, now, started=started is not None)
    if obstacle:
        phase: ExperimentPhase = "WarmingUp" if obstacle.reason == Reason.VERSION_NOT_READY else "Pending"
        # Once counting began, a variant that does not answer for a while changes nothing: its users stay its users.
        return _working(_status(seen, "Running" if started else phase, [obstacle], now))
    ready = Finding(ConditionType.VARIANTS_READY, "True", Reason.VARIANTS_READY, "every variant answers")
    if not seen.routed:
        behind = Finding(
            ConditionType.ROUTE_PROGRAMMED, "False", Reason.ROUTER_BEHIND, "the router has not applied it yet"
        )
        status = _status(seen, "Running" if started else "WarmingUp", [ready, behind], now, main=behind)
        return _working(status, period=_WARM_UP_PERIOD_SECONDS)
    routed = Finding(ConditionType.ROUTE_PROGRAMMED, "True", Reason.PROGRAMMED, "the router splits users by weight")
    return _running(seen, [ready, routed], started or timestamp(now), now)


def _started(seen: ObservedExperiment) -> str | None:
    return seen.record.started_at if seen.record else seen.previous.started_at


def _duration(text: str) -> timedelta:
    return timedelta(seconds=seconds(text))


def _working(
    status: ABExperimentStatus, *apply: Intent, period: float = _PERIOD_SECONDS
) -> Verdict[ABExperimentStatus, Intent, Effect]:
    return Verdict(status, "Working", apply=apply, again=period)


def _obstacle(seen: ObservedExperiment, now: datetime, *, started: bool) -> Finding | None:
    """What keeps it from running; one that has started is not kept by what concerns only a start."""
    kind = ConditionType.VARIANTS_READY
    for variant in seen.spec.variants:
        version = seen.variants.get(variant.name, VariantSeen(None, ready=False))
        if version.model is None:
            message = f"there is no ModelVersion {variant.model_version_ref.name} yet"
            return _lost(seen, now, Finding(kind, "False", Reason.VERSION_NOT_FOUND, message), started=started)
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
            message = f"ModelVersion {variant.model_version_ref.name} does not answer"
            return _lost(seen, now, Finding(kind, "False", Reason.VERSION_NOT_READY, message), started=started)
    control = seen.number_of(seen.spec.control)
    if not started and seen.production not in {None, control}:
        message = (
            f"the control must hold `production` in MLflow, which version {seen.production} of "
            f"{seen.spec.model_name} has: compare with that one, or move the alias to version {control}"
        )
        return Finding(kind, "False", Reason.CONTROL_NOT_IN_PRODUCTION, message)
    return None


def _lost(seen: ObservedExperiment, now: datetime, finding: Finding, *, started: bool) -> Finding:
    """A variant that has not answered for a while loses its users to the default version, until it does again."""
    known = seen.previous.condition(finding.type)
    if not started or known is None or known.status != "False":
        return finding
    if now - datetime.fromisoformat(known.last_transition_time) < _GRACE:
        return finding
    message = f"{finding.message}; until it does, everybody gets the default version and nothing is counted"
    return Finding(finding.type, "False", Reason.VARIANT_LOST, message)


def _running(
    seen: ObservedExperiment, findings: list[Finding], started: str, now: datetime
) -> Verdict[ABExperimentStatus, Intent, Effect]:
    start: tuple[Intent, ...] = () if seen.record else (KeepStart(started),)
    if seen.observations is None:
        return _working(_status(seen, "Running", findings, now, started_at=started, main=findings[-1]), *start)
    status, gates, compared = _counted(seen, seen.observations, findings, started, now)
    young = now - datetime.fromisoformat(started) < _duration(seen.spec.stopping.min_duration)
    if start or young or any(gate.status != "True" for gate in gates):
        return _working(status, *start)
    decision = _decision(seen.spec, seen.observations, compared, now)
    return _decided(seen, status, decision, now) if decision else _working(status)


def _counted(
    seen: ObservedExperiment, observed: Observations, findings: list[Finding], started: str, now: datetime
) -> tuple[ABExperimentStatus, list[Finding], dict[str, Comparison]]:
    """The status with what was counted, whether that is sound and enough, and the comparisons."""
    counts = [observed.users.get(variant.name, 0) for variant in seen.spec.variants]
    ratio = sample_ratio(counts, [variant.weight for variant in seen.spec.variants])
    compared = _comparisons(seen.spec, observed)
    gates = [_health(observed, ratio), _sample(seen.spec, observed)]
    main = next((gate for gate in gates if gate.status != "True"), gates[-1])
    status = _status(
        seen,
        "Running",
        [*findings, *gates],
        now,
        main=main,
        started_at=started,
        users=sum(counts),
        variants=_variants(seen.spec, observed, compared),
        sample_ratio=SampleRatio(p_value=float(f"{ratio:.4g}")),
    )
    return status, gates, compared


def _at_deadline(seen: ObservedExperiment, started: str, now: datetime) -> ExperimentVerdict:
    """The time is over: the verdict is what a sound and sufficient sample says, and Inconclusive without one."""
    observed = seen.observations
    status = _status(seen, "Running", [], now, started_at=started)
    if observed is not None:
        status, gates, compared = _counted(seen, observed, [], started, now)
        decision = _decision(seen.spec, observed, compared, now) if all(g.status == "True" for g in gates) else None
        if decision:
            return _decided(seen, status, decision, now)
    counted = observed or Observations({}, {}, {})
    reason = "maxDuration passed before all variants had a sound and sufficient sample"
    return _decided(seen, status, _verdict("Inconclusive", None, "max-duration", reason, counted, now), now)


def _health(observed: Observations, ratio: float) -> Finding:
    kind = ConditionType.ASSIGNMENT_HEALTHY
    if ratio < SRM_ALPHA:
        message = f"users are not spread as the weights say (p = {ratio:.2g}): something loses users of one variant"
        return Finding(kind, "False", Reason.SAMPLE_RATIO_MISMATCH, f"{message}; nothing is decided until it is found")
    if observed.moved_users:
        moved = f"{observed.moved_users} users were given more than one variant, so nothing is decided"
        message = f"{moved}: begin another experiment, with clients that always send the same key"
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
    spec: ABExperimentSpec, observed: Observations, compared: Mapping[str, Comparison], now: datetime
) -> DecisionStatus | None:
    """The one look at the numbers."""
    sign = 1 if spec.metrics.primary.direction == "Increase" else -1
    rule = f"welch-{spec.stopping.confidence:g}"
    for name, result in compared.items():
        interval = f"[{result.lower:+.3f}, {result.upper:+.3f}]"
        shown = f"{spec.metrics.primary.name} {result.lift:+.3f} {interval}, p = {result.p_value:.2g}"
        low, high = sorted((sign * result.lower, sign * result.upper))
        if low > 0:
            return _verdict("Winner", name, rule, f"{name} is better than {spec.control}: {shown}", observed, now)
        if high < 0:
            reason = f"{spec.control} is better than {name}: {shown}"
            return _verdict("ControlWins", spec.control, rule, reason, observed, now)
        reason = f"no difference between {name} and {spec.control} is shown: {shown}"
        return _verdict("Inconclusive", None, rule, reason, observed, now)
    return None


def _verdict(
    outcome: str, winner: str | None, rule: str, reason: str, observed: Observations, now: datetime
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
        decided_at=timestamp(now),
        snapshot=json.dumps(snapshot, sort_keys=True),
    )


def _decided(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ExperimentVerdict:
    """A decision is kept before anybody is told of it; what follows from it comes with the next reconcile."""
    start: tuple[Intent, ...] = () if seen.record else (KeepStart(_started(seen) or timestamp(now)),)
    apply = (*start, KeepDecision(decision))
    return Verdict(_concluded(seen, status, decision, now), "Working", apply=apply, again=0.0)


def _concluded(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ABExperimentStatus:
    phase, reason = _ends_as(seen.spec, decision)
    finding = Finding(ConditionType.DECIDED, "True", reason, decision.reason)
    variants = status.variants
    if phase in {"Promoted", "RolledBack"}:
        total = sum(variant.weight for variant in variants)
        variants = [v.model_copy(update={"weight": total if v.name == decision.winner else 0}) for v in variants]
    return status.having(
        phase=phase,
        reason=reason.value,
        observed_generation=seen.generation,
        started_at=_started(seen),
        decision=decision,
        variants=variants,
        conditions=merged(status.conditions, [finding], seen.generation, timestamp(now)),
    )


def _ends_as(spec: ABExperimentSpec, decision: DecisionStatus) -> tuple[ExperimentPhase, Reason]:
    if decision.winner is None:
        return "Inconclusive", Reason.INCONCLUSIVE
    if spec.decision.mode == "Observe":
        return "Observed", Reason.OBSERVED
    return ("RolledBack", Reason.CONTROL_WINS) if decision.winner == spec.control else ("Promoted", Reason.PROMOTED)


def _followed_up(seen: ObservedExperiment, decision: DecisionStatus, now: datetime) -> ExperimentVerdict:
    """Move the alias after a promotion, unless somebody else has; then wait until every version has read it.

    Until then the decision is the route.
    """
    status = seen.previous
    if status.decision is None or status.observed_generation != seen.generation:
        status = _concluded(seen, status, decision, now)
    keep: tuple[Intent, ...] = () if seen.record else (KeepStart(_started(seen) or decision.decided_at),)
    if seen.record is None or seen.record.decision is None:
        keep += (KeepDecision(decision),)
    alias = status.condition(ConditionType.ALIAS_MOVED)
    over = alias is not None and (alias.status == "True" or alias.reason == Reason.HELD_BY_ANOTHER)
    if status.phase != "Promoted" or over:
        return Verdict(status, "Settled", apply=keep)
    finding, effects = _alias(seen, decision)
    progress: Progress = "Settled" if finding.reason in {Reason.MOVED, Reason.HELD_BY_ANOTHER} else "Working"
    told = status.having(conditions=merged(status.conditions, [finding], seen.generation, timestamp(now)))
    return Verdict(told, progress, apply=keep, effects=effects, again=_WARM_UP_PERIOD_SECONDS)


def _alias(seen: ObservedExperiment, decision: DecisionStatus) -> tuple[Finding, tuple[Effect, ...]]:
    kind, model = ConditionType.ALIAS_MOVED, seen.spec.model_name
    winner, control = seen.number_of(decision.winner), seen.number_of(seen.spec.control)
    if seen.registry_problem or not winner:
        problem = seen.registry_problem or "the winner's version in MLflow is not known yet"
        return Finding(kind, "False", Reason.REGISTRY_UNREACHABLE, problem), ()
    if seen.production == winner:
        read = {name: variant.holds_production for name, variant in seen.variants.items()}
        if read == {name: name == decision.winner for name in read}:
            message = f"alias production of {model} was moved to version {winner} in MLflow"
            return Finding(kind, "True", Reason.MOVED, message), ()
        message = f"moved to version {winner} in MLflow; the versions have yet to read it"
        return Finding(kind, "False", Reason.MOVING, message), ()
    if seen.production not in {None, control}:
        message = f"somebody gave production of {model} to version {seen.production}: it is left there"
        return Finding(kind, "False", Reason.HELD_BY_ANOTHER, message), ()
    effects = (RecordDecision(winner, decision), MoveAlias(control, winner))
    return Finding(kind, "False", Reason.MOVING, f"being moved to version {winner} in MLflow"), effects


def _status(
    seen: ObservedExperiment,
    phase: ExperimentPhase,
    findings: list[Finding],
    now: datetime,
    main: Finding | None = None,
    **fields: object,
) -> ABExperimentStatus:
    """The status with these findings; `main` is the one that matters most, else the first."""
    reason = (main or findings[0]).reason.value if main or findings else seen.previous.reason
    return seen.previous.having(
        phase=phase,
        reason=reason,
        observed_generation=seen.generation,
        conditions=merged(seen.previous.conditions, findings, seen.generation, timestamp(now)),
        **fields,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
