"""A model as its clients have it: two versions of two played servers each, in an experiment, behind two routers.

Operator, routers, recorder and MLflow are the real ones, installed by the chart; the recorder's volume is a small file
system of its own, made before it as people may, so that it can be filled.
"""

import base64
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from hashlib import sha256
from pathlib import Path
from typing import Any

from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.desired.keys import KEYS
from anneal_operator.desired.recorder import RECORDER
from anneal_operator.desired.routing import ROUTER, ROUTER_LABEL, pod_admin_url, stamp_of
from local_cluster.layout import CGROUP, REGISTRY, Layout
from local_cluster.loading import drop_images, load_image, loaded_images
from local_cluster.processes import Process, in_cgroup
from serving_runtime.plan import CLIENT_PORT
from tests.api.specs import GOOD
from toolbox.commands import run
from toolbox.polling import poll

from .accounts import Row, rows_in
from .conftest import CHECKOUT, Cluster
from .load import Attempt, attempts_in, recent_attempts

__all__ = [
    "EXPERIMENT",
    "MODEL",
    "VERSIONS",
    "Served",
    "Traffic",
    "ask_mlflow",
    "paced_engine",
    "published",
    "served",
    "small_volume",
]

Manifest = dict[str, Any]
MODEL, VERSIONS, EXPERIMENT = "chat", ("stable", "tuned"), "stable-or-tuned"
_ENGINE = Path(__file__).parent / "paced_engine"
_VOLUME_MIB = 96
_CONDITIONS = {
    "ModelVersion": ("Registered", "Ready", "Routable"),
    "ABExperiment": ("VariantsReady", "RouteProgrammed", "AssignmentHealthy"),
}


@dataclass(frozen=True)
class Traffic:
    """What clients ask, while they do."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def wait_for(self, seconds: float) -> None:
        """Wait until clients have asked for so long, and streams that began since have ended."""
        began = time.time()

        def is_long_enough() -> bool:
            assert self.process.poll() is None, "the clients have ended"
            return any(one.kind == "stream" and one.began >= began + seconds for one in recent_attempts(self.log))

        assert poll(is_long_enough, 60 + 2 * seconds, every=0.5), recent_attempts(self.log)[-3:]

    def end(self) -> list[Attempt]:
        """Let the clients finish what they have begun; return all that they saw."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(90) == 0
        return attempts_in(self.log)


