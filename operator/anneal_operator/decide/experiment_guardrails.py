"""Guardrails of an ABExperiment: who was dropped, and what is told of them.

A breach returns users, which is no promotion: it waits for nothing that only a verdict waits for, neither a sample nor
a minimum duration nor MLflow, and it follows in every mode.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, GuardrailStatus, VariantStatus
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding
from .experiment_approval import without_advice
from .observed_experiment import Intent, KeepLatches, ObservedExperiment, dropped_by
from .statistics.guard_responses import unevenly_said
from .statistics.guarded import FEEDBACK, unknown_to
from .statistics.guardrails import Guarded, breach
from .statistics.judgement import Judgement
from .statistics.snapshot import stands
from .statistics.terms import Counts

__all__ = ["as_dropped", "dropped_told", "guardrails_kept", "guardrails_told", "with_dropped", "without_new_breaches"]


def without_new_breaches(judged: Judgement, latches: Collection[str]) -> Judgement:
    """Return what is to be told of numbers that are not fresh: of a breach that nothing comes of nothing."""
    found = {breach(name, place) for place, names in judged.dropped.items() for name in names}
    return replace(judged, latched=judged.latched - (found - set(latches)))


def dropped_told(seen: ObservedExperiment, status: ABExperimentStatus, apply: Iterable[Intent]) -> ABExperimentStatus:
    """Return the status with who was dropped, and with the shares that they leave.

    Routes follow from this: it is told in the same step in which the record is to have it, which comes first.
    """
    kept = (intent.latches for intent in apply if isinstance(intent, KeepLatches))
    told = with_dropped(seen.spec, status, seen.latches.union(*kept))
    dropped = told.dropped or []
    if told.recommended in dropped:
        told = without_advice(told)
    if not dropped or told.phase != "Running":
        return told
    weights = {variant.name: variant.weight for variant in seen.spec.variants}
    for name in dropped:
        weights[seen.spec.control] += weights[name]
        weights[name] = 0
    return told.having(variants=[one.model_copy(update={"weight": weights[one.name]}) for one in told.variants])


def with_dropped(spec: ABExperimentSpec, status: ABExperimentStatus, latches: Collection[str]) -> ABExperimentStatus:
    """Return the status with who was dropped, as the record says it, too."""
    known = status.dropped or []
    return status.having(dropped=[*known, *(name for name in dropped_by(spec, latches) if name not in known)] or None)


def guardrails_kept(seen: ObservedExperiment, counts: Counts, judged: Judgement, *, is_told: bool) -> Finding | None:
    """Say whether challengers keep within the guardrails; nothing where there are none.

    Before a fixed horizon's look it says no more than that there is no breach: a limit may be on the very number that
    decides.
    """
    kind, terms, variants = ConditionType.GUARDRAILS_HEALTHY, seen.terms, seen.spec.variants
    if not terms.guardrails:
        return None
    if judged.dropped:
        found = "; ".join(
            f"{variants[place].name} was shown to be beyond {', '.join(names)}{_numbers(judged, place, names)}"
            for place, names in judged.dropped.items()
        )
        message = f"{found}: from then on its users get {seen.spec.control}'s answers, and it is compared no more"
        return Finding(kind, "False", Reason.GUARDRAIL_BREACH, message)
    if sources := unknown_to(counts.guards, terms.guardrails):
        held = "the set-up is not found sound" if terms.is_of_equals else "nothing is promoted"
        message = (
            f"the recorder does not tell what {', '.join(sources)} are judged by, so no breach is seen, and {held}: "
            "have the chart's recorder run this release"
        )
        if sources == [FEEDBACK]:
            message = f"the recorder does not tell what users said, so no breach by it is seen, and {held}"
        return Finding(kind, "Unknown", Reason.GUARDRAILS_UNKNOWN, message)
    if uneven := unevenly_said(judged.latched):
        held = "the set-up is not found sound" if terms.is_of_equals else "none is promoted"
        message = (
            f"no breach, but users of one variant give {', '.join(uneven)} more often than those of another, so its "
            f"mean may be of others: no challenger is shown to keep within it, and {held}"
        )
        return Finding(kind, "Unknown", Reason.RESPONSE_DIFFERS, message)
    if terms.method == "FixedHorizon" and not is_told:
        message = "no breach; how far challengers keep within the guardrails is told with the one look"
        return Finding(kind, "Unknown", Reason.GUARDRAILS_NOT_SHOWN, message)
    open_ = {place: judged.unshown(place, terms.level) for place in range(len(variants)) if place != terms.control}
    if any(open_.values()):
        which = "; ".join(f"{variants[place].name}: {', '.join(names)}" for place, names in open_.items() if names)
        without = "" if terms.is_of_equals else ", without which nothing is promoted"
        message = f"no breach, and not shown yet to be kept{without}: {which}"
        return Finding(kind, "Unknown", Reason.GUARDRAILS_NOT_SHOWN, message)
    return Finding(kind, "True", Reason.GUARDRAILS_KEPT, "every challenger is shown to keep within every guardrail")


def _numbers(judged: Judgement, place: int, names: Collection[str]) -> str:
    """Where these still show it: its users go on being counted, and get the control's answers."""
    found = next((one for one in judged.guarded[place] if one.guardrail.name in names and one.is_breached), None)
    return f" ({stands(found)})" if found else ""


def as_dropped(told: VariantStatus, previous: ABExperimentStatus) -> VariantStatus:
    """Return what is told of a challenger since it was dropped: its numbers stay as they were then, and are not told
    where nobody knows them any more. Whatever its users were given later is the control's.
    """
    before = next((one for one in previous.variants if one.name == told.name), VariantStatus(name=told.name, weight=0))
    known = {one.name: one for one in before.guardrails}
    stand = [known.get(one.name, GuardrailStatus(name=one.name, state="")) for one in told.guardrails]
    stand = [one.having(state=found.state) for one, found in zip(stand, told.guardrails, strict=True)]
    return told.having(metrics=before.metrics, guardrails=stand)


def guardrails_told(judged: Judgement, place: int, level: float, *, is_told: bool) -> list[GuardrailStatus]:
    """Return how a challenger stands; its numbers only where they may be told."""
    beyond = judged.dropped.get(place, [])
    return [
        _told(one, "Breached", is_told=True)
        if one.guardrail.name in beyond
        else _told(one, "Kept" if is_told and one.p_value <= level else "NotShown", is_told=is_told)
        for one in judged.guarded[place]
    ]


def _told(found: Guarded, state: str, *, is_told: bool) -> GuardrailStatus:
    if not is_told:
        return GuardrailStatus(name=found.guardrail.name, state=state)
    numbers = {"value": found.value, "ratio": found.ratio, "bound": found.bound}
    return GuardrailStatus(name=found.guardrail.name, state=state, **numbers)
