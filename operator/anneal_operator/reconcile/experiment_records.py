"""The record of an ABExperiment as it is read: from the namespace's ConfigMap, and from MLflow, which outlives it."""

import dataclasses
import json

from anneal_operator.api.ab_experiment_status import DecisionStatus
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.observed_experiment import Pin, Record
from anneal_operator.decide.statistics.packed import packed, unpacked
from anneal_operator.decide.statistics.terms import Terms
from anneal_operator.desired.experiments import DECISION_KEY, LATCHES_KEY, START_KEY, Start

__all__ = ["record_of", "remembered_in", "start_of", "text_of"]

_AS_DECIDED = "snapshot"


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
            terms=Terms.read(start["terms"]) if "terms" in start else None,
            latches=frozenset(json.loads(data.get(LATCHES_KEY, "[]"))),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def start_of(record: Record) -> Start:
    """Return the record's beginning, and what was found since, as they are kept."""
    terms = record.terms.told() if record.terms else None
    return Start(record.started_at, record.uid, _variants_of(record), terms, record.latches)


def _variants_of(record: Record) -> dict[str, dict[str, str]]:
    return {name: dataclasses.asdict(pin) for name, pin in record.pins.items()}


def text_of(record: Record) -> str:
    """Return the record as MLflow has it: what was asked is in the record's name.

    MLflow's database takes 5,000 characters in a model's tag, so what the decision's snapshot says is not said twice.
    """
    decision = record.decision.dump() if record.decision else None
    told = {"startedAt": record.started_at, "uid": record.uid, "variants": _variants_of(record), "decision": decision}
    found = {"terms": _terms_of(record, record.terms)} if record.terms else {}
    latches = {"latches": sorted(record.latches)} if record.latches else {}
    whole = {**told, **found, **latches, "closed": record.is_closed}
    return packed(json.dumps(whole, sort_keys=True, separators=(",", ":")))


def _terms_of(record: Record, terms: Terms) -> Manifest | str:
    return _AS_DECIDED if record.decision and _terms_decided(record.decision.snapshot) == terms else terms.told()


def _terms_decided(snapshot: str) -> Terms | None:
    try:
        return Terms.read(json.loads(snapshot)["terms"])
    except (KeyError, TypeError, ValueError):
        return None


def _terms_in(told: Manifest) -> Terms | None:
    terms = told.get("terms")
    if terms == _AS_DECIDED:
        return _terms_decided(told["decision"]["snapshot"])
    return Terms.read(terms) if terms else None


def remembered_in(text: str) -> Record | None:
    """Return what MLflow says of a record; of one that somebody spoilt nothing is known."""
    try:
        told = json.loads(unpacked(text))
        return Record(
            started_at=told["startedAt"],
            decision=DecisionStatus.parse(told["decision"]) if told["decision"] else None,
            pins={name: Pin(**pin) for name, pin in told["variants"].items()},
            is_closed=bool(told["closed"]),
            uid=str(told["uid"]),
            terms=_terms_in(told),
            latches=frozenset(told.get("latches", ())),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