@dataclass
class Served:
    """The namespace, and the recorder's volume on this machine."""

    cluster: Cluster
    volume: Path
    system: str

    @contextmanager
    def traffic(self, log: Path, streams: int, rate: float) -> Iterator[Traffic]:
        """Clients outside of the cluster, at the router's Service."""
        address = self.cluster.get("service", ROUTER)["spec"]["clusterIP"]
        command = [sys.executable, "-m", "tests.e2e.load", "--url", f"http://{address}:{CLIENT_PORT}", "--model", MODEL]
        command += ["--log", str(log), "--streams", str(streams), "--rate", str(rate)]
        process = subprocess.Popen(command, cwd=CHECKOUT)
        try:
            yield Traffic(process, log)
        finally:
            process.kill()
            process.wait()

    def pods(self, selector: str) -> list[Manifest]:
        """Those that are not about to end."""
        return [pod for pod in self.cluster.api.objects("Pod", selector) if "deletionTimestamp" not in pod["metadata"]]

    def routers(self) -> list[Manifest]:
        return self.pods(f"{ROUTER_LABEL}={ROUTER}")

    def recorders(self) -> list[Manifest]:
        return self.pods("anneal.dev/component=recorder")

    def engines(self, version: str) -> list[Manifest]:
        return self.pods(f"anneal.dev/model-version={version}")

    def processes(self, pod: Manifest, container: str = "") -> list[Process]:
        """Those of one of a pod's containers, or of all of them and what holds the pod together."""
        identity = pod["metadata"]["uid"]
        if container:
            statuses = {status["name"]: status for status in pod["status"]["containerStatuses"]}
            identity = statuses[container]["containerID"].rpartition("/")[2]
        return [found for found in in_cgroup(CGROUP) if _is_in(found, identity)]

    def change(self, version: str, **serving: Any) -> None:
        """Change how a version is served; the operator has seen it then."""
        patch = json.dumps({"spec": {"serving": serving}})
        self.cluster.kubectl("patch", "modelversion", version, "--type=merge", "-p", patch)
        assert poll(lambda: self._is_seen(version), 60, every=0.25), version

    @contextmanager
    def another(self, version: str, **serving: Any) -> Iterator[None]:
        """One more version, the only one of a model of its name, for as long as a test takes."""
        spec = {**GOOD["ModelVersion"], **published(self.cluster, self.system), "modelName": version}
        _submit(self.cluster, "ModelVersion", version, {**spec, "serving": {**_serving(1), **serving}})
        try:
            yield
        finally:
            self.cluster.kubectl("delete", "modelversion", version, "--ignore-not-found")

    def compare(self, **changes: Any) -> None:
        """Split users by the experiment, by a new one of its name where there was one."""
        self.cluster.kubectl("delete", "abexperiment", EXPERIMENT, "--ignore-not-found")
        variants = [{"name": name, "modelVersionRef": {"name": name}, "weight": 50} for name in VERSIONS]
        spec = {**GOOD["ABExperiment"], "modelName": MODEL, "control": VERSIONS[0], "variants": variants}
        _submit(self.cluster, "ABExperiment", EXPERIMENT, {**spec, **changes})
        self.wait_until_settled()

    def ask(self, model: str) -> tuple[int, Message, Any]:
        """Ask a model for five words, once; return the answer's status, headers and content."""
        address = self.cluster.get("service", ROUTER)["spec"]["clusterIP"]
        body = {"model": model, "messages": [{"role": "user", "content": "?"}], "max_tokens": 5}
        url, headers = f"http://{address}:{CLIENT_PORT}/v1/chat/completions", {"Content-Type": "application/json"}
        try:
            asked = urllib.request.Request(url, json.dumps(body).encode(), headers)
            with urllib.request.urlopen(asked, timeout=120) as answer:
                return answer.status, answer.headers, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, refused.headers, json.load(refused)

    def _is_seen(self, version: str) -> bool:
        found = self.cluster.api.object("ModelVersion", version)
        return bool(found["status"].get("observedGeneration") == found["metadata"]["generation"])

    def key(self, name: str) -> str:
        return base64.b64decode(self.cluster.api.object("Secret", KEYS)["data"][name]).decode()

    def rows(self) -> dict[str, Row]:
        """What the recorder counted so far."""
        return rows_in(
            self.volume / "recorder.sqlite", self.cluster.api.object("ABExperiment", EXPERIMENT)["metadata"]["uid"]
        )

    def unsettled(self) -> list[str]:
        """What is not as it is when nothing happens: empty once every router has told of the newest routes."""
        api, found = self.cluster.api, []
        for kind, name in (*(("ModelVersion", version) for version in VERSIONS), ("ABExperiment", EXPERIMENT)):
            status = api.status(kind, name)
            held = {condition["type"]: condition for condition in status.get("conditions", ())}
            wrong = [held.get(what, what) for what in _CONDITIONS[kind] if held.get(what, {}).get("status") != "True"]
            found += [f"{kind} {name} {status.get('phase')}: {wrong}"] if wrong else []
        for deployment in (ROUTER, RECORDER, *(f"{version}-server" for version in VERSIONS)):
            told = api.object("Deployment", deployment)
            found += [] if _is_rolled_out(told) else [f"Deployment {deployment}: {told.get('status')}"]
        return found + self._unacknowledged()

    def _unacknowledged(self) -> list[str]:
        table, key = self.cluster.api.object("ConfigMap", ROUTER), self.key("adminKey")
        told = {pod["metadata"]["name"]: _applied(pod, key) for pod in self.routers()}
        newest = stamp_of(table)
        assert newest is not None
        return [
            f"{name} has {applied}, not {newest}" for name, applied in told.items() if applied != newest.model_dump()
        ]

    def wait_until_settled(self, patience: float = 180) -> None:
        last: list[str] = []

        def is_settled() -> bool:
            last[:] = self.unsettled()
            return not last

        assert poll(is_settled, patience, every=2.0), "\n".join(last) + self.cluster.kubectl("get", "pods")


def _is_in(process: Process, identity: str) -> bool:
    try:
        return identity in Path(f"/proc/{process.pid}/cgroup").read_text()
    except OSError:
        return False


