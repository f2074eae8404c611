"""A Deployment of engines as it is read, and what this installation makes their pods of."""

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.decide.serving_engine import Engine
from anneal_operator.desired.keys import KEYS_ANNOTATION, Keys
from anneal_operator.desired.serving import BUILD_ANNOTATION, WISH_ANNOTATION, ServingEnvironment
from anneal_operator.desired.weights import Authorities
from anneal_operator.settings import Settings

__all__ = ["engine_seen", "own_authorities", "serving_environment"]

_COMPLETE = "NewReplicaSetAvailable"
"""What a Deployment says of its progress from when all its pods are of one make and answer, whatever comes later."""


def serving_environment(settings: Settings, keys: Keys) -> ServingEnvironment:
    """Return what every engine's pod gets."""
    return ServingEnvironment(
        settings.server_image,
        settings.image_pull_policy,
        settings.mlflow_url,
        settings.server_environment,
        keys,
        authorities=own_authorities(settings),
        endpoints=settings.artifact_endpoints,
    )


def own_authorities(settings: Settings) -> Authorities | None:
    """Return the certificate authorities of the installation's own."""
    named = settings.authorities_config_map
    return Authorities(named, settings.authorities_key) if named else None


def engine_seen(made: Manifest) -> Engine | None:
    """Return what a Deployment of engines says of its newest generation; one that ends is none."""
    if made["metadata"].get("deletionTimestamp"):
        return None
    status, annotations = made.get("status", {}), made["metadata"].get("annotations", {})
    is_current = status.get("observedGeneration") == made["metadata"].get("generation")
    ready, updated = int(status.get("readyReplicas", 0)), int(status.get("updatedReplicas", 0)) if is_current else 0
    replicas, older = int(made["spec"].get("replicas", 1)), int(status.get("replicas", updated)) - updated
    told = {found["type"]: found for found in status.get("conditions", ())}
    refusal = told.get("ReplicaFailure", {})
    return Engine(
        ready,
        annotations.get(BUILD_ANNOTATION, ""),
        replicas,
        is_rolling=min(ready, updated) < replicas or older > 0,
        demands_key=KEYS_ANNOTATION in annotations,
        wish=annotations.get(WISH_ANNOTATION, ""),
        refusal=str(refusal.get("message", "")) if refusal.get("status") == "True" else "",
        is_complete=is_current and older <= 0 and told.get("Progressing", {}).get("reason") == _COMPLETE,
    )
