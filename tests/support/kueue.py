"""Kueue, built from its Go module, as its own manifests install it: webhooks, certificates and all.

It runs in the cluster, not beside it, since its webhooks are called by the name of its Service. Of its integrations
only that of batch/v1 Jobs is on, and it leaves Jobs without a queue's name alone.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from local_cluster.build import build
from local_cluster.layout import Layout
from local_cluster.loading import import_archives
from local_cluster.parts import Part
from local_cluster.system_images import ProgramImage, image_archive
from toolbox.commands import CommandError
from toolbox.kubectl import Kubectl
from toolbox.polling import poll

__all__ = ["QUEUE_LABEL", "add_queue", "disarm", "kueue"]

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_NAMESPACE, _FLAVOR = "kueue-system", "any-node"
_KINDS = ("workloads.kueue.x-k8s.io", "localqueues", "clusterqueues", "resourceflavors")
_IMAGE = ProgramImage("anneal.local/kueue:1", "kueue", '["/bin/kueue"]')
_CONFIGURATION = {
    "apiVersion": "config.kueue.x-k8s.io/v1beta2",
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": ":8081"},
    "metrics": {"bindAddress": ":8443"},
    "webhook": {"port": 9443},
    "leaderElection": {"leaderElect": False},
    "integrations": {"frameworks": ["batch/job"]},
}
_VISIBILITY = ("v1beta1.visibility.kueue.x-k8s.io", "v1beta2.visibility.kueue.x-k8s.io")
"""APIs that the manager serves, and that cannot be reached as it is run here: unanswered, they let no namespace end."""
_POD = [
    {"op": "add", "path": "/spec/template/spec/securityContext/runAsUser", "value": 65532},
    {"op": "replace", "path": "/spec/template/spec/containers/0/command", "value": ["/bin/kueue"]},
    {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": _IMAGE.reference},
    {"op": "replace", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "Never"},
    {"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/cpu", "value": "50m"},
    {"op": "replace", "path": "/spec/template/spec/containers/0/readinessProbe/periodSeconds", "value": 1},
]


@dataclass(frozen=True)
class _Kueue(Part):
    """Kueue's manager (Apache License 2.0), built and cached like the local cluster's parts."""

    @property
    @override
    def source(self) -> Path:
        return Path(__file__).parent / "go/kueue"


_PART = _Kueue("kueue", ("kueue",), "sigs.k8s.io/kueue", files=("config",))


@contextmanager
def kueue(layout: Layout, folder: Path) -> Iterator[None]:
    """Have Kueue in the running cluster, ready for queues; nothing of it is left afterwards."""
    built = build([_PART], layout.cache)
    import_archives(layout, {_IMAGE.reference: image_archive(_IMAGE, built["kueue"], layout.cache)})
    _write_kustomization(folder, built["config"])
    kubectl = layout.kubectl
    left = (f"namespace/{_NAMESPACE}", "customresourcedefinition/workloads.kueue.x-k8s.io")
    if kubectl("get", *left, "--ignore-not-found", "-o", "name"):
        _remove(kubectl, folder)  # an interrupted run left it
    try:
        kubectl("apply", "--server-side", "-k", str(folder))
        kubectl("delete", "apiservices", *_VISIBILITY, "--ignore-not-found")
        _mount_the_certificate(kubectl.within(_NAMESPACE))
        kubectl("-n", _NAMESPACE, "rollout", "status", "deployment/kueue-controller-manager", "--timeout=180s")
        _wait_until_the_webhooks_answer(kubectl)
        yield
    finally:
        _remove(kubectl, folder)


def add_queue(kubectl: Kubectl, name: str, quota: Mapping[str, str]) -> None:
    """Make a queue in kubectl's namespace, and wait until it is open: Jobs there may hold the quota, all in all.

    A Job that asks for a resource without a quota is never admitted: give one for `cpu` and `memory`, too.
    """
    cluster_queue = f"{kubectl.namespace}.{name}"
    nominal = [{"name": resource, "nominalQuota": amount} for resource, amount in quota.items()]
    flavors = [{"name": _FLAVOR, "resources": nominal}]
    group = {"coveredResources": list(quota), "flavors": flavors}
    api = "kueue.x-k8s.io/v1beta2"
    namespaces = {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}}
    for kind, own_name, spec in (
        ("ClusterQueue", cluster_queue, {"namespaceSelector": namespaces, "resourceGroups": [group]}),
        ("LocalQueue", name, {"clusterQueue": cluster_queue}),
    ):
        kubectl.apply({"apiVersion": api, "kind": kind, "metadata": {"name": own_name}, "spec": spec})
    kubectl("wait", f"localqueue/{name}", "--for=condition=Active", "--timeout=60s")


def _write_kustomization(folder: Path, config: Path) -> None:
    """Kueue's own, with our image and configuration."""
    shutil.copytree(config, folder / "config", copy_function=shutil.copyfile)
    (folder / "config/components/manager/controller_manager_config.yaml").write_text(json.dumps(_CONFIGURATION))
    patch = {"target": {"kind": "Deployment"}, "patch": json.dumps(_POD)}
    kustomization = {"resources": ["config/default"], "patches": [patch]}
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))


