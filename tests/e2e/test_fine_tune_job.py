"""FineTuneJobs on the real cluster, trained for real: the examples, and what goes wrong on the way."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.installation import SYSTEM, Installation
from tests.support.api_reader import ApiReader
from tests.support.kueue import add_queue
from toolbox.polling import poll

from .bench import RESOURCES, ROWS, TRAINING, Bench
from .conftest import CHECKOUT, Cluster
from .served import ask_mlflow, published
from .side_by_side import Beginnings, beginnings, beside_others

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]
EXAMPLES = {
    "claims-extraction": ("Merged", None),
    "expressway-assistant": ("Full", 0),
    "civil-law-qa": ("Adapter", None),
    "support-chatbot": ("Full", 0),
}
"""What is published of each, and with how many servers."""
MADE = ("Job", "Pod", "Service", "ConfigMap", "PersistentVolumeClaim")
OF_THE_NAMESPACE = {f"ConfigMap/{name}" for name in ("kube-root-ca.crt", "rows", "tiny-qwen3")}
Manifest = dict[str, Any]


@pytest.fixture(name="beginnings", scope="module")
def _beginnings(
    operator: Installation,  # noqa: ARG001 - it works there
    running: Cluster,
    request: pytest.FixtureRequest,
) -> Iterator[Beginnings]:
    yield from beginnings(running, request)


@beside_others
def test_a_training_goes_on_from_its_checkpoint_whatever_interrupts_it(bench: Bench) -> None:
    """Its pod is evicted, the job suspended, and the process stands still: that alone counts as a failure."""
    brief = {"terminationGracePeriodSeconds": 10}  # one that stands still uses it up
    stages = {"prepare": RESOURCES, "train": RESOURCES | brief, "publish": RESOURCES}
    training = {**TRAINING, "maxSteps": 300, "guards": {"stalledAfter": "20s"}}
    bench.submit("interrupted", training=training, stages=stages, maxAttempts=2)
    [pod] = bench.wait_for_checkpoint("interrupted")
    bench.evict(pod)
    assert poll(lambda: bench.status("interrupted")["attempts"]["total"] == 2, 150, every=1.0)
    bench.wait_for_checkpoint("interrupted")
    assert max(bench.resumed_from("interrupted")) >= 5, "after the eviction"
    bench.change("interrupted", suspend=True)
    bench.wait("interrupted", "Suspended")
    assert poll(lambda: not bench.pods("interrupted", "train"), 150, every=1.0)
    bench.change("interrupted", suspend=False)
    [pod] = bench.wait_for_checkpoint("interrupted")
    _signal(bench.cluster.get("pod", pod)["metadata"]["uid"], signal.SIGSTOP)
    status = bench.wait("interrupted", "Succeeded")
    reasons = [attempt["reason"] for attempt in status["attempts"]["last"]]
    assert reasons == ["Preempted", "Suspended", "Stalled", "Completed"]
    resumed = bench.resumed_from("interrupted")
    assert len(resumed) == 2, "the pods of the last two attempts stay"
    assert min(resumed) >= 5


@beside_others
def test_a_version_enters_an_experiment_against_the_one_in_production(bench: Bench) -> None:
    output = {"modelName": "compared", "serving": {"replicas": 0, "maxModelLength": 512}}
    brief = {**TRAINING, "maxSteps": 5}
    aliased = {**output, "aliases": ["production"]}
    bench.submit("current", training=brief, output=aliased, ttlSecondsAfterFinished=60)
    bench.wait("current", "Succeeded")
    api, label = bench.cluster.api, "anneal.dev/fine-tune-job=current"

    def aliases() -> list[str]:
        return list(api.status("ModelVersion", "current").get("registry", {}).get("aliases", []))

    assert poll(lambda: "production" in aliases(), 60, every=1.0)
    template = {"candidatePercent": 20, "metrics": {"primary": {"name": "stars"}}}
    bench.submit("candidate", training=brief, output={**output, "experiment": template})
    bench.wait("candidate", "Succeeded")
    spec = bench.cluster.get("abexperiment", "candidate")["spec"]
    found = [(variant["name"], variant["modelVersionRef"]["name"], variant["weight"]) for variant in spec["variants"]]
    assert found == [("production", "current", 80), ("candidate", "candidate", 20)]
    assert poll(lambda: "phase" in api.status("ABExperiment", "candidate"), 30, every=1.0)
    assert poll(lambda: not api.object("FineTuneJob", "current"), 120, every=1.0)
    assert poll(lambda: not _made(bench, label), 60, every=1.0), "a job goes in time with all it made"


@pytest.mark.usefixtures("kueue")
@beside_others
def test_kueue_admits_each_attempt_of_training_and_nothing_else(bench: Bench) -> None:
    """Real Kueue takes the quota back in mid-training: the attempt queues again, and goes on from the checkpoint."""
    add_queue(bench.cluster.kubectl, "team", {"cpu": "2", "memory": "8Gi"})
    queue = f"{bench.cluster.namespace}.team"

    def hold(policy: str) -> None:
        changed = json.dumps({"spec": {"stopPolicy": policy}})
        bench.cluster.kubectl("patch", "clusterqueue", queue, "--type=merge", "-p", changed)

    long = {**TRAINING, "maxSteps": 120}  # it must not end before Kueue has taken it back
    bench.submit("queued", scheduling={"queueName": "team"}, training=long)
    bench.wait_for_checkpoint("queued")
    assert _workloads(bench) == ["queued-train-1"], "preparation did not queue"
    hold("HoldAndDrain")
    bench.wait("queued", "Queued", 150)
    assert poll(lambda: not bench.running("queued"), 150, every=1.0)
    hold("None")
    status = bench.wait("queued", "Succeeded")
    assert [attempt["reason"] for attempt in status["attempts"]["last"]] == ["Preempted", "Completed"]
    assert bench.resumed_from("queued")[-1] >= 5
    assert _workloads(bench) == ["queued-train-1"], "the attempt queued again, and nothing else did"


def _workloads(bench: Bench) -> list[str]:
    """The Jobs that Kueue has a Workload for."""
    found = bench.cluster.get("workloads.kueue.x-k8s.io")["items"]
    return sorted(owner["name"] for workload in found for owner in workload["metadata"]["ownerReferences"])


@beside_others
def test_a_leader_that_was_paused_does_nothing_twice(bench: Bench) -> None:
    """Two operators: the first one's process rests for longer than its lease, and all jobs go on under the second."""
    system = ApiReader(bench.cluster.layout, SYSTEM)
    kubectl = bench.cluster.kubectl.within(SYSTEM)
    kubectl("scale", "deployment/anneal-operator", "--replicas=2")
    try:
        kubectl("rollout", "status", "deployment/anneal-operator", "--timeout=120s")
        bench.submit("led-by-two")
        bench.wait("led-by-two", "Preparing")
        first = _leader(system)
        uid = system.object("Pod", first)["metadata"]["uid"]
        _signal(uid, signal.SIGSTOP)
        try:
            assert poll(lambda: _leader(system) not in {first, ""}, 40, every=1.0)
            bench.wait("led-by-two", "Running")
            assert poll(lambda: _labelled(system) == [_leader(system)], 10, every=1.0)
        finally:
            _signal(uid, signal.SIGCONT)
        status = bench.wait("led-by-two", "Succeeded")
        assert _leader(system) != first
    finally:
        kubectl("scale", "deployment/anneal-operator", "--replicas=1")
        kubectl("rollout", "status", "deployment/anneal-operator", "--timeout=120s")
    assert [attempt["reason"] for attempt in status["attempts"]["last"]] == ["Completed"]
    assert [len(bench.pods("led-by-two", stage)) for stage in ("prepare", "train", "evaluate", "publish")] == [1] * 4


