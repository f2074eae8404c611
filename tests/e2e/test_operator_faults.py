"""The real operator on the real API server, killed at its writes and starved of answers; pods live by a script.

A sample in `make test`; every write and every fault at length in `make soak`.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from demo.commands import Commands
from demo.installation import Installation
from tests.outside.mlflow_server import MlflowServer, mlflow_server
from toolbox.polling import poll

from .api_proxy import ApiProxy, Fault, Kill
from .conftest import Cluster
from .outside_operator import OutsideOperator
from .scripted_pods import EXIT_CODES, ROWS, SLOW, clear_away, scripted_nodes, scripted_spec

pytestmark = [pytest.mark.timeout(3600)]
STAGES = ["prepare", "train", "evaluate", "publish"]
TRAINING_SECONDS = 3.0
CONVERGENCE = 60.0
NAMESPACE = "operator-faults"
Manifest = dict[str, Any]


@dataclass
class Stand:
    """An operator behind a proxy, and jobs whose pods live by a script."""

    cluster: Cluster
    proxy: ApiProxy
    operator: OutsideOperator
    mlflow: MlflowServer

    def submit(self, name: str, **spec: Any) -> None:
        manifest = {"apiVersion": "anneal.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}}
        self.cluster.apply({**manifest, "spec": scripted_spec(**spec)})

    def phase(self, name: str) -> str:
        return str(self.cluster.api.status("FineTuneJob", name).get("phase", ""))

    def wait(self, name: str, *phases: str, patience: float = 120) -> None:
        poll(lambda: self.phase(name) in {*phases, "Failed"}, patience, every=0.2)
        assert self.phase(name) in phases, (
            self.cluster.kubectl("get", "finetunejob", name, "-o", "yaml") + self.operator.log()
        )

    def made(self, name: str) -> dict[str, Manifest]:
        """The Jobs and pods of a job by their names."""
        label = f"anneal.dev/fine-tune-job={name}"
        kinds = ("Job", "Pod")
        return {f"{k}/{item['metadata']['name']}": item for k in kinds for item in self.cluster.api.objects(k, label)}

    def end(self, name: str) -> Manifest:
        """What a finished job left, without what differs from one life to the next."""
        job = self.cluster.get("finetunejob", name)
        version = self.cluster.get("modelversion", name)
        pods = [key for key in self.made(name) if key.startswith("Pod/")]
        assert len(pods) == len(STAGES), f"a stage was done more than once: {sorted(pods)}"
        kinds = "jobs,configmaps,persistentvolumeclaims,services"
        left = self.cluster.get(kinds, "-l", f"app.kubernetes.io/instance={name}")["items"]
        status = json.loads(json.dumps(job["status"]).replace(name, "NAME"))
        del status["provenance"]["planDigest"]  # the plan names the job
        for condition in status["conditions"]:
            del condition["lastTransitionTime"]
        del status["activeSeconds"]
        for attempt in status["attempts"]["last"]:
            assert attempt["reason"] == "Completed"
        status["attempts"] = {"count": len(status["attempts"]["last"])}
        names = sorted(f"{item['kind']}/{item['metadata']['name']}".replace(name, "NAME") for item in left)
        return {"status": status, "left": names, "version": version["spec"]["modelName"]}

    def delete(self, name: str) -> None:
        self.cluster.kubectl("delete", "finetunejob,modelversion", name, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def stand(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """No other operator may be there: it would do the work."""
    folder = tmp_path_factory.mktemp("stand")
    Installation(Commands(running.layout), "anneal-demo").clean()
    running.kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds")
    clear_away(running.kubectl, NAMESPACE)
    running.kubectl("create", "namespace", NAMESPACE)
    cluster = Cluster(running.layout, NAMESPACE)
    for manifest in ROWS:
        cluster.apply(manifest)
    seconds = {"train": TRAINING_SECONDS}
    with (
        ApiProxy(running.layout) as proxy,
        mlflow_server() as mlflow,
        scripted_nodes(cluster, folder, volumes=150, seconds=seconds),
    ):
        operator = OutsideOperator(proxy, NAMESPACE, folder, environment={"ANNEAL_MLFLOW_URL": mlflow.url})
        try:
            yield Stand(cluster, proxy, operator, mlflow)
        finally:
            operator.end()
            running.kubectl.delete_namespaces(NAMESPACE)  # the next one's operator would see what is left of it


@pytest.fixture
def running_stand(stand: Stand) -> Iterator[Stand]:
    """The same with an operator that leads, and without a fault."""
    stand.proxy.play(None)
    stand.proxy.kill = None
    if not stand.operator.is_alive():
        stand.operator.start()
    stand.operator.wait_until_it_leads()
    yield stand
    stand.proxy.play(None)
    stand.proxy.kill = None


def _writes_of(stand: Stand, name: str) -> tuple[int, Manifest]:
    """Live one life undisturbed; return how many writes it took, and its end."""
    before = len(stand.proxy.writes)
    stand.submit(name)
    stand.wait(name, "Succeeded")
    end = stand.end(name)
    stand.delete(name)
    return len([write for write in stand.proxy.writes[before:] if name in write or "/events" in write]), end


def _life_with_kill(stand: Stand, name: str, at: int, *, after: bool) -> Manifest:
    """Live one life in which the operator is killed at a write, and started again at once."""
    stand.proxy.writes.clear()
    stand.proxy.kill = Kill(at, after, stand.operator.kill)
    stand.submit(name)
    assert poll(lambda: not stand.operator.is_alive(), 60, every=0.1), "the write never came"
    stand.proxy.kill = None
    stand.operator.start()
    stand.wait(name, "Succeeded")
    end = stand.end(name)
    stand.delete(name)
    return end


def test_a_kill_at_a_write_changes_nothing_of_the_end(running_stand: Stand) -> None:
    """A sample: the first write, that of the training's Job, and one near the end, before and after."""
    count, undisturbed = _writes_of(running_stand, "undisturbed")
    assert count > 10
    for at, after in ((1, False), (count // 2, True), (count - 2, False)):
        name = f"killed-{at}-{'after' if after else 'before'}"
        assert _life_with_kill(running_stand, name, at, after=after) == undisturbed, name
        running_stand.operator.wait_until_it_leads()


@pytest.mark.soak
def test_a_kill_at_every_write_changes_nothing_of_the_end(running_stand: Stand) -> None:
    count, undisturbed = _writes_of(running_stand, "undisturbed")
    for at in range(1, count + 1):
        for after in (False, True):
            name = f"killed-{at}-{'after' if after else 'before'}"
            assert _life_with_kill(running_stand, name, at, after=after) == undisturbed, name
            running_stand.operator.wait_until_it_leads()


def _fail_at_gates(stand: Stand, name: str) -> Manifest:
    """Submit a job whose result is not good enough, and give it the run that its training would have begun."""
    suites = [{"name": "rows", "type": "Classification"}]
    stand.submit(name, evaluation={"suites": suites, "gates": [{"metric": "rows/accuracy", "min": 0.95}]})
    uid = stand.cluster.get("finetunejob", name)["metadata"]["uid"]
    run = {"run_id": name, "experiment_id": "1", "status": "RUNNING", "tags": {"anneal.dev/job-uid": uid}}
    stand.mlflow.experiments["scripted"] = "1"
    stand.mlflow.runs.append(run)
    return run


def _failed(stand: Stand, name: str, kill: Kill | None = None) -> Manifest:
    """Live one life that fails, and may be cut off at a write; return what is told of it, here and in MLflow."""
    stand.proxy.writes.clear()
    stand.proxy.kill = kill
    run = _fail_at_gates(stand, name)
    if kill:
        assert poll(lambda: not stand.operator.is_alive(), 60, every=0.1), "the write never came"
        stand.proxy.kill = None
        stand.operator.start()
    stand.wait(name, "Failed")
    assert poll(lambda: run["status"] == "FAILED", 20, every=0.2)
    status = stand.cluster.get("finetunejob", name)["status"]
    conditions = {condition["type"]: condition["reason"] for condition in status["conditions"]}
    return {"class": status["failure"]["class"], "conditions": conditions, "run": run["tags"]["anneal.dev/failure"]}


def test_a_kill_as_a_job_fails_leaves_neither_its_run_nor_its_status_untold(running_stand: Stand) -> None:
    """Before and after the write of its end, which MLflow was told of before."""
    undisturbed = _failed(running_stand, "fails")
    assert undisturbed == {
        "class": "Gate",
        "conditions": {"Succeeded": "GateFailed", "Stalled": "GateFailed"},
        "run": "Gate",
    }
    writes = running_stand.proxy.writes
    (*_, end) = (at for at, write in enumerate(writes, 1) if write.endswith("/finetunejobs/fails/status"))
    for after in (False, True):
        name = f"fails-{'after' if after else 'before'}"
        assert _failed(running_stand, name, Kill(end, after, running_stand.operator.kill)) == undisturbed
        running_stand.delete(name)
        running_stand.operator.wait_until_it_leads()
    running_stand.delete("fails")


def test_an_exit_code_decides_on_class_and_number_of_attempts(running_stand: Stand) -> None:
    """By the real Job controller: what would fail again is not tried again."""
    table = {
        64: ("UserCode", 1),
        65: ("Data", 1),
        70: ("Internal", 2),
        71: ("CudaOutOfMemory", 1),
        76: ("Diverged", 1),
        77: ("Access", 2),
        78: ("Stalled", 2),
    }
    assert tuple(table) == EXIT_CODES
    for code in table:
        running_stand.submit(f"exit-{code}", maxAttempts=2)
    for code, (kind, pods) in table.items():
        name = f"exit-{code}"
        running_stand.wait(name, "Failed")
        failure = running_stand.cluster.get("finetunejob", name)["status"]["failure"]
        assert (failure["class"], failure["exitCode"], failure["message"]) == (kind, code, f"ended with {code}")
        assert failure["retryable"] is (pods > 1)
        assert sum(key.startswith("Pod/") for key in running_stand.made(name)) == pods, name
        running_stand.delete(name)


def test_a_stage_whose_result_went_unread_with_its_pod_is_run_again(running_stand: Stand) -> None:
    """The operator is away when training ends, and when the pod goes that holds the result."""
    name = "unread"
    running_stand.submit(name)
    running_stand.wait(name, "Running")
    running_stand.operator.end()
    complete = ("wait", f"job/{name}-train-1", "--for=condition=Complete", "--timeout=60s")
    running_stand.cluster.kubectl(*complete)
    running_stand.cluster.kubectl("delete", "pods", "-l", f"anneal.dev/fine-tune-job={name}", "--wait=true")
    running_stand.operator.start()
    running_stand.wait(name, "Succeeded")
    assert "Job" in running_stand.cluster.kubectl("get", "job", f"{name}-train-2", "-o", "jsonpath={.kind}")
    stages = [key for key in running_stand.made(name) if key.startswith("Pod/")]
    assert len(stages) == len(STAGES) - 1, f"what was read before is not done again: {stages}"
    running_stand.delete(name)


FAULTS: list[Fault] = ["refused", "500", "403", "429", "slow", "410"]
SAMPLE = [("500", 15), ("410", 15)]
LONG = [pytest.param(fault, 120, marks=pytest.mark.soak) for fault in FAULTS]


@pytest.mark.parametrize(("fault", "seconds"), [*SAMPLE, *LONG])
def test_a_fault_of_the_api_server_leaves_the_work_untouched(running_stand: Stand, fault: Fault, seconds: int) -> None:
    """One job is at work, one is deleted meanwhile, one comes; the process lives on, and all is well a minute after."""
    name = f"{fault}-{seconds}"
    at_work, deleted, new = f"at-work-{name}", f"deleted-{name}", f"new-{name}"
    for job in (at_work, deleted):
        running_stand.submit(job)
    for job in (at_work, deleted):
        running_stand.wait(job, "Running", "Evaluating", "Publishing", "Succeeded")
    before, process = running_stand.made(at_work), running_stand.operator.process
    running_stand.proxy.requests = 0
    running_stand.proxy.play(fault)
    running_stand.cluster.kubectl("delete", "finetunejob", deleted, "--wait=false")
    running_stand.submit(new)
    time.sleep(seconds)  # the fault's length is what is tested
    rate = running_stand.proxy.requests / seconds
    assert rate > 0, "the operator did not even meet the fault"
    running_stand.proxy.play(None)
    for job in (at_work, new):
        running_stand.wait(job, "Succeeded", patience=CONVERGENCE)
    assert rate < 40, f"{rate:.0f} requests per second while nothing answered"
    assert running_stand.operator.process is process, "the operator was started anew"
    assert running_stand.operator.is_alive()
    after = running_stand.made(at_work)
    uids = {key: item["metadata"]["uid"] for key, item in after.items()}
    assert {key: item["metadata"]["uid"] for key, item in before.items()}.items() <= uids.items()
    running_stand.end(at_work)
    running_stand.end(new)
    assert poll(lambda: not running_stand.made(deleted), CONVERGENCE, every=0.5), running_stand.made(deleted)
    for job in (at_work, new, deleted):
        running_stand.delete(job)


@pytest.mark.soak
def test_a_training_whose_node_is_lost_goes_on_on_another(running_stand: Stand) -> None:
    """The node's object is deleted, as a cloud does; only then does Kubernetes know that its pods have ended."""
    running_stand.submit(SLOW)
    running_stand.wait(SLOW, "Running")
    selector = f"anneal.dev/fine-tune-job={SLOW},anneal.dev/stage=train"
    path = "jsonpath={.items[0].spec.nodeName}"
    assert poll(lambda: running_stand.cluster.kubectl("get", "pods", "-l", selector, "-o", path, check=False) != "", 10)
    running_stand.cluster.kubectl(
        "delete", "node", running_stand.cluster.kubectl("get", "pods", "-l", selector, "-o", path)
    )
    running_stand.wait(SLOW, "Succeeded", patience=240)
    attempts = running_stand.cluster.get("finetunejob", SLOW)["status"]["attempts"]["last"]
    assert [attempt["reason"] for attempt in attempts] == ["Preempted", "Completed"]
    running_stand.delete(SLOW)
