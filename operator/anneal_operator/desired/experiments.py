"""What is kept of an ABExperiment beyond its status: a record in a ConfigMap that nobody owns.

Its name follows from the experiment's name and from what its spec says beyond the defaults, so that a release with new
ones finds it: whoever applies the same manifest again, also after a restore without statuses, gets the decision that
was made, and never another. To run an experiment once more, give it another name or delete its record.
"""

import hashlib
import json
from collections.abc import Mapping

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.resources import OWNER_ANNOTATION

from .operations import Create, Patch
from .pods import Manifest, labels

__all__ = ["DECISION_KEY", "START_KEY", "decision_kept", "record_closed", "record_name", "start_kept"]

START_KEY, DECISION_KEY = "start.json", "decision.json"


def record_name(experiment: Manifest) -> str:
    """The record of an experiment with this name and spec."""
    said = ABExperimentSpec.parse(experiment["spec"]).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = json.dumps(said, sort_keys=True)
    return f"{experiment['metadata']['name']}-record-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def start_kept(experiment: Manifest, started_at: str, variants: Mapping[str, Mapping[str, str]]) -> Create:
    """The record as counting begins: when, what was asked, and of each variant its version in MLflow and its digest."""
    metadata = experiment["metadata"]
    start = {"startedAt": started_at, "spec": experiment["spec"], "variants": variants}
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
            "data": {START_KEY: json.dumps(start, sort_keys=True)},
        }
    )


def decision_kept(experiment: Manifest, revision: str, decision: Manifest, *, closes: bool) -> Patch:
    """The record as the decision is made; refused where the record is not as it was seen."""
    data = {DECISION_KEY: json.dumps(decision, sort_keys=True)}
    changes: Manifest = {"metadata": {"resourceVersion": revision}, "data": data}
    return Patch("ConfigMap", record_name(experiment), {**changes, **({"immutable": True} if closes else {})})


def record_closed(experiment: Manifest) -> Patch:
    """The record once everything that follows was done; it can only be deleted now."""
    return Patch("ConfigMap", record_name(experiment), {"immutable": True})