def _leader(system: ApiReader) -> str:
    return str(system.object("Lease", "anneal-operator")["spec"].get("holderIdentity") or "")


def _labelled(system: ApiReader) -> list[str]:
    return [pod["metadata"]["name"] for pod in system.objects("Pod", "anneal.dev/leader=true")]


@beside_others
def test_the_examples_end_published_and_leave_only_their_versions(bench: Bench) -> None:
    """All four at once; the fifth, spam-filter, is the demo's. One of expressway-assistant's two nodes is lost."""
    _have_one_in_production(bench, "expressway-assistant")
    for name in EXAMPLES:
        bench.cluster.kubectl("apply", "-k", str(CHECKOUT / f"examples/{name}/cpu"))
    bench.lose_one_of_two_nodes("expressway-assistant")
    for name in EXAMPLES:
        status = bench.wait(name, "Succeeded", 1200)
        assert status["dataset"]["rows"] >= 150
        assert status["dataset"]["rows"] == sum(status["dataset"]["splits"].values())
        assert status["dataset"]["piiMasked"] > 10
        assert all(gate["passed"] for gate in status["evaluation"].get("gates", []))
        assert status["attempts"]["last"][-1]["reason"] == "Completed"
        assert status["mlflow"]["runId"]
        assert status["modelVersionRef"] == {"name": name}
        spec = bench.cluster.get("modelversion", name)["spec"]
        assert (spec["artifact"]["format"], spec.get("serving", {}).get("replicas")) == EXAMPLES[name]
    assert _uploaded(bench, "civil-law-qa") == {"adapter"}
    assert _uploaded(bench, "claims-extraction") == {"adapter", "model"}
    gates = [gate["metric"] for gate in bench.status("claims-extraction")["evaluation"]["gates"]]
    assert gates == ["answer/schema_validity", "claim/macro_f1"]
    _assert_compared(bench, "expressway-assistant")
    _assert_logs_have_one_shape(bench)
    status = bench.status("expressway-assistant")
    assert status["evaluation"]["gates"][0]["metric"] == "cases/accuracy"
    assert status["attempts"]["total"] >= 2
    assert max(bench.resumed_from("expressway-assistant")) >= 20
    assert status["checkpoint"]["step"] == 50
    assert "ZeRO3" in bench.cluster.api.log(bench.pods("expressway-assistant", "train")[0]["metadata"]["name"])
    for name in EXAMPLES:
        bench.cluster.kubectl("delete", "-k", str(CHECKOUT / f"examples/{name}/cpu"), "--ignore-not-found")
    _assert_nothing_left(bench)
    versions = {version["metadata"]["name"] for version in bench.cluster.get("modelversions")["items"]}
    assert versions == {*EXAMPLES, "civil-law-qa-base", "claims-extraction-base", "in-production"}


