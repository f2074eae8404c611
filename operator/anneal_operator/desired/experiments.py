"""What is kept of an ABExperiment beyond its status: a record in a ConfigMap that nobody owns, and in MLflow.

Its name follows from the experiment's name and from what its spec says beyond the defaults, so that a release with new
ones finds it: whoever applies the same manifest again, also after a restore without statuses, gets the decision that
was made, and never another, and one that runs goes on. To run an experiment once more, give it another name.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.resources import OWNER_ANNOTATION

from .operations import Create, Patch
from .pods import Manifest, labels

__all__ = [
    "DECISION_KEY",
    "LATCHES_KEY",
    "START_KEY",
    "Start",
    "decision_kept",
    "latches_kept",
    "record_closed",
    "record_name",
    "start_kept",
]

START_KEY, DECISION_KEY, LATCHES_KEY = "start.json", "decision.json", "latches.json"


def record_name(experiment: Manifest) -> str:
    """The record of an experiment with this name and spec; testers are a set."""
    said = ABExperimentSpec.parse(experiment["spec"]).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if override := said.get("assignment", {}).get("override"):
        override["users"].sort()
    text = json.dumps(said, sort_keys=True)
    return f"{experiment['metadata']['name']}-record-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Start:
    """An experiment as its counting began."""

    at: str
    uid: str
    """By which recorder and routers know it."""
    variants: Mapping[str, Mapping[str, str]]
    """Of each its version in MLflow and its digest."""
    terms: Manifest | None = None
    """What the verdict is reached by."""
    latches: Collection[str] = ()
    """What was found against the data, for good."""


def start_kept(experiment: Manifest, start: Start, decision: Manifest | None = None, *, closes: bool = False) -> Create:
    """The record as counting begins, and what was asked; where it is made anew, with the decision."""
    metadata = experiment["metadata"]
    begun = {"startedAt": start.at, "uid": start.uid, "spec": experiment["spec"], "variants": start.variants}
    if start.terms is not None:
        begun["terms"] = start.terms
    data = {START_KEY: json.dumps(begun, sort_keys=True)}
    if start.latches:
        data[LATCHES_KEY] = json.dumps(sorted(start.latches))
    if decision is not None:
        data[DECISION_KEY] = json.dumps(decision, sort_keys=True)
    return Create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": record_name(experiment),
                "namespace": metadata["namespace"],
                "labels": labels("ab-experiment", metadata["name"]),
                "annotations": {OWNER_ANNOTATION: metadata["name"]},
            },
            "data": data,
            **({"immutable": True} if closes else {}),
        }
    )


def decision_kept(experiment: Manifest, revision: str, decision: Manifest, *, closes: bool) -> Patch:
    """The record as the decision is made; refused where the record is not as it was seen."""
    data = {DECISION_KEY: json.dumps(decision, sort_keys=True)}
    changes: Manifest = {"metadata": {"resourceVersion": revision}, "data": data}
    return Patch("ConfigMap", record_name(experiment), {**changes, **({"immutable": True} if closes else {})})


def latches_kept(experiment: Manifest, revision: str, latches: Collection[str]) -> Patch:
    """The record once something is found against the data; refused where the record is not as it was seen."""
    data = {LATCHES_KEY: json.dumps(sorted(latches))}
    return Patch("ConfigMap", record_name(experiment), {"metadata": {"resourceVersion": revision}, "data": data})


def record_closed(experiment: Manifest) -> Patch:
    """The record once everything that follows was done; it can only be deleted now."""
    return Patch("ConfigMap", record_name(experiment), {"immutable": True})
