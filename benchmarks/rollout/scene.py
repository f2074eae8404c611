"""The local cluster with Anneal on it, a base and its first adapter that answers: what versions are measured beside.

All of it is what the end-to-end tests make, by their own steps; it takes some minutes, and goes at the end. No other
installation may be there.
"""

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal_operator.desired.routing import ROUTER
from demo.commands import Commands
from demo.installation import SYSTEM, Installation, built_images
from local_cluster.layout import Layout
from serving_runtime.plan import CLIENT_PORT
from serving_runtime.weights.describe import describe
from tests.e2e.adapters import fetch, train_adapter, train_base
from tests.e2e.bench import Bench, furnished
from tests.e2e.served import ask_mlflow
from tests.support.cluster import CHECKOUT, Cluster
from toolbox.polling import poll

__all__ = ["FIRST", "Manifest", "Scene", "answers", "scene"]

Manifest = dict[str, Any]
FIRST = "one"
"""The adapter that answers already."""
_STEPS = 10
_START_SECONDS, _ANSWER_SECONDS = 300.0, 120.0
_EVERY_SECONDS = 0.05
_QUESTION = {"prompt": "the sum of 1 and 2", "max_tokens": 1, "temperature": 0}


@dataclass(frozen=True)
class Scene:
    """A namespace of the cluster, and a folder of this machine for what is published."""

    bench: Bench
    folder: Path

    @property
    def router(self) -> str:
        """The URL that clients of the namespace have."""
        return f"http://{self._address(ROUTER)}:{CLIENT_PORT}"

    def spec(self, name: str) -> Manifest:
        """What a ModelVersion is."""
        found: Manifest = self.bench.cluster.api.object("ModelVersion", name)["spec"]
        return found

    def submit(self, name: str, spec: Manifest) -> None:
        """Apply a ModelVersion."""
        manifest = {"apiVersion": "anneal.dev/v1alpha1", "kind": "ModelVersion", "metadata": {"name": name}}
        self.bench.cluster.apply({**manifest, "spec": spec})

    def status(self, name: str) -> Manifest:
        """How a ModelVersion stands."""
        return self.bench.cluster.api.status("ModelVersion", name)

    def number(self, name: str) -> str:
        """A version's number in MLflow; empty before it has one."""
        return str((self.status(name).get("registry") or {}).get("version", ""))

    def published(self, name: str) -> Manifest:
        """Publish the first adapter once more, as one of another digest, which no pod has; return its spec."""
        spec, own = self.spec(FIRST), self.folder / name
        if not (self.folder / FIRST).exists():
            self.fetch(spec["artifact"]["uri"], self.folder / FIRST)
        shutil.copytree(self.folder / FIRST, own)
        (own / "name.txt").write_text(name)
        digest, size = describe(own)
        run = ask_mlflow(self.bench.cluster, SYSTEM, "runs/create", {"experiment_id": "0"})["run"]["info"]
        uri = f"{run['artifact_uri']}/model"
        for file in (path for path in own.rglob("*") if path.is_file()):
            self._put(f"{uri.removeprefix('mlflow-artifacts:/').strip('/')}/{file.relative_to(own)}", file.read_bytes())
        artifact = {**spec["artifact"], "uri": uri, "digest": digest, "bytes": size}
        return {**spec, "artifact": artifact, "provenance": {**spec["provenance"], "mlflowRunId": run["run_id"]}}

    def fetch(self, uri: str, folder: Path) -> None:
        """Bring what was published to this machine."""
        fetch(self._address("anneal-mlflow", SYSTEM), uri, folder)

    def _put(self, path: str, content: bytes) -> None:
        url = f"http://{self._address('anneal-mlflow', SYSTEM)}:5000/api/2.0/mlflow-artifacts/artifacts/{path}"
        headers = {"Host": "localhost:5000", "Content-Type": "application/octet-stream"}
        with urllib.request.urlopen(
            urllib.request.Request(url, content, headers, method="PUT"), timeout=_ANSWER_SECONDS
        ):
            pass

    def _address(self, service: str, namespace: str = "") -> str:
        within = Cluster(self.bench.cluster.layout, namespace or self.bench.cluster.namespace)
        return str(within.api.object("Service", service)["spec"]["clusterIP"])

    def wait(self, is_reached: Callable[[], bool], what: str, patience: float) -> None:
        """Wait until something holds; raise TimeoutError where it takes longer than may be."""
        if not poll(is_reached, patience, every=_EVERY_SECONDS):
            told = self.bench.cluster.kubectl("get", "modelversions,pods", "-o", "wide", check=False)
            raise TimeoutError(f"{what}: not within {patience:.0f} s\n{told}")


def answers(url: str, model: str) -> bool:
    """Ask once for a model's first token; return whether it came."""
    body = json.dumps({"model": model, **_QUESTION}).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})  # noqa: S310 - the cluster's
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310
            return bool(json.load(answer)["choices"])
    except OSError:  # refused, and nobody there, too
        return False


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Bring it up; take it down."""
    running = Cluster(Layout.of_node())
    running.up()
    subprocess.run([sys.executable, "-m", "images", "build", "--load"], check=True, cwd=CHECKOUT)
    installation = Installation(Commands(running.layout), "anneal-demo")
    installation.clean()
    try:
        installation.install(built_images())
        with furnished(running, "rollout") as bench:
            train_base(bench)
            train_adapter(bench, FIRST, _STEPS)
            made = Scene(bench, folder)
            made.wait(lambda: made.status(FIRST).get("phase") == "Ready", f"{FIRST} is Ready", _START_SECONDS)
            yield made
    finally:
        installation.clean()