def _have_one_in_production(bench: Bench, model: str) -> None:
    serving = {"replicas": 0, "maxModelLength": 512}
    spec = {**published(bench.cluster, SYSTEM), "modelName": model, "aliases": ["production"], "serving": serving}
    manifest = {"apiVersion": "anneal.dev/v1alpha1", "kind": "ModelVersion", "metadata": {"name": "in-production"}}
    bench.cluster.apply({**manifest, "spec": spec})

    def told() -> Manifest:
        return bench.cluster.api.status("ModelVersion", "in-production")

    assert poll(lambda: told().get("registry", {}).get("aliases") == ["production"], 60, every=1.0), told()


def _uploaded(bench: Bench, name: str) -> set[str]:
    """Which of the two forms of a trained adapter lie in the job's run."""
    run = bench.status(name)["mlflow"]["runId"]
    files = ask_mlflow(bench.cluster, SYSTEM, f"artifacts/list?run_id={run}")["files"]
    return {file["path"] for file in files} & {"adapter", "model"}


def _assert_logs_have_one_shape(bench: Bench) -> None:
    """A log of each stage, whoever writes into it: our code, libraries, torchrun."""
    for stage in ("prepare", "train", "evaluate", "publish"):
        for pod in bench.pods("support-chatbot", stage) + bench.pods("expressway-assistant", stage):
            _assert_has_one_shape(bench.cluster.api.log(pod["metadata"]["name"]), stage)


