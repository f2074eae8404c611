"""The main job, by the demo's own steps: two trainings, two servers, an experiment, a promotion, and nothing left.

The operator is killed with SIGKILL on the way, once in the life of each kind; nothing of that may show in the outcome.
"""

import json
import os
import signal
import ssl
import threading
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from email.message import Message
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from openai import DefaultHttpxClient, OpenAI
from playwright.sync_api import expect
from pydantic import SecretStr
from typing_extensions import override

from anneal_operator.desired.experiments import record_name
from anneal_operator.desired.keys import KEYS
from anneal_operator.desired.recorder import RECORDER
from anneal_operator.endpoints.experiments import AUDIENCE
from demo.commands import Commands
from demo.installation import SYSTEM
from demo.story import BASE, NAMESPACE, TUNED, Story
from demo.summary import summary
from demo.tracking import ask_mlflow, run_metrics
from demo.users import is_right, new_mails, question
from serving_runtime.plan import ENGINE_KEY_VARIABLE, bucket
from tests.router.openapi import VERSION, document, trimmed
from tests.support.api_reader import ApiReader
from tests.support.browser import browsing
from toolbox.polling import poll

from . import vllm_bench
from .conftest import CHECKOUT, Cluster, Live

pytestmark = pytest.mark.node
# Where the operator is killed, each time when it is seen there first: in the life of each kind, and after promotion.
# Every single write has its kill in test_operator_faults.py and test_release_faults.py.
MOMENTS = (
    ("finetunejob/spam-filter-base", "Running"),
    ("modelversion/spam-filter-base", "Loading"),
    ("abexperiment/spam-filter-base-or-tuned", "Running"),
    ("abexperiment/spam-filter-base-or-tuned", "Promoted"),
)
LEFT = (
    "jobs,pods,services,deployments,replicasets,configmaps,serviceaccounts,roles,rolebindings,networkpolicies,"
    "persistentvolumeclaims,secrets"
)


class Killer(threading.Thread):
    """Kills the operator once at each moment; `kills` tells at which it did."""

    def __init__(self, commands: Commands) -> None:
        super().__init__(daemon=True)
        self._commands = commands
        self._over = threading.Event()
        self.kills: list[tuple[str, str]] = []

    @override
    def run(self) -> None:
        """Look every second until told to end."""
        while not self._over.wait(1.0):
            phases = self._phases()
            for moment in MOMENTS:
                if moment not in self.kills and moment in phases and kill_operator(self._commands):
                    self.kills.append(moment)

    def end(self) -> None:
        self._over.set()
        self.join()

    def _phases(self) -> set[tuple[str, str]]:
        api = ApiReader(self._commands.layout, NAMESPACE)
        kinds = ("FineTuneJob", "ModelVersion", "ABExperiment")
        found = [(kind, item) for kind in kinds for item in api.objects(kind)]
        return {(f"{k.lower()}/{i['metadata']['name']}", i.get("status", {}).get("phase", "")) for k, i in found}


def kill_operator(commands: Commands) -> bool:
    """Kill the operator's process; its pod goes, too, as the kubelet would let a killed container wait ever longer."""
    processes = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _is_operator(path)]
    for path in processes:
        os.kill(int(path.parent.name), signal.SIGKILL)
    pods = ("delete", "pod", "-n", SYSTEM, "-l", "app.kubernetes.io/name=anneal-operator")
    commands.kubectl(*pods, "--grace-period=0", "--force", "--wait=false", check=False)
    return bool(processes)


def _is_operator(path: Path) -> bool:
    try:
        return path.read_bytes().split(b"\0")[1:3] == [b"-m", b"anneal_operator"]
    except OSError:
        return False


