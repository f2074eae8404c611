"""What has KEDA say how many engines there are: a ScaledObject of what serves a version.

Never of the ModelVersion's own `scale`, which would write into its spec. While one is there, the operator leaves the
number of pods alone, and says only what the fewest are.
"""

from anneal_operator.api.quantities import seconds
from anneal_operator.api.serving import Autoscaling, Serving

from .groups import workload_kind, workload_name
from .pods import Manifest
from .serving import metadata_of

__all__ = ["scaled_object", "without_replicas"]

_API = {"Deployment": "apps/v1", "LeaderWorkerSet": "leaderworkerset.x-k8s.io/v1"}


def without_replicas(workload: Manifest) -> Manifest:
    """Return the same without how many there are, which another says; a new one begins with one."""
    return {**workload, "spec": {name: value for name, value in workload["spec"].items() if name != "replicas"}}


def scaled_object(parent: Manifest, serving: Serving, wanted: Autoscaling, fewest: int) -> Manifest:
    """The ScaledObject of a version; `fewest` is 0 where it may have none."""
    kind = workload_kind(serving.nodes)
    name = workload_name(parent["metadata"]["name"], serving.nodes)
    behaviour = {"scaleDown": {"stabilizationWindowSeconds": seconds(wanted.scale_down_delay)}}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata_of(parent),
        "spec": {
            "scaleTargetRef": {"apiVersion": _API[kind], "kind": kind, "name": name},
            "minReplicaCount": fewest,
            "maxReplicaCount": wanted.max_replicas,
            "cooldownPeriod": seconds(serving.idles_for),
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behaviour}},
            "triggers": [trigger.dump() for trigger in wanted.triggers],
        },
    }
