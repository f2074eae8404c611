"""The time in which the winner of an ABExperiment has the traffic and not yet `production`: it bakes.

The alias is moved last. So a return is a change of routes alone: it waits for no answer of MLflow's, there is nothing
to move back, and a person who moves `production` meanwhile has the last word. Until then a part of the control's users
stays with it, so it keeps its pods, and has them for everybody who returns.

Why everybody returned is kept before anybody is told, and ends it: somebody aborted it, or the winner did not answer,
or was shown to be beyond a guardrail. Where nobody can tell whether it is, its end waits a while for the numbers, and
not for ever.
"""

from datetime import datetime, timedelta

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus, ExperimentPhase
from anneal_operator.api.quantities import seconds
from anneal_operator.api.schema import timestamp
from anneal_operator.reasons import ConditionType, Reason

from .bake_guardrails import bake_freshness, breach_before_traffic, breach_while_baking
from .bake_loss import loss_while_baking, winner_answering
from .conditions import Finding, merged, without
from .observed_experiment import WAITED_FOR, ExperimentVerdict, KeepReturn, ObservedExperiment, Record, Returned
from .verdict import Verdict

__all__ = ["bake_uid", "baking", "promotion_stage", "return_due", "return_told", "returning", "told_return"]

_PERIOD_SECONDS = 5.0
_RETURNED: dict[str, tuple[ExperimentPhase, Reason]] = {
    "Aborted": ("Aborted", Reason.ABORTED),
    "GuardrailBreach": ("RolledBack", Reason.GUARDRAIL_BREACH),
    "WinnerLost": ("RolledBack", Reason.WINNER_LOST),
}
"""By the outcome; another build may know more."""
_ABORTED = Returned("Aborted", "it was aborted by `abort` while the winner baked, so everybody returned to the control")
_SHOWN_BY = {
    Reason.GUARDRAIL_BREACH: ConditionType.GUARDRAILS_HEALTHY,
    Reason.WINNER_LOST: ConditionType.VARIANTS_READY,
}
"""The condition that what ended it concerns."""


def bake_uid(uid: str) -> str:
    """By which routers and recorder know one whose winner bakes: the numbers of its verdict stay as they are."""
    return f"{uid}-bake"


def promotion_stage(
    spec: ABExperimentSpec, status: ABExperimentStatus, record: Record | None
) -> tuple[ExperimentPhase, Reason]:
    """Return how far the promotion of a winner is; where the status was lost, the bake begins anew.

    Not where either tells of a return: nobody is led again to what they were taken from.
    """
    if record and record.returned:
        return _ends_as(record.returned)
    if returned := _returned_as(status):
        return returned
    is_over = status.phase == "Promoted" or (record is not None and record.is_closed)
    return ("Promoted", Reason.PROMOTED) if is_over or not seconds(spec.decision.bake) else ("Baking", Reason.BAKING)


def _returned_as(status: ABExperimentStatus) -> tuple[ExperimentPhase, Reason] | None:
    """Return how the status tells of a return; where another build named the cause, as the first that ended so."""
    told = status.condition(ConditionType.DECIDED)
    found = [ends_as for ends_as in _RETURNED.values() if status.decision and ends_as[0] == status.phase]
    return next((ends_as for ends_as in found if told and told.reason == ends_as[1]), next(iter(found), None))


