"""What people read of an object: Events on change, and the status of one that cannot be parsed."""

import logging

from anneal_operator.api.conditions import Condition
from anneal_operator.cluster.events import record_event
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.conditions import Finding, merged, without
from anneal_operator.errors import ApiError
from anneal_operator.reasons import ConditionType, Reason

from .context import Context

__all__ = ["tell_changes", "unreadable"]

_FOR_PROGRAMS = {ConditionType.RECONCILING.value, ConditionType.STALLED.value}
"""They say again, for kstatus, what another condition says for people, or what the harness itself found."""
_WARNINGS = {
    reason.value
    for reason in (
        Reason.ANSWERS_DIFFER,
        Reason.ENGINE_FAILED,
        Reason.GUARDRAIL_BREACH,
        Reason.NAME_TAKEN,
        Reason.REFUSED,
        Reason.SOURCE_REFUSED,
        Reason.SPEC_INVALID,
        Reason.STATUS_UNREADABLE,
        Reason.UNSOUND,
        Reason.VARIANT_LOST,
        Reason.WEIGHTS_FAILED,
        Reason.WINNER_LOST,
    )
}
log = logging.getLogger("anneal.events")


async def tell_changes(context: Context, current: Manifest, status: Manifest) -> None:
    """Record an Event for each condition that a written status changes, or else for the phase.

    Several that change for one reason, in the same words, are one Event.
    """
    old = current.get("status") or {}
    before = {condition.get("type"): condition for condition in old.get("conditions", ())}
    conditions = status.get("conditions", ())
    said = {condition["reason"] for condition in conditions if condition["type"] not in _FOR_PROGRAMS}
    changed = [
        condition
        for condition in conditions
        if (condition["type"] not in _FOR_PROGRAMS or condition["reason"] not in said)
        and _differs(condition, before.get(condition["type"], {}))
    ]
    for condition in {(one["reason"], one["message"]): one for one in changed}.values():
        failed = condition["type"] == ConditionType.SUCCEEDED and condition["status"] == "False"
        warning = failed or condition["reason"] in _WARNINGS
        await _record(context, current, condition["reason"], condition["message"], warning=warning)
    if not changed and status.get("phase") != old.get("phase") and status.get("conditions"):
        await _record(context, current, status["phase"], status["conditions"][0]["message"], warning=False)


def unreadable(manifest: Manifest, reason: Reason, message: str, now: str) -> Manifest:
    """Return the status of an object that cannot be parsed: all that it had, and why nothing is done."""
    status, generation = manifest.get("status") or {}, int(manifest["metadata"].get("generation", 0))
    found = Finding(ConditionType.STALLED, "True", reason, message)
    try:
        known = [Condition.parse(condition) for condition in status.get("conditions", ())]
    except (TypeError, ValueError):
        metadata = manifest["metadata"]
        where = f"{manifest['kind']} {metadata['namespace']}/{metadata['name']}"
        log.warning("%s: %s; it does not say so itself, as status.conditions cannot be read", where, message)
        return status
    kept = without(known, [ConditionType.RECONCILING])
    conditions = [condition.dump() for condition in merged(kept, [found], generation, now)]
    return {**status, "reason": reason.value, "observedGeneration": generation, "conditions": conditions}


def _differs(condition: Manifest, known: Manifest) -> bool:
    return (known.get("status"), known.get("reason")) != (condition["status"], condition["reason"])


async def _record(context: Context, current: Manifest, reason: str, message: str, *, warning: bool) -> None:
    """An event that cannot be written is no reason to do the work again."""
    try:
        await record_event(context.api, current, reason, message, warning=warning)
    except ApiError as error:
        log.warning("an event was lost: %s", error)
