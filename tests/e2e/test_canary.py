"""A version is ready only where real vLLM answers its evaluation as training did: not with another template, nor with
other weights, though every digest is right.
"""

import hashlib
import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from demo.installation import SYSTEM
from prompts.canary import CANARY_FILE, Canary
from toolbox.polling import poll

from .bench import Bench

pytestmark = [pytest.mark.node, pytest.mark.soak, pytest.mark.timeout(1800)]
_START_SECONDS = 600.0
_SERVING = {
    "dtype": "FP32",
    "maxModelLength": 512,
    "engineArgs": [{"name": "enforce-eager", "value": "true"}],
    "resources": {"requests": {"cpu": "250m", "memory": "5Gi"}},
}
_NORM = "model.norm.weight"
Files = dict[str, bytes]


def test_a_version_serves_as_it_was_trained_or_never(bench: Bench) -> None:
    suites = [{"name": "answer", "type": "Text"}]
    output = {"modelName": "held", "serving": _SERVING}
    bench.submit("held", evaluation={"suites": suites, "maxRows": 8, "maxNewTokens": 8}, output=output)
    bench.wait("held", "Succeeded", 900)
    assert poll(lambda: _phase(bench, "held") == "Ready", _START_SECONDS, every=2.0), _told(bench, "held")
    assert _loaded(bench, "held")[:2] == ("True", "AsTrained")
    assert "3 of 3 questions of its evaluation were answered as in training" in _log(bench, "held")
    bench.cluster.kubectl("patch", "modelversion", "held", "--type=merge", "-p", '{"spec":{"serving":{"replicas":0}}}')
    published = _Published(bench, "held")
    template = published.again("otherwise-asked", _with_another_template)
    _serve(bench, "otherwise-asked", template)
    reason = _refused(bench, "otherwise-asked")
    assert "question 1 of 3 of its evaluation: token 1 of the prompt is '!' (" in reason
    assert "publish it again from its job" in reason
    weights = published.again("otherwise-weighed", _with_other_weights)
    _serve(bench, "otherwise-weighed", weights)
    assert "question 1 of 3 of its evaluation: the mean log-probability of the stored answer is" in _refused(
        bench, "otherwise-weighed"
    )


def _with_another_template(files: Files) -> None:
    files["chat_template.jinja"] = b"!" + files["chat_template.jinja"]


def _with_other_weights(files: Files) -> None:
    """Without the last norm all tokens are equally likely."""
    name = "model.safetensors"
    content = bytearray(files[name])
    size = int.from_bytes(content[:8], "little")
    start, end = json.loads(content[8 : 8 + size])[_NORM]["data_offsets"]
    content[8 + size + start : 8 + size + end] = bytes(end - start)
    files[name] = bytes(content)


class _Published:
    """What a job has published, to be published once more with something changed, under a digest of its own."""

    def __init__(self, bench: Bench, version: str) -> None:
        self.spec: dict[str, Any] = bench.cluster.get("modelversion", version)["spec"]
        self._address = bench.cluster.get("service", "anneal-mlflow", "-n", SYSTEM)["spec"]["clusterIP"]
        listed = json.loads(self._file("manifest.json"))["files"]
        self._files = {name: self._file(name) for name in listed}
        assert len(Canary.model_validate_json(self._files[CANARY_FILE]).questions) == 3

    def again(self, name: str, change: Callable[[Files], None]) -> dict[str, Any]:
        """Return the artifact, in the same run."""
        files = dict(self._files)
        change(files)
        listed = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
        sizes = {path: len(content) for path, content in files.items()}
        manifest = json.dumps({"bytes": sizes, "files": listed}).encode()
        uri = f"{self.spec['artifact']['uri'].rpartition('/')[0]}/{name}"
        for path, content in {**files, "manifest.json": manifest}.items():
            self._ask(f"{uri}/{path}", content)
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        return {**self.spec["artifact"], "uri": uri, "digest": digest, "bytes": sum(sizes.values())}

    def _file(self, name: str) -> bytes:
        return self._ask(f"{self.spec['artifact']['uri']}/{name}")

    def _ask(self, uri: str, content: bytes | None = None) -> bytes:
        path = uri.removeprefix("mlflow-artifacts:").strip("/")
        url = f"http://{self._address}:5000/api/2.0/mlflow-artifacts/artifacts/{path}"
        method = "GET" if content is None else "PUT"
        request = urllib.request.Request(url, content, {"Host": "localhost:5000"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as response:
            found: bytes = response.read()
        return found


def _serve(bench: Bench, name: str, artifact: dict[str, Any]) -> None:
    spec = bench.cluster.get("modelversion", "held")["spec"]
    changed = {**spec, "artifact": artifact, "serving": {**spec["serving"], "replicas": 1}}
    manifest = {"apiVersion": "anneal.dev/v1alpha1", "kind": "ModelVersion", "metadata": {"name": name}}
    bench.cluster.apply({**manifest, "spec": changed})


def _refused(bench: Bench, name: str) -> str:
    """Wait until its engine was told to differ; it has never been ready, and takes no room any more."""
    assert poll(lambda: _loaded(bench, name)[1] == "AnswersDiffer", _START_SECONDS, every=2.0), _told(bench, name)
    status = bench.cluster.api.status("ModelVersion", name)
    ready = next(found for found in status["conditions"] if found["type"] == "Ready")
    assert (ready["status"], status.get("coldStart")) == ("False", None)
    bench.cluster.kubectl("delete", "modelversion", name)
    return _of_loaded(status)[2]


def _phase(bench: Bench, name: str) -> str:
    return str(bench.cluster.api.status("ModelVersion", name).get("phase"))


def _loaded(bench: Bench, name: str) -> tuple[str, str, str]:
    return _of_loaded(bench.cluster.api.status("ModelVersion", name))


def _of_loaded(status: dict[str, Any]) -> tuple[str, str, str]:
    conditions: list[dict[str, str]] = status.get("conditions", [])
    found = next((one for one in conditions if one["type"] == "Loaded"), {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def _log(bench: Bench, name: str) -> str:
    pods = bench.cluster.api.objects("Pod", f"anneal.dev/model-version={name}")
    return "\n".join(bench.cluster.api.log(pod["metadata"]["name"]) for pod in pods)


def _told(bench: Bench, name: str) -> str:
    return f"{bench.cluster.api.status('ModelVersion', name)}\n{_log(bench, name)[-6000:]}"
