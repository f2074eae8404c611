"""An ABExperiment of type `Shadow`, once its routers copy: what is told of the copies, and its end.

Nothing is decided by what is found: it is told, and the end is recorded with it. No user was given a challenger's
answer, so there is nobody to lead back.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus, VariantCost, VariantStatus
from anneal_operator.api.quantities import seconds
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .compared import Compared
from .conditions import Finding, merged
from .cost import counted_since
from .experiment_end import decided
from .experiment_sample import freshness
from .experiment_status import begun, working
from .observed_experiment import WAITED_FOR, ExperimentVerdict, Intent, ObservedExperiment

__all__ = ["shadowing"]

_LONGEST_REASON = 380
"""MLflow's database takes 5,000 characters of a record; the conditions say all of it."""


def shadowing(
    seen: ObservedExperiment, findings: list[Finding], started: str, now: datetime, end: datetime | None = None
) -> ExperimentVerdict:
    """Return what follows while it runs; `end` is when its time was over, where it is."""
    start: tuple[Intent, ...] = () if seen.record else (seen.start(started),)
    fresh = freshness(seen.shadowed, seen.stored, now)
    is_late = end is not None and now - end >= WAITED_FOR
    counted = None if seen.shadowed is None else _of_all(seen, seen.shadowed)
    status = _status(seen, [*findings, fresh, *_enough(seen, counted)], started, now)
    if counted is not None:
        status = status.having(variants=_variants(seen, counted))
    if end is not None and (fresh.status == "True" or is_late):
        return decided(seen, status, _decision("shadow-duration", "maxDuration passed", counted, now), now)
    is_young = now - begun(seen, started, now) < timedelta(seconds=seconds(seen.spec.stopping.min_duration))
    if counted and not start and not is_young and fresh.status == "True" and _has_enough(seen, counted):
        return decided(seen, status, _decision("shadow-comparisons", "all are compared", counted, now), now)
    return working(status, *start)


def _of_all(seen: ObservedExperiment, told: Mapping[str, Compared]) -> dict[str, Compared]:
    """By challenger: of one that no copy was sent to the recorder knows nothing."""
    challengers = (variant.name for variant in seen.spec.variants if variant.name != seen.spec.control)
    return {name: told.get(name, Compared()) for name in challengers}


def _has_enough(seen: ObservedExperiment, counted: Mapping[str, Compared]) -> bool:
    wanted = seen.spec.shadow.comparisons if seen.spec.shadow else None
    return wanted is not None and all(one.compared >= wanted for one in counted.values())


def _enough(seen: ObservedExperiment, counted: Mapping[str, Compared] | None) -> list[Finding]:
    if counted is None:
        return []
    kind, said = ConditionType.SAMPLE_SUFFICIENT, _said(counted)
    wanted = seen.spec.shadow.comparisons if seen.spec.shadow else None
    if wanted is None:
        return [Finding(kind, "True", Reason.SUFFICIENT, f"{said}; it ends at `stopping.maxDuration`")]
    if _has_enough(seen, counted):
        return [Finding(kind, "True", Reason.SUFFICIENT, said)]
    return [Finding(kind, "False", Reason.COLLECTING, f"{said}; of each challenger {wanted:,} are to be compared")]


def _said(counted: Mapping[str, Compared]) -> str:
    return "; ".join(f"{name}: {one.sentence()}" for name, one in counted.items())


def _variants(seen: ObservedExperiment, counted: Mapping[str, Compared]) -> list[VariantStatus]:
    costs = _costs(seen)
    return [
        VariantStatus(
            name=variant.name,
            weight=variant.weight,
            shadow=counted[variant.name].told() if variant.name in counted else None,
            cost=costs.get(variant.name),
        )
        for variant in seen.spec.variants
    ]


def _costs(seen: ObservedExperiment) -> dict[str, VariantCost | None]:
    known = {variant.name: variant.cost for variant in seen.previous.variants}
    return {name: counted_since(known.get(name), variant.cost) for name, variant in seen.variants.items()}


def _status(seen: ObservedExperiment, findings: list[Finding], started: str, now: datetime) -> ABExperimentStatus:
    main = next((one for one in findings if one.status != "True"), findings[-1])
    return seen.previous.having(
        phase="Running",
        reason=main.reason.value,
        observed_generation=seen.generation,
        started_at=started,
        conditions=merged(seen.previous.conditions, findings, seen.generation, timestamp(now)),
    )


def _decision(rule: str, why: str, counted: Mapping[str, Compared] | None, now: datetime) -> DecisionStatus:
    """The sums are kept with it, so that all that was told can be told again."""
    reason = f"{why}: {_said(counted) if counted is not None else 'what was counted could not be read since'}"
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[: _LONGEST_REASON - 3]}..."
    sums = {name: one.sums() for name, one in (counted or {}).items()}
    return DecisionStatus(
        outcome="Observed",
        rule=rule,
        reason=reason,
        decided_at=timestamp(now),
        snapshot=json.dumps({"shadow": sums}, sort_keys=True, separators=(",", ":")) if sums else "{}",
    )