@pytest.fixture(scope="module")
def told(running: Cluster, images: dict[str, str], live: Live) -> Iterator[tuple[Story, Killer]]:
    """The story, run from its beginning to its end, with the kills."""
    commands = Commands(running.layout)
    with live():
        story = Story(commands, images, tell=lambda line: print(line, flush=True))
        killer = Killer(commands)
        killer.start()
        try:
            story.run()
        finally:
            killer.end()
        print("\n".join(summary(story)))
    yield story, killer
    story.installation.clean()


def _get(story: Story, name: str) -> dict[str, Any]:
    return story.commands.get(name, "-n", NAMESPACE)


def test_the_operator_was_killed_at_every_moment(told: tuple[Story, Killer]) -> None:
    assert sorted(told[1].kills) == sorted(MOMENTS)


@pytest.mark.parametrize(("name", "steps", "loss"), [("spam-filter-base", 120, 0.2), ("spam-filter-tuned", 90, 0.1)])
def test_a_job_ends_with_its_data_numbers_run_and_version(
    told: tuple[Story, Killer], name: str, steps: int, loss: float
) -> None:
    status = _get(told[0], f"finetunejob/{name}")["status"]
    assert status["phase"] == "Succeeded"
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [("Succeeded", "True", "Published")]
    assert status["progress"]["summary"] == f"{steps}/{steps} 100%"
    assert 0 < status["progress"]["loss"] < loss
    assert status["checkpoint"]["step"] == steps
    assert status["checkpoint"]["committedAt"] < status["conditions"][0]["lastTransitionTime"]
    assert status["modelVersionRef"] == {"name": name}
    data = status["dataset"]
    assert data["rows"] == sum(data["splits"].values())
    assert data["rows"] > 1000
    assert data["duplicatesRemoved"] > 30  # planted: 76
    assert data["piiMasked"] > 50
    assert status["evaluation"]["metrics"]["answer/json_validity"] > 0.9
    assert status["evaluation"]["metrics"]["action/accuracy"] > 0.8
    assert status["provenance"]["datasetDigest"] == data["digest"]
    assert "failure" not in status


def test_the_tuned_version_is_far_better_on_the_same_rows_and_for_the_same_mails(told: tuple[Story, Killer]) -> None:
    story = told[0]
    run = _get(story, f"finetunejob/{TUNED}")["status"]["mlflow"]["runId"]
    metrics = run_metrics(story.commands, run)
    assert metrics["action/accuracy"] - metrics["base/action/accuracy"] > 0.25
    right = {
        version: [answer.right for answer in story.during if answer.version == version] for version in (BASE, TUNED)
    }
    assert sum(right[TUNED]) / len(right[TUNED]) - sum(right[BASE]) / len(right[BASE]) > 0.25
    assert story.example is not None
    assert {version: is_right(answer, story.example.mail) for version, answer in story.example.answers.items()} == {
        BASE: False,
        TUNED: True,
    }


def test_the_adapter_s_base_is_the_version_that_had_the_alias(told: tuple[Story, Killer]) -> None:
    status = _get(told[0], "finetunejob/spam-filter-tuned")["status"]
    assert status["provenance"]["modelRevision"] == "models:/spam-filter/1"


def test_each_stage_ran_once(told: tuple[Story, Killer]) -> None:
    jobs = told[0].commands.get("jobs", "-n", NAMESPACE)["items"]
    stages = ("prepare", "train-1", "evaluate", "publish")
    names = [f"{job}-{stage}" for job in ("spam-filter-base", "spam-filter-tuned") for stage in stages]
    assert sorted(job["metadata"]["name"] for job in jobs) == sorted(names)
    assert [job["status"].get("failed", 0) for job in jobs] == [0] * len(jobs)


def test_the_winner_serves_and_the_loser_is_scaled_down(told: tuple[Story, Killer]) -> None:
    versions = {
        name: _get(told[0], f"modelversion/{name}")["status"] for name in ("spam-filter-base", "spam-filter-tuned")
    }
    assert {name: (v["phase"], v["replicas"], v["readyReplicas"]) for name, v in versions.items()} == {
        "spam-filter-base": ("Idle", 0, 0),
        "spam-filter-tuned": ("Ready", 1, 1),
    }


