"""The record of an ABExperiment as it is read: from the namespace's ConfigMap, and from MLflow, which outlives it."""

import dataclasses
import json
from collections.abc import Mapping

from anneal_operator.api.ab_experiment_status import DecisionStatus
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.observed_experiment import Pin, Record, Returned
from anneal_operator.decide.statistics.packed import packed, unpacked
from anneal_operator.decide.statistics.terms import Terms
from anneal_operator.desired.experiments import (
    DECISION_KEY,
    LATCHES_KEY,
    RECOMMENDATION_KEY,
    RETURN_KEY,
    START_KEY,
    Start,
    record_name,
    record_name_with_ramp,
)

__all__ = ["kept_record", "record_of", "remembered_in", "remembered_of", "start_of", "text_of"]

_AS_DECIDED = "snapshot"


async def kept_record(reader: Reader, experiment: Manifest) -> Manifest | None:
    """Return the ConfigMap of an experiment's record, under whichever name."""
    for name in _names(experiment):
        if found := await reader.get("ConfigMap", experiment["metadata"]["namespace"], name):
            return found
    return None


def remembered_of(records: Mapping[str, str], experiment: Manifest) -> Record | None:
    """Return what MLflow's tags of a model say of an experiment, under whichever name."""
    namespace = experiment["metadata"]["namespace"]
    told = (remembered_in(records.get(f"{namespace}.{name}", "")) for name in _names(experiment))
    return next(filter(None, told), None)


def _names(experiment: Manifest) -> list[str]:
    """An earlier build's name follows from the ramp, too; once that changed, the status alone knows it."""
    known = str((experiment.get("status") or {}).get("record") or "")
    names = (record_name(experiment), record_name_with_ramp(experiment), known)
    return list(filter(None, dict.fromkeys(names)))


def record_of(found: Manifest | None, owner: str) -> Record | None:
    """Return what a record's ConfigMap says; nothing of one that is not ours, or that somebody spoilt."""
    if found is None or (found["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION) != owner:
        return None
    data = found.get("data") or {}
    try:
        start, decision, advice = json.loads(data[START_KEY]), data.get(DECISION_KEY), data.get(RECOMMENDATION_KEY)
        return Record(
            started_at=start["startedAt"],
            pins={name: Pin(**pin) for name, pin in start["variants"].items()},
            is_closed=bool(found.get("immutable")),
            uid=str(start.get("uid", "")),
            revision=str(found["metadata"].get("resourceVersion", "")),
            kept_as=str(found["metadata"].get("name", "")),
            decision=DecisionStatus.parse(json.loads(decision)) if decision else None,
            recommendation=DecisionStatus.parse(json.loads(advice)) if advice and not decision else None,
            returned=Returned(**json.loads(data[RETURN_KEY])) if RETURN_KEY in data else None,
            terms=Terms.read(start["terms"]) if "terms" in start else None,
            latches=frozenset(json.loads(data.get(LATCHES_KEY, "[]"))),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def start_of(record: Record) -> Start:
    """Return the record's beginning, and what was found since, as they are kept."""
    terms = record.terms.told() if record.terms else None
    advice = record.recommendation.dump() if record.recommendation else None
    returned = dataclasses.asdict(record.returned) if record.returned else None
    return Start(record.started_at, record.uid, _variants_of(record), terms, record.latches, advice, returned)


def _variants_of(record: Record) -> dict[str, dict[str, str]]:
    return {name: dataclasses.asdict(pin) for name, pin in record.pins.items()}


def text_of(record: Record) -> str:
    """Return the record as MLflow has it: what was asked is in the record's name.

    MLflow's database takes 5,000 characters in a model's tag, so what the decision's snapshot says is not said twice.
    """
    decision = record.decision.dump() if record.decision else None
    told = {"startedAt": record.started_at, "uid": record.uid, "variants": _variants_of(record), "decision": decision}
    found: Manifest = {"terms": _terms_of(record, record.terms)} if record.terms else {}
    found |= {"latches": sorted(record.latches)} if record.latches else {}
    found |= {"recommendation": record.recommendation.dump()} if record.recommendation else {}
    found |= {"returned": dataclasses.asdict(record.returned)} if record.returned else {}
    whole = {**told, **found, "closed": record.is_closed}
    return packed(json.dumps(whole, sort_keys=True, separators=(",", ":")))


def _terms_of(record: Record, terms: Terms) -> Manifest | str:
    said = record.decision or record.recommendation
    return _AS_DECIDED if said and _terms_decided(said.snapshot) == terms else terms.told()


def _terms_decided(snapshot: str) -> Terms | None:
    try:
        return Terms.read(json.loads(snapshot)["terms"])
    except (KeyError, TypeError, ValueError):
        return None


def _terms_in(told: Manifest) -> Terms | None:
    terms = told.get("terms")
    if terms == _AS_DECIDED:
        return _terms_decided((told["decision"] or told["recommendation"])["snapshot"])
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
            recommendation=DecisionStatus.parse(told["recommendation"]) if "recommendation" in told else None,
            returned=Returned(**told["returned"]) if "returned" in told else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
