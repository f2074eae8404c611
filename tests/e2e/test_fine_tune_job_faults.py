"""FineTuneJobs on the real cluster while something large is away: a sweep, of which other modules have a sample."""

import time
import urllib.request

import pytest

from demo.installation import SYSTEM, Installation
from toolbox.polling import poll

from .bench import RESOURCES, ROWS, TRAINING, Bench
from .conftest import CHECKOUT

pytestmark = [pytest.mark.node, pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("strategy", ["DDP", "ZeRO2", "ZeRO3", "FSDP"])
def test_two_nodes_go_on_together_by_every_strategy(bench: Bench, strategy: str) -> None:
    bench.submit(
        "pair",
        distributed={"strategy": strategy},
        stages={"train": {"nodes": 2, **RESOURCES}},
        storage={"template": {"accessModes": ["ReadWriteMany"], "size": "1Gi"}},
    )
    bench.lose_one_of_two_nodes("pair")
    status = bench.wait("pair", "Succeeded")
    assert status["attempts"]["total"] >= 2
    assert max(bench.resumed_from("pair")) >= 5
    assert status["checkpoint"]["step"] == 40


@pytest.mark.parametrize("seconds", [15, 120])
def test_an_api_server_that_is_away_leaves_the_training_untouched(bench: Bench, seconds: int) -> None:
    bench.submit("alone")
    bench.wait_for_checkpoint("alone")
    bench.cluster.tool("kill", "kube-apiserver")
    time.sleep(seconds)  # the fault's length
    bench.cluster.up()  # what lost its lease meanwhile is started again, too
    status = bench.wait("alone", "Succeeded")
    assert [attempt["reason"] for attempt in status["attempts"]["last"]] == ["Completed"]
    assert [pod["status"].get("phase") for pod in bench.pods("alone", "train")] == ["Succeeded"]


@pytest.mark.parametrize("every", [5, 1])
def test_a_kubelet_that_is_away_leaves_the_training_untouched(bench: Bench, every: int) -> None:
    """Between two checkpoints, and, where every step is saved, in the middle of one."""
    bench.submit("alone", training={**TRAINING, "saveEverySteps": every})
    bench.wait_for_checkpoint("alone")
    bench.cluster.tool("kill", "kubelet")
    time.sleep(20)  # the fault's length
    bench.cluster.up()
    status = bench.wait("alone", "Succeeded")
    assert [attempt["reason"] for attempt in status["attempts"]["last"]] == ["Completed"]
    assert status["checkpoint"]["step"] == 40


@pytest.mark.parametrize("in_training", [False, True])
def test_an_mlflow_that_is_away_holds_up_publishing_alone(
    bench: Bench, operator: Installation, in_training: bool
) -> None:
    """From the start, and from the middle of the training."""
    mlflow = ("scale", "deployment", "anneal-mlflow", "-n", SYSTEM)
    try:
        if in_training:
            bench.submit("untracked")
            bench.wait_for_checkpoint("untracked")
            operator.commands.kubectl(*mlflow, "--replicas=0")
        else:
            operator.commands.kubectl(*mlflow, "--replicas=0")
            bench.submit("untracked")
        bench.wait("untracked", "Publishing")
        assert poll(lambda: "Failed" in [pod["status"]["phase"] for pod in bench.pods("untracked", "publish")], 300)
    finally:
        operator.commands.kubectl(*mlflow, "--replicas=1")
    status = bench.wait("untracked", "Succeeded")
    assert [attempt["reason"] for attempt in status["attempts"]["last"]] == ["Completed"]
    assert status["mlflow"]["runId"]


def test_an_image_that_is_not_there_is_told_and_named_when_time_is_up(
    bench: Bench, operator: Installation, images: dict[str, str]
) -> None:
    deployment = ("deployment/anneal-operator", "-n", SYSTEM)
    image = images["trainer"]
    try:
        operator.commands.kubectl("set", "env", *deployment, "ANNEAL_TRAINER_IMAGE=localhost:1/none:1")
        operator.commands.kubectl("rollout", "status", *deployment, "--timeout=120s")
        bench.submit("pulled", activeDeadlineSeconds=40)
        assert poll(lambda: bench.status("pulled").get("failure", {}).get("class") == "ImagePull", 60)
        status = bench.wait("pulled", "Failed")
    finally:
        operator.commands.kubectl("set", "env", *deployment, f"ANNEAL_TRAINER_IMAGE={image}")
        operator.commands.kubectl("rollout", "status", *deployment, "--timeout=120s")
    assert (status["failure"]["class"], status["conditions"][0]["reason"]) == ("ImagePull", "DeadlineExceeded")
    assert "ImagePull" in status["failure"]["message"]


def test_a_namespace_goes_in_mid_training_with_the_operator_away(bench: Bench, operator: Installation) -> None:
    replicas = ("scale", "deployment", "anneal-operator", "-n", SYSTEM)
    bench.submit("doomed")
    bench.wait_for_checkpoint("doomed")
    operator.commands.kubectl(*replicas, "--replicas=0")
    try:
        began = time.monotonic()
        bench.cluster.kubectl("delete", "namespace", bench.cluster.namespace, "--wait=true")
        assert time.monotonic() - began < 60
    finally:
        operator.commands.kubectl(*replicas, "--replicas=1")
        operator.commands.kubectl("rollout", "status", "-n", SYSTEM, "deployment/anneal-operator", "--timeout=120s")


def test_a_definition_that_comes_back_is_served_again_by_the_same_operator(
    bench: Bench, operator: Installation
) -> None:
    def restarts() -> list[tuple[str, int]]:
        pods = operator.commands.get("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=anneal-operator")["items"]
        return [(pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in pods]

    before = restarts()
    bench.cluster.kubectl("delete", "crd", "finetunejobs.anneal.dev", "--wait=true")
    bench.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CHECKOUT / "crds"))
    bench.cluster.kubectl("wait", "--for=condition=Established", "crd/finetunejobs.anneal.dev", "--timeout=60s")
    bench.submit("anew")
    assert bench.wait("anew", "Preparing", 90)
    assert restarts() == before


def test_nothing_is_written_for_ten_minutes_while_nothing_happens(bench: Bench, operator: Installation) -> None:
    bench.submit("resting", suspend=True)
    bench.submit("bad", dataset={"sources": ROWS, "template": "Alpaca"})
    bench.wait("resting", "Suspended")
    bench.wait("bad", "Failed")
    address = operator.commands.get("service", "anneal-operator", "-n", SYSTEM)["spec"]["clusterIP"]

    def writes() -> dict[str, float]:
        with urllib.request.urlopen(f"http://{address}:9090/metrics") as page:
            lines = page.read().decode().splitlines()
        counted = (line for line in lines if line.startswith("anneal_api_writes_total{") and 'kind="Lease"' not in line)
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in counted)}

    others = "what an earlier test left is still being deleted"
    assert poll(lambda: len(operator.commands.get("finetunejobs", "-A")["items"]) == 2, 120, every=2.0), others
    before = writes()
    assert sum(before.values()) > 0
    assert not poll(lambda: writes() != before, 600, every=5.0), (before, writes())