def test_the_experiment_ends_promoted_with_its_numbers(told: tuple[Story, Killer]) -> None:
    status = _get(told[0], "abexperiment/spam-filter-base-or-tuned")["status"]
    assert status["phase"] == "Promoted"
    assert {c["type"]: c["status"] for c in status["conditions"]} == dict.fromkeys(
        (
            "VariantsReady",
            "RouteProgrammed",
            "DataFresh",
            "AssignmentHealthy",
            "GuardrailsHealthy",
            "SampleSufficient",
            "Decided",
            "AliasMoved",
        ),
        "True",
    )
    assert status["decision"]["winner"] == "tuned"
    stable, tuned = status["variants"]
    assert (stable["weight"], tuned["weight"]) == (0, 100)
    assert tuned["metrics"][0]["lower"] > 0
    assert min(stable["users"], tuned["users"]) >= 50
    assert status["sampleRatio"]["pValue"] > 0.001


def test_the_experiment_has_a_report_for_who_may_read_it_and_for_nobody_else(told: tuple[Story, Killer]) -> None:
    story = told[0]
    commands, name, reader = story.commands, story.experiment["metadata"]["name"], "reports"
    address = commands.get("service/anneal-progress", "-n", SYSTEM)["spec"]["clusterIP"]
    report = f"https://{address}:8443/experiments/{NAMESPACE}/{name}"
    commands.kubectl("create", "serviceaccount", reader, "-n", NAMESPACE)
    token = commands.kubectl("create", "token", reader, "-n", NAMESPACE, f"--audience={AUDIENCE}").strip()
    assert _report(f"{report}/verdict.json", token)[0] == 401  # it may get no experiments
    role = ("--verb=get", "--resource=abexperiments.anneal.dev")
    commands.kubectl("create", "role", reader, "-n", NAMESPACE, *role)
    account = f"--serviceaccount={NAMESPACE}:{reader}"
    commands.kubectl("create", "rolebinding", reader, "-n", NAMESPACE, f"--role={reader}", account)
    poll(lambda: _report(f"{report}/verdict.json", token)[0] == 200, 90, every=5.0)  # a refusal counts for a minute
    verdict = json.loads(_report(f"{report}/verdict.json", token)[1])
    assert (verdict["decided"], verdict["winner"], verdict["healthy"]) == (True, "tuned", True)
    assert verdict["variants"]["tuned"]["lower"] > 0
    assert verdict["variants"]["tuned"]["guardrails"]["errors"]["state"] == "Kept"
    status, page = _report(f"{report}/report.html", token)
    # A fixed horizon has one look: its interval is a stroke, and no band.
    assert (status, "tuned against stable" in page, '<line class="line c1"' in page) == (200, True, True)
    assert "at most 20 %" in page
    assert (
        _report(f"{report}/report.html", commands.kubectl("create", "token", reader, "-n", NAMESPACE).strip())[0] == 401
    )
    assert _report(f"https://{address}:8443/experiments/{NAMESPACE}/none/report.html", token)[0] == 404
    commands.kubectl(
        "delete", "-n", NAMESPACE, *(f"{kind}/{reader}" for kind in ("rolebinding", "role", "serviceaccount"))
    )


