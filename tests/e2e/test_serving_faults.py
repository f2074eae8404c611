"""A version on real vLLM, through what may happen to its pods and around them.

It answers again by itself, an answer that broke off says so, and what cannot be served tells why, while what is served
goes on.
"""

import json
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anneal_operator.desired.routing import ROUTER
from demo.installation import SYSTEM, Installation
from local_cluster.processes import Process, send
from serving_runtime.plan import CLIENT_PORT
from toolbox.polling import poll

from .bench import Bench, furnished
from .conftest import Cluster
from .published import Files, Published
from .served import Manifest, Served

pytestmark = [pytest.mark.node, pytest.mark.soak, pytest.mark.timeout(1800)]
MODEL = VERSION = "held"
_START_SECONDS = 600.0
_WEDGED_SECONDS = 420.0
"""What the pulse waits for (two minutes), the probes after it, and a grace period."""
_CLIENTS, _TOKENS = 3, 400
_SERVING = {
    "dtype": "FP32",
    "maxModelLength": 512,
    "drainSeconds": 120,
    "engineArgs": [{"name": "enforce-eager", "value": "true"}],
    "resources": {"requests": {"cpu": "250m", "memory": "5Gi"}},
}


@pytest.fixture(scope="module")
def scene(operator: Installation, running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:  # noqa: ARG001
    """One version, trained here, that answers."""
    with furnished(running, "serving-faults") as bench:
        suites = [{"name": "answer", "type": "Text"}]
        output = {"modelName": MODEL, "aliases": ["production"], "serving": _SERVING}
        bench.submit(VERSION, evaluation={"suites": suites, "maxRows": 8, "maxNewTokens": 8}, output=output)
        bench.wait(VERSION, "Succeeded", 900)
        made = Served(bench.cluster, tmp_path_factory.mktemp("unused"), SYSTEM)
        _wait_until_answering(made)
        yield made


def test_an_engine_that_is_killed_in_the_middle_of_an_answer_is_told_of_and_comes_back(scene: Served) -> None:
    [pod] = scene.engines(VERSION)
    restarts = _restarts(scene)
    begun = threading.Event()
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(_stream, scene, begun)
        assert begun.wait(60)
        for process in scene.processes(pod, "engine"):
            send(process, signal.SIGKILL)
        assert answer.result(90) == "broken"
    assert poll(lambda: _restarts(scene) > restarts, 120, every=1.0)
    _wait_until_answering(scene)


def test_an_engine_that_hangs_is_started_again(scene: Served) -> None:
    """It takes connections and answers `/health`, and not one question."""
    [pod] = scene.engines(VERSION)
    restarts = _restarts(scene)
    cores = [found for found in scene.processes(pod, "engine") if "EngineCore" in _name(found)]
    assert cores
    for process in cores:
        send(process, signal.SIGSTOP)
    assert poll(lambda: _restarts(scene) > restarts, _WEDGED_SECONDS, every=2.0), _told(scene)
    _wait_until_answering(scene)


def test_an_engine_that_is_killed_while_mlflow_is_away_comes_back(scene: Served) -> None:
    [pod] = scene.engines(VERSION)
    restarts = _restarts(scene)
    with _without_mlflow(scene):
        for process in scene.processes(pod, "engine"):
            send(process, signal.SIGKILL)
        assert poll(lambda: _restarts(scene) > restarts, 120, every=1.0)
        _wait_until_answering(scene)


def test_a_pod_that_a_drained_node_evicts_is_replaced(scene: Served) -> None:
    [pod] = scene.engines(VERSION)
    Bench(scene.cluster).evict(pod["metadata"]["name"])
    _wait_until_replaced(scene, pod)
    _wait_until_answering(scene)


def test_a_change_of_the_engine_s_settings_fails_no_request_and_cuts_no_stream(scene: Served) -> None:
    [pod] = scene.engines(VERSION)
    over, outcomes = threading.Event(), list[str]()

    def keep_asking() -> None:
        while not over.is_set():
            outcomes.append(_stream(scene, threading.Event()))

    with ThreadPoolExecutor(_CLIENTS) as clients:
        asking = [clients.submit(keep_asking) for _ in range(_CLIENTS)]
        try:
            scene.change(VERSION, maxModelLength=480)
            _wait_until_replaced(scene, pod)
            _wait_until_answering(scene)
        finally:
            over.set()
        for one in asking:
            one.result(120)
    assert set(outcomes) == {"complete"}, outcomes
    assert len(outcomes) > _CLIENTS


def test_weights_that_are_not_what_their_manifest_says_are_never_served(scene: Served) -> None:
    bench = Bench(scene.cluster)
    artifact = Published(bench, VERSION).again("tampered", lambda _: None, unnoticed=_with_one_bit_turned)
    with _another(scene, "tampered", artifact):
        told = _refused(scene, "tampered", "WeightsFailed")
        assert "model.safetensors" in told
        _wait_until_answering(scene)


def test_weights_that_are_not_there_are_told_by_their_place(scene: Served) -> None:
    spec = scene.cluster.get("modelversion", VERSION)["spec"]["artifact"]
    with _another(scene, "missing", {**spec, "uri": f"{spec['uri']}-nowhere"}):
        assert "manifest.json" in _refused(scene, "missing", "WeightsFailed")
        _wait_until_answering(scene)


def test_an_argument_that_the_engine_does_not_have_is_refused_by_its_name(scene: Served) -> None:
    patch = json.dumps({"spec": {"serving": {"engineArgs": [{"name": "no-such-thing", "value": "1"}]}}})
    refused = scene.cluster.kubectl("patch", "modelversion", VERSION, "--type=merge", "-p", patch, check=False)
    assert refused == "", "it was taken"
    assert scene.cluster.get("modelversion", VERSION)["spec"]["serving"]["engineArgs"] == _SERVING["engineArgs"]
    assert _stream(scene, threading.Event()) == "complete"


def _with_one_bit_turned(files: Files) -> None:
    content = bytearray(files["model.safetensors"])
    content[-1] ^= 1
    files["model.safetensors"] = bytes(content)


@contextmanager
def _without_mlflow(scene: Served) -> Iterator[None]:
    scale = ("scale", "deployment/anneal-mlflow", "-n", SYSTEM)
    scene.cluster.kubectl(*scale, "--replicas=0")
    assert poll(
        lambda: not Cluster(scene.cluster.layout, SYSTEM).api.objects("Pod", "app.kubernetes.io/name=anneal-mlflow"),
        120,
    )
    try:
        yield
    finally:
        scene.cluster.kubectl(*scale, "--replicas=1")
        scene.cluster.kubectl("rollout", "status", "-n", SYSTEM, "deployment/anneal-mlflow", "--timeout=180s")


@contextmanager
def _another(scene: Served, name: str, artifact: Manifest) -> Iterator[None]:
    """One more version of the model, with other weights."""
    spec = {**scene.cluster.get("modelversion", VERSION)["spec"], "artifact": artifact, "aliases": []}
    manifest = {"apiVersion": "anneal.dev/v1alpha1", "kind": "ModelVersion", "metadata": {"name": name}}
    scene.cluster.apply({**manifest, "spec": spec})
    try:
        yield
    finally:
        scene.cluster.kubectl("delete", "modelversion", name)


def _refused(scene: Served, name: str, reason: str) -> str:
    """Wait until it is told not to be ready for this reason; return the words."""
    found: dict[str, str] = {}

    def is_told() -> bool:
        conditions = scene.cluster.api.status("ModelVersion", name).get("conditions", ())
        found.update(next((one for one in conditions if one["type"] == "Ready"), {}))
        return found.get("reason") == reason

    assert poll(is_told, _START_SECONDS, every=1.0), found
    assert found["status"] == "False"
    return found["message"]


def _stream(scene: Served, begun: threading.Event) -> str:
    """Ask for a long answer, and say how it ended for its client: complete, broken, or the status that refused it."""
    address = scene.cluster.get("service", ROUTER)["spec"]["clusterIP"]
    asked = {"model": MODEL, "prompt": "1 2 3", "max_tokens": _TOKENS, "ignore_eos": True, "stream": True}
    headers = {"Content-Type": "application/json"}
    url = f"http://{address}:{CLIENT_PORT}/v1/completions"
    request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            for line in answer:
                if b'"error"' in line:
                    return "broken"
                if line.startswith(b"data: [DONE]"):
                    return "complete"
                begun.set()
    except urllib.error.HTTPError as refused:
        return str(refused.code)
    except OSError:
        return "broken"
    return "cut in silence"


def _wait_until_answering(scene: Served) -> None:
    def is_answering() -> bool:
        return _status(scene).get("phase") == "Ready" and _stream(scene, threading.Event()) == "complete"

    assert poll(is_answering, _START_SECONDS, every=2.0), _told(scene)


def _wait_until_replaced(scene: Served, pod: Manifest) -> None:
    def is_replaced() -> bool:
        uids = [found["metadata"]["uid"] for found in scene.engines(VERSION)]
        return len(uids) == 1 and uids != [pod["metadata"]["uid"]]

    assert poll(is_replaced, _START_SECONDS, every=2.0), _told(scene)


def _status(scene: Served) -> dict[str, Any]:
    return scene.cluster.api.status("ModelVersion", VERSION)


def _restarts(scene: Served) -> int:
    return sum(told["restartCount"] for pod in scene.engines(VERSION) for told in pod["status"]["containerStatuses"])


def _name(process: Process) -> str:
    """As it calls itself."""
    return Path(f"/proc/{process.pid}/cmdline").read_text() + Path(f"/proc/{process.pid}/comm").read_text()


def _told(scene: Served) -> str:
    logs = [scene.cluster.api.log(pod["metadata"]["name"])[-4000:] for pod in scene.engines(VERSION)]
    return json.dumps(_status(scene), indent=1) + "\n".join(logs)
