"""What the counts of an ABExperiment say: whether they are sound and enough, what is told of them, and the verdict."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import (
    DecisionStatus,
    GuardrailStatus,
    MetricStatus,
    Power,
    Superiority,
    VariantCost,
    VariantStatus,
)
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .conditions import Finding
from .experiment_terms import terms_of
from .observed_experiment import FRESH_FOR, ObservedExperiment, Stored
from .statistics.comparison import Comparison
from .statistics.guarded import is_ratio
from .statistics.judgement import RESPONSE, SPREAD, Judgement
from .statistics.primary import mean_of, values
from .statistics.ranks import superiority
from .statistics.snapshot import Snapshot
from .statistics.terms import RULES, Counts, Terms

__all__ = [
    "decision_of",
    "freshness",
    "health",
    "metrics_told",
    "power_told",
    "rule_unknown",
    "sufficiency",
    "variants_told",
    "verdict_of",
]

_SILENT_FOR = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(days=3650)
_MOST_USERS = 10**10
"""More are nowhere; and a whole number in a status has 64 bits."""
_CLOSED_AFTER = timedelta(hours=26.4)
"""The window of 24 hours, and the time in which what is under way arrives."""


def freshness(observed: object | None, stored: Stored | None, now: datetime) -> Finding:
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


def health(counts: Counts, judged: Judgement) -> Finding:
    """Say whether users are spread as the weights say, each in one variant."""
    kind = ConditionType.ASSIGNMENT_HEALTHY
    if SPREAD in judged.latched:
        message = f"the split does not match the weights (p = {judged.spread_p:.2g} now): one variant is losing users"
        remedy = "no decision can be had of these numbers any more: mend it, and begin another experiment"
        return Finding(kind, "False", Reason.SAMPLE_RATIO_MISMATCH, f"{message}; {remedy}")
    if judged.too_many_moved:
        moved = f"{counts.moved} users were given more than one variant, so nothing is decided"
        message = f"{moved}: begin another experiment, with clients that always send the same key"
        return Finding(kind, "False", Reason.SAMPLE_RATIO_MISMATCH, message)
    told = f"users are spread as the weights say (p = {judged.spread_p:.2g})"
    return Finding(kind, "True", Reason.AS_WEIGHTED, told)


def rule_unknown(terms: Terms) -> str:
    """Say why nothing is judged by the terms of a later build."""
    return f"it began by rule {terms.rule} of another build, and this one knows rules up to {RULES[-1]}"


def sufficiency(seen: ObservedExperiment, counts: Counts, judged: Judgement) -> Finding:
    """Say whether every variant has the users that it takes, and whether those who gave a value are of all alike."""
    kind, spec, metric = ConditionType.SAMPLE_SUFFICIENT, seen.spec, seen.spec.metrics.primary.name
    if not seen.terms.is_known:
        message = f"{rule_unknown(seen.terms)}: nothing is decided until that build is back"
        return Finding(kind, "False", Reason.RULE_UNKNOWN, message)
    if problem := _unmeasured(seen.terms, counts):
        return Finding(kind, "False", Reason.COLLECTING, problem)
    left = [place for place in range(len(spec.variants)) if place not in judged.dropped]
    users, is_said = values(seen.terms, counts), seen.terms.source == "Feedback"
    least = min(users[place] for place in left)
    whose = "whose window is over" if seen.terms.missing == "Zero" else f"with {metric}"
    message = f"the smallest variant has {least} of {judged.needed} users {whose}"
    if not judged.has_sample:
        few = ", ".join(spec.variants[place].name for place in judged.few if least >= judged.needed)
        why = f", and a few users have most of the answers of {few}, which says little of others" if few else ""
        return Finding(kind, "False", Reason.COLLECTING, f"{message}{why}")
    if RESPONSE in judged.latched:
        return Finding(
            kind, "False", Reason.RESPONSE_DIFFERS, f"{message}, but {_response(seen.terms, counts, metric)}"
        )
    if judged.fell_back:
        names = ", ".join(spec.variants[place].name for place in judged.fell_back)
        message += (
            f", but other variants' servers answered more than 5 % of the requests of {names}: keep its pods ready"
        )
        held = "" if seen.terms.is_of_equals else "; it is not promoted"
        return Finding(kind, "False", Reason.ANSWERED_BY_OTHERS, f"{message}{held}")
    if judged.left:
        names = ", ".join(spec.variants[place].name for place in judged.left)
        message += (
            f", but users of {names} leave answers before their end more often than those of {spec.control}, and these "
            "have no time, and fewer tokens; it is not promoted: have clients wait longer than any variant takes"
        )
        return Finding(kind, "False", Reason.RESPONSE_DIFFERS, message)
    if any(judged.compared[place] is None for place in left if place != seen.terms.control):
        alike = "say the same, and only a `range` tells" if is_said else "have the same, and nothing tells"
        return Finding(
            kind, "False", Reason.COLLECTING, f"{message}; those of a variant all {alike} what that is worth"
        )
    return Finding(kind, "True", Reason.SUFFICIENT, message)


def _response(terms: Terms, counts: Counts, metric: str) -> str:
    """That users of one variant have a value more often, and what follows."""
    if terms.is_of_equals:
        return f"users of one variant have {metric} more often than those of another"
    if terms.source != "Feedback":
        remedy = "no challenger is promoted, as nobody knows what it would be of those who have none"
        return f"users of one variant have {metric} more often than those of another; {remedy}"
    remedy = "no challenger is promoted, as only a `window` lets it be told what that may be worth"
    if counts.histograms:
        remedy = "a challenger is promoted only if it is better, too, without the best of what was given more often"
    return f"users of one variant give {metric} more often than those of another; {remedy}"


def _unmeasured(terms: Terms, counts: Counts) -> str:
    """Why nobody has a value of what is measured of answers, where that is the recorder's doing."""
    if not is_ratio(terms.source) or (counts.guards and terms.source in counts.guards.ratios):
        return ""
    return (
        f"the recorder does not tell {terms.source} of answers, so nothing is decided: have the chart's recorder run "
        "this release"
    )