def _report(url: str, token: str) -> tuple[int, str]:
    """The certificate is made out to the Service's name, which this machine does not know."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(asked, timeout=60, context=anybody) as response:
            return int(response.status), response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_mlflow_keeps_the_experiment_s_report_and_record(told: tuple[Story, Killer]) -> None:
    ask, name = partial(ask_mlflow, told[0].commands), record_name(told[0].experiment)
    tag = f"anneal.dev/experiment-report.{NAMESPACE}.{name}"

    def kept() -> str:
        model = ask("registered-models/get", {"name": "spam-filter"})["registered_model"]
        return str(next((found["value"] for found in model["tags"] if found["key"] == tag), ""))

    assert poll(lambda: bool(kept()), 120, every=2.0)
    run, _, phase = kept().partition(" ")
    assert phase == "Promoted"
    assert ask("runs/get", {"run_id": run})["run"]["info"]["status"] == "FINISHED"
    files = ask("artifacts/list", {"run_id": run})["files"]
    assert {file["path"] for file in files} == {"report.html", "verdict.json", "record.json"}


def test_no_user_changed_variant_and_each_got_the_one_its_hash_says(told: tuple[Story, Killer]) -> None:
    story = told[0]
    experiment = story.experiment
    given = defaultdict(set)
    for answer in story.during:
        if answer.variant:  # the verdict may come while the last users still ask
            given[answer.user].add((answer.variant, answer.version))
    assert len(given) > 100
    arms = [("stable", "spam-filter-base"), ("tuned", "spam-filter-tuned")]
    salt = f"{NAMESPACE}/{experiment['metadata']['name']}"
    assert given == {user: {arms[bucket(salt, user) >= 5000]} for user in given}


def test_before_and_after_everybody_gets_the_one_version(told: tuple[Story, Killer]) -> None:
    story = told[0]
    assert Counter((a.version, a.variant) for a in story.before) == {("spam-filter-base", None): len(story.before)}
    assert Counter((a.version, a.variant) for a in story.after) == {("spam-filter-tuned", None): len(story.after)}


def test_the_engine_answers_with_logprobs_and_goes_on(told: tuple[Story, Killer]) -> None:
    """The engine compiles C++ for them: without a compiler the first such request was its last."""
    body = {**question(new_mails(1)[0], "spam-filter"), "max_tokens": 4, "logprobs": True, "top_logprobs": 2}
    for _ in range(2):
        asked = urllib.request.Request(
            f"{told[0].router}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=180) as response:
            tokens = json.load(response)["choices"][0]["logprobs"]["content"]
        assert [len(token["top_logprobs"]) for token in tokens] == [2] * len(tokens) != []


def test_openai_s_and_langchain_s_own_clients_are_answered(told: tuple[Story, Killer]) -> None:
    base, mail = f"{told[0].router}/v1", new_mails(1)[0]
    asked: Any = question(mail, "spam-filter")
    with OpenAI(base_url=base, api_key="nobody's", max_retries=0, timeout=180) as client:
        whole = client.chat.completions.create(**asked)
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == (
            whole.choices[0].message.content
        )
        assert whole.usage is not None
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
        assert [model.id for model in client.models.list()] == ["spam-filter"]
        response = client.responses.create(model="spam-filter", input=mail.question, store=False, max_output_tokens=4)
        assert response.usage is not None
        assert response.usage.output_tokens == 4
        with pytest.raises(openai.BadRequestError):  # the engine's own
            client.chat.completions.create(model="spam-filter", messages=[], temperature=-1)
        with pytest.raises(openai.NotFoundError, match="there is no model `other` here"):
            client.completions.create(model="other", prompt="x")
    with DefaultHttpxClient(timeout=180) as http:
        settings: Any = {"temperature": 0, "max_tokens": asked["max_tokens"], "http_client": http}
        chain = ChatOpenAI(model="spam-filter", base_url=base, api_key=SecretStr("nobody's"), **settings)
        assert chain.invoke(mail.question).content == whole.choices[0].message.content


def test_who_chats_with_the_winner_in_a_browser_sees_which_version_answered_and_how_sure_it_was(
    told: tuple[Story, Killer],
) -> None:
    with browsing() as browser:
        page = browser.new_page()
        page.goto(f"{told[0].router}/ui/")
        expect(page.get_by_label("Model", exact=True)).to_have_value("spam-filter")
        page.get_by_text("Settings").click()
        page.get_by_label("Longest answer").fill("4")
        page.get_by_label("Message", exact=True).fill(new_mails(1)[0].question)
        page.keyboard.press("Enter")
        turn = page.get_by_role("article")
        expect(turn.locator(".facts")).to_contain_text(f"Version {told[0].winner} · Confidence ", timeout=180_000)
        expect(turn.locator(".answer")).not_to_be_empty()


def _posted(url: str, body: dict[str, Any]) -> tuple[dict[str, Any], Message]:
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=180) as response:
        return json.load(response), response.headers


def test_the_task_api_asks_the_model_as_a_chat_does_and_says_how_sure_it_was(told: tuple[Story, Killer]) -> None:
    router, mail = told[0].router, new_mails(1)[0]
    body = {"input_text": mail.question, "max_new_tokens": 40, "temperature": 0}
    answer, headers = _posted(f"{router}/predict", body)
    assert 0 < answer["confidence_score"] <= 1
    assert headers["X-Anneal-Version"] == told[0].winner
    assert answer["truncated"] is False
    asked = {"model": "spam-filter", "messages": [{"role": "user", "content": mail.question}]}
    chat, _ = _posted(f"{router}/v1/chat/completions", {**asked, "max_tokens": 40, "temperature": 0})
    assert answer["raw_response"] == chat["choices"][0]["message"]["content"]
    long, _ = _posted(
        f"{router}/models/spam-filter/predict", {**body, "input_text": "메일 " * 2000, "confidence": False}
    )
    assert (long["truncated"], long["confidence_score"]) == (True, None)
    batch, _ = _posted(f"{router}/batch", {"inputs": [{"input_text": mail.question}] * 3, "max_new_tokens": 4})
    assert len(batch["results"]) == 3
    with urllib.request.urlopen(f"{router}/health", timeout=30) as health:
        assert json.load(health)["ready"] == ["spam-filter"]
    assert _status(f"{router}/predict", {**body, "max_new_tokens": 512}) == 422


def test_the_engine_answers_nobody_without_the_routers_key(told: tuple[Story, Killer]) -> None:
    """vLLM's own `--api-key` leaves some of these open."""
    service = told[0].commands.get(f"service/{told[0].winner}-server", "-n", NAMESPACE)["spec"]["clusterIP"]
    paths = ("/v1/chat/completions", "/v1/models", "/tokenize", "/invocations", "/adapters", "/version", "/docs")
    assert {path: _status(f"http://{service}:8000{path}") for path in paths} == dict.fromkeys(paths, 401)
    assert _status(f"http://{service}:8000/health") == 200