def baking(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ExperimentVerdict:
    """Wait until the time is over, which begins once all routers lead everybody to the winner; the promotion follows.

    It ends at once where everybody is to return, where somebody has moved `production`, there or elsewhere, and where
    what won is there no more: what has its name was not compared.
    """
    return _ended(seen, status, decision, now) or _waiting(seen, status, decision, now)


def _ended(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ExperimentVerdict | None:
    """Whoever has moved `production` has the last word, also over `abort` and a guardrail."""
    if seen.record and (kept := seen.record.returned):
        return Verdict(told_return(seen, status, kept, now), "Settled")
    if seen.is_control_replaced:
        message = f"`production` of {seen.spec.model_name} was moved to version {seen.production} meanwhile"
        return _over(seen, status, decision, _baked(message), now)
    if seen.spec.abort:
        return returning(seen, status, _ABORTED, now)
    if seen.is_replaced(decision.winner or ""):
        message = (
            f"ModelVersion {seen.spec.version_of(decision.winner)} was recreated with a different artifact meanwhile"
        )
        replaced = Finding(ConditionType.BAKED, "False", Reason.VERSION_REPLACED, message)
        return _over(seen, status, decision, replaced, now)
    returned = return_due(seen, status, decision, now)
    return returning(seen, status, returned, now) if returned else None


def return_due(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> Returned | None:
    """Return why everybody is to return; `abort` counts while the winner bakes."""
    is_baking = status.phase == "Baking"
    if is_baking and seen.spec.abort:
        return _ABORTED
    if breached := breach_before_traffic(seen, decision, now):
        return breached
    if not is_baking:
        return None
    return breach_while_baking(seen, decision, now) or loss_while_baking(seen, status, decision, now)


def return_told(seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus) -> Returned | None:
    """Return why everybody returned where the status alone tells of it: the record was lost as they did."""
    told = status.condition(ConditionType.DECIDED)
    is_kept = seen.record is None or seen.record.is_closed or seen.record.returned is not None
    if told is None or is_kept or decision.winner in {None, seen.spec.control}:
        return None
    found = (one for one, ends_as in _RETURNED.items() if ends_as == (status.phase, told.reason))
    return next((Returned(outcome, told.message) for outcome in found), None)


def _waiting(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, now: datetime
) -> ExperimentVerdict:
    fresh, answering = bake_freshness(seen, now), winner_answering(seen, status, decision)
    found = list(filter(None, (fresh, answering)))
    status = status.having(conditions=merged(status.conditions, found, seen.generation, timestamp(now)))
    since = status.baking_since or (timestamp(now) if _is_led(seen, decision) else None)
    if since is None:
        finding = Finding(ConditionType.BAKED, "False", Reason.ROUTER_BEHIND, _waits_for(seen, decision))
        return Verdict(_told(seen, status, finding, now), "Working", again=_PERIOD_SECONDS)
    end = datetime.fromisoformat(since) + timedelta(seconds=seconds(seen.spec.decision.bake))
    if now >= end and answering and answering.status != "True":
        late = f"the time is over, and the winner is waited for: {answering.message}"
        finding = Finding(ConditionType.BAKED, "False", answering.reason, late)
        return Verdict(_told(seen, status, finding, now), "Working", again=_PERIOD_SECONDS)
    if now >= end and fresh and fresh.status != "True" and now < end + WAITED_FOR:
        late = f"the time is over, and what was counted is waited for: {fresh.message}"
        finding = Finding(ConditionType.BAKED, "False", fresh.reason, late)
        return Verdict(_told(seen, status, finding, now), "Working", again=_PERIOD_SECONDS)
    if now >= end:
        return _over(seen, status, decision, _baked(f"it had the traffic for {seen.spec.decision.bake}"), now)
    name, held = seen.spec.version_of(decision.winner), seen.spec.decision.bake_holdback_percent
    message = (
        f"clients get ModelVersion {name}, but for {held} % at most who stay with the control, until {timestamp(end)}"
    )
    told = _told(seen, status, Finding(ConditionType.BAKED, "False", Reason.BAKING, message), now)
    again = min(_PERIOD_SECONDS, (end - now).total_seconds())
    return Verdict(told.having(baking_since=since), "Working", again=again)


def returning(
    seen: ObservedExperiment, status: ABExperimentStatus, returned: Returned, now: datetime
) -> ExperimentVerdict:
    """Keep why everybody returns, which is told with it."""
    return Verdict(told_return(seen, status, returned, now), "Working", apply=(KeepReturn(returned),), again=0.0)


def _ends_as(returned: Returned) -> tuple[ExperimentPhase, Reason]:
    return _RETURNED.get(returned.outcome, ("RolledBack", Reason.CONTROL_WINS))


def told_return(
    seen: ObservedExperiment, status: ABExperimentStatus, returned: Returned, now: datetime
) -> ABExperimentStatus:
    """Nothing is told of a bake where none was to come, nor of an alias that is not to be moved any more."""
    phase, reason = _ends_as(returned)
    found = [Finding(ConditionType.DECIDED, "True", reason, returned.reason)]
    if seconds(seen.spec.decision.bake):
        found.append(Finding(ConditionType.BAKED, "False", reason, returned.reason))
    if shown_by := _SHOWN_BY.get(reason):
        found.append(Finding(shown_by, "False", reason, returned.reason))
    kept = without(status.conditions, [ConditionType.ALIAS_MOVED])
    told = status.having(reason=reason.value, conditions=merged(kept, found, seen.generation, timestamp(now)))
    return told.led_to(seen.spec.control).having(phase=phase)


def _baked(message: str) -> Finding:
    return Finding(ConditionType.BAKED, "True", Reason.BAKED, message)


def _over(
    seen: ObservedExperiment, status: ABExperimentStatus, decision: DecisionStatus, baked: Finding, now: datetime
) -> ExperimentVerdict:
    told = _told(seen, status, baked, now).having(phase="Promoted")
    promoted = Finding(ConditionType.DECIDED, "True", Reason.PROMOTED, decision.reason)
    return Verdict(_told(seen, told, promoted, now), "Working", again=0.0)


def _told(seen: ObservedExperiment, status: ABExperimentStatus, finding: Finding, now: datetime) -> ABExperimentStatus:
    conditions = merged(status.conditions, [finding], seen.generation, timestamp(now))
    return status.having(reason=finding.reason.value, conditions=conditions)


def _is_led(seen: ObservedExperiment, decision: DecisionStatus) -> bool:
    route = seen.route
    is_split = seen.identity in route.split_by
    return route.default == seen.spec.version_of(decision.winner) and not is_split and route.has_arrived


def _waits_for(seen: ObservedExperiment, decision: DecisionStatus) -> str:
    name, route = seen.spec.version_of(decision.winner), seen.route
    begins = f"the time begins when clients get ModelVersion {name}"
    if route.default != name and route.awaited and route.awaited.version == name:
        return f"{begins}, which is to have pods for all of them: {route.awaited.in_words}"
    if route.default != name and not seen.variants[decision.winner or ""].ready:
        return f"{begins}, which does not answer"
    return f"{begins}: {route.waits_for or 'the routers are being told'}"
