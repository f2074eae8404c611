"""Each family of models on the real cluster: trained, evicted, merged, served with the prompt it was trained on.

Its tiny base lies on a claim, as a team's own would. What it must be asked with is computed beside the base, by the
training runtime; vLLM tells what it read.
"""

import base64
import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.parsers import tool_calls
from serving_runtime.plan import ServingPlan
from tests.support.families import ASKED, FAMILIES, Family, family_chats
from tests.support.pods import HARDENED, claim, pod, shell
from toolbox.polling import poll

from .bench import RESOURCES, Bench
from .conftest import CHECKOUT

pytestmark = [pytest.mark.node, pytest.mark.soak, pytest.mark.timeout(2400)]
_SERVED = [name for name, family in FAMILIES.items() if not family.not_served]
_ROWS = 160
_STEPS, _SAVE = 20, 4
_START_SECONDS = 900.0
_PORT = 8000
# Many small batches to a step, so that an eviction comes in the middle of twenty.
_TRAINING = {
    "maxSteps": _STEPS,
    "learningRate": 0.002,
    "perDeviceBatchSize": 1,
    "gradientAccumulation": 48,
    "maxSequenceLength": 1024,
    "saveEverySteps": _SAVE,
    "logEverySteps": 1,
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each family's base, and beside it the ids of the prompt that training would have written."""
    folder = tmp_path_factory.mktemp("bases")
    command: list[str | Path] = [CHECKOUT / ".envs/trainer/bin/python", "-m", "tests.training_runtime.family_bases"]
    subprocess.run([*command, folder], check=True, cwd=CHECKOUT, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return folder


@pytest.mark.parametrize("name", _SERVED)
def test_a_family_is_served_with_the_prompt_that_it_was_trained_on(bench: Bench, bases: Path, name: str) -> None:
    family, job = FAMILIES[name], name.replace(".", "-")
    serving = {
        "dtype": "FP32",
        "maxModelLength": 2048,
        "trustRemoteCode": bool(family.code),
        "engineArgs": [{"name": "enforce-eager", "value": "true"}],
        "resources": {"requests": {"cpu": "250m", "memory": "5Gi"}},
    }
    _train(bench, bases / name, job, family, serving=serving)

    def phase() -> str:
        return str(bench.cluster.api.status("ModelVersion", job).get("phase"))

    assert poll(lambda: phase() == "Ready", _START_SECONDS, every=2.0), _engine_log(bench, job)
    address = bench.cluster.get("service", f"{job}-server")["spec"]["clusterIP"]
    key = base64.b64decode(bench.cluster.get("secret", "anneal-router")["data"]["engineKey"]).decode()
    wanted = json.loads((bases / f"{name}.json").read_bytes())
    read = _post(f"http://{address}:{_PORT}/tokenize", key, {"model": job, "messages": ASKED})
    assert read["tokens"] == wanted
    settings = {"max_tokens": 4, "temperature": 0, "return_token_ids": True}
    asked = {"model": job, "messages": ASKED, **settings}
    answer = _post(f"http://{address}:{_PORT}/v1/chat/completions", key, asked)
    assert answer["prompt_token_ids"] == wanted
    assert answer["usage"]["completion_tokens"] > 0
    _check_tools(bases / name, address, key, job)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in _SERVED])
def test_a_family_that_the_engine_asks_otherwise_is_published_all_the_same(
    bench: Bench, bases: Path, name: str
) -> None:
    """Trained, evaluated and registered, but not served: the table says why."""
    family, job = FAMILIES[name], name.replace(".", "-")
    _train(bench, bases / name, job, family)
    assert poll(lambda: bench.cluster.api.status("ModelVersion", job).get("phase") == "Idle", 60, every=1.0)
    assert not bench.cluster.api.objects("Deployment", f"anneal.dev/model-version={job}")


def _check_tools(base: Path, address: str, key: str, job: str) -> None:
    """A template with a place for tools answers whoever sends some; any other says why it does not."""
    plan = ServingPlan(
        tracking_uri="", uri="", digest="", served_name=job, dtype="FP32", max_model_length=2048, engine_args=[]
    )
    tool = {"type": "function", "function": {"name": "toll", "parameters": {"type": "object", "properties": {}}}}
    asked = {"model": job, "messages": ASKED, "max_tokens": 4, "tools": [tool]}
    url, refusal = f"http://{address}:{_PORT}/v1/chat/completions", tool_calls(plan, base).refusal
    if not refusal:
        assert _post(url, key, asked)["usage"]["completion_tokens"] > 0
        return
    with pytest.raises(urllib.error.HTTPError) as refused:
        _post(url, key, asked)
    with refused.value as response:
        assert (response.code, json.load(response)["error"]["message"]) == (400, refusal)


def _train(bench: Bench, base: Path, job: str, family: Family, **output: Any) -> None:
    """Train an adapter in twenty steps with an eviction among them, and publish it merged."""
    _bring(bench, base, family)
    bench.submit(
        job,
        base={"uri": f"pvc://bases/{base.name}", "trustRemoteCode": bool(family.code)},
        dataset={
            "sources": [{"uri": "configmap://chats/chats.jsonl"}],
            "deduplicate": {"threshold": 1.0},
            "pii": {"action": "None"},
        },
        prompt={"thinking": family.thinking, **({"systemPrompt": family.system} if family.system else {})},
        tuning={"method": "LoRA", "lora": {"rank": 4, "alpha": 16}},
        training=_TRAINING,
        stages=dict.fromkeys(("prepare", "train", "publish"), RESOURCES),
        output={"modelName": job, "formats": ["Merged"], **output},
    )
    [trainer] = bench.wait_for_checkpoint(job)
    bench.evict(trainer)
    status = bench.wait(job, "Succeeded")
    assert [attempt["reason"] for attempt in status["attempts"]["last"]] == ["Preempted", "Completed"]
    assert max(bench.resumed_from(job)) >= _SAVE
    assert status["checkpoint"]["step"] == _STEPS
    assert status["evaluation"]["metrics"]["rows/perplexity"] > 0


def _bring(bench: Bench, base: Path, family: Family) -> None:
    """Have the chats in a ConfigMap, and the base on a claim, copied there by a pod."""
    cluster = bench.cluster
    chats = [{"messages": chat} for chat in family_chats(family, _ROWS)]
    text = "".join(json.dumps(row) + "\n" for row in chats)
    cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "chats"}, "data": {"chats.jsonl": text}}
    )
    # Created, not applied: an applied object is kept a second time in an annotation, which has no room for weights.
    cluster.kubectl("create", "configmap", "base", f"--from-file={base}")
    cluster.apply(claim("bases"))
    volumes = [
        {"name": "base", "configMap": {"name": "base"}},
        {"name": "bases", "persistentVolumeClaim": {"claimName": "bases"}},
    ]
    mounts = [{"name": volume["name"], "mountPath": f"/{volume['name']}"} for volume in volumes]
    copied = f"mkdir -p /bases/{base.name} && cp -L /base/* /bases/{base.name}/"
    cluster.apply(pod("copier", shell(copied, volumeMounts=mounts, securityContext=HARDENED), volumes=volumes))
    cluster.wait_for_pod("copier", "Succeeded")


def _engine_log(bench: Bench, version: str) -> str:
    pods = bench.cluster.api.objects("Pod", f"anneal.dev/model-version={version}")
    return "\n".join(bench.cluster.api.log(found["metadata"]["name"])[-6000:] for found in pods)


def _post(url: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask an engine as its router would."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=180) as response:
        found: dict[str, Any] = json.load(response)
    return found
