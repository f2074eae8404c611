"""The job's run in MLflow, reached through a spool: a tracker that is slow or away never holds up a training step.

Every metric is a line in `workspace/tracking/spool.jsonl` first. A thread sends what is new; `sent` says how far it
came. What could not be sent is replayed by whoever opens the spool next. A line may be sent twice when a kill falls
between sending and noting it: it carries its own time, and MLflow keeps one of two equal points.
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .plan import Plan
from .unreachable import why
from .workspace import tracking_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["UID_TAG", "Spool", "job_run"]

UID_TAG = "anneal.dev/job-uid"
"""By which a job's run, and the version made from it, are found again."""
_BATCH_LINES = 500
_PAUSE_SECONDS = 2.0


def job_run(client: "MlflowClient", plan: Plan) -> "Run":
    """Find the job's run by its uid, or make it: however often a stage is killed, there is one."""
    experiment = client.get_experiment_by_name(plan.tracking.experiment)
    identifier = experiment.experiment_id if experiment else client.create_experiment(plan.tracking.experiment)
    found = client.search_runs([identifier], f"tags.`{UID_TAG}` = '{plan.job.uid}'", max_results=1)
    if found:
        return found[0]
    job = {UID_TAG: plan.job.uid, "anneal.dev/job": f"{plan.job.namespace}/{plan.job.name}"}
    return client.create_run(identifier, run_name=plan.job.name, tags={**plan.tracking.tags, **job})


class Spool:
    """Metrics on their way to MLflow. One process writes; after `start` a thread sends."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        folder = tracking_folder(plan)
        folder.mkdir(parents=True, exist_ok=True)
        self._file, self._sent = folder / "spool.jsonl", folder / "sent"
        self._drop_half_line()
        self._written = self._steps()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note metrics of a step; those that an earlier attempt noted for the same step stay as they are."""
        new = {name: value for name, value in metrics.items() if (step, name) not in self._written}
        if not new:
            return
        self._written |= {(step, name) for name in new}
        line = json.dumps({"step": step, "time": int(time.time() * 1000), "metrics": new})
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def start(self) -> None:
        """Send from now on, in a thread that ends with the process."""
        self._thread = threading.Thread(target=self._send_all, name="mlflow", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Give the thread so long to send the rest; what is left waits on the volume."""
        self._stop.set()
        if self._thread:
            self._thread.join(seconds)

    def replay(self, client: "MlflowClient", run_id: str) -> None:
        """Send what has not been sent; raise MlflowException where MLflow does not take it."""
        from mlflow.entities import Metric

        while True:
            offset = int(self._sent.read_text()) if self._sent.exists() else 0
            lines, offset = self._read(offset)
            if not lines:
                return
            points = [
                Metric(name, value, line["time"], line["step"])
                for line in lines
                for name, value in line["metrics"].items()
            ]
            client.log_batch(run_id, metrics=points, synchronous=True)
            draft = self._sent.with_suffix(".draft")
            draft.write_text(str(offset))
            draft.rename(self._sent)

    def _read(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        if not self._file.exists():
            return [], offset
        with self._file.open("rb") as file:
            file.seek(offset)
            lines: list[dict[str, Any]] = []
            while len(lines) < _BATCH_LINES and (line := file.readline()).endswith(b"\n"):
                lines.append(json.loads(line))
                offset += len(line)
        return lines, offset

    def _drop_half_line(self) -> None:
        if self._file.exists():
            content = self._file.read_bytes()
            self._file.write_bytes(content[: content.rfind(b"\n") + 1])

    def _steps(self) -> set[tuple[int, str]]:
        if not self._file.exists():
            return set()
        lines = map(json.loads, self._file.read_text(encoding="utf-8").splitlines())
        return {(line["step"], name) for line in lines for name in line["metrics"]}

    def _send_all(self) -> None:
        """Send until stopped, and once more; MLflow's own long retries are turned off, for this one never gives up."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient

        run_id = ""
        while True:
            last = self._stop.is_set()
            try:
                client = MlflowClient(self._plan.tracking.uri)
                run_id = run_id or job_run(client, self._plan).info.run_id
                self.replay(client, run_id)
            except Exception as error:  # noqa: BLE001 - whatever it is must not end the training, and is tried again
                print(
                    json.dumps({"event": "tracking", "error": f"MLflow does not take the metrics yet: {why(error)}"}),
                    flush=True,
                )
            if last:
                return
            self._stop.wait(_PAUSE_SECONDS)