def _assert_has_one_shape(log: str, stage: str) -> None:
    lines = [json.loads(line) for line in log.splitlines()]
    assert lines
    assert {line["stage"] for line in lines} == {stage}
    assert all(line["event"] and line["time"] for line in lines)


def _assert_compared(bench: Bench, name: str) -> None:
    variants = bench.cluster.get("abexperiment", name)["spec"]["variants"]
    found = [(variant["name"], variant["modelVersionRef"]["name"], variant["weight"]) for variant in variants]
    assert found == [("production", "in-production", 80), ("candidate", name, 20)]


def _assert_nothing_left(bench: Bench) -> None:
    """What serves versions belongs to no job."""
    label = "anneal.dev/fine-tune-job"
    poll(lambda: not _made(bench, label), 180, every=1.0)
    assert _made(bench, label) == set()


def _made(bench: Bench, selector: str = "") -> set[str]:
    """What Anneal made, of one job or of all."""
    api = bench.cluster.api
    found = {f"{kind}/{item['metadata']['name']}" for kind in MADE for item in api.objects(kind, selector)}
    return found - OF_THE_NAMESPACE


@beside_others
def test_vllm_answers_evaluation_s_questions_and_what_is_constrained_satisfies_the_schema(bench: Bench) -> None:
    """A model that has hardly learnt: what it writes by itself is seldom JSON."""
    rows = [{"question": f"{n * 7919 % 10007} {n * 104729 % 10007}", "answer": {"digit": n % 7}} for n in range(120)]
    data = {"rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}
    bench.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "digits"}, "data": data})
    digit = {"type": "integer", "enum": list(range(7))}
    schema = {"type": "object", "properties": {"digit": digit}, "required": ["digit"], "additionalProperties": False}
    more = {"resources": {"requests": {"cpu": "100m", "memory": "5Gi"}}}
    bench.submit(
        "answered",
        dataset={
            "sources": [{"uri": "configmap://digits/rows.jsonl"}],
            "deduplicate": {"threshold": 1.0},
            "responseSchema": schema,
        },
        training={**TRAINING, "maxSteps": 5},
        stages={**dict.fromkeys(("prepare", "train", "publish"), RESOURCES), "evaluate": more},
        evaluation={
            "suites": [
                {"name": "bound", "type": "JSON", "constrained": True},
                {"name": "digit", "type": "Classification", "labelField": "digit", "constrained": True},
                {"name": "free", "type": "JSON"},
            ],
            "gates": [{"metric": "bound/schema_validity", "min": 1}],
            "maxRows": 8,
            "maxNewTokens": 48,
            "engine": "VLLM",
        },
    )
    status = bench.wait("answered", "Succeeded", 900)
    evaluation, images = status["evaluation"], status["provenance"]["images"]
    assert evaluation["engine"] == "VLLM"
    assert evaluation["metrics"]["bound/schema_validity"] == 1.0
    assert evaluation["intervals"]["bound/schema_validity"]["rows"] == 8
    assert {"digit/accuracy", "free/schema_validity"} <= evaluation["metrics"].keys()
    [pod] = bench.pods("answered", "evaluate")
    ended = {found["name"]: found["state"]["terminated"] for found in pod["status"]["initContainerStatuses"]}
    assert [json.loads(ended[name]["message"]) for name in ("ask", "answer")] == [
        {"questions": 16},
        {"answers": {"tuned": 16}},
    ]
    for step in ("ask", "answer", "evaluate"):
        _assert_has_one_shape(bench.cluster.api.log(pod["metadata"]["name"], step), step)
    ran = {made["name"]: made["image"] for made in (*pod["spec"]["initContainers"], *pod["spec"]["containers"])}
    assert ran == {"ask": images["evaluate"], "answer": images["answer"], "evaluate": images["evaluate"]}
    assert images["answer"] != images["evaluate"]