def test_what_one_request_may_cost_is_bounded(told: tuple[Story, Killer]) -> None:
    asked = {**question(new_mails(1)[0], "spam-filter"), "temperature": 1.0}  # of several answers none is the likeliest
    router = told[0].router
    assert _status(f"{router}/v1/chat/completions", {**asked, "max_tokens": 1, "n": 16}) == 200
    assert _status(f"{router}/v1/chat/completions", {**asked, "max_tokens": 1, "n": 17}) == 400
    many = {"model": "spam-filter", "prompt": ["x"] * 65, "max_tokens": 1}
    assert _status(f"{router}/v1/completions", many) == 400


def _status(url: str, body: dict[str, Any] | None = None) -> int:
    content = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=180) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_engine_s_interface_is_what_the_copy_says(told: tuple[Story, Killer]) -> None:
    """Of vLLM's own description the router's tests keep a copy: it is made anew where this fails."""
    read = (
        "import os, urllib.request as u; "
        "asked = u.Request('http://127.0.0.1:8000/openapi.json'); "
        f"asked.add_header('Authorization', 'Bearer ' + os.environ['{ENGINE_KEY_VARIABLE}']); "
        "print(u.urlopen(asked).read().decode())"
    )
    engine = f"deployment/{told[0].winner}-server"
    running = json.loads(told[0].commands.kubectl("exec", "-n", NAMESPACE, engine, "--", "python", "-c", read))
    found, kept = trimmed(running, VERSION), document()
    assert set(kept["paths"]) - set(found["paths"]) == {"/v1/embeddings"}  # of models that make vectors alone
    assert found["paths"] == {path: kept["paths"][path] for path in found["paths"]}
    schemas = found["components"]["schemas"]
    assert schemas == {name: kept["components"]["schemas"].get(name) for name in schemas}