def power_told(
    seen: ObservedExperiment, counts: Counts, judged: Judgement, started: str, now: datetime
) -> Power | None:
    """Return how many users it takes, and when they are there at the pace so far, in whole minutes."""
    terms = seen.terms
    found = judged.needed if terms.method == "FixedHorizon" else judged.powered
    if found is None:
        return None
    required, before = min(found, _MOST_USERS), seen.previous.power
    began = datetime.fromisoformat(started) + seen.previous.paused_for(now)
    at = _estimate(terms, counts, judged, required, began, now)
    told = _steady(at, before.estimated_decision_time if before else None, now)
    return Power(required_users_per_variant=required, estimated_decision_time=told)


def _steady(at: datetime | None, before: str | None, now: datetime) -> str | None:
    """What was told stays while it is right within a tenth: where nobody comes, it moves with the clock."""
    if at and before and abs(at - datetime.fromisoformat(before)) <= (at - now) / 10:
        return before
    return timestamp(at) if at else None


def _estimate(
    terms: Terms, counts: Counts, judged: Judgement, required: int, started: datetime, now: datetime
) -> datetime | None:
    """The slowest variant's that is left; what a greater one needs follows from its share."""
    passed, smallest = now - started - (_CLOSED_AFTER if terms.closed else timedelta()), min(terms.shares)
    waits = timedelta()
    for place, (users, share) in enumerate(zip(values(terms, counts), terms.shares, strict=True)):
        if place in judged.dropped:
            continue
        missing = math.ceil(required * share / smallest) - users
        if missing > 0:
            if not users or passed <= timedelta():
                return None
            waits = max(waits, passed * min(missing / users, _LONGEST_WAIT / passed))
    if not waits:
        return None
    return (now + waits + timedelta(seconds=59)).replace(second=0, microsecond=0)


def variants_told(
    spec: ABExperimentSpec,
    counts: Counts,
    compared: Mapping[str, Comparison],
    costs: Mapping[str, VariantCost | None],
    guardrails: Mapping[str, list[GuardrailStatus]],
    *,
    secondary: Mapping[str, list[MetricStatus]] | None = None,
    has_means: bool = True,
) -> list[VariantStatus]:
    """Return what the status tells of each variant; `compared` is what may be told of the comparisons.

    Where the means may not be told, as the differences follow from them, `has_means` says so.
    """
    return [
        VariantStatus(
            name=variant.name,
            weight=variant.weight,
            users=counts.users[place],
            requests=counts.requests[place],
            metrics=[
                *metrics_told(spec, counts, place, compared.get(variant.name), has_means=has_means),
                *(secondary or {}).get(variant.name, ()),
            ],
            guardrails=guardrails.get(variant.name, []),
            cost=costs.get(variant.name),
        )
        for place, variant in enumerate(spec.variants)
    ]


def metrics_told(
    spec: ABExperimentSpec, counts: Counts, place: int, compared: Comparison | None, *, has_means: bool
) -> list[MetricStatus]:
    """Return what is told of a variant by the number that decides; nothing where nobody has a value."""
    terms, sums = terms_of(spec), counts.sums[place]
    users = values(terms, counts)[place]
    if not users:
        return []
    metric = MetricStatus(
        name=spec.metrics.primary.name,
        users=users,
        mean=mean_of(terms, counts, place) if has_means else None,
        stddev=math.sqrt(sums.variance(counts.scale)) if has_means and sums.n else None,
        lift=compared.lift if compared else None,
        lower=compared.lower if compared else None,
        upper=compared.upper if compared else None,
        p_value=compared.p_value if compared else None,
        superiority=_superiority(terms, counts, place) if compared else None,
    )
    return [metric]


def _superiority(terms: Terms, counts: Counts, place: int) -> Superiority | None:
    if not counts.histograms:
        return None
    found = superiority(counts.histograms[terms.control], counts.histograms[place], terms.share_of_level)
    return Superiority(probability=found.probability, lower=found.lower, upper=found.upper) if found else None


def decision_of(snapshot: Snapshot, now: datetime) -> DecisionStatus | None:
    """Return what the counts decide, if they do."""
    found = snapshot.conclusion()
    return verdict_of(found.outcome, found.winner, found.rule, found.sentence, snapshot, now) if found else None


def verdict_of(
    outcome: str, winner: str | None, rule: str, reason: str, snapshot: Snapshot | None, now: datetime
) -> DecisionStatus:
    """Return a decision with the numbers that it can be recomputed from, where there are any."""
    return DecisionStatus(
        outcome=outcome,
        winner=winner,
        rule=rule,
        reason=reason,
        decided_at=timestamp(now),
        snapshot=snapshot.text() if snapshot else "{}",
    )
