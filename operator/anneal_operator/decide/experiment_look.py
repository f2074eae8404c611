"""A look at what was counted of an ABExperiment: it is judged once, and told, with the decision where it shows one."""

from dataclasses import dataclass, replace
from datetime import datetime

from anneal_operator.api.ab_experiment_status import (
    ABExperimentStatus,
    DecisionStatus,
    SampleRatio,
    VariantCost,
    VariantStatus,
)

from .conditions import Finding
from .cost import counted_since
from .experiment_guardrails import guardrails_kept, guardrails_told, without_new_breaches
from .experiment_sample import decision_of, freshness, health, power_told, sufficiency, variants_told
from .experiment_secondary import secondary_told
from .experiment_status import standing
from .observed_experiment import ObservedExperiment
from .statistics.guardrails import breaches
from .statistics.judgement import Judgement, judge
from .statistics.snapshot import Snapshot
from .statistics.terms import Counts

__all__ = ["Look", "is_breached", "look_at", "looked", "snapshot_of"]


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
    if seen.record is None or look is None or not (look.is_fresh and seen.terms.is_known and seen.terms.guardrails):
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
    guards = guardrails_kept(seen, counts, judged, is_told=is_told)
    status = standing(
        seen,
        "Running",
        [*findings, *gates, *([guards] if guards else [])],
        now,
        main=next((gate for gate in gates if gate.status != "True"), gates[-1]),
        started_at=started,
        users=sum(counts.users),
        variants=_variants(seen, look, is_told=is_told),
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


def _variants(seen: ObservedExperiment, look: Look, *, is_told: bool) -> list[VariantStatus]:
    """Who was dropped at an earlier look is compared no more: its users have had the control's answers since."""
    judged, out = look.judged, breaches(seen.latches)
    names, level = [variant.name for variant in seen.spec.variants], seen.terms.level
    told = [is_told and place not in out for place in range(len(names))]
    compared = {name: one for name, one, may in zip(names, judged.compared, told, strict=True) if one and may}
    stand = {name: guardrails_told(judged, place, level, is_told=is_told) for place, name in enumerate(names)}
    has_means = is_told or seen.terms.method != "FixedHorizon"
    beside = {
        name: secondary_told(seen, place, is_told=told[place], has_means=has_means) for place, name in enumerate(names)
    }
    return variants_told(seen.spec, look.counts, compared, _costs(seen), stand, secondary=beside, has_means=has_means)


def snapshot_of(seen: ObservedExperiment, counts: Counts) -> Snapshot:
    """Return the numbers as a decision keeps them."""
    names = tuple(variant.name for variant in seen.spec.variants)
    return Snapshot(seen.spec.metrics.primary.name, names, seen.terms, counts)


def _costs(seen: ObservedExperiment) -> dict[str, VariantCost | None]:
    known = {variant.name: variant.cost for variant in seen.previous.variants}
    return {name: counted_since(known.get(name), variant.cost) for name, variant in seen.variants.items()}
