"""A look at what was counted of an ABExperiment: it is judged once, and told, with the decision where it shows one."""

from dataclasses import dataclass, replace
from datetime import datetime

from anneal_operator.api.ab_experiment_status import (
    ABExperimentStatus,
    DecisionStatus,
    MetricStatus,
    SampleRatio,
    VariantCost,
    VariantStatus,
)

from .conditions import Finding
from .cost import counted_since
from .experiment_guardrails import as_dropped, guardrails_kept, guardrails_told, without_new_breaches
from .experiment_sample import decision_of, freshness, health, power_told, sufficiency, variants_told
from .experiment_secondary import secondary_told
from .experiment_status import standing
from .observed_experiment import ObservedExperiment
from .statistics.guardrails import breaches
from .statistics.judgement import Judgement, judge
from .statistics.snapshot import Snapshot
from .statistics.terms import Counts

__all__ = ["Look", "is_breached", "look_at", "looked", "shows_breach", "snapshot_of"]


@dataclass(frozen=True)
class Look:
    """What was counted, whether it is fresh, and what it shows; of numbers that are not, no breach."""

    counts: Counts
    fresh: Finding
    judged: Judgement

    @property
    def is_fresh(self) -> bool:
        """Whether anything may come of it."""
        return self.fresh.status == "True"


def look_at(seen: ObservedExperiment, now: datetime) -> Look | None:
    """Judge what was counted; nothing where the recorder does not answer."""
    counts = seen.counted
    if counts is None:
        return None
    look = Look(counts, freshness(counts, seen.stored, now), judge(seen.terms, counts))
    return look if look.is_fresh else replace(look, judged=without_new_breaches(look.judged, seen.latches))


def is_breached(seen: ObservedExperiment, look: Look | None) -> bool:
    """Whether the numbers show a breach that nothing has come of yet; numbers that are not fresh show none."""
    return seen.record is not None and look is not None and shows_breach(seen, look)


def shows_breach(seen: ObservedExperiment, look: Look) -> bool:
    """Whether they do, whether there is a record or not."""
    if not (look.is_fresh and seen.terms.is_known and seen.terms.guardrails):
        return False
    judged = look.judged
    return judged.outcome == "GuardrailBreach" or not set(judged.dropped) <= set(breaches(seen.latches))


def looked(
    seen: ObservedExperiment, look: Look, findings: list[Finding], started: str, now: datetime, *, may_decide: bool
) -> tuple[ABExperimentStatus, DecisionStatus | None]:
    """Return the status with what was counted, and the decision where it is time for one and the numbers show it."""
    counts, judged = look.counts, look.judged
    healthy = health(counts, judged)
    gates = [look.fresh, healthy, sufficiency(seen, counts, judged)]
    is_due = judged.stands or (may_decide and (healthy.status == "True" or seen.terms.is_of_equals))
    may_decide = is_due and seen.terms.is_known and look.is_fresh
    decision = decision_of(snapshot_of(seen, _decisive(seen, look)), now) if may_decide else None
    was_looked_at = decision is not None or seen.recommendation is not None or seen.looked is not None
    is_told = was_looked_at or (seen.terms.method == "Sequential" and judged.has_sample)
    shown = _shown(seen, look)
    guards = guardrails_kept(seen, counts, judged if judged.dropped else shown.judged, is_told=is_told)
    status = standing(
        seen,
        "Running",
        [*findings, *gates, *([guards] if guards else [])],
        now,
        main=next((gate for gate in gates if gate.status != "True"), gates[-1]),
        started_at=started,
        users=sum(counts.users),
        variants=_variants(seen, look, shown, is_told=is_told),
        sample_ratio=SampleRatio(p_value=judged.spread_p),
        power=power_told(seen, counts, judged, started, now),
    )
    return status, decision


def _decisive(seen: ObservedExperiment, look: Look) -> Counts:
    """Return what is decided by: where who won a fixed horizon's look was dropped since, the numbers of that look."""
    first, judged = seen.looked, look.judged
    if first is None or seen.terms.method != "FixedHorizon" or judged.outcome == "GuardrailBreach":
        return look.counts
    return replace(first, latched=first.latched | judged.latched)


def _shown(seen: ObservedExperiment, look: Look) -> Look:
    """Return what is told: of a fixed horizon that was looked at, that look, with who was dropped since."""
    counts = _decisive(seen, look)
    return look if counts is look.counts else replace(look, counts=counts, judged=judge(seen.terms, counts))


def _variants(seen: ObservedExperiment, look: Look, shown: Look, *, is_told: bool) -> list[VariantStatus]:
    """Of a look that was taken before all is as it was then, but who takes part by now, and breaches since."""
    judged = shown.judged
    names, level = [variant.name for variant in seen.spec.variants], seen.terms.level
    compared = {name: one for name, one in zip(names, judged.compared, strict=True) if one and is_told}
    stand = {
        name: guardrails_told(look.judged if place in look.judged.dropped else judged, place, level, is_told=is_told)
        for place, name in enumerate(names)
    }
    has_means = is_told or seen.terms.method != "FixedHorizon"
    was_shown = shown is not look and seen.previous.recommended is not None
    beside = (
        _secondary_then(seen)
        if was_shown
        else {
            name: secondary_told(seen, place, is_told=is_told, has_means=has_means) for place, name in enumerate(names)
        }
    )
    told = variants_told(seen.spec, shown.counts, compared, _costs(seen), stand, secondary=beside, has_means=has_means)
    now = zip(told, look.counts.users, look.counts.requests, strict=True)
    told = [one.model_copy(update={"users": users, "requests": requests}) for one, users, requests in now]
    return [as_dropped(one, seen.previous) if one.name in seen.dropped else one for one in told]


def _secondary_then(seen: ObservedExperiment) -> dict[str, list[MetricStatus]]:
    """What was told of secondary metrics with the look: no snapshot keeps their numbers."""
    names = {metric.name for metric in seen.spec.metrics.secondary}
    return {one.name: [metric for metric in one.metrics if metric.name in names] for one in seen.previous.variants}


def snapshot_of(seen: ObservedExperiment, counts: Counts) -> Snapshot:
    """Return the numbers as a decision keeps them."""
    names = tuple(variant.name for variant in seen.spec.variants)
    return Snapshot(seen.spec.metrics.primary.name, names, seen.terms, counts)


def _costs(seen: ObservedExperiment) -> dict[str, VariantCost | None]:
    """A version that several variants are on has one cost, which is none of theirs alone."""
    known = {variant.name: variant.cost for variant in seen.previous.variants}
    on = [variant.model_version_ref.name for variant in seen.spec.variants]
    alone = {one.name for one in seen.spec.variants if on.count(one.model_version_ref.name) == 1}
    return {name: counted_since(known.get(name), one.cost) for name, one in seen.variants.items() if name in alone}
