"""What kstatus (sigs.k8s.io/cli-utils) makes of a custom resource: Flux and kpt wait by it."""

from typing import Any, Literal

__all__ = ["Verdict", "kstatus"]

Verdict = Literal["InProgress", "Current", "Failed", "Terminating"]
_BY_CONDITION: dict[str, Verdict] = {"Reconciling": "InProgress", "Stalled": "Failed"}


def kstatus(manifest: dict[str, Any]) -> Verdict:
    """As its `Compute` does: by the generation, else by Reconciling and Stalled, else by Ready; else all is well."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if status.get("observedGeneration") not in {None, metadata["generation"]}:
        return "InProgress"
    told = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    for kind, said in told.items():
        if kind in _BY_CONDITION and said == "True":
            return _BY_CONDITION[kind]
    return "Current" if told.get("Ready", "True") == "True" else "InProgress"
