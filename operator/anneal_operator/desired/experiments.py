"""What is kept of an ABExperiment beyond its status: an immutable record in a ConfigMap that nobody owns.

Its name follows from the experiment's name and spec: whoever applies the same manifest again, also after a restore
without statuses, gets the decision that was made, and never another. To run an experiment once more, give it another
name or delete its record.
"""

import hashlib
import json
from collections.abc import Mapping

from anneal_operator.api.resources import OWNER_ANNOTATION

from .operations import Create, Patch
from .pods import Manifest, labels

__all__ = ["DECISION_KEY", "START_KEY", "decision_kept", "record_name", "start_kept"]

START_KEY, DECISION_KEY = "start.json", "decision.json"


def record_name(experiment: Manifest) -> str:
    """The record of an experiment with this name and spec."""
    text = json.dumps(experiment["spec"], sort_keys=True)
    return f"{experiment['metadata']['name']}-record-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def start_kept(experiment: Manifest, started_at: str, digests: Mapping[str, str]) -> Create:
    """The record as counting begins: when, what was asked, and the digest of each variant's artifact."""
    metadata = experiment["metadata"]
    start = {"startedAt": started_at, "spec": experiment["spec"], "digests": dict(digests)}
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


def decision_kept(experiment: Manifest, decision: Manifest) -> Patch:
    """The record as the decision is made; from then on it cannot be changed."""
    data = {DECISION_KEY: json.dumps(decision, sort_keys=True)}
    return Patch("ConfigMap", record_name(experiment), {"data": data, "immutable": True})
