"""A decision that was made, made again from the numbers that are kept with it: by anybody, and without a cluster.

What time, silence or a person decided is not in the numbers; these then say what they show, and contradict nothing.
"""

import json
from collections.abc import Mapping
from typing import Any

from .packed import unpacked
from .snapshot import Conclusion, Snapshot

__all__ = ["recomputed"]

_BY_NUMBERS = ("sequence-", "welch-", "guardrail-")
_OF_COPIES = "shadow-"
"""Answers were compared, and nothing follows from how far they agreed."""
_WITHOUT_WINNER = {"Inconclusive", "Aborted", "ControlReplaced", "Observed"}
_DECISION_KEY, _RETURN_KEY = "decision.json", "return.json"


def recomputed(text: str) -> tuple[str, bool]:
    """Return what is recorded and what follows from its numbers, and whether they agree; raise ValueError where nothing
    can be told.

    `text` is the JSON of an experiment's record (a ConfigMap), of the ABExperiment, or of the decision alone.
    """
    try:
        told = json.loads(unpacked(text))
        decision, since = _decision_in(told), _since(told)
        is_judged = decision["snapshot"] != "{}" and not decision["rule"].startswith(_OF_COPIES)
        snapshot = Snapshot.read(json.loads(decision["snapshot"])) if is_judged else None
        recorded = [decision["outcome"], decision.get("winner"), decision["rule"], decision["reason"]]
        found = snapshot.conclusion() if snapshot else None
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError("there is no decision of an ABExperiment in it") from error
    again = [found.outcome, found.winner, found.rule, _as_told(found, decision["reason"])] if found else None
    lines = [f"recorded:   {_line(recorded)}", f"recomputed: {_line(again) if again else 'the numbers decide nothing'}"]
    if not recorded[2].startswith(_BY_NUMBERS) and recorded[0] in _WITHOUT_WINNER and recorded[1] is None:
        return "\n".join([*lines, f"it ended by the rule {recorded[2]}, which is not a matter of numbers"]), True
    agrees = recorded == again
    return "\n".join([*lines, "they agree" if agrees else "they do not agree", *since]), agrees


def _as_told(found: Conclusion, reason: str) -> str:
    """The reason in the words of the build that decided: earlier ones did not say how it stands to what was asked."""
    return found.reason if found.reason == reason else found.sentence


def _decision_in(found: Mapping[str, Any]) -> Mapping[str, Any]:
    if _DECISION_KEY in (found.get("data") or {}):
        decision: Mapping[str, Any] = json.loads(found["data"][_DECISION_KEY])
        return decision
    return (found.get("status") or {}).get("decision") or found


def _since(found: Mapping[str, Any]) -> list[str]:
    """What became of a winner that baked, where its record says that it was not promoted after all."""
    returned = (found.get("data") or {}).get(_RETURN_KEY)
    return [f"since then: {json.loads(returned)['reason']}"] if returned else []


def _line(told: list[str | None]) -> str:
    outcome, winner, rule, reason = told
    return f"{outcome}{f' {winner}' if winner else ''}, by {rule}: {reason}"
