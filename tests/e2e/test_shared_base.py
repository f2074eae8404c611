"""Two adapters on one base, as two versions in one engine on the real cluster: each answers as PEFT says that it does.

Base and adapters are trained there, published to MLflow and served from it; a claim of none of them is read.
"""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

import pytest

from anneal_operator.desired.routing import ROUTER
from anneal_operator.desired.shared_base import SHARED_BASE_LABEL
from demo.installation import SYSTEM
from serving_runtime.plan import CLIENT_PORT
from toolbox.polling import poll

from .adapters import MODEL, fetch, train_adapter, train_base
from .bench import Bench
from .conftest import CHECKOUT

pytestmark = [pytest.mark.node, pytest.mark.soak, pytest.mark.timeout(2400)]
_PROMPT = "the sum of 1 and 2"
_START_SECONDS = 900.0
_LOADED_SECONDS = 30.0


def test_two_adapters_on_one_base_answer_as_peft_says(bench: Bench, tmp_path: Path) -> None:
    train_base(bench)
    train_adapter(bench, "one", steps=10)
    assert poll(lambda: _phase(bench, "one") == "Ready", _START_SECONDS, every=2.0), _told(bench, "one")
    [engine] = _engines(bench)
    pods = {pod["metadata"]["uid"] for pod in bench.cluster.api.objects("Pod", SHARED_BASE_LABEL)}
    train_adapter(bench, "two", steps=30)
    assert poll(lambda: _phase(bench, "two") == "Ready", _LOADED_SECONDS, every=0.5), _told(bench, "two")
    assert _engines(bench) == [engine]
    assert {pod["metadata"]["uid"] for pod in bench.cluster.api.objects("Pod", SHARED_BASE_LABEL)} == pods
    expected = _expected(bench, tmp_path)
    assert expected["one"] != expected["two"]
    for name, likeliest in expected.items():
        number = bench.cluster.api.status("ModelVersion", name)["registry"]["version"]
        told = _asked(bench, f"{MODEL}@{number}")
        assert set(told) == set(likeliest)
        assert max(abs(told[token] - likeliest[token]) for token in likeliest) < 1e-3
    _check_nobody_loads(bench, engine)


def _phase(bench: Bench, name: str) -> str:
    return str(bench.cluster.api.status("ModelVersion", name).get("phase"))


def _told(bench: Bench, name: str) -> str:
    logs = [
        bench.cluster.api.log(pod["metadata"]["name"]) for pod in bench.cluster.api.objects("Pod", SHARED_BASE_LABEL)
    ]
    return json.dumps(bench.cluster.api.status("ModelVersion", name), indent=1) + "\n".join(logs)


def _engines(bench: Bench) -> list[str]:
    return [found["metadata"]["name"] for found in bench.cluster.api.objects("Deployment", SHARED_BASE_LABEL)]


def _expected(bench: Bench, folder: Path) -> dict[str, dict[str, float]]:
    """What PEFT makes of the published adapters and their base."""
    specs = {name: bench.cluster.get("modelversion", name)["spec"]["artifact"] for name in ("one", "two")}
    address = bench.cluster.get("service", "anneal-mlflow", "-n", SYSTEM)["spec"]["clusterIP"]
    fetch(address, specs["one"]["base"]["uri"], folder / "base")
    for name, artifact in specs.items():
        fetch(address, artifact["uri"], folder / name)
    command: list[str | Path] = [CHECKOUT / ".envs/trainer/bin/python", "-m", "tests.training_runtime.adapter_answers"]
    command += [folder / "base", _PROMPT, *(folder / name for name in specs)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=True, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    answers = [json.loads(line)["answer"] for line in done.stdout.splitlines() if line.startswith('{"answer"')]
    return dict(zip(specs, answers, strict=True))


def _asked(bench: Bench, model: str) -> dict[str, float]:
    """What a client gets of the router: the likeliest first tokens, by their ids."""
    address = bench.cluster.get("service", ROUTER)["spec"]["clusterIP"]
    asked = {"model": model, "prompt": _PROMPT, "max_tokens": 1, "temperature": 0, "logprobs": 3}
    body = json.dumps({**asked, "return_tokens_as_token_ids": True}).encode()
    request = urllib.request.Request(
        f"http://{address}:{CLIENT_PORT}/v1/completions", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        [likeliest] = json.load(response)["choices"][0]["logprobs"]["top_logprobs"]
    best = sorted(likeliest.items(), key=lambda one: -one[1])[:3]
    return {token.removeprefix("token_id:"): value for token, value in best}


def _check_nobody_loads(bench: Bench, engine: str) -> None:
    """Also from within a router's pod, and with its key."""
    script = (
        "import os, urllib.request as r, urllib.error as e\n"
        "for path in ('/v1/load_lora_adapter', '/adapters'):\n"
        f'  q = r.Request(\'http://{engine}:8000\' + path, b\'{{"lora_name": "x", "lora_path": "/tmp"}}\',\n'
        "    {'Authorization': 'Bearer ' + os.environ['ANNEAL_ENGINE_KEY'], 'Content-Type': 'application/json'})\n"
        "  try: print(r.urlopen(q).status)\n"
        "  except e.HTTPError as refused: print(refused.code)\n"
    )
    told = bench.cluster.kubectl("exec", f"deployment/{ROUTER}", "-c", "nginx", "--", "python", "-c", script)
    assert told.split() == ["404", "404"]
