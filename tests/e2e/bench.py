"""A place for FineTuneJobs that train for real: small jobs to submit, and what to wait for."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.cluster import CHECKOUT, Cluster, own_namespace
from toolbox.polling import poll

__all__ = ["RESOURCES", "ROWS", "TRAINING", "Bench", "furnished"]

_PATIENCE = 600.0
TRAINING = {
    "maxSteps": 40,
    "learningRate": 0.002,
    "perDeviceBatchSize": 4,
    "maxSequenceLength": 128,
    "saveEverySteps": 5,
    "logEverySteps": 1,
}
Manifest = dict[str, Any]


ROWS = [{"uri": "configmap://rows/rows.jsonl"}]
RESOURCES = {"resources": {"requests": {"cpu": "100m", "memory": "2500Mi"}}}


@dataclass(frozen=True)
class Bench:
    """A namespace under the restricted standard, with data and a tiny model in it."""

    cluster: Cluster

    def submit(self, name: str, **spec: Any) -> None:
        """Apply a small job; the keywords replace parts of its spec."""
        small = {
            "base": {"uri": "configmap://tiny-qwen3", "initialize": "Random"},
            "dataset": {"sources": ROWS, "deduplicate": {"threshold": 1.0}},
            "tuning": {"method": "Full"},
            "training": TRAINING,
            "stages": dict.fromkeys(("prepare", "train", "publish"), RESOURCES),
            "storage": {"template": {"size": "1Gi"}},
            "evaluation": {"suites": [{"name": "rows", "type": "Perplexity"}], "maxRows": 4, "maxNewTokens": 4},
            "output": {"modelName": "small"},
        }
        manifest = {"apiVersion": "anneal.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}}
        self.cluster.apply({**manifest, "spec": {**small, **spec}})

    def status(self, name: str) -> Manifest:
        return self.cluster.api.status("FineTuneJob", name)

    def wait(self, name: str, phase: str, patience: float = _PATIENCE) -> Manifest:
        """Wait for a phase, and return the status."""
        ends = {phase, "Succeeded", "Failed"}
        poll(lambda: self.status(name).get("phase") in ends, patience, every=1.0)
        status = self.status(name)
        assert status.get("phase") == phase, json.dumps(status, indent=1, ensure_ascii=False) + self._pods(name)
        return status

    def change(self, name: str, **spec: Any) -> None:
        self.cluster.kubectl("patch", "finetunejob", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def pods(self, name: str, stage: str) -> list[Manifest]:
        selector = f"anneal.dev/fine-tune-job={name},anneal.dev/stage={stage}"
        return self.cluster.api.objects("Pod", selector)

    def running(self, name: str, stage: str = "train") -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods(name, stage) if pod["status"]["phase"] == "Running"]

    def wait_for_checkpoint(self, name: str, pods: int = 1) -> list[str]:
        """Wait until training has saved once; return its pods."""

        def saved() -> bool:
            logs = [self.cluster.api.log(pod) for pod in self.running(name)]
            return len(logs) == pods and any('"event": "checkpoint"' in log for log in logs)

        assert poll(saved, _PATIENCE, every=1.0), self._pods(name)
        return self.running(name)

    def evict(self, pod: str) -> None:
        """Have a pod go as a node that is drained has it go."""
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        path = f"/api/v1/namespaces/{self.cluster.namespace}/pods/{pod}/eviction"
        self.cluster.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(eviction))

    def resumed_from(self, name: str) -> list[int]:
        """The step that each training that is still told of began at."""
        logs = [self.cluster.api.log(pod["metadata"]["name"]) for pod in self.pods(name, "train")]
        lines = [json.loads(line) for log in logs for line in log.splitlines() if '"event": "start"' in line]
        return [int((line["resumed_from"] or "step-0")[5:]) for line in lines]

    def lose_one_of_two_nodes(self, name: str) -> None:
        """Kill the pod of one in the middle of a training."""
        pods = self.wait_for_checkpoint(name, pods=2)
        self.cluster.kubectl("delete", "pod", sorted(pods)[1], "--grace-period=0", "--force")

    def _pods(self, name: str) -> str:
        return self.cluster.kubectl("describe", "pods", "-l", f"anneal.dev/fine-tune-job={name}", check=False)


@contextmanager
def furnished(running: Cluster, test: str) -> Iterator[Bench]:
    """A namespace called after a test, with 120 rows and a tiny model in it."""
    with own_namespace(running, test) as cluster:
        cluster.kubectl("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted")
        cluster.kubectl("apply", "-k", str(CHECKOUT / "examples/tiny"))
        rng = random.Random(1)
        rows = [
            {"question": f"{rng.randrange(10**9)} {rng.randrange(10**9)}", "answer": f"{n % 7}"} for n in range(120)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        data = {"rows.jsonl": text}
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": data})
        yield Bench(cluster)
