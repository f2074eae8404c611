"""LeaderWorkerSet, built from its Go module, as its own manifests install it: webhooks, certificates and all.

It runs in the cluster, not beside it, since its webhooks are called by the name of its Service. They see the pods of
groups alone, so what an interrupted run left holds up nobody but the next one.
"""

import json
import shutil
from collections.abc import Iterator
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

__all__ = ["leader_worker_sets"]

_NAMESPACE, _MANAGER = "lws-system", "deployment/lws-controller-manager"
_DEFINITION = "leaderworkersets.leaderworkerset.x-k8s.io"
_WEBHOOKS = (
    "mutatingwebhookconfiguration/lws-mutating-webhook-configuration",
    "validatingwebhookconfiguration/lws-validating-webhook-configuration",
)
_IMAGE = ProgramImage("anneal.local/lws:1", "lws", '["/bin/lws"]')
_PROBE = {
    "apiVersion": "leaderworkerset.x-k8s.io/v1",
    "kind": "LeaderWorkerSet",
    "metadata": {"name": "probe"},
    "spec": {
        "replicas": 0,
        "leaderWorkerTemplate": {
            "workerTemplate": {"spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    },
}
_POD = [
    {"op": "replace", "path": "/spec/replicas", "value": 1},
    {"op": "add", "path": "/spec/template/spec/securityContext/runAsUser", "value": 65532},
    {"op": "replace", "path": "/spec/template/spec/containers/0/command", "value": ["/bin/lws"]},
    {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": _IMAGE.reference},
    {"op": "add", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "Never"},
    {"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/cpu", "value": "50m"},
]


@dataclass(frozen=True)
class _LeaderWorkerSet(Part):
    """Its manager (Apache License 2.0), built and cached like the local cluster's parts."""

    @property
    @override
    def source(self) -> Path:
        return Path(__file__).parent / "go/lws"


_PART = _LeaderWorkerSet("lws", ("lws",), "sigs.k8s.io/lws", files=("config",))


@contextmanager
def leader_worker_sets(layout: Layout, folder: Path) -> Iterator[None]:
    """Have LeaderWorkerSet in the running cluster, ready for groups; nothing of it is left afterwards."""
    built = build([_PART], layout.cache)
    import_archives(layout, {_IMAGE.reference: image_archive(_IMAGE, built["lws"], layout.cache)})
    _write_kustomization(folder, built["config"])
    kubectl = layout.kubectl
    if kubectl("get", f"namespace/{_NAMESPACE}", f"crd/{_DEFINITION}", "--ignore-not-found", "-o", "name"):
        _remove(kubectl, folder)  # an interrupted run left it
    try:
        kubectl("apply", "--server-side", "-k", str(folder))
        kubectl("-n", _NAMESPACE, "rollout", "status", _MANAGER, "--timeout=180s")
        _mount_the_certificate(kubectl.within(_NAMESPACE))
        _wait_until_the_webhooks_answer(kubectl)
        yield
    finally:
        _remove(kubectl, folder)


def _write_kustomization(folder: Path, config: Path) -> None:
    """Its own, with our image."""
    shutil.copytree(config, folder / "config", copy_function=shutil.copyfile)
    patch = {"target": {"kind": "Deployment"}, "patch": json.dumps(_POD)}
    kustomization = {"resources": ["config/default"], "patches": [patch]}
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))


def _mount_the_certificate(kubectl: Kubectl) -> None:
    """The manager waits for its certificate to be in its volume: by itself the kubelet looks once a minute."""
    secret = ("get", "secret", "lws-webhook-server-cert", "-o", "jsonpath={.data.tls\\.crt}")
    if not poll(lambda: kubectl(*secret, check=False) != "", 120, every=0.5):
        raise CommandError(f"LeaderWorkerSet made no certificate:\n{kubectl('describe', 'pods')}")
    kubectl("annotate", "pods", "--all", "anneal-test/look=again")


def _wait_until_the_webhooks_answer(kubectl: Kubectl) -> None:
    """Ready says that they listen; the API server must have learned of their certificate and of the Service, too."""
    asked = ("create", "--dry-run=server", "-n", "default", "-f", "-")
    if not poll(lambda: kubectl.process(*asked, given=json.dumps(_PROBE)).returncode == 0, 120, every=0.5):
        raise CommandError(kubectl.process(*asked, given=json.dumps(_PROBE)).stderr)


def _remove(kubectl: Kubectl, folder: Path) -> None:
    """First the webhooks: without their manager they would refuse whatever becomes of the groups that are left."""
    kubectl("delete", *_WEBHOOKS, "--ignore-not-found", check=False)
    kubectl("delete", "-k", str(folder), "--ignore-not-found", "--wait=false")
    for gone in (f"namespace/{_NAMESPACE}", f"crd/{_DEFINITION}"):
        kubectl("wait", "--for=delete", gone, "--timeout=120s")