@beside_others
def test_each_failure_has_its_class_stage_and_words(bench: Bench) -> None:
    unmet = {
        "suites": [{"name": "rows", "type": "Perplexity"}],
        "gates": [{"metric": "rows/perplexity", "max": 0.5}],
        "maxRows": 4,
        "maxNewTokens": 4,
    }
    little = {"prepare": {"resources": {"requests": {"cpu": "100m", "memory": "60Mi"}}}}
    source = {"uri": "s3://bucket/rows.jsonl", "secretRef": {"name": "keys"}}
    bench.submit("late", activeDeadlineSeconds=45, training={**TRAINING, "maxSteps": 100_000})
    bench.submit("gated", evaluation=unmet)
    bench.submit("hungry", maxAttempts=1, stages=little)
    bench.submit("bad", dataset={"sources": ROWS, "template": "Alpaca"})
    bench.submit("keyless", maxAttempts=1, dataset={"sources": [source]})
    for name, stage, kind, words in (
        ("late", None, "Deadline", "not done within activeDeadlineSeconds"),
        ("gated", "evaluate", "Gate", "rows/perplexity is"),
        ("hungry", "prepare", "HostOutOfMemory", "OOMKilled"),
        ("bad", "prepare", "Data", "has no instruction"),
        ("keyless", "prepare", "Access", "is there a Secret keys"),
    ):
        failure = bench.wait(name, "Failed")["failure"]
        assert (failure["class"], words in failure["message"]) == (kind, True), failure
        assert stage is None or failure["stage"] == stage
    assert bench.cluster.get("modelversions")["items"] == []


@beside_others
def test_what_keeps_a_job_from_working_is_told_and_it_works_when_that_is_mended(bench: Bench) -> None:
    bench.submit("unplaced", podTemplate={"nodeSelector": {"anneal.dev/pool": "none"}})
    bench.submit("queued", scheduling={"queueName": "research"})

    def told(name: str, words: str) -> bool:
        return any(words in condition["message"] for condition in bench.status(name).get("conditions", ()))

    assert poll(lambda: told("unplaced", "waits for a node: 0/"), 120, every=1.0), bench.status("unplaced")
    assert bench.status("unplaced")["failure"]["class"] == "Unschedulable"
    bench.wait("queued", "Queued", 120)
    assert told("queued", "waits in queue research")
    assert bench.cluster.kubectl("get", "job", "queued-train-1", "-o", "jsonpath={.spec.suspend}") == "true"


@beside_others
def test_only_what_may_change_changes(bench: Bench) -> None:
    bench.submit("fixed", suspend=True)
    bench.change("fixed", activeDeadlineSeconds=600, ttlSecondsAfterFinished=60)
    for refused in ({"maxAttempts": 2}, {"output": {"modelName": "other"}}, {"training": {"seed": 1}}):
        done = bench.cluster.kubectl.process(
            "patch", "finetunejob", "fixed", "--type=merge", "-p", json.dumps({"spec": refused})
        )
        assert done.returncode != 0
        assert f"`{next(iter(refused))}` cannot change: a FineTuneJob records one training" in done.stderr


def _signal(uid: str, number: int) -> None:
    """Send a signal to the Python processes of a pod, found by its control group."""
    sent = 0
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        with contextlib.suppress(OSError):
            if uid in group.read_text() and b"python" in (group.parent / "cmdline").read_bytes():
                os.kill(int(group.parent.name), number)
                sent += 1
    assert sent


@pytest.mark.parametrize("folder", sorted(folder.relative_to(CHECKOUT) for folder in CHECKOUT.glob("examples/*/h100*")))
def test_the_examples_for_h100_nodes_are_accepted(operator: Installation, cluster: Cluster, folder: Path) -> None:  # noqa: ARG001
    rendered = cluster.kubectl("kustomize", str(CHECKOUT / folder))
    assert [found["kind"] for found in yaml.safe_load_all(rendered)] == ["FineTuneJob"]
    cluster.kubectl("apply", "--dry-run=server", "-f", "-", given=rendered)