@pytest.mark.soak
@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/completions"])
def test_vllm_s_own_benchmark_runs_against_the_router(
    told: tuple[Story, Killer], images: dict[str, str], endpoint: str
) -> None:
    story, name = told[0], f"bench{endpoint.replace('/', '-')}"
    made = vllm_bench.bench_pod(name, images["server"], story.router, "spam-filter", endpoint, requests=20)
    story.commands.kubectl("apply", "-n", NAMESPACE, "-f", "-", given=json.dumps(made))
    phase = "jsonpath={.status.phase}"
    ended = ("Succeeded", "Failed")
    poll(lambda: story.commands.kubectl("get", "pod", name, "-n", NAMESPACE, "-o", phase) in ended, 300, every=1.0)
    log = story.commands.kubectl("logs", name, "-n", NAMESPACE)
    result = vllm_bench.told(log)
    assert (result["completed"], result["failed"]) == (20, 0), log
    assert result["total_output_tokens"] > 0
    story.commands.kubectl("delete", "pod", name, "-n", NAMESPACE)


def test_mlflow_has_one_run_and_one_version_per_job_and_the_aliases(told: tuple[Story, Killer]) -> None:
    ask = partial(ask_mlflow, told[0].commands)
    versions = ask("model-versions/search", {"filter": "name = 'spam-filter'"})["model_versions"]
    assert sorted(version["version"] for version in versions) == ["1", "2"]
    model = ask("registered-models/get", {"name": "spam-filter"})["registered_model"]
    assert {entry["alias"]: entry["version"] for entry in model["aliases"]} == {"base": "1", "production": "2"}
    winner = ask("model-versions/get", {"name": "spam-filter", "version": "2"})["model_version"]
    tags = {tag["key"]: tag["value"] for tag in winner["tags"]}
    assert json.loads(tags["anneal.dev/experiment.spam-filter-base-or-tuned"])["winner"] == "tuned"
    for name in ("spam-filter-base", "spam-filter-tuned"):
        status = _get(told[0], f"finetunejob/{name}")["status"]
        run = ask("runs/get", {"run_id": status["mlflow"]["runId"]})["run"]
        assert run["info"]["status"] == "FINISHED"
        metrics = run_metrics(told[0].commands, status["mlflow"]["runId"])
        assert metrics["action/accuracy"] == pytest.approx(status["evaluation"]["metrics"]["action/accuracy"], abs=1e-4)
        assert {"loss", "eval_loss", "learning_rate"} <= set(metrics)
        artifacts = ask("artifacts/list", {"run_id": status["mlflow"]["runId"], "path": "model"})["files"]
        assert {"model/model.safetensors", "model/manifest.json"} <= {file["path"] for file in artifacts}


