"""Conditions that keep the time of their last change."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from anneal_operator.api.conditions import Condition
from anneal_operator.reasons import ConditionType, Reason

__all__ = ["Finding", "merged", "without"]


@dataclass(frozen=True)
class Finding:
    """What was judged about one thing, not yet as a condition."""

    type: ConditionType
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str


def merged(previous: Iterable[Condition], findings: Iterable[Finding], generation: int, now: str) -> list[Condition]:
    """Return the previous conditions with these findings in them; the time changes only with the status."""
    result = {condition.type: condition for condition in previous}
    for finding in findings:
        old = result.get(finding.type)
        result[finding.type] = Condition(
            type=finding.type.value,
            status=finding.status,
            reason=finding.reason.value,
            message=finding.message,
            last_transition_time=old.last_transition_time if old and old.status == finding.status else now,
            observed_generation=generation,
        )
    return list(result.values())


def without(conditions: Iterable[Condition], kinds: Iterable[ConditionType]) -> list[Condition]:
    """Return the conditions that are of none of these types."""
    dropped = {kind.value for kind in kinds}
    return [condition for condition in conditions if condition.type not in dropped]
