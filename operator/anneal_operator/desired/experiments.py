"""What is kept of an ABExperiment beyond its status: a record in a ConfigMap that nobody owns, and in MLflow.

Its name follows from the experiment's name and from what its spec says beyond the defaults, so that a release with new
ones finds it, of what never changes while it runs: whoever applies the same manifest again, also after a restore
without statuses, gets the decision that was made, and never another, and one that runs goes on. To run an experiment
once more, give it another name.
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
    "RECOMMENDATION_KEY",
    "RETURN_KEY",
    "START_KEY",
    "Start",
    "decision_kept",
    "latches_kept",
    "recommendation_kept",
    "record_closed",
    "record_name",
    "record_name_with_ramp",
    "return_kept",
    "start_kept",
]

START_KEY, DECISION_KEY, LATCHES_KEY = "start.json", "decision.json", "latches.json"
RECOMMENDATION_KEY, RETURN_KEY = "recommendation.json", "return.json"
_MAY_CHANGE: Mapping[str, bool | set[str]] = {
    "suspend": True,
    "abort": True,
    "assignment": {"ramp"},
    "decision": {"approve"},
}


def record_name(experiment: Manifest) -> str:
    """The record of an experiment with this name and spec."""
    return _named(experiment, ABExperimentSpec.parse(experiment["spec"]))


def record_name_with_ramp(experiment: Manifest) -> str:
    """The same as a build named it under which the ramp could not change, either."""
    spec = ABExperimentSpec.parse(experiment["spec"])
    ramp = spec.assignment.model_dump(mode="json", by_alias=True, exclude_defaults=True, include={"ramp"})
    return _named(experiment, spec, ramp)


def _named(experiment: Manifest, spec: ABExperimentSpec, ramp: Manifest | None = None) -> str:
    """Testers are a set, and that more of what users say is better was always so where nobody said anything else."""
    said = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=_MAY_CHANGE)
    said["assignment"] = {**said.get("assignment", {}), **(ramp or {})}
    primary = spec.metrics.primary
    if spec.type != "Shadow" and primary.source == "Feedback" and primary.increases:
        said["metrics"]["primary"].pop("direction", None)
    said = {name: value for name, value in said.items() if value != {}}
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
    recommendation: Manifest | None = None
    """What a person is asked to approve."""
    returned: Manifest | None = None
    """Why everybody returned to the control."""


def start_kept(experiment: Manifest, start: Start, decision: Manifest | None = None, *, closes: bool = False) -> Create:
    """The record as counting begins, and what was asked; where it is made anew, with the decision."""
    metadata = experiment["metadata"]
    begun = {"startedAt": start.at, "uid": start.uid, "spec": experiment["spec"], "variants": start.variants}
    if start.terms is not None:
        begun["terms"] = start.terms
    data = {START_KEY: json.dumps(begun, sort_keys=True)}
    if start.latches:
        data[LATCHES_KEY] = json.dumps(sorted(start.latches))
    found = {DECISION_KEY: decision, RECOMMENDATION_KEY: start.recommendation, RETURN_KEY: start.returned}
    data |= {key: json.dumps(told, sort_keys=True) for key, told in found.items() if told is not None}
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


def decision_kept(name: str, revision: str, decision: Manifest, *, closes: bool) -> Patch:
    """The record of this name as the decision is made; refused where the record is not as it was seen."""
    return _added(name, revision, DECISION_KEY, decision, closes=closes)


def recommendation_kept(name: str, revision: str, recommendation: Manifest) -> Patch:
    """The record once a person is asked to approve something; refused where the record is not as it was seen."""
    return _added(name, revision, RECOMMENDATION_KEY, recommendation)


def return_kept(name: str, revision: str, returned: Manifest) -> Patch:
    """The record as everybody returns to the control; refused where the record is not as it was seen."""
    return _added(name, revision, RETURN_KEY, returned, closes=True)


def latches_kept(name: str, revision: str, latches: Collection[str]) -> Patch:
    """The record once something is found against the data; refused where the record is not as it was seen."""
    return _added(name, revision, LATCHES_KEY, sorted(latches))


def _added(name: str, revision: str, key: str, told: object, *, closes: bool = False) -> Patch:
    data = {key: json.dumps(told, sort_keys=True)}
    changes: Manifest = {"metadata": {"resourceVersion": revision}, "data": data}
    return Patch("ConfigMap", name, {**changes, **({"immutable": True} if closes else {})})


def record_closed(name: str) -> Patch:
    """The record once everything that follows was done; it can only be deleted now."""
    return Patch("ConfigMap", name, {"immutable": True})