def test_a_server_of_somebody_else_s_is_a_version_with_its_key(told: tuple[Story, Killer]) -> None:
    """Here it is the winner's engine, which takes no request without a key."""
    story, name = told[0], "hosted"
    commands = story.commands
    key = commands.get(f"secret/{KEYS}", "-n", NAMESPACE)["data"]["engineKey"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"token": key}}
    service = {"name": f"{story.winner}-server", "port": 8000}
    held = {"secretKeyRef": {"name": name, "key": "token"}}
    backend = {"serviceRef": service, "model": "spam-filter", "apiKey": held}
    spec = {"modelName": name, "aliases": ["production"], "backend": backend}
    version = {"apiVersion": "anneal.dev/v1alpha1", "kind": "ModelVersion", "metadata": {"name": name}, "spec": spec}
    for manifest in (secret, version):
        commands.kubectl("apply", "-n", NAMESPACE, "-f", "-", given=json.dumps(manifest))
    for condition in ("Ready", "Routable"):
        commands.kubectl("wait", "-n", NAMESPACE, f"--for=condition={condition}", f"mv/{name}", "--timeout=180s")
    asked: Any = question(new_mails(1)[0], "spam-filter")
    with OpenAI(base_url=f"{story.router}/v1", api_key="nobody's", max_retries=0, timeout=180) as client:
        own = client.chat.completions.create(**asked)
        answer = client.chat.completions.with_raw_response.create(**{**asked, "model": name})
    assert answer.headers["X-Anneal-Version"] == name
    assert answer.parse().choices[0].message.content == own.choices[0].message.content
    commands.kubectl("delete", "-n", NAMESPACE, f"mv/{name}", f"secret/{name}")


def test_bad_data_fails_once_before_any_training_and_says_which_lines(told: tuple[Story, Killer]) -> None:
    commands = told[0].commands
    rows = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad"}, "data": {"rows.jsonl": '{"x": 1}\n{'}}
    spec = {
        "base": {"uri": "models:/spam-filter@base"},
        "dataset": {"sources": [{"uri": "configmap://bad/rows.jsonl"}], "template": "InstructionIO"},
        "training": {"maxSequenceLength": 256},
        "stages": {"prepare": {"resources": {"requests": {"cpu": "100m"}}}},
        "storage": {"template": {"size": "1Gi"}},
        "output": {"modelName": "spam-filter"},
    }
    job = {"apiVersion": "anneal.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": "bad"}, "spec": spec}
    for manifest in (rows, job):
        commands.kubectl("apply", "-n", NAMESPACE, "-f", "-", given=json.dumps(manifest))
    commands.kubectl("wait", "-n", NAMESPACE, "--for=jsonpath={.status.phase}=Failed", "ftj/bad", "--timeout=120s")
    status = _get(told[0], "finetunejob/bad")["status"]
    assert (status["failure"]["stage"], status["failure"]["exitCode"]) == ("prepare", 65)
    assert "rows.jsonl line 1: has no instruction; rows.jsonl line 2: is not JSON" in status["failure"]["message"]
    assert status["failure"]["message"] in status["conditions"][0]["message"]
    made = [
        item for item in commands.get("jobs", "-n", NAMESPACE)["items"] if item["metadata"]["name"].startswith("bad-")
    ]
    assert [(item["metadata"]["name"], item["status"]["failed"]) for item in made] == [("bad-prepare", 1)]
    commands.kubectl("delete", "-n", NAMESPACE, "ftj/bad", "configmap/bad")


def test_deleting_everything_leaves_the_recorded_answers_the_keys_and_the_decision_alone(
    told: tuple[Story, Killer],
) -> None:
    commands = told[0].commands
    examples = CHECKOUT / "examples/spam-filter"
    outlives = [f"configmap/{record_name(told[0].experiment)}", f"persistentvolumeclaim/{RECORDER}", f"secret/{KEYS}"]
    commands.kubectl("delete", "-n", NAMESPACE, "-f", str(examples / "experiment.yaml"))
    commands.kubectl("delete", "-n", NAMESPACE, "-k", str(examples / "cpu"))
    commands.kubectl("delete", "-n", NAMESPACE, "modelversions", "--all")

    def left() -> list[str]:
        found = commands.kubectl("get", LEFT, "-n", NAMESPACE, "-o", "name").split()
        return [name for name in found if name not in {"configmap/kube-root-ca.crt", "serviceaccount/default"}]

    poll(lambda: left() == outlives, 90)
    assert left() == outlives
