"""The record of an ABExperiment as it is read: from the namespace's ConfigMap, and from MLflow, which outlives it."""

import dataclasses
import json

from anneal_operator.api.ab_experiment import DecisionStatus
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.observed_experiment import Pin, Record
from anneal_operator.desired.experiments import DECISION_KEY, START_KEY

__all__ = ["record_of", "remembered_in", "text_of", "variants_of"]


def record_of(found: Manifest | None, owner: str) -> Record | None:
    """Return what a record's ConfigMap says; nothing of one that is not ours, or that somebody spoilt."""
    if found is None or (found["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION) != owner:
        return None
    data = found.get("data") or {}
    try:
        start, decision = json.loads(data[START_KEY]), data.get(DECISION_KEY)
        return Record(
            started_at=start["startedAt"],
            pins={name: Pin(**pin) for name, pin in start["variants"].items()},
            is_closed=bool(found.get("immutable")),
            uid=str(start.get("uid", "")),
            revision=str(found["metadata"].get("resourceVersion", "")),
            decision=DecisionStatus.parse(json.loads(decision)) if decision else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def variants_of(record: Record) -> dict[str, dict[str, str]]:
    """Return what each variant was as counting began."""
    return {name: dataclasses.asdict(pin) for name, pin in record.pins.items()}


def text_of(record: Record) -> str:
    """Return the record as MLflow has it: what was asked is in the record's name.

    MLflow's database takes 5,000 characters in a model's tag.
    """
    decision = record.decision.dump() if record.decision else None
    told = {"startedAt": record.started_at, "uid": record.uid, "variants": variants_of(record), "decision": decision}
    return json.dumps({**told, "closed": record.is_closed}, sort_keys=True, separators=(",", ":"))


def remembered_in(text: str) -> Record | None:
    """Return what MLflow says of a record; of one that somebody spoilt nothing is known."""
    try:
        told = json.loads(text)
        return Record(
            started_at=told["startedAt"],
            decision=DecisionStatus.parse(told["decision"]) if told["decision"] else None,
            pins={name: Pin(**pin) for name, pin in told["variants"].items()},
            is_closed=bool(told["closed"]),
            uid=str(told["uid"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
