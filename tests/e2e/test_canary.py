"""A version is ready only where real vLLM answers its evaluation as training did: not with another template, nor with
other weights, though every digest is right.
"""

import json
from typing import Any

import pytest

from toolbox.polling import poll

from .bench import Bench
from .published import Files, Published

pytestmark = [pytest.mark.node, pytest.mark.soak, pytest.mark.timeout(1800)]
_START_SECONDS = 600.0
_SERVING = {
    "dtype": "FP32",
    "maxModelLength": 512,
    "engineArgs": [{"name": "enforce-eager", "value": "true"}],
    "resources": {"requests": {"cpu": "250m", "memory": "5Gi"}},
}
_NORM = "model.norm.weight"


def test_a_version_serves_as_it_was_trained_or_never(bench: Bench) -> None:
    suites = [{"name": "answer", "type": "Text"}]
    output = {"modelName": "held", "serving": _SERVING}
    bench.submit("held", evaluation={"suites": suites, "maxRows": 8, "maxNewTokens": 8}, output=output)
    bench.wait("held", "Succeeded", 900)
    assert poll(lambda: _phase(bench, "held") == "Ready", _START_SECONDS, every=2.0), _told(bench, "held")
    assert _loaded(bench, "held")[:2] == ("True", "AsTrained")
    assert "3 of 3 questions of its evaluation were answered as in training" in _log(bench, "held")
    bench.cluster.kubectl("patch", "modelversion", "held", "--type=merge", "-p", '{"spec":{"serving":{"replicas":0}}}')
    published = Published(bench, "held")
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