def _mount_the_certificate(kubectl: Kubectl) -> None:
    """The manager waits for its certificate to be in its volume: by itself the kubelet looks once a minute."""
    secret = ("get", "secret", "kueue-webhook-server-cert", "-o", "jsonpath={.data.tls\\.crt}")
    if not poll(lambda: kubectl(*secret, check=False) != "", 120, every=0.5):
        raise CommandError(f"Kueue made no certificate:\n{kubectl('describe', 'pods')}")
    kubectl("annotate", "pods", "--all", "anneal-test/look=again")


def _wait_until_the_webhooks_answer(kubectl: Kubectl) -> None:
    """Ready says that they listen; the API server must have learned of their certificate and of the Service, too."""
    flavor = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": _FLAVOR}}
    if not poll(lambda: kubectl.process("apply", "-f", "-", given=json.dumps(flavor)).returncode == 0, 60, every=0.5):
        raise CommandError(kubectl.process("apply", "-f", "-", given=json.dumps(flavor)).stderr)


def disarm(kubectl: Kubectl) -> None:
    """Take away what of an interrupted run holds up others: its webhooks refuse even the Deployments of the cluster
    itself, and with its APIs unanswered no namespace ends.
    """
    kinds = "mutatingwebhookconfigurations,validatingwebhookconfigurations,apiservices"
    listed = kubectl("get", kinds, "-o", "name", "--request-timeout=20s", check=False).split()
    ours = [name for name in listed if "visibility.kueue" in name or "/kueue-" in name]
    if ours:
        kubectl("delete", *ours, "--ignore-not-found", "--request-timeout=20s", check=False)


def _remove(kubectl: Kubectl, folder: Path) -> None:
    """Remove it all; what its manager would have had to let go of is let go of here."""
    kubectl("delete", "-k", str(folder), "--ignore-not-found", "--wait=false")
    poll(lambda: not _let_go(kubectl), 60, every=0.5)
    kubectl("wait", "--for=delete", f"namespace/{_NAMESPACE}", "--timeout=120s")
    poll(lambda: ".kueue.x-k8s.io" not in kubectl("get", "customresourcedefinitions", "-o", "name"), 60, every=0.5)


def _let_go(kubectl: Kubectl) -> list[str]:
    """Take the finalizers from Kueue's objects; return which objects were still there.

    Kind by kind: where one of several is gone already, kubectl lists none of them.
    """
    columns = "custom-columns=KIND:.kind,NAME:.metadata.name,NAMESPACE:.metadata.namespace"
    listed = [
        line
        for kind in _KINDS
        for line in kubectl("get", kind, "-A", "--no-headers", "-o", columns, check=False).splitlines()
    ]
    for kind, name, namespace in (line.split() for line in listed):
        where = [] if namespace == "<none>" else ["-n", namespace]
        patch = '{"metadata": {"finalizers": null}}'
        kubectl("patch", kind, name, *where, "--type=merge", "-p", patch, check=False)
    return listed