def _is_rolled_out(deployment: Manifest) -> bool:
    status, wanted = deployment.get("status", {}), deployment.get("spec", {}).get("replicas")
    is_seen = status.get("observedGeneration") == deployment.get("metadata", {}).get("generation")
    counts = {status.get(name) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    return is_seen and counts == {wanted}


def _applied(pod: Manifest, key: str) -> dict[str, Any] | None:
    """What a router says to have applied, as the operator asks it."""
    url = f"{pod_admin_url(pod['status'].get('podIP', ''))}/-/routes"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            told = json.load(answer)
    except (OSError, ValueError):
        return None
    return {name: told.get(name) for name in ("lineage", "generation", "digest")}


def paced_engine(layout: Layout, router: str) -> str:
    """Build and load the played server's image on the router's; return its reference."""
    content = b"".join(file.read_bytes() for file in sorted(_ENGINE.iterdir()) if file.is_file())
    name = f"{REGISTRY}/paced-engine"
    tag = f"{name}:{sha256(content + router.encode()).hexdigest()[:12]}"
    command: list[str | Path] = [
        "buildah",
        "build",
        "--quiet",
        "--layers",
        "--force-rm",
        "--build-arg",
        f"BASE={router}",
    ]
    run([*command, "--tag", tag, "--file", _ENGINE / "Dockerfile", _ENGINE], timeout=300.0)
    load_image(layout, tag)
    drop_images(layout, [old for old in loaded_images(layout) if old.startswith(f"{name}:") and old != tag])
    return tag


@contextmanager
def small_volume(cluster: Cluster, folder: Path) -> Iterator[Path]:
    """A file system of its own, and the recorder's claim that it is bound to."""
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={_VOLUME_MIB}m,mode=777", "tmpfs", str(folder)])
    name, size = f"{cluster.namespace}-recorder", f"{_VOLUME_MIB}Mi"
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    source = {
        "hostPath": {"path": str(folder)},
        "persistentVolumeReclaimPolicy": "Retain",
        "capacity": {"storage": size},
    }
    claim = {"namespace": cluster.namespace, "name": RECORDER, "annotations": {OWNER_ANNOTATION: RECORDER}}
    wanted = {"volumeName": name, "resources": {"requests": {"storage": size}}, **common}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {**common, **source}}
    try:
        cluster.kubectl("delete", "persistentvolume", name, "--ignore-not-found")
        cluster.apply(volume)
        cluster.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim, "spec": wanted})
        yield folder
    finally:
        cluster.kubectl("delete", "persistentvolume", name, "--wait=false", check=False)
        run(["umount", "--lazy", str(folder)])


def served(cluster: Cluster, volume: Path, system: str, **experiment: Any) -> Served:
    """Serve both versions, and have the experiment split their users for as long as the test takes, if it may."""
    made = Served(cluster, volume, system)
    for version in VERSIONS:
        spec = {**GOOD["ModelVersion"], **published(cluster, system), "modelName": MODEL, "serving": _serving(2)}
        spec |= {"aliases": ["production"]} if version == VERSIONS[0] else {}
        _submit(cluster, "ModelVersion", version, spec)
    made.compare(**experiment)
    return made


def published(cluster: Cluster, system: str) -> Manifest:
    """Return what a job's ModelVersion says of its run, which MLflow wants to know before it registers anything."""
    cluster.kubectl("rollout", "status", "-n", system, "deployment/anneal-mlflow", "--timeout=180s")
    run = ask_mlflow(cluster, system, "runs/create", {"experiment_id": "0"})["run"]["info"]
    provenance = {"fineTuneJobRef": {"name": "job"}, "fineTuneJobUid": "uid", "datasetDigest": "sha256:0"}
    artifact = {**GOOD["ModelVersion"]["artifact"], "uri": f"{run['artifact_uri']}/model"}
    return {"artifact": artifact, "provenance": {**provenance, "mlflowRunId": run["run_id"]}}


def ask_mlflow(cluster: Cluster, system: str, path: str, given: Manifest | None = None) -> Manifest:
    """Return the answer of the installation's MLflow to a question, or to what it is given."""
    address = cluster.get("service", "anneal-mlflow", "-n", system)["spec"]["clusterIP"]
    headers = {"Host": "localhost:5000", "Content-Type": "application/json"}
    body = json.dumps(given).encode() if given else None
    asked = urllib.request.Request(f"http://{address}:5000/api/2.0/mlflow/{path}", body, headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        found: Manifest = json.load(answer)
    return found


def _serving(replicas: int) -> Manifest:
    resources = {"requests": {"cpu": "50m", "memory": "128Mi"}}
    return {"replicas": replicas, "resources": resources}


def _submit(cluster: Cluster, kind: str, name: str, spec: Manifest) -> None:
    cluster.apply({"apiVersion": "anneal.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
