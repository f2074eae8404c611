"""The kinds of objects that the operator touches, and the paths of the API server they live under."""

from dataclasses import dataclass

from anneal_operator.api.resources import CUSTOM_RESOURCES, GROUP, VERSION, Manifest

__all__ = ["KINDS", "Kind", "Manifest"]


@dataclass(frozen=True)
class Kind:
    """One namespaced kind."""

    api_version: str
    name: str
    plural: str

    def path(self, namespace: str, name: str = "") -> str:
        """The path of the collection in a namespace, or of one object."""
        return f"{self._root}/namespaces/{namespace}/{self.plural}" + (f"/{name}" if name else "")

    @property
    def path_everywhere(self) -> str:
        """The path of the collection in all namespaces."""
        return f"{self._root}/{self.plural}"

    @property
    def _root(self) -> str:
        return f"{'/apis' if '/' in self.api_version else '/api'}/{self.api_version}"


_ALL = (
    *(Kind(f"{GROUP}/{VERSION}", resource.kind, resource.plural) for resource in CUSTOM_RESOURCES),
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("v1", "Event", "events"),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("v1", "Pod", "pods"),
    Kind("v1", "Secret", "secrets"),
    Kind("v1", "Service", "services"),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("apps/v1", "Deployment", "deployments"),
    Kind("batch/v1", "Job", "jobs"),
    Kind("coordination.k8s.io/v1", "Lease", "leases"),
    Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects"),
    Kind("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "leaderworkersets"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
)
KINDS = {kind.name: kind for kind in _ALL}
