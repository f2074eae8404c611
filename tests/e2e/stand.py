"""The operator as a process of this machine with all that it meets: nodes, MLflow and routers live by a script."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from anneal_operator.desired.routing import ROUTER, ROUTER_LABEL
from demo.commands import Commands
from demo.installation import Installation
from tests.outside.mlflow_server import MlflowServer, mlflow_server
from toolbox.polling import poll

from .api_proxy import ApiProxy
from .conftest import CHECKOUT, Cluster
from .outside_operator import OutsideOperator
from .scripted_pods import GPU, ROWS, clear_away, scripted_nodes
from .scripted_router import ScriptedRouter, scripted_router

__all__ = ["Manifest", "Stand", "stand"]

Manifest = dict[str, Any]
NOTHING_TAKES_LONG: Mapping[str, float] = {}
_COMMAND = [sys.executable, "-m", "tests.support.operator_elsewhere"]
_QUIET_SECONDS = 1.5
_LIMITS: Manifest = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "at-home"},
    "spec": {"limits": [{"type": "Container", "default": {GPU: "1"}, "defaultRequest": {GPU: "1"}}]},
}
"""So that no pod comes to the real node, whose kubelet would look for an image that there is not."""
_ROUTER: Manifest = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "played-router", "labels": {ROUTER_LABEL: ROUTER}},
    "spec": {
        "nodeName": "gpu-0",
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "nginx", "image": "router"}],
    },
}
"""The pod that the played router answers for: those of its Deployment fit on no node."""


@dataclass
class Stand:
    """The operator is not started yet."""

    cluster: Cluster
    proxy: ApiProxy
    operator: OutsideOperator
    mlflow: MlflowServer
    router: ScriptedRouter

    def lead(self) -> None:
        """Start the operator, and wait until it leads."""
        self.operator.start()
        self.operator.wait_until_it_leads()

    def submit(self, kind: str, name: str, spec: Manifest) -> None:
        """Apply an object."""
        manifest = {"apiVersion": "anneal.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.cluster.apply(manifest)

    def status(self, kind: str, name: str) -> Manifest:
        """Return an object's status, empty where there is none."""
        return self.cluster.api.status(kind, name)

    def wait(self, kind: str, name: str, holds: Callable[[Manifest], bool], patience: float = 60) -> Manifest:
        """Wait until something holds of an object's status; return that."""
        last: list[Manifest] = []

        def reached() -> bool:
            last[:] = [self.status(kind, name)]
            return holds(last[0])

        assert poll(reached, patience, every=0.25), json.dumps(last[0], indent=1) + self.operator.log()
        return last[0]

    def writes(self) -> list[str]:
        """Return what was written in this stand's namespace; the Lease's renewals are not among it."""
        return [write for write in self.proxy.writes if f"/namespaces/{self.cluster.namespace}/" in write]

    def wait_until_quiet(self) -> None:
        """Wait until the operator writes nothing here any more."""

        def is_quiet() -> bool:
            count = len(self.writes())
            return not poll(lambda: len(self.writes()) > count, _QUIET_SECONDS)

        assert poll(is_quiet, 60), self.writes()[-10:]

    def write_status(self, kind: str, name: str, status: Manifest) -> None:
        """Write a status as another build of the operator would have."""
        patch = json.dumps({"status": status})
        self.cluster.kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)


@contextmanager
def stand(
    running: Cluster, folder: Path, namespace: str, *, volumes: int, seconds: Mapping[str, float] = NOTHING_TAKES_LONG
) -> Iterator[Stand]:
    """No other operator may be there: it would do the work. Statuses may hold what another build's definitions have."""
    Installation(Commands(running.layout), "anneal-demo").clean()
    clear_away(running.kubectl, namespace)
    running.kubectl("create", "namespace", namespace)
    cluster = Cluster(running.layout, namespace)
    _define(cluster, open_statuses=True)
    for manifest in (*ROWS, _LIMITS):
        cluster.apply(manifest)
    with (
        ApiProxy(running.layout) as proxy,
        mlflow_server() as mlflow,
        scripted_router(proxy.url) as router,
        scripted_nodes(cluster, folder, volumes=volumes, seconds=dict(seconds)),
    ):
        environment = {"ANNEAL_TEST_SERVICES": router.address, "ANNEAL_MLFLOW_URL": mlflow.url}
        operator = OutsideOperator(proxy, namespace, folder, _COMMAND, environment)
        cluster.apply(_ROUTER)
        try:
            yield Stand(cluster, proxy, operator, mlflow, router)
        finally:
            operator.end()
            running.kubectl.delete_namespaces(namespace)  # the next one's operator would see what is left of it
            _define(cluster, open_statuses=False)


def _define(cluster: Cluster, *, open_statuses: bool) -> None:
    """Apply our definitions; those of a newer build know more of a status than ours."""
    items = [yaml.safe_load(file.read_text()) for file in sorted((CHECKOUT / "crds").glob("*.yaml"))]
    for item in items if open_statuses else ():
        for version in item["spec"]["versions"]:
            _open(version["schema"]["openAPIV3Schema"]["properties"]["status"])
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=given)
    cluster.kubectl("wait", "--for=condition=Established", *(f"crd/{i['metadata']['name']}" for i in items))


def _open(schema: Manifest) -> None:
    """Have the API server keep fields that a schema does not know, at every level."""
    if "properties" in schema:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    for inner in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        _open(inner)
